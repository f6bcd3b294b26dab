"""The convex collision parts of a gripper's bodies, exactly as MuJoCo collides them.

A gripper's moving geometry: its path from closed to open, its two fingers, its axes and its pads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import mujoco
import numpy as np
import trimesh
from numpy.typing import NDArray

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.poses import rotation_from_wxyz, transform_points
from graspgen_cli.grippers.fingers import Pad, Parts, approach_axis, closing_axis, find_fingers, flush_pad, largest_facet, vertices
from graspgen_cli.grippers.gripper_file import GripperFile
from graspgen_cli.grippers.links import convex_hull
from graspgen_cli.grippers.mechanism import ITERATIONS, Mechanism, MotionPath, trace
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.grippers.springs import leader_joint, trace_springs
from graspgen_cli.records import Floats, TriangleMesh

_SIDES = 32
"""Sides of the prisms that stand around cylinders and capsules."""
_DECIMALS = 8


def collision_parts(gripper: GripperModel) -> tuple[tuple[TriangleMesh, ...], ...]:
    """For each body of the model, the base first, its convex collision parts in the body's frame, m.

    Boxes and meshes (their convex hulls, as MuJoCo takes them) are exact; spheres, capsules, cylinders and ellipsoids become
    polyhedra around them. Raises GripperError for shapes without an inside.
    """
    model = gripper.model
    bodies: list[list[TriangleMesh]] = [[] for _ in range(model.nbody)]
    for geom in range(model.ngeom):
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            bodies[model.geom_bodyid[geom]].append(_part(gripper, geom))
    return tuple(tuple(parts) for parts in bodies[1:])


def _part(gripper: GripperModel, geom: int) -> TriangleMesh:
    model = gripper.model
    size, kind = model.geom_size[geom], mujoco.mjtGeom(int(model.geom_type[geom]))
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        corners = _mesh_vertices(model, int(model.geom_dataid[geom]))
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        corners = size * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        corners = _around_circle(size[0], np.array([-size[1], size[1]]))
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        ball, half = _around_sphere() * size[0], np.array([0.0, 0.0, size[1]])
        corners = np.concatenate([ball - half, ball + half])
    elif kind in (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_ELLIPSOID):
        corners = _around_sphere() * (size[0] if kind == mujoco.mjtGeom.mjGEOM_SPHERE else size)
    else:
        name = model.geom(geom).name or f"number {geom}"
        raise GripperError(
            f"{gripper.source}: collision geom {name} is a {kind.name[7:].lower()}; use boxes, cylinders, capsules or meshes"
        )
    rotation = rotation_from_wxyz(model.geom_quat[geom][None])[0]
    # MuJoCo keeps meshes in single precision; rounding brings back the numbers of the file.
    return convex_hull(np.round(corners @ rotation.T + model.geom_pos[geom], _DECIMALS) + 0.0)


def _mesh_vertices(model: mujoco.MjModel, mesh: int) -> Floats:
    start = model.mesh_vertadr[mesh]
    return np.asarray(model.mesh_vert[start : start + model.mesh_vertnum[mesh]], np.float64)


def _around_circle(radius: float, heights: Floats) -> Floats:
    """Corners of the prism around a cylinder."""
    angle = 2 * np.pi * (np.arange(_SIDES) + 0.5) / _SIDES
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius / np.cos(np.pi / _SIDES)
    return np.concatenate([np.column_stack([ring, np.full(_SIDES, height)]) for height in heights])


def _around_sphere() -> Floats:
    """Corners of a polyhedron around the unit sphere."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices: Floats = np.asarray(ball.vertices, np.float64)
    nearest_face = float(np.einsum("fi,fi->f", ball.face_normals, ball.triangles[:, 0]).min())
    return vertices / nearest_face


