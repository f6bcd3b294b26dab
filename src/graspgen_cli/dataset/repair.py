"""Inspects a dataset, and repairs it without loss: broken files move aside, derived files are made again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.dataset.health import (
    UNUSABLE,
    Finding,
    FindingKind,
    ObjectFile,
    check_file,
    check_folders,
    check_map,
    check_splits,
    duplicate_findings,
)
from graspgen_cli.dataset.index import DatasetIndex, GraspEntry, grasp_stamps, load_index, write_index
from graspgen_cli.dataset.locks import owned
from graspgen_cli.dataset.object_map import listed_entries, object_map, write_object_map
from graspgen_cli.dataset.paths import DatasetPaths, gripper_names
from graspgen_cli.errors import InputError, OutputError

REPAIRABLE = UNUSABLE | {
    FindingKind.SHARED_FILE,
    FindingKind.MAP_BROKEN,
    FindingKind.MAP_DANGLING,
    FindingKind.MAP_LACKS,
    FindingKind.MAP_WRONG,
    FindingKind.TEMPORARY,
}
"""What `--repair` corrects."""


@dataclass(frozen=True)
class Inspection:
    """findings: those that are left after a repair. repaired: the changes, a line each."""

    grippers: tuple[str, ...]
    files: int
    findings: tuple[Finding, ...]
    repaired: tuple[str, ...]

    @property
    def repairable(self) -> int:
        """Number of findings that `--repair` corrects."""
        return sum(finding.kind in REPAIRABLE for finding in self.findings)


def inspect_dataset(
    root: Path, *, meshes: Path | None, repair: bool, on_start: Callable[[int], None], on_file: Callable[[str], None]
) -> Inspection:
    """Reads every file of every gripper, whatever the index says. meshes: folder, to compare the meshes as well.

    on_start gets the number of grasp files, on_file the name of each. Raises InputError if there is no dataset or, with `repair`, a run is
    active in it; OutputError if a repair cannot be written.
    """
    grippers = gripper_names(root, "grasp_data", "splits")
    if not grippers:
        advice = "name the folder that --grasp-dataset named"
        raise InputError("no dataset, it has no folder grasp_data/<gripper>", path=root, advice=advice)
    all_paths = [DatasetPaths(root, gripper) for gripper in grippers]
    files = sum(len(grasp_stamps(paths)) for paths in all_paths)
    on_start(files)
    findings, repaired = list(check_folders(root, grippers)), list[str]()
    if repair:
        repaired += _remove_temporary(findings)
        findings = [finding for finding in findings if finding.kind not in REPAIRABLE]
    for paths in all_paths:
        # A run has other settings than these, so neither works while the other does.
        with owned(paths, {"command": "doctor --repair"}) if repair else contextlib.nullcontext():
            entries, found = _check_files(paths, meshes=meshes, on_file=on_file)
            if repair:
                repaired += [*_quarantine_broken(paths, found), *_rebuild_derived(paths, entries)]
                found = [finding for finding in found if finding.kind not in REPAIRABLE]
            findings += [*found, *_check_lists(paths, entries)]
    return Inspection(tuple(grippers), files, tuple(findings), tuple(repaired))


def _check_files(
    paths: DatasetPaths, *, meshes: Path | None, on_file: Callable[[str], None]
) -> tuple[dict[str, GraspEntry], list[Finding]]:
    """The index entries of the usable files by name, and the findings in all files."""
    entries, findings = {}, list[Finding]()
    for name, stamp in grasp_stamps(paths).items():
        entry, found = check_file(paths, name, stamp, meshes=meshes)
        findings += found
        if entry is not None:
            entries[name] = entry
        on_file(name)
    return entries, findings


def _check_lists(paths: DatasetPaths, entries: Mapping[str, GraspEntry]) -> list[Finding]:
    files = [ObjectFile(paths.gripper, entry.object_id, entry.scale, paths.grasps / name) for name, entry in entries.items()]
    known = sorted(object_map(DatasetIndex(entries), listed_entries(paths), present=entries))
    return [*duplicate_findings(files), *check_map(paths, entries), *check_splits(paths, known)[1]]


def _quarantine_broken(paths: DatasetPaths, findings: Iterable[Finding]) -> list[str]:
    """Moves the unusable grasp files to `quarantine/<gripper>/`; returns a line for each. Raises OutputError."""
    return [_quarantined(paths, path) for path in sorted({finding.path for finding in findings if finding.kind in UNUSABLE})]


def _rebuild_derived(paths: DatasetPaths, entries: Mapping[str, GraspEntry]) -> list[str]:
    """Writes map and index from the usable files; a map without any file moves aside. Raises OutputError."""
    present = [name for name in grasp_stamps(paths) if name in entries]
    done = []
    if write_object_map(paths, object_map(DatasetIndex(entries), listed_entries(paths), present=present)):
        done.append(f"made {paths.object_map} anew")
    elif not present and paths.object_map.exists():
        done.append(_quarantined(paths, paths.object_map))
    write_index(paths, DatasetIndex(entries, load_index(paths).meshes))
    return done


def _remove_temporary(findings: Iterable[Finding]) -> list[str]:
    leftovers = [finding.path for finding in findings if finding.kind is FindingKind.TEMPORARY]
    for path in leftovers:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot be removed ({error.strerror})", path=path, advice="check the permissions") from error
    return [f"removed {path}" for path in leftovers]


def _quarantined(paths: DatasetPaths, path: Path) -> str:
    try:
        return f"moved {path} to {_move_aside(path, paths.quarantine)}"
    except OSError as error:
        raise OutputError(f"cannot be moved to {paths.quarantine} ({error.strerror})", path=path, advice="check the permissions") from error


def _move_aside(path: Path, folder: Path) -> Path:
    """Moves a file or folder into `folder`, under a free name."""
    folder.mkdir(parents=True, exist_ok=True)
    is_folder = path.is_dir() and not path.is_symlink()
    number = 0
    while True:
        target = folder / (f"{path.name}.{number}" if number else path.name)
        try:
            # An empty file or folder takes the name first, since a rename replaces any file of that name.
            target.mkdir() if is_folder else target.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        path.replace(target)
        return target
