"""Writes a list of different objects: the examples, each stretched along its axes by its own seeded factors.

    python benchmarks/varied_objects.py FOLDER [--count 64]

FOLDER then holds the meshes and object_scales.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import trimesh

from graspgen_cli.objects.scales import read_scales, resolve_object_paths
from graspgen_cli.settings.inputs import ObjectSettings

SETTINGS = ObjectSettings()
STRETCH = (0.8, 1.25)


def write_objects(folder: Path, count: int) -> Path:
    """Writes `count` meshes and their scales file, and returns the latter."""
    scales_file, root = resolve_object_paths(object_scales_json=SETTINGS.object_scales_json, object_dataset=SETTINGS.object_dataset)
    examples = read_scales(scales_file).entries
    folder.mkdir(parents=True, exist_ok=True)
    scales = {}
    for number in range(count):
        object_id, scale = examples[number % len(examples)]
        mesh = trimesh.load(root / object_id, force="mesh")
        if number >= len(examples):
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((number,))))
            mesh.apply_transform(np.diag([*generator.uniform(*STRETCH, size=3), 1.0]))
        name = f"{number:04d}_{Path(object_id).stem}.obj"
        mesh.export(folder / name, include_texture=False)
        scales[name] = scale
    path = folder / "object_scales.json"
    path.write_text(json.dumps(scales, indent=1))
    return path


def main() -> None:
    """Reads the flags and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=64)
    options = parser.parse_args()
    print(write_objects(options.folder, options.count))


if __name__ == "__main__":
    main()
