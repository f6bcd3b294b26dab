"""Which faces of a mesh a gripper that comes from outside can touch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graspgen_cli.geometry.finger_reach import FingerReach
from graspgen_cli.geometry.gaps import spread_points
from graspgen_cli.geometry.meshes import extents, face_normals
from graspgen_cli.geometry.open_air import OpenAir, open_air
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, TriangleMesh

LOOKS = 500
"""Points of the surface that look for the sky."""
DIRECTIONS = (6, 24, 200)
"""In which they look: those that do not see it in a few, in more."""
HIDDEN = 0.03
"""Share of the points that must not see it for anything to be looked into."""
LIFTED = 1e-5
"""Share of the object's size from which rays begin off the surface."""
NEAREST = 6
"""Nodes near a face that are tried first: most faces are seen from one of them."""
FINENESS = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
"""Shares of the range to which faces are divided in turn, where the turn before could not tell."""
HIT = 1 - 1e-3
"""Share of the way to a face that has to be free for the face to be seen."""
RING = 0.7
"""Share of a cone's width at which rays around its axis begin."""
_AROUND = [(0.0, 0.0)] + [(np.cos(turn), np.sin(turn)) for turn in np.arange(6) * np.pi / 3]
MOST_LOOKS = 1_000_000
"""At a time; where it would take more, what is not settled counts as touched."""
AT_ONCE = 256


def has_hidden_parts(mesh: TriangleMesh, rays: RayCaster) -> bool:
    """Whether points of the surface, more than a few, see no sky: cheap, and only good for leaving an object as it is."""
    triangles = mesh.vertices[mesh.faces]
    far = 2 * float(np.linalg.norm(extents(mesh)))
    points, face = spread_points(triangles, LOOKS)
    normal = face_normals(triangles)[face]
    hidden = np.arange(LOOKS)
    for count in DIRECTIONS:
        hidden = hidden[~_sees_sky(points[hidden], normal[hidden], count, far, rays)]
        if len(hidden) < HIDDEN * LOOKS:
            return False
    return True


def _sees_sky(points: Floats, normal: Floats, count: int, far: float, rays: RayCaster) -> NDArray[np.bool_]:
    """(N,) whether points (N, 3) of a surface with normals (N, 3) see past `far` (m) in one of a number of directions."""
    toward = _sphere(count)
    outwards = np.where((normal @ toward.T)[..., None] < 0, -toward, toward).reshape(-1, 3)
    origin = np.repeat(points + normal * LIFTED * far, count, axis=0)
    met = rays.between(origin, origin + outwards * far).reshape(-1, count)
    return np.asarray((met < 0).any(axis=1))


