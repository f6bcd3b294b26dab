"""Merging of convex parts into fewer, each still close to the solid."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import manifold3d
import numpy as np

from graspgen_cli.geometry.cutting import Part, box_of, rows
from graspgen_cli.geometry.gaps import GapBound
from graspgen_cli.records import Floats

TOUCHING = 1e-5  # m: distance between bounding boxes up to which parts are neighbours
SMALL = 12  # most parts of a group that may be dissolved into its neighbours
ATTEMPTS = 4  # most neighbours that a part of a dissolved group is tried with
MANY_CORNERS = 96  # vertices of two hulls above which their joined hull is estimated first, in a fifth of the time
SLACK = 1.25  # factor by which an estimated mean gap may exceed the allowed one before the pair is rejected
DIRECTIONS = np.array([step for step in itertools.product((-1.0, 0.0, 1.0), repeat=3) if any(step)])  # (26, 3)


@dataclass(frozen=True, eq=False)
class Group:
    """Parts under one hull."""

    part: Part
    members: tuple[Part, ...]

    @cached_property
    def box(self) -> Floats:
        """(2, 3) m bounding box."""
        return box_of(self.part.hull)

    @cached_property
    def outermost(self) -> Floats:
        """(N, 3) m the hull's extreme vertices along DIRECTIONS."""
        corners = self.part.surface.vertices
        return corners[np.unique((corners @ DIRECTIONS.T).argmax(axis=0))]

    @cached_property
    def rough_volume(self) -> float:
        """Volume of the hull of the outermost vertices, m³."""
        return float(manifold3d.Manifold.hull_points(self.outermost).volume())


def single_groups(parts: Iterable[Part]) -> list[Group]:
    """A group of each part."""
    return [Group(part, (part,)) for part in parts]


def merge(groups: list[Group], mean_gap: float, bound: GapBound, *, settled: int = 0) -> list[Group]:
    """Joins neighbours while their hull keeps the bound and a mean gap below `mean_gap` (m). The pair with the least gap and the smallest
    part comes first. The first `settled` groups come from an earlier merge: a pair of them is tried only after one has grown."""
    joining = _Joining(dict(enumerate(groups)), mean_gap)
    boxes = np.stack([group.box for group in groups])
    near = (boxes[:, None, 0] <= boxes[None, :, 1] + TOUCHING).all(axis=-1)
    for one, other in np.argwhere(np.triu(near & near.T, 1)):
        if other >= settled:
            joining.consider(int(one), int(other))
    while joining.heap:
        one, other, joined = joining.next_pair()
        if joined is None:
            continue
        if _keeps(joined, (joining.alive[one].part, joining.alive[other].part), bound):
            joining.join(one, other, joined)
        else:
            joining.hold_apart(one, other)
    return list(joining.alive.values())


class _Joining:
    """Numbered groups and a heap of the pairs that may be joined; a joined group gets a new number. A pair whose hull breaks the bound
    stays apart for ever: any larger hull contains the gap."""

    def __init__(self, alive: dict[int, Group], mean_gap: float) -> None:
        self.alive, self._mean_gap = alive, mean_gap
        self._near: dict[int, set[int]] = {index: set() for index in alive}
        self._apart: dict[int, set[int]] = {index: set() for index in alive}
        self.heap: list[tuple[float, int, int, Part | None]] = []

    def consider(self, one: int, other: int) -> None:
        """Makes two groups neighbours, and queues the pair unless the mean gap of their hull is too large."""
        self._near[one].add(other)
        self._near[other].add(one)
        corners = sum(self.alive[index].part.hull.num_vert() for index in (one, other))
        if corners > MANY_CORNERS:
            self._put(_estimated_gap(self.alive[one], self.alive[other]) / SLACK, one, other, None)
        else:
            self._put_joined(one, other)

    def next_pair(self) -> tuple[int, int, Part | None]:
        """The next pair and their joined hull; None for a pair that is gone, or queued again with its exact gap."""
        _, one, other, joined = heapq.heappop(self.heap)
        if one not in self.alive or other not in self.alive:
            return one, other, None
        if joined is None:
            self._put_joined(one, other)
        return one, other, joined

    def join(self, one: int, other: int, joined: Part) -> None:
        """Replaces two groups by their union, and considers the union with their neighbours."""
        new = len(self._near)
        around = (self._near[one] | self._near[other]) - {one, other}
        self.alive[new] = Group(joined, self.alive.pop(one).members + self.alive.pop(other).members)
        self._near[new], self._apart[new] = set(), set()
        for stranger in (self._apart[one] | self._apart[other]) & self.alive.keys():
            self.hold_apart(new, stranger)
        for neighbour in sorted((around - self._apart[new]) & self.alive.keys()):
            self.consider(new, neighbour)

    def hold_apart(self, one: int, other: int) -> None:
        """Marks two groups as never to be joined."""
        self._apart[one].add(other)
        self._apart[other].add(one)

    def _put_joined(self, one: int, other: int) -> None:
        joined = _joined(self.alive[one].part, self.alive[other].part)
        self._put(joined.mean_gap, one, other, joined)

    def _put(self, mean_gap: float, one: int, other: int, joined: Part | None) -> None:
        if mean_gap < self._mean_gap:
            smaller = min(self.alive[one].part.volume, self.alive[other].part.volume)
            heapq.heappush(self.heap, (mean_gap * smaller**0.5, one, other, joined))