_SAMPLES = 17
"""Positions along the path at which the pads are looked for; the middle one counts where they face each other everywhere."""
_TOUCH = 0.0005
"""m: parts that come this near to the other finger, where both are nearest, touch it."""
_NEAR = 0.005
"""m: the same for pads that never lie flat against each other: only an edge of them touches."""
_DEEP = 0.0002
"""m: parts that never overlap by more slide along each other, and do not stop the fingers."""
_AS_LARGE = 0.95
"""Pads that are at least this share of the largest seen are as good."""
_TURNS = 0.02
"""rad, about: fingers that turn by less are parallel."""
_MOSTLY = 0.5
"""Pads of which less than this share ever lies flat are pads that swing."""
_NO_PAD = Pad(np.zeros(3), (0.0, 0.0), np.zeros(3))


@dataclass(frozen=True, eq=False)
class Hand:
    """A gripper's moving geometry with its axes known, and its path from closed to open.

    parts: for each body its collision parts; fingers: indices of bodies, the base 0.
    stops: (A, B) which shape of the first finger stops which of the second one; pads: of both fingers.
    contacts: (2, 3) m, for each finger its pad's contact point in the finger body's frame. notes: what was assumed.
    """

    gripper: GripperModel
    mechanism: Mechanism
    path: MotionPath
    parts: Parts
    fingers: tuple[int, int]
    approach: Floats
    closing: Floats
    stops: NDArray[np.bool_]
    pads: tuple[Pad, Pad] = (_NO_PAD, _NO_PAD)
    contacts: Floats = field(default_factory=lambda: np.zeros((2, 3)))
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What messages call the gripper."""
        return self.gripper.source

    def contact_points(self, q: Floats) -> Floats:
        """(2, 3) m at joint positions q."""
        poses = self.mechanism.body_poses(q)
        return np.stack([transform_points(poses[body], point[None])[0] for body, point in zip(self.fingers, self.contacts, strict=True)])

    def width(self, q: Floats) -> float:
        """Opening width at joint positions q, m: the gap along the closing axis between the pads' contact points."""
        first, second = self.contact_points(q)
        return float((second - first) @ self.closing)

    def gap(self, q: Floats) -> float:
        """Least distance between the shapes that stop the fingers, m; negative where they overlap."""
        return float(self.mechanism.distances(q, *self.fingers)[self.stops].min())


def find_hand(gripper: GripperModel, file: GripperFile, *, iterations: int = ITERATIONS) -> Hand:
    """Sweeps the mechanism and finds fingers, axes and pads, but for those that the gripper file names.

    Raises GripperError where the model is no two-finger gripper.
    """
    mechanism = Mechanism(gripper, iterations=iterations)
    path = motion_path(gripper, mechanism)
    parts = collision_parts(gripper)
    names = tuple(gripper.model.body(b).name for b in range(1, gripper.model.nbody))
    ends = np.stack([mechanism.body_poses(q) for q in (path.knots[0], path.knots[-1])])
    first, second = file.finger_bodies or find_fingers(parts, names, ends, gripper.source)
    fingers = (_index(first, names, gripper.source), _index(second, names, gripper.source))
    closing = closing_axis(parts, fingers, ends, gripper.source)
    notes: tuple[str, ...] = ()
    if file.approach_axis is None:
        approach, note = approach_axis(parts, fingers, mechanism.body_poses(path.at(path.end / 2)), closing, gripper.source)
        notes = (note,) if note else ()
    else:
        approach = np.asarray(file.approach_axis) / np.linalg.norm(file.approach_axis)
        closing = _across(closing, approach, gripper.source)
    stops = np.ones((len(parts[fingers[0]]), len(parts[fingers[1]])), bool)
    return _with_pads(Hand(gripper, mechanism, path, parts, fingers, approach, closing, stops, notes=notes), file.bite)


def motion_path(gripper: GripperModel, mechanism: Mechanism) -> MotionPath:
    """The mechanism's path: by its constraints, and where they leave it free by its springs too."""
    if mechanism.freedom() > 1:
        motors = [j for j in range(gripper.model.njnt) if gripper.model.joint(j).name in gripper.drives]
        return trace_springs(mechanism, leader_joint(gripper.model, motors))
    return trace(mechanism)


def _across(closing: Floats, approach: Floats, source: str) -> Floats:
    """The closing axis at a right angle to a given approach axis."""
    across = closing - (closing @ approach) * approach
    if np.linalg.norm(across) < 0.1:
        raise GripperError(f"{source}: the fingers do not move towards each other across the approach axis {approach.tolist()}")
    return np.asarray(across / np.linalg.norm(across))


