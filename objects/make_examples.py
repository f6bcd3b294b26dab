"""Make the example objects of this folder: ``python objects/make_examples.py [OUTPUT_DIR]``.

Every shape is described in millimetres and written in its file's own unit, which the scales file names in metres: an example at
scale 0.001 is a file in millimetres, one at 0.0254 a file in inches. The same script gives the same bytes each time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import trimesh
from manifold3d import CrossSection, FillRule, JoinType, Manifold, Mesh64
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bodies = dict[str, Manifold]

ROUND_SEGMENTS = 64
"""Sides of the large round bodies; a cup of 80 mm deviates 0.05 mm from a true circle."""


@dataclass(frozen=True)
class Example:
    """One object file: its name, the metres in one of its units, and the bodies (mm) that it holds."""

    file: str
    scale: float
    make: Callable[[], Bodies | trimesh.Trimesh]


# ---------------------------------------------------------------------------------------------------------------- ways to shape


def stroke(points: Sequence[tuple[float, float]], thickness: float, *, segments: int = 12) -> CrossSection:
    """The area within half of `thickness` of a polyline: a wall in profile, with rounded ends and joints."""
    dots = [CrossSection.circle(thickness / 2, segments).translate(point) for point in points]
    walls = [CrossSection.batch_hull([first, second]) for first, second in pairwise(dots)]
    return sum(walls[1:], start=walls[0]).simplify(1e-3)


def turned(profile: CrossSection | Sequence[tuple[float, float]], *, segments: int = ROUND_SEGMENTS) -> Manifold:
    """Solid of revolution about z of a profile given as (radius, height)."""
    area = profile if isinstance(profile, CrossSection) else CrossSection([profile], FillRule.NonZero)
    return area.revolve(segments)


def swept(path: Floats, half_size: Floats, *, sides: int, lobes: float = 0.0) -> Manifold:
    """Tube along a path in the x-z plane.

    path: (n, 2) x and z; half_size: (n, 2) half the section's size in the plane and across it (along y). `lobes` is the share of
    the size by which five ridges along the tube stand out.
    """
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    angle = np.arange(sides) * (2 * np.pi / sides)
    grow = 1 + lobes * np.cos(5 * angle)
    in_plane = path[:, None] + normal[:, None] * (half_size[:, :1] * np.cos(angle) * grow)[..., None]  # (n, sides, 2)
    across = half_size[:, 1:] * np.sin(angle) * grow  # (n, sides)
    rings = np.stack([in_plane[..., 0], across, in_plane[..., 1]], axis=-1).reshape(-1, 3)
    ends = np.array([[path[0, 0], 0, path[0, 1]], [path[-1, 0], 0, path[-1, 1]]])
    return solid(np.concatenate([rings, ends]), tube_faces(len(path), sides))


def tube_faces(rings: int, sides: int) -> NDArray[np.int64]:
    """Faces of a tube of vertex rings that is closed by a fan about one more vertex at each end: the last two vertices."""
    this = np.arange(sides)
    following = np.roll(this, -1)
    quads = np.arange(rings - 1)[:, None] * sides
    a, b, c, d = quads + this, quads + following, quads + sides + this, quads + sides + following
    side = np.stack([a, b, d, a, d, c], axis=-1).reshape(-1, 3)
    first, last, top = rings * sides, rings * sides + 1, (rings - 1) * sides
    bottom_fan = np.stack([np.full(sides, first), following, this], axis=1)
    top_fan = np.stack([np.full(sides, last), top + this, top + following], axis=1)
    return np.concatenate([side, bottom_fan, top_fan])


def solid(vertices: Floats, faces: NDArray[np.int64]) -> Manifold:
    """A closed mesh as a solid, with its faces turned outwards."""
    body = Manifold(Mesh64(vertices, faces.astype(np.uint64)))
    return body if body.volume() > 0 else Manifold(Mesh64(vertices, faces[:, ::-1].astype(np.uint64)))


def block(size: tuple[float, float, float], *, at: tuple[float, float, float] = (0, 0, 0)) -> Manifold:
    """Box with its centre at `at`."""
    return Manifold.cube(size, True).translate(at)


def arc(radius: float, degrees: Floats, *, center: tuple[float, float] = (0, 0)) -> list[tuple[float, float]]:
    """Points on a circle, from the angles in degrees."""
    angle = np.radians(degrees)
    return [(center[0] + radius * float(c), center[1] + radius * float(s)) for c, s in zip(np.cos(angle), np.sin(angle), strict=True)]


# ------------------------------------------------------------------------------------------------------------------ the examples


def mug() -> Bodies:
    """80 mm across, 95 mm high, a wall of 3 mm and a handle for three fingers."""
    corner = arc(6, np.linspace(-90, 0, 4), center=(32.5, 7.5))
    body = turned(stroke([(0, 1.5), *corner, (38.5, 35), (38.5, 64), (38.5, 93.5)], 3))
    angle = np.radians(np.linspace(90, -90, 23))
    path = np.stack([37.5 + 30 * np.abs(np.cos(angle)) ** 0.7, 50 + 30 * np.sin(angle)], axis=1)
    path = np.concatenate([path[:1] - [6, 0], path, path[-1:] - [6, 0]])
    handle = swept(path, np.full((len(path), 2), [4.0, 6.5]), sides=16)
    return {"mug": body + (handle - Manifold.cylinder(95, 38, circular_segments=ROUND_SEGMENTS))}


def bottle() -> Bodies:
    """A closed bottle, 66 mm across and 205 mm high, with a waist and a neck of 28 mm."""
    shoulder = [(float(14 + 19 * np.cos(t) ** 2), float(130 + 40 * t / (np.pi / 2))) for t in np.linspace(0, np.pi / 2, 9)]
    waist = [(float(33 - 4 * np.sin(np.pi * t) ** 2), float(35 + 60 * t)) for t in np.linspace(0, 1, 11)]
    foot = arc(5, np.linspace(-90, 0, 5), center=(28, 5))
    cap = [(14, 185), (16, 186), (16, 203.5), (14.5, 205), (0, 205)]
    return {"bottle": turned([(0, 3), (20, 3), (22, 0), *foot, *waist, *shoulder, *cap])}


def bowl() -> Bodies:
    """A bowl of 150 mm with a wall of 2.5 mm on a foot ring: its rim is the place to hold it."""
    wall = arc(73.75, np.linspace(-90, -8, 15), center=(0, 80))
    ring = CrossSection([[(24, 0), (28, 0), (28, 14), (24, 14)]], FillRule.NonZero)
    inside = CrossSection([[(0, 80), *arc(73.75, np.linspace(-90, 0, 40), center=(0, 80))]], FillRule.NonZero)
    return {"bowl": turned(stroke(wall, 2.5) + (ring - inside))}


def box() -> Bodies:
    """A carton of 40 x 60 x 120 mm: twelve triangles, sharp edges."""
    return {"box": block((40, 60, 120))}


def banana() -> Bodies:
    """A bent, tapering tube of about 190 mm with five ridges, 36 mm at its thickest, with a stem."""
    share = np.linspace(0, 1, 49)
    angle = np.radians(-125 + 80 * share)
    path = 135 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + [0, 135]
    flesh = 17 * np.sin(np.pi * np.clip(share / 0.93, 0.02, 0.98)) ** 0.5
    radius = np.maximum(flesh, 4.5 + 1.5 * (share > 0.97))
    return {"banana": swept(path, np.stack([radius, radius], axis=1), sides=32, lobes=0.05)}


def hammer() -> Bodies:
    """A steel head on a wooden handle of 280 mm: two bodies that run through one another, of two materials."""
    height = np.linspace(0, 280, 15)
    swell = 1 + 0.25 * np.cos(2 * np.pi * height / 280) - 0.12 * (height > 240)
    handle = swept(np.stack([np.zeros(15), height], axis=1), swell[:, None] * [[14.0, 10.0]], sides=24)
    face = Manifold.cylinder(22, 14, circular_segments=32).rotate((0, 90, 0)).translate((30, 0, 262))
    neck = Manifold.cylinder(20, 10, 9, circular_segments=32).rotate((0, 90, 0)).translate((13, 0, 262))
    cheek = block((34, 26, 28), at=(0, 0, 262))
    peen = Manifold.batch_hull([block((2, 24, 26), at=(-16, 0, 262)), block((2, 24, 4), at=(-60, 0, 258))])
    return {"handle": handle, "head": face + neck + cheek + peen}


def ring() -> Bodies:
    """A ring of 66 mm outside and 12 mm thick, which has no middle."""
    return {"ring": turned(CrossSection.circle(6, 24).translate((27, 0)))}


def caltrop() -> Bodies:
    """Four spikes of 48 mm on a ball: hardly two faces are parallel."""
    tilt = float(np.degrees(np.arccos(1 / np.sqrt(3))))  # from z to a corner of the cube; the spikes point to every other corner
    body = Manifold.sphere(9, 32)
    for polar, azimuth in ((tilt, 45), (tilt, 225), (180 - tilt, 135), (180 - tilt, 315)):
        body += Manifold.cylinder(48, 8.5, 0.8, 32).rotate((0, polar, azimuth))
    return {"caltrop": body}


def plate() -> Bodies:
    """A dinner plate of 220 mm, 4 mm thick, with a raised rim and a foot ring."""
    profile = stroke([(0, 5), (70, 5), (80, 9), (90, 16), (99, 19.5), (108, 21)], 4)
    ring = CrossSection([[(60, 0), (64, 0), (66, 5), (58, 5)]], FillRule.NonZero)
    return {"plate": turned(profile + ring, segments=72)}


def stack() -> Bodies:
    """Two slabs of 72 mm with a gap of 34 mm, joined by a post of 18 mm: fingers fit between, around and inside."""
    slabs = block((72, 72, 12), at=(0, 0, 6)) + block((56, 56, 12), at=(0, 0, 52))
    return {"stack": slabs + Manifold.cylinder(40, 9, circular_segments=32).translate((0, 0, 8))}


def spanner() -> Bodies:
    """A combination spanner of 165 mm, 7 mm thick: an open jaw of 17 mm at one end, a hexagon ring at the other."""
    jaw = CrossSection.circle(18, 48) - CrossSection.square((30, 17), True).translate((14, 0))
    jaw = jaw.offset(-0.5, JoinType.Round).offset(0.5, JoinType.Round, 2.0, 8).rotate(165)
    end = CrossSection.circle(14, 48).translate((134, 0))
    shank = CrossSection.square((112, 13), True).translate((70, 0)) - CrossSection.circle(17, 48)
    flat = (jaw + shank + end - CrossSection.circle(17 / np.sqrt(3), 6).translate((134, 0))).simplify(1e-2)
    pocket = CrossSection.square((80, 6), True).translate((70, 0)).extrude(2)
    return {"spanner": flat.extrude(7) - pocket.translate((0, 0, 6)) - pocket.translate((0, 0, -1))}


def spray_can() -> Bodies:
    """A can of 66 mm with a smaller cap: two bodies on one axis, each under its own node of the scene."""
    dome = arc(33, np.linspace(20, 60, 7), center=(0, 160))
    can = turned([(0, 6), (20, 3), (28, 0), (31, 0), (32.5, 2), (32.5, 168), (33.5, 169.5), *dome, (0, 160 + 33 * np.sin(np.pi / 3))])
    cap = turned([(0, 0), (19, 0), (19, 26), (18, 28), (10, 30), (0, 30)])
    return {"can": can, "cap": cap.translate((0, 0, 184))}


def pear() -> Bodies:
    """A smooth, double-curved fruit of 95 mm, 67 mm at its thickest; the file's unit is the fruit's height."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 40)
    radius = 36 * np.cos(angle) * (0.7 - 0.3 * np.tanh(3 * (np.sin(angle) - 0.2)))
    radius[[0, -1]] = 0
    return {"pear": turned([(float(r), float(47.5 + 47.5 * np.sin(a))) for r, a in zip(radius, angle, strict=True)], segments=48)}