def _sphere(count: int) -> Floats:
    """Directions (count, 3) spread over the sphere along a spiral of the golden angle."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.arange(count) * np.pi * (3 - np.sqrt(5))
    return np.stack([np.sqrt(1 - height**2) * np.cos(angle), np.sqrt(1 - height**2) * np.sin(angle), height], axis=1)


class TouchTest:
    """Tells what of a closed mesh the parts of a gripper can touch; what it cannot tell, they can.

    A part that touches the point x has the centre e of a ball of `reach.clearance` within `reach.length` of x, and e got there through open
    air. The part is convex, so the cone of x and that ball is free of the mesh: a node of the air near e lies in it, sees x, and sees a
    point at a distance r of x up to a little before that. It lies in front of a face that x is in.
    """

    def __init__(self, mesh: TriangleMesh, reach: FingerReach, air: OpenAir) -> None:
        self.mesh = mesh
        self._rays, self._air = RayCaster(mesh), air
        self._tree = cKDTree(air.nodes)
        self._range = reach.length + air.near
        self._width = reach.clearance - air.near
        """m: radius of a ball around that node that lies in the cone."""

    @staticmethod
    def of(mesh: TriangleMesh, reach: FingerReach) -> TouchTest | None:
        """For a mesh; None where it is too large for the gripper's clearance."""
        air = open_air(mesh, reach.clearance, reach.length + reach.clearance)
        return None if air is None else TouchTest(mesh, reach, air)

    def faces(self) -> NDArray[np.bool_]:
        """(F,) which faces of the mesh can be touched."""
        triangles = self.mesh.vertices[self.mesh.faces]
        normals, touched = face_normals(triangles), np.zeros(len(triangles), np.bool_)
        corners, face = triangles, np.arange(len(triangles))
        for share in (np.inf, FINENESS[0]):
            corners, of = halved(corners[~touched[face]], self._range * share)
            face = face[~touched[face]][of]
            touched[face[self._seen_from_nearest(corners, normals[face])]] = True
        left = ~touched[face]
        self._look(corners[left], face[left], normals[face[left]], touched)
        return touched

    def any_seen_in_the_middle(self, triangles: Floats) -> bool:
        """Whether the middle of one of triangles (T, 3, 3), not of the mesh, is seen from one of the nodes nearest to it."""
        return bool(self._seen_from_nearest(triangles, np.zeros((len(triangles), 3))).any())

    def any_touched(self, triangles: Floats) -> bool:
        """Whether a part can get to one of triangles (T, 3, 3), not of the mesh, from either side."""
        touched = np.zeros(1, np.bool_)
        self._look(triangles, np.zeros(len(triangles), np.intp), np.zeros((len(triangles), 3)), touched)
        return bool(touched[0])

    def _seen_from_nearest(self, corners: Floats, normal: Floats) -> NDArray[np.bool_]:
        """(T,) whether the middle of triangles (T, 3, 3) is seen from one of the nodes nearest to it: most are."""
        distance, near = self._tree.query(_middle(corners), NEAREST, distance_upper_bound=self._range)
        index, rank = np.nonzero(np.isfinite(distance))
        looks = _Looks(corners[index], index, self._air.nodes[near[index, rank]])
        looks = looks[looks.before(normal[index])]
        seen = np.zeros(len(corners), np.bool_)
        seen[looks.owner[self._sees(looks)]] = True
        return seen

    def _look(self, corners: Floats, owner: NDArray[np.intp], normal: Floats, touched: NDArray[np.bool_]) -> None:
        """Marks the owners of triangles (T, 3, 3) that any node may see that is before them and not too far from them."""
        middle, radius = _middle(corners), _radius(corners)
        for start in range(0, len(corners), AT_ONCE):
            some = np.arange(start, min(start + AT_ONCE, len(corners)))
            some = some[~touched[owner[some]]]
            index, node = self._air.before(middle[some], normal[some], self._range + float(radius[some].max(initial=0.0)))
            self._settle(_Looks(corners[some[index]], owner[some[index]], node), touched)

    def _settle(self, looks: _Looks, touched: NDArray[np.bool_]) -> None:
        """Marks the owners of what nodes may see: triangles are halved until there is no doubt, or they are fine."""
        for share in FINENESS:
            looks = looks.halved(self._range * share)
            if len(looks.owner) > MOST_LOOKS:
                break
            near = looks[looks.length <= self._range + looks.radius]
            looks = near[self._may_see(near)]
            touched[looks.owner[self._sees(looks)]] = True
            looks = looks[~touched[looks.owner]]
        touched[looks.owner] = True

    def _may_see(self, looks: _Looks) -> NDArray[np.bool_]:
        """(P,) whether nodes may see something of triangles: not where one face lies between the node and all three corners, nor where the
        cone to the middle ends too early."""
        first, second, third = (self._hit(looks.node, looks.corners[:, corner]) for corner in range(3))
        may = (first < 0) | (first != second) | (first != third)
        some = looks[may]
        may[may] = self._cone_is_free(some, some.radius)
        return may

    def _sees(self, looks: _Looks) -> NDArray[np.bool_]:
        """(P,) whether cones between nodes and the middles of triangles are free, and no longer than they may be."""
        near = looks.length <= self._range
        near[near] = self._cone_is_free(looks[near], np.zeros(int(near.sum())))
        return near

    def _cone_is_free(self, looks: _Looks, radius: Floats) -> NDArray[np.bool_]:
        """(P,) whether cones from nodes to points no farther than a radius (P,) from the middles of triangles may be free: looked at along
        the axis and some lines around it, as far as all such cones hold them."""
        left = np.arange(len(looks.owner))
        toward = looks.middle - looks.node
        aside = np.cross(toward, np.eye(3)[np.abs(toward).argmin(axis=1)])
        aside *= RING * self._width / np.linalg.norm(aside, axis=1, keepdims=True)
        other = np.cross(toward / np.linalg.norm(toward, axis=1, keepdims=True), aside)
        for cosine, sine in _AROUND:
            start = looks.node[left] + cosine * aside[left] + sine * other[left]
            width = self._width * (1 - RING * np.hypot(cosine, sine))
            end = start + (looks.middle[left] - start) * (HIT * width / (width + radius[left]))[:, None]
            left = left[self._rays.between(start, end) < 0]
        free = np.zeros(len(looks.owner), np.bool_)
        free[left] = True
        return free

    def _hit(self, nodes: Floats, points: Floats) -> NDArray[np.int32]:
        """(N,) the face between nodes (N, 3) and points (N, 3) of the surface; -1 where there is none."""
        return self._rays.between(nodes, nodes + (points - nodes) * HIT)


