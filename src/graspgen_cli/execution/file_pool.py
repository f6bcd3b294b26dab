"""Many small pieces of work on all cores, where any one of them may cost a worker its life."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from graspgen_cli.execution.machine import usable_cores
from graspgen_cli.execution.processes import Died, TimedOut, run_in_processes

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 16
"""Pieces handed to a worker at once: fewer messages, and the workers still end at nearly the same time."""
FEW = 64
"""Pieces up to which no other process is worth its start, where each takes milliseconds."""


def spread(
    items: Sequence[T],
    make_handler: Callable[..., Callable[[T], R]],
    arguments: tuple[Any, ...],
    *,
    workers: int,
    slow: bool = False,
    fetch: Callable[[T], None] | None = None,
) -> Iterator[tuple[T, R | None]]:
    """(item, result) as they come; the result is None for an item that a worker did not survive.

    make_handler: makes the function that does one item from `arguments`, in each process once; it and the items travel to the workers.
    workers: processes; 0 = one a core. slow: an item takes a second or so, rather than milliseconds. fetch: a worker calls it with the next
    item before it does one, so that what that needs of the disk is there in time.
    """
    size = 1 if slow else CHUNK
    count = min(workers or usable_cores(), -(-len(items) // size))
    if count <= 1 or (len(items) <= FEW and not slow):
        handle = make_handler(*arguments)
        yield from ((item, handle(item)) for item in items)
        return
    chunks = [tuple(items[start : start + size]) for start in range(0, len(items), size)]
    lost: list[tuple[T, ...]] = []
    for chunk, results in run_in_processes(chunks, _chunk_handler, (make_handler, arguments, fetch), count=count):
        if isinstance(results, Died | TimedOut):
            lost += [(item,) for item in chunk]
        else:
            yield from zip(chunk, results, strict=True)
    # Of a chunk that was lost one item is to blame: each is tried again by itself.
    for (item,), results in run_in_processes(lost, _chunk_handler, (make_handler, arguments, fetch), count=count):
        yield item, None if isinstance(results, Died | TimedOut) else results[0]


def _chunk_handler(
    make_handler: Callable[..., Callable[[T], R]], arguments: tuple[Any, ...], fetch: Callable[[T], None] | None
) -> Callable[[Sequence[T]], list[R]]:
    handle = make_handler(*arguments)

    def handle_all(chunk: Sequence[T]) -> list[R]:
        results = []
        for number, item in enumerate(chunk, 1):
            if fetch and number < len(chunk):
                fetch(chunk[number])
            results.append(handle(item))
        return results

    return handle_all
