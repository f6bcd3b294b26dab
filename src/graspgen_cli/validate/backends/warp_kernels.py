"""Warp kernels of the GPU backend. Imports Warp: only the backend imports this, and only when it starts."""

from __future__ import annotations

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
def _smallest_of_worlds(found: wp.array[int], world: wp.array[int], value: wp.array[float], smallest: wp.array[float]):
    i = wp.tid()
    if i < found[0]:
        wp.atomic_min(smallest, world[i], value[i])


def smallest_of_worlds(found: wp.array, world: wp.array, value: wp.array, smallest: wp.array) -> None:
    """smallest[w] = the smallest of itself and of all value[i] with world[i] = w, over the first `found` (1,) of them."""
    wp.launch(_smallest_of_worlds, dim=len(value), inputs=[found, world, value, smallest], device=smallest.device)


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
