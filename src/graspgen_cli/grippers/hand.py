"""A gripper's moving geometry: collision parts, the path from closed to open, the two fingers, the closing and approach axes, the pads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations

import mujoco
import numpy as np
import trimesh
from numpy.typing import NDArray

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.meshes import face_crosses, face_normals
from graspgen_cli.geometry.poses import inverse, rotation_from_wxyz, transform_points
from graspgen_cli.grippers.gripper_file import GripperFile
from graspgen_cli.grippers.links import convex_hull
from graspgen_cli.grippers.mechanism import ITERATIONS, Mechanism, MotionPath, motion_path
from graspgen_cli.grippers.model import GripperModel
from graspgen_cli.records import Floats, TriangleMesh

Parts = tuple[tuple[TriangleMesh, ...], ...]
"""For each body its convex collision parts, m, in the body's frame."""

_PAD_THICKNESS = 0.0005  # m: depth behind a finger's innermost point that counts as the pad's surface
_MOVES = 1e-4  # m: a body whose centre moves by less stands still
_MEET = 0.002  # m: tolerance on the smallest gap between a pair of bodies
_SNAP_APPROACH, _SNAP_SWING, _SNAP_SLIDE = np.radians(10.0), np.radians(3.0), 1e-5
"""rad: an axis this near to an axis of the base becomes that axis. The fingers' positions give the approach axis roughly; swinging fingers'
shapes give the closing axis better; sliding fingers give it exactly."""
_TURNS = 1e-4  # of an entry of a rotation matrix: fingers that turn by less slide
_FACES_INWARD = 0.7  # least cosine between the normal of a pad's surface and the closing direction
_SIDES = 32  # of the prisms around cylinders
_DECIMALS = 8
_SAMPLES = 17  # positions on the path at which pads are looked for; the middle one counts if all are equally good
_TOUCH = 0.0005  # m: parts with a smaller distance to the other finger at the touching position are in contact
_NEAR = 0.005  # m: the same for pads of swinging fingers, which touch with an edge only
_DEEP = 0.0002  # m: parts that never overlap by more slide along each other, and do not stop the fingers
_AS_LARGE = 0.95  # pads of at least this share of the largest area are equally good
_SWINGS = 0.02  # rad, approximately: fingers that turn by less are parallel
_MOSTLY = 0.5  # share of the largest facet's area below which a flush pad is a swinging pad


@dataclass(frozen=True)
class Pad:
    """The pad of a finger, in the finger body's frame.

    tip: (3,) m, on the pad's surface, centred across the pad, at the fingertip's end.
    size: length towards the tip and width across, m. along: (3,) unit, in the surface, towards the tip.
    """

    tip: Floats
    size: tuple[float, float]
    along: Floats


_NO_PAD = Pad(np.zeros(3), (0.0, 0.0), np.zeros(3))


def _collision_parts(gripper: GripperModel) -> Parts:
    """For each body, the base first, its convex collision parts in the body's frame, m, as MuJoCo collides them.

    Boxes and the hulls of meshes are exact; spheres, capsules, cylinders and ellipsoids become polyhedra around them. Raises GripperError
    for other geoms.
    """
    model = gripper.model
    bodies: list[list[TriangleMesh]] = [[] for _ in range(model.nbody)]
    for geom in range(model.ngeom):
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            rotation = rotation_from_wxyz(model.geom_quat[geom][None])[0]
            corners = _corners(gripper, geom) @ rotation.T + model.geom_pos[geom]
            # MuJoCo stores meshes in single precision; rounding restores the numbers of the file.
            bodies[model.geom_bodyid[geom]].append(convex_hull(np.round(corners, _DECIMALS) + 0.0))
    return tuple(tuple(parts) for parts in bodies[1:])


