"""`graspgen doctor`: what is wrong with the machine or a dataset, and the repair of what is derived."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graspgen_cli.commands.command import Command
from graspgen_cli.console import Console
from graspgen_cli.errors import ExitCode
from graspgen_cli.settings.commands import DoctorCommand

if TYPE_CHECKING:
    from graspgen_cli.dataset.repair import Inspection
    from graspgen_cli.running.machine import Fact


def doctor(settings: DoctorCommand, console: Console) -> ExitCode:
    """Look at the dataset that is named, or else at the machine, and print what is wrong."""
    named = "grasp_dataset" in settings.dataset.model_fields_set
    facts = _machine() if settings.doctor.machine or not named else []
    found = _dataset(settings, console) if named else None
    if console.json:
        console.document(
            {"command": "doctor", "machine": _listed(facts), "dataset": found and _document(found, settings.dataset.grasp_dataset)}
        )
    else:
        if facts:
            _print_machine(facts, console)
        if found is not None:
            _print(found, settings, console)
    for fact in facts:
        if fact.problem:
            console.error(f"{fact.name}: {fact.problem}")
    well = not any(fact.problem for fact in facts) and not (found and found.findings)
    return ExitCode.OK if well else ExitCode.FAILED


def _machine() -> list[Fact]:
    from graspgen_cli.running.machine import machine_facts

    return machine_facts()


def _listed(facts: list[Fact]) -> list[dict[str, str | None]]:
    return [{"name": fact.name, "value": fact.value, "problem": fact.problem or None} for fact in facts]


def _print_machine(facts: list[Fact], console: Console) -> None:
    problems = sum(bool(fact.problem) for fact in facts)
    console.table(("", ""), [(fact.name, fact.value) for fact in facts], text=True)
    console.line()
    console.line(f"machine: {problems} problems" if problems else "machine: everything that is needed is there")


def _dataset(settings: DoctorCommand, console: Console) -> Inspection:
    from graspgen_cli.dataset.repair import inspect_dataset

    meshes = settings.objects.object_dataset if "object_dataset" in settings.objects.model_fields_set else None
    with console.progress(lines=False) as progress:
        return inspect_dataset(
            settings.dataset.grasp_dataset, meshes=meshes, repair=settings.doctor.repair, on_start=progress.start, on_file=progress.advance
        )


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
        console.note(f"--repair mends {found.repairable} of them: broken files move to {root / 'quarantine'}, maps are made anew")


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


COMMAND = Command(
    settings=DoctorCommand,
    run=doctor,
    argument="grasp_dataset",
    about=(
        "Without a dataset: the packages, the simulation, the optional parts, the cache and the GPU of this machine. With one: reads every "
        "file of every gripper in it, and compares the map and the splits with them; with --object-dataset also the meshes. Exit code 1 "
        "where anything is found. --repair makes anew what is derived from the grasp files and moves broken ones to quarantine/ in the "
        "dataset; nothing is deleted but temporary files of runs that were killed."
    ),
    examples=(
        "graspgen doctor",
        "graspgen doctor results",
        "graspgen doctor results --object-dataset objects --json",
        "graspgen doctor results --repair",
    ),
)
