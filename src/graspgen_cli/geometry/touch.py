"""The faces of a mesh that a gripper can touch from outside. Every approximation errs on the side of touch.

`finger_reach` describes the gripper: the width of the openings that admit its parts, and the depth that parts reach beyond the opening.
`free_space` gives nodes where the centre of a ball from outside can be; `TouchTest` looks from the nodes at the faces.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label
from scipy.optimize import linprog, nnls
from scipy.spatial import ConvexHull, cKDTree

from graspgen_cli.geometry.gaps import sample_surface
from graspgen_cli.geometry.meshes import bounds, centroids, extents, face_areas, face_normals
from graspgen_cli.geometry.rays import RayCaster
from graspgen_cli.records import Floats, Gripper, TriangleMesh

CORE = 0.9  # share of the thinnest part's inradius by which all parts are eroded; all of it would leave a wedge a core far from its edges
PENETRATION = 0.0005  # m by which a part may press into the object on its way, in addition to the uneroded rest of the inradius
PLANE_DECIMALS = 9  # decimals to which face planes are compared: the triangles of one flat face share a plane

FINEST = 3.0  # grid spacings per ball radius, where the number of nodes allows
COARSEST = 1.65  # fewest grid spacings per ball radius: on a coarser grid balls would pass through a sheet
MOST_NODES = 4_000_000
MOST_SAMPLES = 1_000_000
HALF_DIAGONAL = np.sqrt(3) / 2  # largest distance from a point to the nearest grid node, in spacings
BODY_CENTRED = np.sqrt(5) / 2  # the same for the nodes with coordinates all even or all odd, a quarter of the grid
ROUNDING = 1e-9  # m: a node this little behind a plane counts as in the plane
_SLANT = np.sqrt(1.25)

LOOKS = 500  # surface points tested for a view to the outside
DIRECTIONS = (6, 24, 200)  # numbers of directions to look in, in turn; points that see the outside drop out
HIDDEN = 0.03  # share of hidden points below which nothing counts as hidden
LIFTED = 1e-5  # offset of ray origins from the surface as a share of the object's size
NEAREST = 6  # nearest nodes that are tried first: most faces are visible from one of them
FINENESS = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)  # radii, as shares of the range, to which undecided triangles are subdivided in turn
HIT = 1 - 1e-3  # share of the way to a face that must be free
RING = 0.7  # distance of the outer rays from a cone's axis as a share of the cone's radius
_AROUND = [(0.0, 0.0)] + [(np.cos(turn), np.sin(turn)) for turn in np.arange(6) * np.pi / 3]
MOST_LOOKS = 1_000_000  # most looks at a time; with more, undecided faces count as touched
AT_ONCE = 256  # triangles per batch


@dataclass(frozen=True)
class FingerReach:
    """What all convex collision parts of a gripper have in common. A part that touches the object came from outside, and so did the balls
    of radius `clearance` (m) inside the part. Every point of the part is within `length` (m) of the centre of such a ball."""

    clearance: float
    length: float


def finger_reach(gripper: Gripper) -> FingerReach | None:
    """The reach of a gripper's collision parts; None for a gripper without parts, or with a part thinner than PENETRATION allows.

    A part eroded by a radius is the set of points at least that deep inside all its planes. The farthest point of the part from this set
    is a vertex, since the distance from a convex set is a convex function.
    """
    parts = [part for body in gripper.collision_parts for part in body]
    if not parts:
        return None
    planes = [np.unique(ConvexHull(part.vertices).equations.round(PLANE_DECIMALS), axis=0) for part in parts]
    core = CORE * min(_inradius(each) for each in planes)
    if core <= PENETRATION:
        return None
    farthest = max(_distance(vertex, each, core) for part, each in zip(parts, planes, strict=True) for vertex in part.vertices)
    return FingerReach(core - PENETRATION, farthest)


def _inradius(planes: Floats) -> float:
    """Radius of the largest ball inside planes (P, 4), m."""
    inside = np.concatenate([planes[:, :3], np.ones((len(planes), 1))], axis=1)
    found = linprog([0, 0, 0, -1], A_ub=inside, b_ub=-planes[:, 3], bounds=[(None, None)] * 3 + [(0, None)])
    return float(found.x[3])


def _distance(point: Floats, planes: Floats, depth: float) -> float:
    """Distance (m) of a point (3,) to the set at least `depth` (m) inside planes (P, 4): Lawson and Hanson's least distance programming."""
    beyond = planes[:, :3] @ point + planes[:, 3] + depth
    if (beyond <= 0).all():
        return 0.0
    matrix = np.concatenate([-planes[:, :3].T, beyond[None]])
    goal = np.array([0.0, 0.0, 0.0, 1.0])
    residual = matrix @ nnls(matrix, goal)[0] - goal
    return float(np.linalg.norm(residual[:3] / residual[3]))


