"""Checks of a measured gripper: a gripper with which no grasp can be made is refused in one line.

`measure` reads values from the model; these checks ask whether the values are possible for a two-finger gripper. The control trials of
`making.controls` ask whether the gripper holds an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import manifold3d
import mujoco
import numpy as np

from graspgen_cli.errors import GripperError, one_line
from graspgen_cli.geometry.meshes import face_normals, mesh_from_solid, solid_from_mesh, transform_mesh
from graspgen_cli.records import Floats, Gripper

_WIDTHS = (0.005, 1.0)  # m: an opening width outside is in a wrong unit
_DEPTHS = (0.01, 2.0)  # m: a depth outside is in a wrong unit, or the approach axis is wrong
_MOVES = 1e-4  # m: a fingertip that moves by less stands still
_MOST_LEFT_OPEN = 0.7  # largest width of the closed gripper as a share of the open gripper's
_MOST_OFFSET = 0.9  # largest offset between the pads beside or behind each other, as a share of the pads' size
_BEYOND = 0.005  # m: by which the base may reach beyond the fingertips
_PAST_PAD = 0.02  # m: by which a finger may reach beyond its pad; or the pad's length if larger
_OVERLAP = 0.001  # m: thinner overlaps come from rounded numbers and from hulls of concave parts
_NEARLY_CLOSED = 0.001  # m: at smaller openings the fingers may touch
_SAMPLES = 6  # openings at which the parts are tested for overlaps


def check_gripper(gripper: Gripper) -> None:
    """Raises GripperError, one line with the gripper's name and the reason, for a gripper that cannot be used."""
    for check in (_values, _base, _masses, _axes_and_pads, _sizes, _motion, _overlaps):
        for reason in check(gripper):
            raise GripperError(f"gripper {gripper.name}: {reason}")


def _values(gripper: Gripper) -> Iterator[str]:
    for field in fields(gripper):
        value = getattr(gripper, field.name)
        if isinstance(value, (float, np.ndarray)) and not np.isfinite(value).all():
            yield f"{field.name.replace('_', ' ')} is not finite; check the numbers in the model"
    if not all(np.isfinite(part.vertices).all() for parts in gripper.collision_parts for part in parts):
        yield "a collision shape has a corner that is not finite; check the numbers in the model"


def _base(gripper: Gripper) -> Iterator[str]:
    base = gripper.base_body
    if gripper.body_names[0] != base or not np.allclose(gripper.pose_body_in_base[:, 0], np.eye(4), atol=1e-9):
        yield f"the base {base} is not the root of the model; name the body from which all others hang"
    if base in gripper.finger_bodies:
        yield f"{base} is both the base and a finger; name the bodies that carry the pads"


def _masses(gripper: Gripper) -> Iterator[str]:
    """Moving bodies have mass and inertia. MuJoCo itself refuses zeros only."""
    try:
        model = mujoco.MjSpec.from_string(gripper.mjcf, assets=gripper.assets).compile()
    except ValueError as error:
        yield f"MuJoCo cannot compile the model: {one_line(error)}"
        return
    for body in np.flatnonzero(model.body_weldid != 0):
        mass, inertia = float(model.body_subtreemass[body]), model.body_inertia[body]
        if not mass > 0 or (inertia < 0).any() or (model.body_mass[body] > 0 and not inertia.max() > 0):
            name = model.body(body).name
            yield f"body {name} has mass {mass:g} kg and inertia {inertia.tolist()}; make them positive"


def _axes_and_pads(gripper: Gripper) -> Iterator[str]:
    """The axes are perpendicular, and the pads are at the ends of the fingers, not on rails or knuckles that meet before the fingertips."""
    approach, closing = gripper.approach_axis_in_base, gripper.closing_axis_in_base
    unit = abs(np.linalg.norm(approach) - 1) < 1e-6 and abs(np.linalg.norm(closing) - 1) < 1e-6
    if not unit or abs(approach @ closing) > 1e-6:
        yield f"no approach axis at a right angle to the closing axis was found ({approach}, {closing}); set approach_axis"
    for finger, name in enumerate(gripper.finger_bodies):
        reach = _reach(gripper, gripper.body_names.index(name))
        beyond = reach - float(gripper.fingertip_in_base[-1, finger] @ gripper.approach_axis_in_base)
        if beyond > max(_PAST_PAD, float(gripper.pad_size[0])):
            yield (
                f"{name} reaches {beyond * 1000:.0f} mm beyond its supposed pad: shapes behind the fingertips, such as rails, meet or "
                "overlap first; name the bodies of the fingertips with --finger-colliders"
            )


def _reach(gripper: Gripper, body: int) -> float:
    """Largest coordinate of an open gripper's body along the approach axis, m; -inf for a body without parts."""
    corners = [transform_mesh(gripper.pose_body_in_base[-1, body], part).vertices for part in gripper.collision_parts[body]]
    return max((float((part @ gripper.approach_axis_in_base).max()) for part in corners), default=-np.inf)