@dataclass(frozen=True, eq=False)
class _Looks:
    """From P nodes at as many triangles. corners: (P, 3, 3) m; owner: (P,) what each triangle is a part of; node: (P, 3) m."""

    corners: Floats
    owner: NDArray[np.intp]
    node: Floats

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Looks:
        return _Looks(self.corners[chosen], self.owner[chosen], self.node[chosen])

    @cached_property
    def middle(self) -> Floats:
        """(P, 3) m."""
        return _middle(self.corners)

    @cached_property
    def length(self) -> Floats:
        """(P,) m, to the middle."""
        return np.asarray(np.linalg.norm(self.node - self.middle, axis=1))

    @cached_property
    def radius(self) -> Floats:
        """(P,) m."""
        return _radius(self.corners)

    def before(self, normal: Floats) -> NDArray[np.bool_]:
        """(P,) whether the nodes do not lie behind the triangles, whose normals (P, 3) are given."""
        return np.asarray(np.einsum("ij,ij->i", self.node - self.middle, normal) >= 0)

    def halved(self, limit: float) -> _Looks:
        """At what the triangles are halved into, so that none has a radius above `limit` (m)."""
        corners, of = halved(self.corners, limit)
        return _Looks(corners, self.owner[of], self.node[of])


def _middle(corners: Floats) -> Floats:
    """(T, 3) m, of triangles (T, 3, 3)."""
    return np.asarray((corners[:, 0] + corners[:, 1] + corners[:, 2]) / 3)


def _radius(corners: Floats) -> Floats:
    """(T,) m: no point of the triangles (T, 3, 3) is farther from their middles."""
    from_middle = corners - _middle(corners)[:, None]
    squares = np.einsum("tki,tki->kt", from_middle, from_middle)
    return np.asarray(np.sqrt(np.maximum(np.maximum(squares[0], squares[1]), squares[2])))


def halved(corners: Floats, limit: float) -> tuple[Floats, NDArray[np.intp]]:
    """Triangles (T, 3, 3), those with a radius above `limit` (m) in halves across their longest side, again and again: (Q, 3, 3), and which
    triangle each is a part of, (Q,)."""
    done, parents, parent = [corners[:0]], [np.zeros(0, np.intp)], np.arange(len(corners))
    while len(corners):
        large = _radius(corners) > limit
        done.append(corners[~large])
        parents.append(parent[~large])
        corners, parent = _halves(corners[large]), np.tile(parent[large], 2)
    return np.concatenate(done), np.concatenate(parents)


def _halves(corners: Floats) -> Floats:
    """(2 T, 3, 3) the first halves of triangles (T, 3, 3), then the second."""
    lengths = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    first, every = lengths.argmax(axis=1), np.arange(len(corners))
    start, end, top = (corners[every, (first + turn) % 3] for turn in range(3))
    middle = (start + end) / 2
    return np.concatenate([np.stack([start, middle, top], axis=1), np.stack([middle, end, top], axis=1)])
