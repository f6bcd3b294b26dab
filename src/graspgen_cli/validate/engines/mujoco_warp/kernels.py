"""Warp kernels of the GPU backend. Imports Warp: only the backend imports this, and only when it starts."""

from __future__ import annotations

from typing import Any

import warp as wp

wp.config.quiet = True


@wp.kernel
def _copy_rows(source: wp.array2d[float], row_of_source: wp.array[int], target: wp.array2d[float], row_of_target: wp.array[int]):
    i, j = wp.tid()
    target[row_of_target[i], j] = source[row_of_source[i], j]


@wp.kernel
def _copy_integer_rows(source: wp.array2d[int], row_of_source: wp.array[int], target: wp.array2d[int], row_of_target: wp.array[int]):
    i, j = wp.tid()
    target[row_of_target[i], j] = source[row_of_source[i], j]


@wp.kernel
def _deepest_of_worlds(
    found: wp.array[int],
    world: wp.array[int],
    distance: wp.array[float],
    geom: wp.array[wp.vec2i],
    is_link: wp.array[int],
    deepest: wp.array[float],
    deepest_of_links: wp.array[float],
):
    i = wp.tid()
    if i < found[0]:
        wp.atomic_min(deepest, world[i], distance[i])
        if is_link[geom[i][0]] + is_link[geom[i][1]] > 0:
            wp.atomic_min(deepest_of_links, world[i], distance[i])


def deepest_of_worlds(data: Any, is_link: wp.array, deepest: wp.array, deepest_of_links: wp.array) -> None:
    """deepest[w] = the smallest of itself and the distances of all contacts in world w; deepest_of_links the same of contacts with a geom
    that `is_link` (geoms,) marks."""
    contact = data.contact
    inputs = [data.nacon, contact.worldid, contact.dist, contact.geom, is_link]
    wp.launch(_deepest_of_worlds, dim=len(contact.dist), inputs=inputs, outputs=[deepest, deepest_of_links], device=deepest.device)


def copy_rows(source: wp.array, row_of_source: wp.array, target: wp.array, row_of_target: wp.array) -> None:
    """target[row_of_target[i]] = source[row_of_source[i]] for flat tables (rows, values) of floats or of integers."""
    kernel = _copy_rows if source.dtype == wp.float32 else _copy_integer_rows
    shape = (len(row_of_target), source.shape[1])
    wp.launch(kernel, dim=shape, inputs=[source, row_of_source, target, row_of_target], device=target.device)


def flat(array: wp.array) -> wp.array:
    """The same memory as a table (rows, values) of plain numbers."""
    dtype = wp.int32 if array.dtype in (wp.int32, int) else wp.float32
    width = array.size * wp.types.type_size_in_bytes(array.dtype) // 4 // array.shape[0]
    return wp.array(ptr=array.ptr, dtype=dtype, shape=(array.shape[0], width), device=array.device, copy=False)


@wp.kernel
def _inertial_wrench(
    row: wp.array2d[int],
    motion: wp.array2d[float],
    root: wp.array[int],
    mass: wp.array2d[float],
    inertia: wp.array2d[wp.vec3],
    position: wp.array2d[wp.vec3],
    axes: wp.array2d[wp.mat33],
    moving: wp.array2d[wp.spatial_vector],
    origin: wp.array2d[wp.vec3],
    wrench: wp.array2d[wp.spatial_vector],
):
    world, body = wp.tid()
    now = row[world, 0]
    if now == 0 or body == 0:
        return
    acceleration = wp.vec3(motion[now, 0], motion[now, 1], motion[now, 2])
    turning = wp.vec3(motion[now, 3], motion[now, 4], motion[now, 5])
    faster = wp.vec3(motion[now, 6], motion[now, 7], motion[now, 8])
    at = position[world, body]
    spin = wp.spatial_top(moving[world, body])
    # The engine gives each body's velocity at the centre of mass of the whole tree that it belongs to.
    velocity = wp.spatial_bottom(moving[world, body]) + wp.cross(spin, at - origin[world, root[body]])
    frame = acceleration + wp.cross(faster, at) + wp.cross(turning, wp.cross(turning, at)) + 2.0 * wp.cross(turning, velocity)
    principal = axes[world, body]
    tensor = principal * wp.diag(inertia[world % inertia.shape[0], body]) * wp.transpose(principal)
    both = tensor * faster + wp.cross(turning, tensor * turning)
    mixed = wp.cross(spin, tensor * turning) + wp.cross(turning, tensor * spin) + tensor * wp.cross(turning, spin)
    wrench[world, body] = wp.spatial_vector(-mass[world % mass.shape[0], body] * frame, -(both + mixed))


@wp.kernel
def _go_on(row: wp.array2d[int], last: int):
    world = wp.tid()
    if row[world, 0] != 0:
        row[world, 0] = wp.min(row[world, 0] + 1, last)


def apply_motion(model: Any, data: Any, motion: wp.array, row: wp.array) -> None:
    """Puts on all bodies what the gripper's motion does to them in the next step (`validate.shaking.inertial_wrench`, in the engine's
    precision), where the gripper is shaken, and moves on. motion: the table (rows, 9). row: (worlds, 1) where each world is in it.
    As in a step, only the first `data.nworld` worlds."""
    device, worlds = row.device, data.nworld
    inputs = [row, motion, model.body_rootid, model.body_mass, model.body_inertia, data.xipos, data.ximat, data.cvel, data.subtree_com]
    wp.launch(_inertial_wrench, dim=(worlds, model.nbody), inputs=inputs, outputs=[data.xfrc_applied], device=device)
    wp.launch(_go_on, dim=worlds, inputs=[row, len(motion) - 1], device=device)