def _corners(gripper: GripperModel, geom: int) -> Floats:
    """Corners (P, 3) m of the convex polyhedron for a geom, in the geom's frame."""
    model = gripper.model
    size, kind = model.geom_size[geom], mujoco.mjtGeom(int(model.geom_type[geom]))
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        start, count = model.mesh_vertadr[model.geom_dataid[geom]], model.mesh_vertnum[model.geom_dataid[geom]]
        return np.asarray(model.mesh_vert[start : start + count], np.float64)
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return np.asarray(size * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]))
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        angle = 2 * np.pi * (np.arange(_SIDES) + 0.5) / _SIDES
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * size[0] / np.cos(np.pi / _SIDES)
        return np.concatenate([np.column_stack([ring, np.full(_SIDES, height)]) for height in (-size[1], size[1])])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        ball, half = _around_sphere() * size[0], np.array([0.0, 0.0, size[1]])
        return np.concatenate([ball - half, ball + half])
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return np.asarray(_around_sphere() * size[0])
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return np.asarray(_around_sphere() * size)
    name = model.geom(geom).name or f"number {geom}"
    raise GripperError(
        f"collision geom {name} is a {kind.name[7:].lower()}", path=gripper.source, advice="use boxes, cylinders, capsules or meshes"
    )


def _around_sphere() -> Floats:
    """Vertices of a polyhedron around the unit sphere."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    nearest_face = float(np.einsum("fi,fi->f", ball.face_normals, ball.triangles[:, 0]).min())
    return np.asarray(ball.vertices, np.float64) / nearest_face


@dataclass(frozen=True, eq=False)
class Hand:
    """A gripper's moving geometry with its axes, and its path from closed to open.

    fingers: indices of bodies, the base 0. approach, closing: (3,) unit, in the base's frame.
    stops: (A, B) whether a shape of finger 0 and a shape of finger 1 stop the fingers. pads: of both fingers.
    contacts: (2, 3) m, the pads' contact points in the finger bodies' frames. notes: assumptions.
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
        """Name of the gripper's file in messages."""
        return self.gripper.source

    def contact_points(self, q: Floats) -> Floats:
        """The pads' contact points (2, 3) m in the base's frame at joint positions q."""
        poses = self.mechanism.body_poses(q)
        return np.stack([transform_points(poses[body], point[None])[0] for body, point in zip(self.fingers, self.contacts, strict=True)])

    def width(self, q: Floats) -> float:
        """Opening width at joint positions q, m: distance of the contact points along the closing axis."""
        first, second = self.contact_points(q)
        return float((second - first) @ self.closing)

    def gap(self, q: Floats) -> float:
        """Smallest distance between the shapes that stop the fingers, m; negative for overlaps."""
        return float(self.mechanism.distances(q, *self.fingers)[self.stops].min())


def find_hand(gripper: GripperModel, file: GripperFile, *, iterations: int = ITERATIONS) -> Hand:
    """Sweep the mechanism, and find the fingers, axes and pads that the gripper file omits.

    Raises GripperError if the model is no two-finger gripper.
    """
    mechanism, source, names = Mechanism(gripper, iterations=iterations), gripper.source, gripper.body_names
    path = motion_path(gripper, mechanism)
    parts = _collision_parts(gripper)
    ends = np.stack([mechanism.body_poses(q) for q in (path.knots[0], path.knots[-1])])
    for name in file.finger_bodies or ():
        if name not in names:
            raise GripperError(f"no body is called {name}", path=source, advice=f"there are {', '.join(names)}")
    named = file.finger_bodies and (names.index(file.finger_bodies[0]), names.index(file.finger_bodies[1]))
    fingers = named or _find_fingers(parts, names, ends, source)
    closing = _closing_axis(parts, fingers, ends, source)
    notes: tuple[str, ...] = ()
    if file.approach_axis is None:
        approach, note = _approach_axis(parts, fingers, mechanism.body_poses(path.at(path.end / 2)), closing, source)
        notes = (note,) if note else ()
    else:
        approach = np.asarray(file.approach_axis) / np.linalg.norm(file.approach_axis)
        closing = closing - (closing @ approach) * approach
        if np.linalg.norm(closing) < 0.1:
            raise GripperError(f"the fingers do not move towards each other across the approach axis {approach.tolist()}", path=source)
        closing = closing / np.linalg.norm(closing)
    stops = np.ones((len(parts[fingers[0]]), len(parts[fingers[1]])), bool)
    return _with_pads(Hand(gripper, mechanism, path, parts, fingers, approach, closing, stops, notes=notes), file.bite)