def free_space(mesh: TriangleMesh, radius: float, margin: float) -> tuple[Floats, float] | None:
    """Nodes of a body-centred cubic lattice, (N, 3) m, and a distance (m): the centre of every ball of a radius (m) that comes from
    outside has a node within this distance, up to `margin` (m) from the mesh's box. None for too fine a grid.

    The node nearest to a ball's centre is at most half a cell's diagonal closer to the surface than the radius, and neighbouring centres
    have neighbouring nodes. The surface is represented by samples, which are never closer than the surface.
    """
    low, high = bounds(mesh) + np.array([[-1.0], [1.0]]) * margin
    triangles = mesh.vertices[mesh.faces]
    spacing = max(
        radius / FINEST,
        float(np.prod(high - low) / MOST_NODES) ** (1 / 3),
        float(2 * face_areas(triangles).sum() / MOST_SAMPLES) ** (1 / 2),
    )
    if spacing > radius / COARSEST:
        return None
    shape = np.ceil((high - low) / spacing).astype(np.intp) + 2
    origin = low - spacing / 2
    samples, near = cover_points(triangles, spacing), spacing * BODY_CENTRED
    labels = label(~_closer(samples, origin, spacing, shape, radius - spacing * HALF_DIAGONAL))[0]
    beside = binary_dilation(labels == labels[0, 0, 0], np.ones((3, 3, 3), np.bool_))
    beside &= ~_closer(samples, origin, spacing, shape, radius - near)
    even, odd = (np.argwhere(beside[start::2, start::2, start::2]) * 2 * spacing + origin + start * spacing for start in (0, 1))
    return np.concatenate([even, odd]), near


def cover_points(triangles: Floats, radius: float) -> Floats:
    """Points (N, 3) of triangles (T, 3, 3), such that every point of a triangle has one of its points within `radius` (m). The points lie
    in rows parallel to the longest side, each in the middle of a piece of its row."""
    step = radius / _SLANT
    start, end, top = _from_longest_side(triangles)
    base = np.linalg.norm(end - start, axis=1)
    height = np.divide(2 * face_areas(triangles), base, out=np.zeros_like(base), where=base > 0)
    rows = np.maximum(1, np.ceil(height / step)).astype(np.intp)
    of_row = np.repeat(np.arange(len(triangles)), rows)
    up = _counted(rows) / rows[of_row]
    points = np.maximum(1, np.ceil(base[of_row] * (1 - up) / step)).astype(np.intp)
    row = np.repeat(np.arange(len(of_row)), points)
    owner, up, along = of_row[row], up[row, None], ((_counted(points) + 0.5) / points[row])[:, None]
    return np.asarray((1 - up) * ((1 - along) * start[owner] + along * end[owner]) + up * top[owner])


