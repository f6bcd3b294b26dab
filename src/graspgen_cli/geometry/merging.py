"""Convex parts joined into fewer, each still close to the solid."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import manifold3d
import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.cutting import Part, Solid, rows
from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.records import Floats

TOUCHING = 1e-5
"""m: parts whose boxes are nearer than this are neighbours."""
SMALL = 6
"""Most parts that a group may be made of to be shared out among its neighbours."""
ATTEMPTS = 4
"""Most neighbours that a part is offered to."""

SLACK = 1.25
MANY_CORNERS = 96
DIRECTIONS = np.array([step for step in itertools.product((-1.0, 0.0, 1.0), repeat=3) if any(step)])
"""(26, 3) towards the faces, edges and corners of a cube."""


@dataclass(frozen=True)
class MergeLimits:
    """What a hull of joined parts may leave: its mean gap (m), and how much of the bound on the largest."""

    mean_gap: float
    relaxed: float = 1.0


@dataclass(frozen=True, eq=False)
class Group:
    """Parts under one hull."""

    part: Part
    members: tuple[Part, ...]
    box: Floats
    """(2, 3) m."""

    @cached_property
    def outermost(self) -> Floats:
        """(N, 3) m: the corners that lie farthest along some direction of DIRECTIONS."""
        corners, _ = self.part.arrays
        return corners[np.unique((corners @ DIRECTIONS.T).argmax(axis=0))]

    @cached_property
    def rough_volume(self) -> float:
        """m³ of the hull of the outermost corners."""
        return float(_hull(self.outermost).volume())

    @staticmethod
    def of(part: Part, members: tuple[Part, ...]) -> Group:
        return Group(part, members, np.array(part.hull.bounding_box()).reshape(2, 3))


def single_groups(parts: Iterable[Part]) -> list[Group]:
    """A group of each part."""
    return [Group.of(part, (part,)) for part in parts]


def merge(groups: list[Group], limits: MergeLimits, bound: GapBound) -> list[Group]:
    """Join neighbours, the pair first that leaves little air and absorbs a small part, while their hull keeps the limits."""
    alive = dict(enumerate(groups))
    near: dict[int, set[int]] = {index: set() for index in alive}
    apart: dict[int, set[int]] = {index: set() for index in alive}
    heap: list[tuple[float, int, int, Part | None]] = []

    def consider(one: int, other: int) -> None:
        near[one].add(other)
        near[other].add(one)
        if alive[one].part.hull.num_vert() + alive[other].part.hull.num_vert() > MANY_CORNERS:
            put(_estimated_gap(alive[one], alive[other]), one, other, None)
        else:
            joined = _joined(alive[one], alive[other])
            put(joined.mean_gap, one, other, joined)

    def put(mean_gap: float, one: int, other: int, joined: Part | None) -> None:
        if mean_gap < (limits.mean_gap if joined else SLACK * limits.mean_gap):
            smaller = min(alive[one].part.volume, alive[other].part.volume)
            heapq.heappush(heap, (mean_gap * smaller**0.5, one, other, joined))

    for one, other in np.argwhere(np.triu(_touching(groups), 1)):
        consider(int(one), int(other))
    while heap:
        _, one, other, joined = heapq.heappop(heap)
        if one not in alive or other not in alive:
            continue
        if joined is None:
            joined = _joined(alive[one], alive[other])
            put(joined.mean_gap, one, other, joined)
            continue
        if not _keeps(joined, (alive[one].part, alive[other].part), limits, bound):
            apart[one].add(other)
            apart[other].add(one)
            continue
        new = len(near)
        around = (near[one] | near[other]) - {one, other}
        alive[new] = Group.of(joined, alive.pop(one).members + alive.pop(other).members)
        near[new], apart[new] = set(), apart[one] | apart[other]
        for stranger in apart[new] & alive.keys():
            apart[stranger].add(new)
        for neighbour in sorted((around - apart[new]) & alive.keys()):
            consider(new, neighbour)
    return list(alive.values())


def _estimated_gap(one: Group, other: Group) -> float:
    """About the mean gap (m) that the hull of two groups would leave, from the hull of their outermost corners alone."""
    rough = _hull(np.concatenate([one.outermost, other.outermost]))
    between = float(rough.volume()) - one.rough_volume - other.rough_volume
    return (one.part.air + other.part.air + between) / max(float(rough.surface_area()) / 2, 1e-18)


def _hull(points: Floats) -> Solid:
    return manifold3d.Manifold.hull_points(points)


def _joined(one: Group, other: Group) -> Part:
    hull = manifold3d.Manifold.batch_hull([one.part.hull, other.part.hull])
    return Part(hull, one.part.volume + other.part.volume)


def _touching(groups: list[Group]) -> NDArray[np.bool_]:
    boxes = np.stack([group.box for group in groups])
    near = boxes[:, None, 0] <= boxes[None, :, 1] + TOUCHING
    return np.asarray((near & near.swapaxes(0, 1)).all(axis=-1))


def _keeps(joined: Part, inner: tuple[Part, ...], limits: MergeLimits, bound: GapBound) -> bool:
    """Whether a hull keeps the bound, given that the hulls in it do: only faces between vertices of several of them are new."""
    vertices, faces = joined.arrays
    own = [np.array([corner in part.corners for corner in rows(vertices)])[faces].all(axis=1) for part in inner]
    return bound.keeps(vertices[faces[~np.any(own, axis=0)]], air=joined.air, relaxed=limits.relaxed)


def share_out(groups: list[Group], limits: MergeLimits, bound: GapBound) -> list[Group]:
    """Do away with small groups whose every part fits under the hull of a neighbour, the smallest group first."""
    alive = dict(enumerate(groups))
    for index in sorted(alive, key=lambda index: (len(alive[index].members), alive[index].part.volume)):
        if 1 < len(alive[index].members) <= SMALL:
            others = {other: group for other, group in alive.items() if other != index}
            grown = _hosts(alive[index].members, others, limits, bound)
            alive = alive if grown is None else others | grown
    return list(alive.values())


def _hosts(parts: tuple[Part, ...], groups: dict[int, Group], limits: MergeLimits, bound: GapBound) -> dict[int, Group] | None:
    """The groups that take the parts in, grown by them; None where a part finds no host."""
    grown: dict[int, Group] = {}
    for part in parts:
        host = _host(part, groups | grown, limits, bound)
        if host is None:
            return None
        grown[host[0]] = host[1]
    return grown


def _host(part: Part, groups: dict[int, Group], limits: MergeLimits, bound: GapBound) -> tuple[int, Group] | None:
    """The group whose hull has to grow least to take the part in, and that hull."""
    (single,) = single_groups([part])
    offers = []
    for index, group in groups.items():
        if (single.box[0] <= group.box[1] + TOUCHING).all() and (group.box[0] <= single.box[1] + TOUCHING).all():
            joined = _joined(group, single)
            offers.append((float(joined.hull.volume() - group.part.hull.volume()), index, joined))
    for _, index, joined in sorted(offers, key=lambda offer: offer[:2])[:ATTEMPTS]:
        if joined.mean_gap < limits.mean_gap and _keeps(joined, (groups[index].part, part), limits, bound):
            return index, Group.of(joined, (*groups[index].members, part))
    return None
