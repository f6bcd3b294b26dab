"""Refuses a gripper with which no grasp can be made, and says why in one line.

Measuring a model (see `measure`) finds what the model says; this looks at whether what it says can be a two-finger gripper. Whether it
really holds something is for the control trials in `making.controls`.
"""

from __future__ import annotations

from dataclasses import fields

import manifold3d
import mujoco
import numpy as np

from graspgen_cli.errors import GripperError
from graspgen_cli.geometry.collision import moved
from graspgen_cli.geometry.meshes import face_normals, mesh_from_solid, solid_from_mesh
from graspgen_cli.records import Floats, Gripper

_WIDTHS = (0.005, 1.0)
"""m: a gripper that opens less or more is in the wrong unit."""
_DEPTHS = (0.01, 2.0)
"""m: a gripper whose fingertips are nearer to its base or farther from it is in the wrong unit, or its approach axis is wrong."""
_MOVES = 1e-4
"""m: a fingertip that moves by less stands still."""
_MOST_LEFT_OPEN = 0.7
"""Share of the widest opening that may remain when the gripper is closed."""
_MOST_OFFSET = 0.9
"""Share of the pads' size by which one may be beside or behind the other."""
_BEYOND = 0.005
"""m: how far the base may reach beyond the fingertips."""
_PAST_PAD = 0.02
"""m: how far a finger may reach beyond its pad, or the pad's length where that is more."""
_OVERLAP = 0.001
"""m: an overlap that is thinner than this is the roundness of a number, or a hull around a part that is not quite convex."""
_NEARLY_CLOSED = 0.001
"""m: at smaller openings the fingers may touch."""
_SAMPLES = 6
"""Openings at which the parts are tested against each other."""


def check_gripper(gripper: Gripper) -> None:
    """Raises GripperError, one line that names the gripper and the reason, where it cannot be used."""
    _check_finite(gripper)
    _check_base(gripper)
    _check_masses(gripper)
    _check_axes(gripper)
    _check_pads(gripper)
    _check_sizes(gripper)
    _check_motion(gripper)
    _check_drive(gripper)
    _check_fingers_apart(gripper)
    _check_fingers_clear_of_base(gripper)


def _refuse(gripper: Gripper, reason: str) -> GripperError:
    return GripperError(f"gripper {gripper.name}: {reason}")


def _check_finite(gripper: Gripper) -> None:
    for field in fields(gripper):
        value = getattr(gripper, field.name)
        if isinstance(value, (float, np.ndarray)) and not np.isfinite(value).all():
            raise _refuse(gripper, f"{field.name.replace('_', ' ')} is not finite; check the numbers in the model")
    for part in (part for parts in gripper.collision_parts for part in parts):
        if not np.isfinite(part.vertices).all():
            raise _refuse(gripper, "a collision shape has a corner that is not finite; check the numbers in the model")


def _check_base(gripper: Gripper) -> None:
    base = gripper.base_body
    if gripper.body_names[0] != base or not np.allclose(gripper.pose_body_in_base[:, 0], np.eye(4), atol=1e-9):
        raise _refuse(gripper, f"the base {base} is not the root of the model; name the body from which all others hang")
    if base in gripper.finger_bodies:
        raise _refuse(gripper, f"{base} is both the base and a finger; name the bodies that carry the pads")


def _check_masses(gripper: Gripper) -> None:
    """The compiled model has mass and inertia wherever something moves. MuJoCo refuses zeros itself, but not every nonsense."""
    try:
        model = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets).compile()
    except ValueError as error:
        raise _refuse(gripper, f"MuJoCo cannot compile the model: {' '.join(str(error).split())}") from error
    moving = model.body_weldid != 0
    for body in np.flatnonzero(moving):
        mass, inertia = float(model.body_subtreemass[body]), model.body_inertia[body]
        if not mass > 0 or (inertia < 0).any() or (model.body_mass[body] > 0 and not inertia.max() > 0):
            name = model.body(body).name
            raise _refuse(gripper, f"body {name} has mass {mass:g} kg and inertia {inertia.tolist()}; give it positive ones")


def _check_axes(gripper: Gripper) -> None:
    approach, closing = gripper.approach_axis_in_base, gripper.closing_axis_in_base
    unit = abs(np.linalg.norm(approach) - 1) < 1e-6 and abs(np.linalg.norm(closing) - 1) < 1e-6
    if not unit or abs(approach @ closing) > 1e-6:
        raise _refuse(
            gripper, f"no approach axis at a right angle to the closing axis was found ({approach}, {closing}); set approach_axis"
        )


def _check_pads(gripper: Gripper) -> None:
    """The pads are where the fingers end, not on rails or knuckles that are nearer to each other than the fingertips."""
    for finger, name in enumerate(gripper.finger_bodies):
        body = gripper.body_names.index(name)
        corners = [moved(part, gripper.pose_body_in_base[-1, body]).vertices for part in gripper.collision_parts[body]]
        reach = max(float((part @ gripper.approach_axis_in_base).max()) for part in corners)
        beyond = reach - float(gripper.fingertip_in_base[-1, finger] @ gripper.approach_axis_in_base)
        if beyond > max(_PAST_PAD, float(gripper.pad_size[0])):
            raise _refuse(
                gripper,
                f"{name} reaches {beyond * 1000:.0f} mm beyond what was taken for its pad: shapes behind the fingertips, such as rails, "
                "meet or overlap first; name the bodies of the fingertips with --finger-colliders",
            )