def _counted(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """The ranges 0, 1, … below each number, concatenated."""
    return np.arange(numbers.sum()) - np.repeat(np.cumsum(numbers) - numbers, numbers)


def _closer(samples: Floats, origin: Floats, spacing: float, shape: NDArray[np.intp], radius: float) -> NDArray[np.bool_]:
    """Mask of the nodes of a grid closer than a radius (m) to any of the samples (N, 3)."""
    place = (samples - origin) / spacing
    cell = np.floor(place).astype(np.intp)
    inside = (place - cell).astype(np.float32)
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    flat = cell @ strides
    near = np.zeros(int(np.prod(shape)), np.bool_)
    reach = radius / spacing
    steps = np.arange(-int(reach) - 1, int(reach) + 3)
    squares = [(steps[:, None].astype(np.float32) - inside[:, axis]) ** 2 for axis in range(3)]
    for i, j, k in itertools.product(range(len(steps)), repeat=3):
        offset = steps[[i, j, k]]
        if np.linalg.norm(np.maximum(np.maximum(-offset, offset - 1), 0)) >= reach:
            continue
        close = squares[0][i] + squares[1][j] + squares[2][k] < reach**2
        near[flat[close] + offset @ strides] = True
    return near.reshape(tuple(shape))


def has_hidden_parts(mesh: TriangleMesh, rays: RayCaster) -> bool:
    """Whether more than a few surface points see no way to the outside. A cheap test that can only rule out hidden parts."""
    triangles = mesh.vertices[mesh.faces]
    far = 2 * float(np.linalg.norm(extents(mesh)))
    points, face = sample_surface(triangles, LOOKS)
    normal = face_normals(triangles)[face]
    hidden = np.arange(LOOKS)
    for count in DIRECTIONS:
        hidden = hidden[~_sees_outside(points[hidden], normal[hidden], count, far, rays)]
        if len(hidden) < HIDDEN * LOOKS:
            return False
    return True


def _sees_outside(points: Floats, normal: Floats, count: int, far: float, rays: RayCaster) -> NDArray[np.bool_]:
    """(N,) whether surface points (N, 3) with normals (N, 3) see past `far` (m) in one of `count` directions, evenly distributed over the
    hemisphere by a golden-angle spiral."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.arange(count) * np.pi * (3 - np.sqrt(5))
    toward = np.stack([np.sqrt(1 - height**2) * np.cos(angle), np.sqrt(1 - height**2) * np.sin(angle), height], axis=1)
    outwards = np.where((normal @ toward.T)[..., None] < 0, -toward, toward).reshape(-1, 3)
    origin = np.repeat(points + normal * LIFTED * far, count, axis=0)
    met = rays.first_between(origin, origin + outwards * far).reshape(-1, count)
    return np.asarray((met < 0).any(axis=1))


class TouchTest:
    """Tests which triangles the parts of a gripper can touch; undecided triangles count as touched.

    A part that touches a point x contains a ball of radius `reach.clearance`, with its centre within `reach.length` of x, in free space.
    The part is convex, so the cone of x and the ball is free of the mesh. The node nearest to the centre, and a smaller ball around the
    node, lie in the cone: the node is in front of the face of x and sees x.
    """

    def __init__(self, mesh: TriangleMesh, reach: FingerReach, space: tuple[Floats, float]) -> None:
        nodes, near = space
        self.mesh, self._nodes = mesh, nodes
        self._rays, self._tree = RayCaster(mesh), cKDTree(nodes)
        self._range = reach.length + near
        self._width = reach.clearance - near  # m: radius of the ball around the node

    def faces(self) -> NDArray[np.bool_]:
        """(F,) whether each face of the mesh can be touched."""
        triangles = self.mesh.vertices[self.mesh.faces]
        normals, touched = face_normals(triangles), np.zeros(len(triangles), np.bool_)
        corners, face = triangles, np.arange(len(triangles))
        for share in (np.inf, FINENESS[0]):
            corners, of = subdivide(corners[~touched[face]], self._range * share)
            face = face[~touched[face]][of]
            touched[face[self._seen_from_nearest(corners, normals[face])]] = True
        left = ~touched[face]
        self._look(corners[left], face[left], normals[face[left]], touched)
        return touched

    def any_centroid_seen(self, triangles: Floats) -> bool:
        """Whether the centroid of one of other triangles (T, 3, 3) is seen from one of its nearest nodes."""
        return bool(self._seen_from_nearest(triangles, np.zeros((len(triangles), 3))).any())

    def any_touched(self, triangles: Floats) -> bool:
        """Whether a part can reach one of other triangles (T, 3, 3), from either side."""
        touched = np.zeros(1, np.bool_)
        self._look(triangles, np.zeros(len(triangles), np.intp), np.zeros((len(triangles), 3)), touched)
        return bool(touched[0])

    def _seen_from_nearest(self, corners: Floats, normal: Floats) -> NDArray[np.bool_]:
        """(T,) whether the centroid of triangles (T, 3, 3) is seen from one of its nearest nodes."""
        distance, near = self._tree.query(centroids(corners), NEAREST, distance_upper_bound=self._range)
        index, rank = np.nonzero(np.isfinite(distance))
        looks = _Looks(corners[index], index, self._nodes[near[index, rank]])
        looks = looks[looks.in_front(normal[index])]
        seen = np.zeros(len(corners), np.bool_)
        seen[looks.owner[self._sees(looks)]] = True
        return seen

    def _look(self, corners: Floats, owner: NDArray[np.intp], normal: Floats, touched: NDArray[np.bool_]) -> None:
        """Marks the owners of triangles (T, 3, 3) that any node in front of them and within range may see."""
        middle, radius = centroids(corners), _radii(corners)
        for start in range(0, len(corners), AT_ONCE):
            some = np.arange(start, min(start + AT_ONCE, len(corners)))
            some = some[~touched[owner[some]]]
            near = self._tree.query_ball_point(middle[some], self._range + radius[some])
            each = some[np.repeat(np.arange(len(some)), list(map(len, near)))]
            looks = _Looks(corners[each], owner[each], self._nodes[np.concatenate([*near, []]).astype(np.intp)])
            self._settle(looks[looks.in_front(normal[each])], touched)

    def _settle(self, looks: _Looks, touched: NDArray[np.bool_]) -> None:
        """Marks the owners of triangles that nodes may see, subdividing triangles until decided or fine."""
        for share in FINENESS:
            looks = looks.subdivided(self._range * share)
            if len(looks.owner) > MOST_LOOKS:
                break
            near = looks[looks.length <= self._range + looks.radius]
            looks = near[self._may_see(near)]
            touched[looks.owner[self._sees(looks)]] = True
            looks = looks[~touched[looks.owner]]
        touched[looks.owner] = True

    def _may_see(self, looks: _Looks) -> NDArray[np.bool_]:
        """(P,) whether nodes may see a point of triangles: not if one face hides all three corners, or the cone to the centroid is
        blocked."""
        ends = (looks.node + (looks.corners[:, corner] - looks.node) * HIT for corner in range(3))
        first, second, third = (self._rays.first_between(looks.node, end) for end in ends)
        may = (first < 0) | (first != second) | (first != third)
        some = looks[may]
        may[may] = self._cone_is_free(some, some.radius)
        return may

    def _sees(self, looks: _Looks) -> NDArray[np.bool_]:
        """(P,) whether the cones between nodes and centroids are free and within range."""
        near = looks.length <= self._range
        near[near] = self._cone_is_free(looks[near], np.zeros(int(near.sum())))
        return near

    def _cone_is_free(self, looks: _Looks, radius: Floats) -> NDArray[np.bool_]:
        """(P,) whether the cones from nodes to any point within a radius (P,) m of the centroids may be free: tests rays along the axis
        and around it, up to the end of their common part."""
        left = np.arange(len(looks.owner))
        toward = looks.middle - looks.node
        aside = np.cross(toward, np.eye(3)[np.abs(toward).argmin(axis=1)])
        aside *= RING * self._width / np.linalg.norm(aside, axis=1, keepdims=True)
        other = np.cross(toward / np.linalg.norm(toward, axis=1, keepdims=True), aside)
        for cosine, sine in _AROUND:
            start = looks.node[left] + cosine * aside[left] + sine * other[left]
            width = self._width * (1 - RING * np.hypot(cosine, sine))
            end = start + (looks.middle[left] - start) * (HIT * width / (width + radius[left]))[:, None]
            left = left[self._rays.first_between(start, end) < 0]
        free = np.zeros(len(looks.owner), np.bool_)
        free[left] = True
        return free


@dataclass(frozen=True, eq=False)
class _Looks:
    """P pairs of node and triangle. corners: (P, 3, 3) m; owner: (P,) index of what the triangle is a part of; node: (P, 3) m."""

    corners: Floats
    owner: NDArray[np.intp]
    node: Floats

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Looks:
        return _Looks(self.corners[chosen], self.owner[chosen], self.node[chosen])

    @cached_property
    def middle(self) -> Floats:
        """(P, 3) m centroids."""
        return centroids(self.corners)

    @cached_property
    def length(self) -> Floats:
        """(P,) m distances from node to centroid."""
        return np.asarray(np.linalg.norm(self.node - self.middle, axis=1))

    @cached_property
    def radius(self) -> Floats:
        """(P,) m radii of the triangles."""
        return _radii(self.corners)

    def in_front(self, normal: Floats) -> NDArray[np.bool_]:
        """(P,) whether the nodes are not behind the triangles, given their normals (P, 3)."""
        return np.asarray(np.einsum("ij,ij->i", self.node - self.middle, normal) >= -ROUNDING)

    def subdivided(self, limit: float) -> _Looks:
        """The same nodes with the parts of their triangles, subdivided to a radius of at most `limit` (m)."""
        corners, of = subdivide(self.corners, limit)
        return _Looks(corners, self.owner[of], self.node[of])


def _radii(corners: Floats) -> Floats:
    """(T,) m largest distance from the centroid of triangles (T, 3, 3)."""
    from_middle = corners - centroids(corners)[:, None]
    squares = np.einsum("tki,tki->kt", from_middle, from_middle)
    return np.asarray(np.sqrt(np.maximum(np.maximum(squares[0], squares[1]), squares[2])))


def subdivide(corners: Floats, limit: float) -> tuple[Floats, NDArray[np.intp]]:
    """Parts (Q, 3, 3) of triangles (T, 3, 3), halved across their longest side until no radius is above `limit` (m), and the index of
    each part's triangle, (Q,)."""
    done, parents, parent = [corners[:0]], [np.zeros(0, np.intp)], np.arange(len(corners))
    while len(corners):
        large = _radii(corners) > limit
        done.append(corners[~large])
        parents.append(parent[~large])
        start, end, top = _from_longest_side(corners[large])
        middle = (start + end) / 2
        corners = np.concatenate([np.stack([start, middle, top], axis=1), np.stack([middle, end, top], axis=1)])
        parent = np.tile(parent[large], 2)
    return np.concatenate(done), np.concatenate(parents)


def _from_longest_side(triangles: Floats) -> tuple[Floats, Floats, Floats]:
    """Start and end of the longest side, and the opposite corner, (T, 3) m each, of triangles (T, 3, 3)."""
    lengths = np.linalg.norm(np.roll(triangles, -1, axis=1) - triangles, axis=2)
    first, every = lengths.argmax(axis=1), np.arange(len(triangles))
    start, end, top = (triangles[every, (first + turn) % 3] for turn in range(3))
    return start, end, top