# ------------------------------------------------------------------------------------------------------------- the hard examples


def large_sphere() -> Bodies:
    """150 mm: wider than either gripper opens, from every side."""
    return {"large_sphere": Manifold.sphere(75, 48)}


def sheet() -> Bodies:
    """Sheet metal of 0.5 mm: thinner than any fingertip."""
    return {"sheet": block((120, 80, 0.5))}


def tiny_sphere() -> Bodies:
    """4 mm: smaller than a fingertip, small enough to vanish inside the gripper."""
    return {"tiny_sphere": Manifold.sphere(2, 24)}


def open_box() -> trimesh.Trimesh:
    """A carton of 50 x 70 x 60 mm without its lid and without a wall thickness."""
    carton = trimesh.creation.box((50, 70, 60))
    carton.update_faces(carton.face_normals[:, 2] < 0.5)
    return carton


def torn_ball() -> trimesh.Trimesh:
    """A ball of 60 mm as a bad scan gives it: holes, faces turned inwards, faces twice, and no vertex shared."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=30)
    index = np.arange(len(ball.faces))
    faces = ball.faces.copy()
    faces[index % 7 == 3] = faces[index % 7 == 3][:, ::-1]
    faces = np.concatenate([faces[index % 97 != 5], faces[index % 61 == 8]])
    return trimesh.Trimesh(ball.vertices[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3), process=False)


EXAMPLES = (
    Example("mug.obj", 0.001, mug),
    Example("bottle.obj", 1.0, bottle),
    Example("bowl.obj", 1.0, bowl),
    Example("box.stl", 0.001, box),
    Example("banana.obj", 0.01, banana),
    Example("hammer.obj", 0.0254, hammer),
    Example("ring.ply", 1.0, ring),
    Example("caltrop.off", 0.001, caltrop),
    Example("plate.obj", 0.001, plate),
    Example("stack.obj", 1.0, stack),
    Example("spanner.stl", 0.001, spanner),
    Example("spray_can.glb", 1.0, spray_can),
    Example("pear.obj", 0.095, pear),
)

HARD_EXAMPLES = (
    Example("hard/large_sphere.obj", 0.001, large_sphere),
    Example("hard/sheet.obj", 1.0, sheet),
    Example("hard/tiny_sphere.stl", 0.001, tiny_sphere),
    Example("hard/open_box.obj", 0.001, open_box),
    Example("hard/torn_ball.ply", 0.001, torn_ball),
)


# ----------------------------------------------------------------------------------------------------------------------- writing


def meshes_of(example: Example) -> dict[str, trimesh.Trimesh]:
    """The example's bodies in the file's unit, rounded to 0.1 µm so that text files stay short."""
    made = example.make()
    bodies = {"surface": (made.vertices, made.faces)} if isinstance(made, trimesh.Trimesh) else {n: arrays(b) for n, b in made.items()}
    unit = example.scale * 1000  # mm
    return {n: trimesh.Trimesh((np.round(v, 4) + 0.0) / unit, f, process=False) for n, (v, f) in bodies.items()}


def arrays(body: Manifold) -> tuple[Floats, NDArray[np.int64]]:
    """Vertices (V, 3) and faces (F, 3) of a solid, without slivers under 1 µm."""
    mesh = body.simplify(1e-3).to_mesh64()
    return np.asarray(mesh.vert_properties[:, :3], float), np.asarray(mesh.tri_verts, np.int64)


def obj_text(meshes: dict[str, trimesh.Trimesh], *, materials: str) -> str:
    """The meshes as one OBJ, a group each; `materials` names the material file, empty for none."""
    lines = [f"mtllib {materials}"] if materials else []
    first = 1
    for name, mesh in meshes.items():
        lines += [f"g {name}", *([f"usemtl {name}"] if materials else [])]
        lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices]
        lines += [f"f {a} {b} {c}" for a, b, c in mesh.faces + first]
        first += len(mesh.vertices)
    return "\n".join(lines) + "\n"


def mtl_text(names: Sequence[str]) -> str:
    """A material of another grey for each name."""
    shades = np.linspace(0.4, 0.8, len(names))
    return "".join(f"newmtl {name}\nKd {shade:.2f} {shade:.2f} {shade:.2f}\n" for name, shade in zip(names, shades, strict=True))


def scene_of(meshes: dict[str, trimesh.Trimesh]) -> trimesh.Scene:
    """Each mesh about its own lowest point, put into place by its node: a reader that forgets the nodes piles them up."""
    scene = trimesh.Scene()
    for name, mesh in meshes.items():
        place = np.eye(4)
        place[2, 3] = mesh.bounds[0, 2]
        mesh.apply_translation(-place[:3, 3])
        scene.add_geometry(mesh, node_name=name, geom_name=name, transform=place)
    return scene


def write_example(example: Example, folder: Path) -> None:
    """Write the example's file, and its materials where it has several bodies."""
    path = folder / example.file
    path.parent.mkdir(parents=True, exist_ok=True)
    meshes = meshes_of(example)
    if path.suffix == ".glb":
        path.write_bytes(scene_of(meshes).export(file_type="glb"))
    elif path.suffix == ".obj":
        materials = path.with_suffix(".mtl") if len(meshes) > 1 else None
        path.write_text(obj_text(meshes, materials=materials.name if materials else ""), encoding="utf-8", newline="\n")
        if materials:
            materials.write_text(mtl_text(list(meshes)), encoding="utf-8", newline="\n")
    else:
        (mesh,) = meshes.values()
        mesh.export(path)


def write_scales(examples: Sequence[Example], path: Path) -> None:
    """Write the scales file of some examples."""
    path.write_text(json.dumps({e.file: e.scale for e in examples}, indent=2) + "\n", encoding="utf-8", newline="\n")


def make_all(folder: Path) -> None:
    """Write every example and both scales files."""
    for example in EXAMPLES + HARD_EXAMPLES:
        write_example(example, folder)
    write_scales(EXAMPLES, folder / "graspgen_example.json")
    write_scales(HARD_EXAMPLES, folder / "hard_example.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the example objects.")
    parser.add_argument("output_dir", nargs="?", type=Path, default=Path(__file__).parent, help="default: the folder of this script")
    make_all(parser.parse_args().output_dir)