def _sizes(gripper: Gripper) -> Iterator[str]:
    width, depth = gripper.width, gripper.depth
    if not _WIDTHS[0] <= width <= _WIDTHS[1]:
        yield f"the gripper opens to {width:.4g} m, outside of {_WIDTHS[0]:g} to {_WIDTHS[1]:g} m; is the model in metres?"
    if depth < _DEPTHS[0]:
        yield f"the fingertips lie {depth:.4g} m from the base along the approach axis; is approach_axis right, the model in metres?"
    if depth > _DEPTHS[1]:
        yield f"the fingertips lie {depth:.4g} m from the base, more than {_DEPTHS[1]:g} m; is the model in metres?"
    beyond = _reach(gripper, 0) - depth
    if beyond > _BEYOND:
        yield f"the base reaches {beyond * 1000:.0f} mm beyond the fingertips along the approach axis; is approach_axis right?"
    if not 0 < gripper.bite < depth:
        yield f"the bite of {gripper.bite:.4g} m does not lie between the fingertips and the base; set bite"


def _motion(gripper: Gripper) -> Iterator[str]:
    tips, closing = gripper.fingertip_in_base, gripper.closing_axis_in_base
    if np.linalg.norm(tips - tips[-1], axis=-1).max() < _MOVES:
        yield "the fingers do not move; are the joints above the finger bodies driven or coupled?"
    if (np.diff(gripper.opening_width) <= 0).any():
        yield "the fingers move apart while they should close; the opening does not shrink steadily"
    narrowest, width = float(gripper.opening_width[0]), gripper.width
    if narrowest > _MOST_LEFT_OPEN * width:
        left = f"{narrowest * 1000:.1f} mm of {width * 1000:.1f} mm"
        yield f"the fingers never come near each other: {left} stay open; check the limits"
    across = np.cross(gripper.approach_axis_in_base, closing)
    apart = tips[:, 1] - tips[:, 0]
    for axis, size, name in ((across, gripper.pad_size[1], "beside"), (gripper.approach_axis_in_base, gripper.pad_size[0], "behind")):
        offset = float(np.abs(apart @ axis).min())
        if offset > _MOST_OFFSET * size:
            yield f"the pads never face each other: one is {offset * 1000:.1f} mm {name} the other; check finger_bodies"
    if not (gripper.joint_effort != 0).any():
        yield "no joint drives the fingers"
    if not (gripper.grip_force > 0 and gripper.closing_speed > 0):
        yield "grip_force and closing_speed must be above 0"


def _overlaps(gripper: Gripper) -> Iterator[str]:
    """The fingers do not overlap, nor does the base overlap a fingertip. A finger and its parent overlap at their joint, as is normal."""
    first = int(np.searchsorted(gripper.opening_width, _NEARLY_CLOSED, side="right"))
    for k in sorted({int(k) for k in np.linspace(first, len(gripper.opening_width) - 1, _SAMPLES)}):
        width = gripper.opening_width[k] * 1000
        fingers = [_solid(gripper, gripper.body_names.index(name), k) for name in gripper.finger_bodies]
        overlap = _overlap(*fingers)
        if overlap > _OVERLAP:
            yield f"the fingers overlap by {overlap * 1000:.1f} mm when they are {width:.1f} mm open; check their shapes"
        for finger, (name, solid) in enumerate(zip(gripper.finger_bodies, fingers, strict=True)):
            approach: Floats = gripper.approach_axis_in_base
            pad_end = float(gripper.fingertip_in_base[k, finger] @ approach) - float(gripper.pad_size[0])
            overlap = _overlap(solid.trim_by_plane(approach.tolist(), pad_end), _solid(gripper, 0, k))
            if overlap > _OVERLAP:
                yield f"the tip of {name} is {overlap * 1000:.1f} mm inside the base when the gripper is {width:.1f} mm open"


def _solid(gripper: Gripper, body: int, opening: int) -> manifold3d.Manifold:
    """Union of a body's parts at an opening index, in the base's frame."""
    pose = gripper.pose_body_in_base[opening, body]
    solids = [solid_from_mesh(transform_mesh(pose, part)) for part in gripper.collision_parts[body]]
    return manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add)


def _overlap(first: manifold3d.Manifold, second: manifold3d.Manifold) -> float:
    """Thickness of the intersection of two solids, m: the smallest distance between two parallel planes around its hull."""
    shared = (first ^ second).hull()
    if shared.is_empty():
        return 0.0
    mesh = mesh_from_solid(shared)
    heights = face_normals(mesh.vertices[mesh.faces]) @ mesh.vertices.T  # (F, V)
    return float(np.ptp(heights, axis=1).min())