def _index(name: str, names: tuple[str, ...], source: str) -> int:
    if name not in names:
        raise GripperError(f"{source}: no body is called {name}; there are {', '.join(names)}")
    return names.index(name)


def _with_pads(hand: Hand, bite: float | None) -> Hand:
    """The hand with its pads, found where they face each other best, and with its path from closed to open."""
    positions = [hand.path.at(float(place)) for place in np.linspace(0, hand.path.end, _SAMPLES)]
    if _apart(hand, positions[0]) > _apart(hand, positions[-1]):
        hand, positions = replace(hand, path=hand.path.reversed()), positions[::-1]
    distances = np.stack([hand.mechanism.distances(q, *hand.fingers) for q in positions])  # (S, A, B)
    deep = distances.min(axis=0) < -_DEEP
    hand = replace(hand, stops=deep if deep.any() else np.ones_like(deep))
    gaps = distances[:, hand.stops].min(axis=1)
    apart = [index for index in range(_SAMPLES) if gaps[index:].min() > -_TOUCH]
    if not apart:
        raise GripperError(f"{hand.source}: the fingers overlap even where they are open; are they the right bodies?")
    pads = _pads(hand, positions, np.where(hand.stops, distances[apart[0]], np.inf), apart)
    length = min(pad.size[0] for pad in pads)
    back = bite if bite is not None else length / 2
    return replace(hand, pads=pads, contacts=np.stack([pad.tip - back * pad.along for pad in pads]))


def _apart(hand: Hand, q: Floats) -> float:
    """Distance along the closing axis between the middles of the fingers' shapes, m."""
    poses = hand.mechanism.body_poses(q)
    first, second = (transform_points(poses[body], vertices(hand.parts[body])).mean(axis=0) for body in hand.fingers)
    return float((second - first) @ hand.closing)


def _pads(hand: Hand, positions: list[Floats], nearest: Floats, apart: list[int]) -> tuple[Pad, Pad]:
    """The pads, from the position where they face each other best.

    nearest: (A, B) distances of the shapes that stop the fingers, where these are nearest; apart: positions where they do not overlap.
    """
    flush = [(index, _both(hand, positions[index], nearest, _TOUCH, flat=False)) for index in apart]
    candidates = flush
    if _turns(hand, positions):
        swinging = [(index, _both(hand, positions[index], nearest, _NEAR, flat=True)) for index in apart]
        if max(_area(pads) for _, pads in flush) < _MOSTLY * max(_area(pads) for _, pads in swinging):
            candidates = swinging
    largest = max(_area(pads) for _, pads in candidates)
    good = [entry for entry in candidates if _area(entry[1]) >= _AS_LARGE * largest]
    return min(good, key=lambda entry: abs(entry[0] - _SAMPLES // 2))[1]


def _turns(hand: Hand, positions: list[Floats]) -> bool:
    """Whether the fingers turn as they close."""
    first, last = (hand.mechanism.body_poses(q)[list(hand.fingers), :3, :3] for q in (positions[0], positions[-1]))
    return bool(np.abs(first - last).max() > _TURNS)


def _area(pads: tuple[Pad, Pad]) -> float:
    return min(pad.size[0] * pad.size[1] for pad in pads)


def _both(hand: Hand, q: Floats, nearest: Floats, tolerance: float, *, flat: bool) -> tuple[Pad, Pad]:
    """Pads at q of the parts that come within a tolerance of the other finger: what is innermost, or their largest flat."""
    poses = hand.mechanism.body_poses(q)
    find = largest_facet if flat else flush_pad
    near = nearest.min() + tolerance
    pads = []
    for side, (finger, inward) in enumerate(zip(hand.fingers, (hand.closing, -hand.closing), strict=True)):
        touching = tuple(part for part, d in zip(hand.parts[finger], nearest.min(axis=1 - side), strict=True) if d <= near)
        pads.append(find(touching, poses[finger], hand.approach, inward))
    return pads[0], pads[1]