def _with_pads(hand: Hand, bite: float | None) -> Hand:
    """The hand with its pads, found where the pads face each other best, and with its path from closed to open."""
    positions = [hand.path.at(float(place)) for place in np.linspace(0, hand.path.end, _SAMPLES)]
    if _apart(hand, positions[0]) > _apart(hand, positions[-1]):
        hand, positions = replace(hand, path=hand.path.reversed()), positions[::-1]
    distances = np.stack([hand.mechanism.distances(q, *hand.fingers) for q in positions])  # (S, A, B)
    deep = distances.min(axis=0) < -_DEEP
    hand = replace(hand, stops=deep if deep.any() else np.ones_like(deep))
    gaps = distances[:, hand.stops].min(axis=1)
    apart = [index for index in range(_SAMPLES) if gaps[index:].min() > -_TOUCH]
    if not apart:
        raise GripperError("the fingers overlap even where they are open", path=hand.source, advice="are they the right bodies?")
    pads = _pads(hand, positions, np.where(hand.stops, distances[apart[0]], np.inf), apart)
    back = bite if bite is not None else min(pad.size[0] for pad in pads) / 2
    return replace(hand, pads=pads, contacts=np.stack([pad.tip - back * pad.along for pad in pads]))


def _apart(hand: Hand, q: Floats) -> float:
    """Distance of the fingers' centres along the closing axis, m."""
    poses = hand.mechanism.body_poses(q)
    first, second = (transform_points(poses[body], _vertices(hand.parts[body])).mean(axis=0) for body in hand.fingers)
    return float((second - first) @ hand.closing)


