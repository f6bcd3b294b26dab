"""Candidates for grasps: surface points, closing directions and approach directions, drawn many at a time."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graspgen_cli.geometry.collision import ObjectShape
from graspgen_cli.geometry.poses import rounded
from graspgen_cli.records import Floats, Gripper, TriangleMesh
from graspgen_cli.settings.guesses import GuessSettings, Sampler

ANTIPODAL_HALF_ANGLE = math.atan(0.5)
"""rad: half-angle of the friction cones in which the closing direction lies at both contacts, for a friction coefficient of 0.5: the least
of dry rubber on a smooth surface. The simulation has its own coefficient."""
MOST_HITS = 16
"""Surface crossings followed along a closing line. Further crossings would only affect the centring."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """M candidate grasps before placing.

    contact: (M, 3) m, the surface point for finger 0, in the object's frame.
    closing: (M, 3) unit closing direction, from finger 0 to finger 1, in the object's frame.
    rotation_gripper_in_object: (M, 3, 3).
    crossings: (M, H) m, ascending: depths below the contact at which the closing line crosses the surface; inf after the last.
    """

    contact: Floats
    closing: Floats
    rotation_gripper_in_object: Floats
    crossings: Floats

    def __len__(self) -> int:
        return len(self.contact)

    def __getitem__(self, index: NDArray[np.bool_]) -> Proposals:
        return Proposals(self.contact[index], self.closing[index], self.rotation_gripper_in_object[index], self.crossings[index])


def seeded_generator(seed: int, content: bytes, *numbers: int) -> np.random.Generator:
    """A random generator that depends on the seed, the content, such as an object's id, and the numbers only."""
    digest = hashlib.sha256(content).digest()
    words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4))
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(*words, *numbers))))


def surface_points(mesh: TriangleMesh, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """`count` points (N, 3) spread evenly over the mesh's area, and the outward unit normals (N, 3) of their triangles."""
    corner = mesh.vertices[mesh.faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    length = np.linalg.norm(normal, axis=1)
    upto = np.cumsum(length)
    face = np.minimum(np.searchsorted(upto, rng.random(count) * upto[-1], side="right"), len(upto) - 1)
    # Square root of the first coordinate: uniform over a triangle (Osada et al. 2002, section 4.1).
    root, along = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    chosen = corner[face]
    point = (1 - root) * chosen[:, 0] + root * (1 - along) * chosen[:, 1] + root * along * chosen[:, 2]
    return point, normal[face] / length[face, None]


def perpendicular_frame(axis: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors (N, 3) each, perpendicular to unit `axis` (N, 3) and to one another. The first is nearest to the coordinate axis
    that `axis` is farthest from, so that quarter turns from it align with the object's axes."""
    lean = np.eye(3)[np.argmin(np.abs(axis), axis=1)]
    first = lean - np.einsum("ij,ij->i", lean, axis)[:, None] * axis
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(axis, first)


def _turns(count: int, settings: GuessSettings, rng: np.random.Generator) -> Floats:
    """(N,) rad, angles about the closing direction: a share of them random, the others quarter turns; evenly spread copies at each
    point."""
    points = -(-count // settings.num_orientations)
    free = rng.random(points) < settings.percent_random_guess_angle
    turn = rng.random(points)
    angle = np.where(free, turn * 2 * np.pi, np.floor(turn * 4) * (np.pi / 2))
    copies = np.arange(settings.num_orientations) * (2 * np.pi / settings.num_orientations)
    return np.asarray((angle[:, None] + copies).reshape(-1)[:count])


def rotations(gripper: Gripper, closing: Floats, angle: Floats) -> Floats:
    """(N, 3, 3) rotations of the gripper in the object: its closing axis along `closing` (N, 3), its approach axis turned by `angle` (N,)
    rad about `closing`. Rounded as in the files."""
    first, second = perpendicular_frame(closing)
    approach = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    in_object = np.stack([closing, approach, np.cross(closing, approach)], axis=2)
    base_closing, base_approach = gripper.closing_axis_in_base, gripper.approach_axis_in_base
    in_base = np.stack([base_closing, base_approach, np.cross(base_closing, base_approach)], axis=1)
    return rounded(in_object @ in_base.T)


def _in_cone(axis: Floats, half_angle: float, rng: np.random.Generator) -> Floats:
    """Unit vectors (N, 3), uniform over the cap of `half_angle` rad about each axis (N, 3)."""
    cosine = 1 - rng.random(len(axis)) * (1 - math.cos(half_angle))
    sine, turn = np.sqrt(1 - cosine**2), rng.random(len(axis)) * 2 * np.pi
    first, second = perpendicular_frame(axis)
    return cosine[:, None] * axis + sine[:, None] * (np.cos(turn)[:, None] * first + np.sin(turn)[:, None] * second)


def line_crossings(shape: ObjectShape, start: Floats, direction: Floats, reach: float) -> Floats:
    """(N, H) m, ascending: depths at which lines from surface points (N, 3) along unit directions (N, 3) cross the surface again within
    `reach` m; inf after the last."""
    step = 1e-5 * float(np.max(shape.high - shape.low))
    depth = np.full((len(start), MOST_HITS), np.inf)
    position = np.full(len(start), step)
    alive = np.arange(len(start))
    for hit in range(MOST_HITS):
        distance, _ = shape.rays.first_hit(start[alive] + position[alive, None] * direction[alive], direction[alive])
        reached = position[alive] + distance
        keep = reached < reach
        alive = alive[keep]
        if len(alive) == 0:
            return depth[:, : hit + 1]
        depth[alive, hit] = reached[keep]
        position[alive] = reached[keep] + step
    return depth


def propose(shape: ObjectShape, gripper: Gripper, settings: GuessSettings, count: int, rng: np.random.Generator) -> Proposals:
    """`count` candidates of the settings' sampler; fewer from the antipodal sampler, which drops pairs of contacts outside the cones."""
    points = -(-count // settings.num_orientations)
    contact, normal = surface_points(shape.outer, points, rng)
    half_angle = 0.0 if settings.sampler is Sampler.FINGER_PADS else ANTIPODAL_HALF_ANGLE
    closing = _in_cone(-normal, half_angle, rng) if half_angle else -normal
    repeat = np.repeat(np.arange(points), settings.num_orientations)[:count]
    rotation = rotations(gripper, closing[repeat], _turns(count, settings, rng))
    crossings = line_crossings(shape, contact, closing, gripper.width)
    proposals = Proposals(contact[repeat], closing[repeat], rotation, crossings[repeat])
    if settings.sampler is not Sampler.ANTIPODAL:
        return proposals
    return proposals[_second_contact_in_cone(shape, proposals)]


def _second_contact_in_cone(shape: ObjectShape, proposals: Proposals) -> NDArray[np.bool_]:
    """(M,) whether the closing direction lies in the friction cone at the second contact (Chen and Burdick 1993)."""
    start = proposals.contact + 1e-5 * float(np.max(shape.high - shape.low)) * proposals.closing
    _, face = shape.rays.first_hit(start, proposals.closing)
    corner = shape.mesh.vertices[shape.mesh.faces[face]]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    cosine = np.einsum("ij,ij->i", normal, proposals.closing) / np.linalg.norm(normal, axis=1)
    return (face >= 0) & (cosine >= math.cos(ANTIPODAL_HALF_ANGLE))
