"""Mends a dataset without losing anything: broken files move aside, what is derived is made anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from graspgen_cli.dataset.index import DatasetIndex, GraspEntry, grasp_stamps, load_index, write_index
from graspgen_cli.dataset.inspect import BROKEN, Finding, Kind
from graspgen_cli.dataset.object_map import listed_entries, object_map, write_object_map
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import OutputError


def quarantine_broken(paths: DatasetPaths, findings: Iterable[Finding]) -> list[str]:
    """Moves the grasp files that cannot be used to `quarantine/<gripper>/`; returns what was done, a line each. Raises OutputError."""
    broken = sorted({finding.path for finding in findings if finding.kind in BROKEN and finding.gripper == paths.gripper})
    return [_quarantined(paths, path) for path in broken]


def rebuild_derived(paths: DatasetPaths, entries: Mapping[str, GraspEntry]) -> list[str]:
    """Writes the map and the index from the entries of the usable files, by name; a map that has nothing to list moves aside. Returns
    what was done. Raises OutputError."""
    present = [name for name in grasp_stamps(paths) if name in entries]
    done = []
    if write_object_map(paths, object_map(DatasetIndex(entries), listed_entries(paths), present=present)):
        done.append(f"made {paths.object_map} anew")
    elif not present and paths.object_map.exists():
        done.append(_quarantined(paths, paths.object_map))
    write_index(paths, DatasetIndex(entries, load_index(paths).meshes))
    return done


def remove_temporary(findings: Iterable[Finding]) -> list[str]:
    """Removes the temporary files among the findings; returns what was done. Raises OutputError."""
    leftovers = [finding.path for finding in findings if finding.kind is Kind.TEMPORARY]
    for path in leftovers:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed ({error.strerror}); check the permissions") from error
    return [f"removed {path}" for path in leftovers]


def _quarantined(paths: DatasetPaths, path: Path) -> str:
    """Moves a file into quarantine and says so."""
    try:
        return f"moved {path} to {_move_aside(path, paths.quarantine)}"
    except OSError as error:
        raise OutputError(f"{path}: cannot be moved to {paths.quarantine} ({error.strerror}); check the permissions") from error


def _move_aside(path: Path, folder: Path) -> Path:
    """Moves a file, whatever it is, into the folder under a name that is free there."""
    folder.mkdir(parents=True, exist_ok=True)
    is_folder = path.is_dir() and not path.is_symlink()
    number = 0
    while True:
        target = folder / (f"{path.name}.{number}" if number else path.name)
        try:
            # The name is taken first, by something empty, for a rename would replace whatever has it.
            target.mkdir() if is_folder else target.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        path.replace(target)
        return target