def _estimated_gap(one: Group, other: Group) -> float:
    """Estimated mean gap (m) of the joined hull of two groups, from the hull of their outermost vertices."""
    rough = manifold3d.Manifold.hull_points(np.concatenate([one.outermost, other.outermost]))
    between = float(rough.volume()) - one.rough_volume - other.rough_volume
    return (one.part.void + other.part.void + between) / max(float(rough.surface_area()) / 2, 1e-18)


def _joined(one: Part, other: Part) -> Part:
    return Part(manifold3d.Manifold.batch_hull([one.hull, other.hull]), one.volume + other.volume)


def _keeps(joined: Part, inner: tuple[Part, ...], bound: GapBound) -> bool:
    """Whether a hull keeps the bound, given that the hulls in it do: only faces between vertices of several hulls are new."""
    vertices, faces = joined.surface.vertices, joined.surface.faces
    corners, first, second, third = rows(vertices), *faces.T
    old = np.zeros(len(faces), np.bool_)
    for part in inner:
        own = np.fromiter((corner in part.corners for corner in corners), np.bool_, len(corners))
        old |= own[first] & own[second] & own[third]
    return bound.keeps(vertices[faces[~old]], void=joined.void)


def dissolve_small(groups: list[Group], mean_gap: float, bound: GapBound) -> list[Group]:
    """Dissolves small merged groups, the smallest first, if every part fits under the hull of a neighbour. `merge` has tried single parts
    with every neighbour already."""
    alive = dict(enumerate(groups))
    for index in sorted(alive, key=lambda index: (len(alive[index].members), alive[index].part.volume)):
        if 1 < len(alive[index].members) <= SMALL:
            others = {other: group for other, group in alive.items() if other != index}
            grown = _hosts(alive[index].members, others, mean_gap, bound)
            alive = alive if grown is None else others | grown
    return list(alive.values())


def _hosts(parts: tuple[Part, ...], groups: dict[int, Group], mean_gap: float, bound: GapBound) -> dict[int, Group] | None:
    """The groups that take in the parts, grown by them; None if a part finds no host."""
    grown: dict[int, Group] = {}
    for part in parts:
        host = _host(part, groups | grown, mean_gap, bound)
        if host is None:
            return None
        grown[host[0]] = host[1]
    return grown


def _host(part: Part, groups: dict[int, Group], mean_gap: float, bound: GapBound) -> tuple[int, Group] | None:
    """The group whose hull grows least by taking in the part: its number, and the grown group."""
    low, high = box_of(part.hull)
    boxes = np.stack([group.box for group in groups.values()]) if groups else np.zeros((0, 2, 3))
    near = (low <= boxes[:, 1] + TOUCHING).all(axis=1) & (boxes[:, 0] <= high + TOUCHING).all(axis=1)
    offers = []
    for index in itertools.compress(groups, near):
        joined = _joined(groups[index].part, part)
        offers.append((float(joined.hull.volume() - groups[index].part.hull.volume()), index, joined))
    for _, index, joined in sorted(offers, key=lambda offer: offer[:2])[:ATTEMPTS]:
        if joined.mean_gap < mean_gap and _keeps(joined, (groups[index].part, part), bound):
            return index, Group(joined, (*groups[index].members, part))
    return None
