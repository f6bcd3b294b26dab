"""Warp kernels of the GPU engine."""

from __future__ import annotations

from typing import Any

import warp as wp

wp.config.quiet = True


@wp.kernel
def _copy_rows(source: wp.array2d[float], row_of_source: wp.array[int], target: wp.array2d[float], row_of_target: wp.array[int]) -> None:
    i, j = wp.tid()
    target[row_of_target[i], j] = source[row_of_source[i], j]


@wp.kernel
def _copy_integer_rows(
    source: wp.array2d[int], row_of_source: wp.array[int], target: wp.array2d[int], row_of_target: wp.array[int]
) -> None:
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
) -> None:
    i = wp.tid()
    if i < found[0]:
        wp.atomic_min(deepest, world[i], distance[i])
        if is_link[geom[i][0]] + is_link[geom[i][1]] > 0:
            wp.atomic_min(deepest_of_links, world[i], distance[i])


def deepest_of_worlds(data: Any, is_link: wp.array, deepest: wp.array, deepest_of_links: wp.array) -> None:
    """deepest[w] = the smallest of deepest[w] and the distances (m) of all contacts in world w. deepest_of_links: the same for contacts
    with a geom that `is_link` (geoms,) marks."""
    contact = data.contact
    inputs = [data.nacon, contact.worldid, contact.dist, contact.geom, is_link]
    wp.launch(_deepest_of_worlds, dim=len(contact.dist), inputs=inputs, outputs=[deepest, deepest_of_links], device=deepest.device)


def copy_rows(source: wp.array, row_of_source: wp.array, target: wp.array, row_of_target: wp.array) -> None:
    """target[row_of_target[i]] = source[row_of_source[i]] for tables (rows, values) of floats or of integers."""
    kernel = _copy_rows if source.dtype == wp.float32 else _copy_integer_rows
    shape = (len(row_of_target), source.shape[1])
    wp.launch(kernel, dim=shape, inputs=[source, row_of_source, target, row_of_target], device=target.device)


def flat(array: wp.array) -> wp.array:
    """A view of the array's memory as a table (rows, values) of plain numbers."""
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
) -> None:
    world, body = wp.tid()
    now = row[world, 0]
    if now == 0 or body == 0:
        return
    acceleration = wp.vec3(motion[now, 0], motion[now, 1], motion[now, 2])
    omega = wp.vec3(motion[now, 3], motion[now, 4], motion[now, 5])
    alpha = wp.vec3(motion[now, 6], motion[now, 7], motion[now, 8])
    at = position[world, body]
    spin = wp.spatial_top(moving[world, body])
    # The engine gives each body's velocity at the centre of mass of the body's whole tree.
    velocity = wp.spatial_bottom(moving[world, body]) + wp.cross(spin, at - origin[world, root[body]])
    frame = acceleration + wp.cross(alpha, at) + wp.cross(omega, wp.cross(omega, at)) + 2.0 * wp.cross(omega, velocity)
    principal = axes[world, body]
    tensor = principal * wp.diag(inertia[world % inertia.shape[0], body]) * wp.transpose(principal)
    of_base = tensor * alpha + wp.cross(omega, tensor * omega)
    mixed = wp.cross(spin, tensor * omega) + wp.cross(omega, tensor * spin) + tensor * wp.cross(omega, spin)
    wrench[world, body] = wp.spatial_vector(-mass[world % mass.shape[0], body] * frame, -(of_base + mixed))


@wp.kernel
def _next_row(row: wp.array2d[int], last: int) -> None:
    world = wp.tid()
    if row[world, 0] != 0:
        row[world, 0] = wp.min(row[world, 0] + 1, last)


def apply_motion(model: Any, data: Any, motion: wp.array, row: wp.array) -> None:
    """Applies to all bodies the inertial forces of the next step (`shaking.inertial_wrench` in single precision) in the first `data.nworld`
    worlds, except those with row 0, and advances their rows. motion: (rows, 9) the table of motion; row: (worlds, 1) each world's row."""
    device, worlds = row.device, data.nworld
    inputs = [row, motion, model.body_rootid, model.body_mass, model.body_inertia, data.xipos, data.ximat, data.cvel, data.subtree_com]
    wp.launch(_inertial_wrench, dim=(worlds, model.nbody), inputs=inputs, outputs=[data.xfrc_applied], device=device)
    wp.launch(_next_row, dim=worlds, inputs=[row, len(motion) - 1], device=device)
