"""What `doctor` does with a dataset: all its grippers looked at and, if asked, mended, with no run at work there meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from graspgen_cli.dataset.index import GraspEntry, grasp_stamps
from graspgen_cli.dataset.inspect import (
    BROKEN,
    FileResult,
    Finding,
    Kind,
    grippers_of,
    inspect_files,
    inspect_folders,
    inspect_lists,
)
from graspgen_cli.dataset.locks import owned
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.repair import quarantine_broken, rebuild_derived, remove_temporary

MENDABLE = (*BROKEN, Kind.SHARED_FILE, Kind.MAP_BROKEN, Kind.MAP_DANGLING, Kind.MAP_LACKS, Kind.MAP_WRONG, Kind.TEMPORARY)
"""What `--repair` can do something about."""


@dataclass(frozen=True)
class Inspection:
    """What was found. findings: what is wrong still, after the repair if there was one. repaired: what was done, a line each."""

    grippers: tuple[str, ...]
    files: int
    findings: tuple[Finding, ...]
    repaired: tuple[str, ...]

    @property
    def mendable(self) -> int:
        """Number of findings that `--repair` would mend."""
        return sum(finding.kind in MENDABLE for finding in self.findings)


def inspect_dataset(
    root: Path,
    *,
    meshes: Path | None,
    repair: bool,
    on_start: Callable[[int], None],
    on_file: Callable[[str, FileResult], None],
) -> Inspection:
    """Reads the whole dataset. meshes: folder of the mesh files, where these are to be compared as well.

    on_start is told how many grasp files there are, on_file of each by name. Raises InputError where there is no dataset or, with
    `repair`, a run is at work in it; OutputError where a repair cannot be written.
    """
    grippers = grippers_of(root)
    all_paths = [DatasetPaths(root, gripper) for gripper in grippers]
    files = sum(len(grasp_stamps(paths)) for paths in all_paths)
    on_start(files)
    findings, repaired = inspect_folders(root, grippers), list[str]()
    if repair:
        repaired += remove_temporary(findings)
        findings = [finding for finding in findings if finding.kind not in MENDABLE]
    for paths in all_paths:
        with _to_itself(paths) if repair else contextlib.nullcontext():
            found, done = _inspect_gripper(paths, meshes=meshes, repair=repair, on_file=on_file)
        findings += found
        repaired += done
    return Inspection(tuple(grippers), files, tuple(findings), tuple(repaired))


@contextlib.contextmanager
def _to_itself(paths: DatasetPaths) -> Iterator[None]:
    """No run of other settings is at work, and every run has other settings than this."""
    with owned(paths, {"command": "doctor --repair"}):
        yield


def _inspect_gripper(
    paths: DatasetPaths, *, meshes: Path | None, repair: bool, on_file: Callable[[str, FileResult], None]
) -> tuple[list[Finding], list[str]]:
    findings: list[Finding] = []

    def note(name: str, result: FileResult) -> None:
        findings.extend(result.findings)
        on_file(name, result)

    entries: dict[str, GraspEntry] = inspect_files(paths, meshes=meshes, on_file=note)
    done: list[str] = []
    if repair:
        done = [*quarantine_broken(paths, findings), *rebuild_derived(paths, entries)]
        findings = [finding for finding in findings if finding.kind not in MENDABLE]
    return [*findings, *inspect_lists(paths, entries)], done