def _check_sizes(gripper: Gripper) -> None:
    width, depth = gripper.width, gripper.depth
    if not _WIDTHS[0] <= width <= _WIDTHS[1]:
        raise _refuse(
            gripper, f"it opens to {width:.4g} m, but {_WIDTHS[0]:g} to {_WIDTHS[1]:g} m is to be expected; is the model in metres?"
        )
    if depth < _DEPTHS[0]:
        raise _refuse(
            gripper, f"the fingertips lie {depth:.4g} m from the base along the approach axis; is approach_axis right, the model in metres?"
        )
    if depth > _DEPTHS[1]:
        raise _refuse(gripper, f"the fingertips lie {depth:.4g} m from the base, more than {_DEPTHS[1]:g} m; is the model in metres?")
    base = [moved(part, gripper.pose_body_in_base[-1, 0]).vertices for part in gripper.collision_parts[0]]
    beyond = max((float((corners @ gripper.approach_axis_in_base).max()) for corners in base), default=-np.inf) - depth
    if beyond > _BEYOND:
        raise _refuse(
            gripper, f"the base reaches {beyond * 1000:.0f} mm beyond the fingertips along the approach axis; is approach_axis right?"
        )
    if not 0 < gripper.bite < depth:
        raise _refuse(gripper, f"the bite of {gripper.bite:.4g} m does not lie between the fingertips and the base; set bite")


def _check_motion(gripper: Gripper) -> None:
    tips, closing = gripper.fingertip_in_base, gripper.closing_axis_in_base
    if np.linalg.norm(tips - tips[-1], axis=-1).max() < _MOVES:
        raise _refuse(gripper, "the fingers do not move; are the joints above the finger bodies driven or coupled?")
    if (np.diff(gripper.opening_width) <= 0).any():
        raise _refuse(gripper, "the fingers move apart while they should close; the opening does not shrink steadily")
    narrowest, width = float(gripper.opening_width[0]), gripper.width
    if narrowest > _MOST_LEFT_OPEN * width:
        raise _refuse(
            gripper,
            f"the fingers never come near each other: {narrowest * 1000:.1f} mm of {width * 1000:.1f} mm stay open; check the limits",
        )
    across = np.cross(gripper.approach_axis_in_base, closing)
    apart = tips[:, 1] - tips[:, 0]
    for axis, size, name in ((across, gripper.pad_size[1], "beside"), (gripper.approach_axis_in_base, gripper.pad_size[0], "behind")):
        offset = float(np.abs(apart @ axis).min())
        if offset > _MOST_OFFSET * size:
            raise _refuse(gripper, f"the pads never face each other: one is {offset * 1000:.1f} mm {name} the other; check finger_bodies")


def _check_drive(gripper: Gripper) -> None:
    if not (gripper.joint_effort != 0).any():
        raise _refuse(gripper, "no joint drives the fingers")
    if not (gripper.grip_force > 0 and gripper.closing_speed > 0):
        raise _refuse(gripper, "grip_force and closing_speed must be above 0")


def _check_fingers_apart(gripper: Gripper) -> None:
    """The two finger bodies do not overlap while they are open."""
    first, second = (gripper.body_names.index(name) for name in gripper.finger_bodies)
    for k in _openings(gripper):
        overlap = _overlap(_solid(gripper, first, k), _solid(gripper, second, k))
        if overlap > _OVERLAP:
            width = gripper.opening_width[k] * 1000
            raise _refuse(gripper, f"the fingers overlap by {overlap * 1000:.1f} mm when they are {width:.1f} mm open; check their shapes")


def _check_fingers_clear_of_base(gripper: Gripper) -> None:
    """The fingertips do not overlap the base. Elsewhere a finger and what it hangs on overlap at their joint, as is normal."""
    for k in _openings(gripper):
        base = _solid(gripper, 0, k)
        for finger, name in enumerate(gripper.finger_bodies):
            overlap = _overlap(_fingertip(gripper, finger, k), base)
            if overlap > _OVERLAP:
                width = gripper.opening_width[k] * 1000
                raise _refuse(
                    gripper, f"the tip of {name} is {overlap * 1000:.1f} mm inside the base when the gripper is {width:.1f} mm open"
                )


def _openings(gripper: Gripper) -> list[int]:
    """Indices of openings from the first at which the fingers are apart to the widest."""
    first = int(np.searchsorted(gripper.opening_width, _NEARLY_CLOSED, side="right"))
    return sorted({int(k) for k in np.linspace(first, len(gripper.opening_width) - 1, _SAMPLES)})


def _solid(gripper: Gripper, body: int, opening: int) -> manifold3d.Manifold:
    """A body's parts at an opening, joined, in the base's frame."""
    pose = gripper.pose_body_in_base[opening, body]
    solids = [solid_from_mesh(moved(part, pose)) for part in gripper.collision_parts[body]]
    return manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add)


def _fingertip(gripper: Gripper, finger: int, opening: int) -> manifold3d.Manifold:
    """What of a finger lies within the pad's length of its tip."""
    approach: Floats = gripper.approach_axis_in_base
    solid = _solid(gripper, gripper.body_names.index(gripper.finger_bodies[finger]), opening)
    behind = float(gripper.fingertip_in_base[opening, finger] @ approach) - float(gripper.pad_size[0])
    return solid.trim_by_plane(approach.tolist(), behind)


def _overlap(first: manifold3d.Manifold, second: manifold3d.Manifold) -> float:
    """Thickness of what two solids share: the least distance between two parallel planes around it, one along a face, m."""
    shared = (first ^ second).hull()
    if shared.is_empty():
        return 0.0
    mesh = mesh_from_solid(shared)
    heights = face_normals(mesh.vertices[mesh.faces]) @ mesh.vertices.T  # (F, V)
    return float(np.ptp(heights, axis=1).min())
