"""`graspgen doctor`: the faults of the machine or a dataset, and the repair of derived files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import DoctorCommand

if TYPE_CHECKING:
    from graspgen_cli.dataset.repair import Inspection
    from graspgen_cli.running.machine import Diagnosis, Fact


def _show(found: Diagnosis, settings: DoctorCommand, console: Console) -> ExitCode:
    facts, dataset = found.machine, found.dataset
    if console.json:
        console.document({"machine": _listed(facts), "dataset": dataset and _document(dataset, settings.dataset.grasp_dataset)})
    else:
        if facts:
            _print_machine(facts, console)
        if dataset is not None:
            _print(dataset, settings, console)
    for fact in facts:
        if fact.problem:
            console.error(f"{fact.name}: {fact.problem}")
    well = not any(fact.problem for fact in facts) and not (dataset and dataset.findings)
    return ExitCode.OK if well else ExitCode.FAILED


def _listed(facts: tuple[Fact, ...]) -> list[dict[str, str | None]]:
    return [{"name": fact.name, "value": fact.value, "problem": fact.problem or None} for fact in facts]


def _print_machine(facts: tuple[Fact, ...], console: Console) -> None:
    problems = sum(bool(fact.problem) for fact in facts)
    console.table(("", ""), [(fact.name, fact.value) for fact in facts], text=True)
    console.line()
    console.line(f"machine: {problems} problems" if problems else "machine: all requirements are met")


def _document(found: Inspection, root: Path) -> dict[str, object]:
    listed = [
        {"gripper": each.gripper, "path": str(each.path), "finding": str(each.kind), "detail": each.detail} for each in found.findings
    ]
    counts = {"path": str(root), "grippers": found.grippers, "files": found.files}
    return {**counts, "findings": listed, "repaired": found.repaired}


def _print(found: Inspection, settings: DoctorCommand, console: Console) -> None:
    root = settings.dataset.grasp_dataset
    for line in found.repaired:
        console.line(line)
    if found.findings:
        rows = [(_relative(each.path, root), str(each.kind), each.detail) for each in found.findings]
        console.table(("file", "finding", ""), rows, text=True)
        console.line()
    console.line(f"grasp files: {found.files}, grippers: {len(found.grippers)}, findings: {len(found.findings)}")
    if found.repairable and not settings.doctor.repair:
        console.note(f"--repair corrects {found.repairable} of them: broken files move to {root / 'quarantine'}, maps are rebuilt")


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


DOCTOR = Command(
    settings=DoctorCommand,
    call="graspgen_cli.running.machine:diagnose",
    show=_show,
    argument="grasp_dataset",
    lines=False,
    about=(
        "Without a dataset: the packages, the simulation, the optional parts, the cache and the GPU of this machine. With a dataset: reads "
        "every file of every gripper in it, and compares map and splits with the files; with --object-dataset also the meshes. Exit code 1 "
        "if there is a finding. --repair rebuilds files that derive from the grasp files and moves broken grasp files to quarantine/ in "
        "the dataset; only temporary files of killed runs are deleted."
    ),
    examples=(
        "graspgen doctor",
        "graspgen doctor results",
        "graspgen doctor results --object-dataset objects --json",
        "graspgen doctor results --repair",
    ),
)