def _pads(hand: Hand, positions: list[Floats], nearest: Floats, apart: list[int]) -> tuple[Pad, Pad]:
    """The pads at the position where they face each other best.

    nearest: (A, B) m distances of the shapes that stop the fingers, at the touching position; apart: positions without overlap.
    """
    flush = [(index, _both_pads(hand, positions[index], nearest, _TOUCH, flat=False)) for index in apart]
    candidates = flush
    first, last = (hand.mechanism.body_poses(q)[list(hand.fingers), :3, :3] for q in (positions[0], positions[-1]))
    if np.abs(first - last).max() > _SWINGS:
        swinging = [(index, _both_pads(hand, positions[index], nearest, _NEAR, flat=True)) for index in apart]
        if max(_area(pads) for _, pads in flush) < _MOSTLY * max(_area(pads) for _, pads in swinging):
            candidates = swinging
    largest = max(_area(pads) for _, pads in candidates)
    good = [entry for entry in candidates if _area(entry[1]) >= _AS_LARGE * largest]
    return min(good, key=lambda entry: abs(entry[0] - _SAMPLES // 2))[1]


def _area(pads: tuple[Pad, Pad]) -> float:
    return min(pad.size[0] * pad.size[1] for pad in pads)


def _both_pads(hand: Hand, q: Floats, nearest: Floats, tolerance: float, *, flat: bool) -> tuple[Pad, Pad]:
    """Pads at q of the parts in contact with the other finger: the innermost points, or with `flat` the largest facet."""
    poses = hand.mechanism.body_poses(q)
    find = _largest_facet if flat else _flush_pad
    near = nearest.min() + tolerance
    pads = []
    for side, (finger, inward) in enumerate(zip(hand.fingers, (hand.closing, -hand.closing), strict=True)):
        touching = tuple(part for part, d in zip(hand.parts[finger], nearest.min(axis=1 - side), strict=True) if d <= near)
        pads.append(find(touching, poses[finger], hand.approach, inward))
    return pads[0], pads[1]


@dataclass(frozen=True)
class _Pair:
    """Two bodies that move towards each other. gap: smallest distance, m; reach: distance from the base out of the base, m."""

    first: int
    second: int
    gap: float
    reach: float


def _find_fingers(parts: Parts, names: tuple[str, ...], poses: Floats, source: str) -> tuple[int, int]:
    """The bodies of the two fingers: of the pairs that move towards each other and meet, the pair farthest from the base.

    The finger on the negative side of the closing axis comes first. poses: (2, B, 4, 4) of the bodies at both ends of the motion.
    Raises GripperError if no pair of bodies moves towards each other.
    """
    clouds = {body: transform_points(poses[:, body], _vertices(parts[body])) for body in range(len(names)) if parts[body]}
    moving = {body: cloud for body, cloud in clouds.items() if np.linalg.norm(_travel(cloud)) > _MOVES}
    pairs = [pair for first, second in combinations(moving, 2) if (pair := _pair(moving, first, second)) is not None]
    if not pairs:
        found = ", ".join(names[body] for body in moving) or "none"
        raise GripperError(
            f"the fingers are not clear: no two bodies move towards each other (moving: {found})",
            path=source,
            advice="name two with --finger-colliders, or finger_bodies in a gripper .yaml",
        )
    nearest = min(pair.gap for pair in pairs)
    best = max((pair for pair in pairs if pair.gap <= nearest + _MEET), key=lambda pair: pair.reach)
    between = (clouds[best.second].mean(axis=1) - clouds[best.first].mean(axis=1)).mean(axis=0)
    return (best.second, best.first) if between[np.abs(between).argmax()] < 0 else (best.first, best.second)


def _pair(clouds: dict[int, Floats], first: int, second: int) -> _Pair | None:
    """Two bodies as a pair of fingers; None if the bodies do not move towards each other.

    clouds: (2, P, 3) m points of each body at both ends of the motion.
    """
    a, b = clouds[first], clouds[second]
    travel = np.stack([_travel(a), _travel(b)])
    change = travel[1] - travel[0]
    length = np.linalg.norm(change)
    if length < _MOVES:
        return None
    axis = change / length
    if (travel[0] @ axis) * (travel[1] @ axis) >= 0 or np.abs(travel @ axis).min() < 0.2 * np.abs(travel @ axis).max():
        return None
    ahead = 1.0 if (b.mean(axis=1) - a.mean(axis=1)).sum(axis=0) @ axis > 0 else -1.0
    gap = ((ahead * (b @ axis)).min(axis=1) - (ahead * (a @ axis)).max(axis=1)).min()
    # The direction out of the base, perpendicular to the closing axis; the reach is that of the shorter finger.
    both = np.concatenate([a, b], axis=1).reshape(-1, 3)
    middle = (both - np.outer(both @ axis, axis)).mean(axis=0)
    out = middle / max(float(np.linalg.norm(middle)), 1e-12)
    return _Pair(first, second, max(0.0, float(gap)), min(float((cloud.reshape(-1, 3) @ out).max()) for cloud in (a, b)))


def _travel(cloud: Floats) -> Floats:
    """(3,) m, motion of the centre of a body's points (2, P, 3)."""
    return np.asarray(cloud[1].mean(axis=0) - cloud[0].mean(axis=0))


def _closing_axis(parts: Parts, fingers: tuple[int, int], poses: Floats, source: str) -> Floats:
    """Unit vector (3,) from finger 0 to finger 1, along which the fingers approach each other.

    poses: (2, B, 4, 4) of the bodies at both ends of the motion. Raises GripperError if the fingers keep their distance.
    """
    if not all(parts[finger] for finger in fingers):
        raise GripperError("a finger body has no collision geometry", path=source)
    middle = [transform_points(poses[:, finger], _vertices(parts[finger])).mean(axis=1) for finger in fingers]
    between = middle[1] - middle[0]  # (2, 3)
    change = between[1] - between[0]
    if np.linalg.norm(change) < _MOVES:
        raise GripperError("the fingers do not move towards each other", path=source)
    axis = change / np.linalg.norm(change)
    turned = np.abs(np.diff(poses[:, list(fingers), :3, :3], axis=0)).max() > _TURNS
    return _snapped(axis if (between.sum(axis=0) @ axis) > 0 else -axis, _SNAP_SWING if turned else _SNAP_SLIDE)


def _approach_axis(parts: Parts, fingers: tuple[int, int], poses: Floats, closing: Floats, source: str) -> tuple[Floats, str]:
    """Unit vector (3,) from the base to the fingers, perpendicular to the closing axis, and a note if it is no axis of the base.

    poses: (B, 4, 4) of the bodies. Raises GripperError if the fingers do not stand out of the base.
    """
    middle = np.mean([transform_points(poses[finger], _vertices(parts[finger])).mean(axis=0) for finger in fingers], axis=0)
    out = middle - (_vertices(parts[0]).mean(axis=0) if parts[0] else np.zeros(3))
    out = out - (out @ closing) * closing
    length = float(np.linalg.norm(out))
    if length < _MOVES:
        raise GripperError("approach axis not found: the fingers do not stand out of the base", path=source, advice="give approach_axis")
    axis = _snapped(out / length, _SNAP_APPROACH)
    axis = axis - (axis @ closing) * closing
    axis = _snapped(axis / np.linalg.norm(axis), _SNAP_SLIDE)
    note = "" if np.abs(axis).max() > 1 - 1e-9 else f"the approach axis {np.round(axis, 4).tolist()} is no axis of the base"
    return axis, note


def _snapped(axis: Floats, angle: float) -> Floats:
    """The axis of the base within an angle (rad) of a unit vector (3,); without one, the vector without its last bits."""
    index = int(np.abs(axis).argmax())
    nearest = np.zeros(3)
    nearest[index] = np.sign(axis[index])
    if np.linalg.norm(axis - nearest) <= angle:
        return nearest
    clean = np.round(axis, 9) + 0.0
    return np.asarray(clean / np.linalg.norm(clean))


def _flush_pad(parts: tuple[TriangleMesh, ...], pose: Floats, approach: Floats, inward: Floats) -> Pad:
    """The pad of a finger whose pad squarely faces the other finger: the innermost points of the parts.

    parts: convex, in the body's frame; pose: (4, 4) of the body in the base's frame; inward: (3,) unit, towards the other finger.
    """
    points = transform_points(pose, _vertices(parts))
    return _pad(points, points @ inward > (points @ inward).max() - _PAD_THICKNESS, pose, approach, inward)


def _largest_facet(parts: tuple[TriangleMesh, ...], pose: Floats, approach: Floats, inward: Floats) -> Pad:
    """The pad of a swinging finger: the flat side of the parts that faces inward and covers most across the closing axis.

    Arguments as for `_flush_pad`.
    """
    best, largest = Pad(np.zeros(3), (0.0, 0.0), approach), -1.0
    for part in parts:
        points = transform_points(pose, part.vertices)
        crosses = face_crosses(points[part.faces])
        for normal in np.unique(np.round(face_normals(points[part.faces]), 3), axis=0):
            length = float(np.linalg.norm(normal))
            if length < 0.5 or normal @ inward < _FACES_INWARD * length:
                continue
            normal = normal / length
            covered = float((crosses @ inward)[crosses @ normal > 0.9999 * np.linalg.norm(crosses, axis=1)].sum())
            if covered > largest:
                surface = points @ normal > (points @ normal).max() - _PAD_THICKNESS
                along = approach - (approach @ normal) * normal
                best, largest = _pad(points, surface, pose, np.asarray(along / np.linalg.norm(along)), normal), covered
    return best


def _pad(points: Floats, surface: NDArray[np.bool_], pose: Floats, along: Floats, normal: Floats) -> Pad:
    """The pad made of some of a finger's points (P, 3). points, along, normal: in the base's frame; the directions are unit."""
    reach, depth, across = points[surface] @ along, (points @ normal).max(), points[surface] @ np.cross(along, normal)
    middle = (across.max() + across.min()) / 2
    tip = depth * normal + reach.max() * along + middle * np.cross(along, normal)
    size = float(np.ptp(reach)), float(np.ptp(across))
    return Pad(transform_points(inverse(pose), tip[None])[0], size, pose[:3, :3].T @ along)


def _vertices(parts: tuple[TriangleMesh, ...]) -> Floats:
    """(V, 3) m of all parts."""
    return np.concatenate([part.vertices for part in parts])
