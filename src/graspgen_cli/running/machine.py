"""Facts about this machine: cores, memory, packages, GPUs. `doctor` needs them where a package is missing, so nothing is imported here
but the standard library and `packaging`."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from graspgen_cli import __version__
from graspgen_cli.errors import DISTRIBUTION, install_command

if TYPE_CHECKING:
    from graspgen_cli.dataset.repair import Inspection
    from graspgen_cli.settings.commands import DoctorCommand

CONTROL_GROUPS = Path("/sys/fs/cgroup")
"""Where Linux keeps the limits of a container."""
TIMEOUT = 120.0
"""s for a command that asks for a fact."""
_IMPORTS = """
import importlib, sys
for name in sys.argv[1:]:
    print(name, end="\\t", flush=True)
    try:
        importlib.import_module(name)
        print("", flush=True)
    except BaseException as error:
        print(type(error).__name__ + ": " + " ".join(str(error).split()), flush=True)
"""
_SIMULATION = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_step(model, data)
"""


@dataclass(frozen=True)
class Fact:
    """A fact about the machine. problem: what to do about a fault; empty without one."""

    name: str
    value: str
    problem: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found. machine: the facts, empty if they were not asked for. dataset: None if no dataset was named."""

    machine: tuple[Fact, ...]
    dataset: Inspection | None


def diagnose(settings: DoctorCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Diagnosis:
    """Checks the dataset that was given, or the machine without one. Raises as `inspect_dataset` does."""
    if "grasp_dataset" not in settings.dataset.model_fields_set:
        return Diagnosis(tuple(machine_facts()), None)
    from graspgen_cli.dataset.repair import inspect_dataset

    facts = tuple(machine_facts()) if settings.doctor.machine else ()
    meshes = settings.objects.object_dataset if "object_dataset" in settings.objects.model_fields_set else None
    root, repair = settings.dataset.grasp_dataset, settings.doctor.repair
    return Diagnosis(facts, inspect_dataset(root, meshes=meshes, repair=repair, on_start=on_start, on_file=on_object))


def machine_facts() -> list[Fact]:
    """All facts. Takes some seconds, since a new process imports every package: an import that does not fit the processor kills its
    process."""
    return [
        Fact("graspgen", __version__),
        Fact("Python", f"{platform.python_version()} ({sys.executable})"),
        Fact("system", platform.platform()),
        Fact("cores", str(usable_cores())),
        _memory(),
        *_packages(),
        *([Fact("mujoco", installed_version("mujoco") or "", problem)] if (problem := mujoco_conflict()) else []),
        _simulation(),
        *_extras(),
        _cache(),
        _gpu(),
    ]


def usable_cores() -> int:
    """Cores that this process may use: the lowest of the limits by affinity, container and Slurm job, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(affinity, container_cores(CONTROL_GROUPS), slurm_cores(os.environ))))


def slurm_cores(environment: Mapping[str, str]) -> float:
    """Cores of this Slurm task, or of its job on this node if the tasks have no number of their own; infinite outside Slurm.

    On a cluster that does not bind tasks to cores (TaskPlugin=task/none), only the environment shows this limit.
    """
    given = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE", "")
    return int(given) if given.isdecimal() else math.inf


def container_cores(root: Path) -> float:
    """Cores that the control groups under `root` allow: processor time per second; infinite without a limit."""
    try:
        if (version_2 := root / "cpu.max").exists():
            quota, period = version_2.read_text().split()
        else:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return math.inf


def _memory() -> Fact:
    """Memory of the machine or of the container, whichever is less."""
    sizes = []
    try:
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        sizes.append(int((CONTROL_GROUPS / "memory.max").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        pass
    return Fact("memory", f"{min(sizes) / 2**30:.1f} GiB" if sizes else "unknown")


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or []]
    except importlib.metadata.PackageNotFoundError:
        return []


def _packages() -> Iterator[Fact]:
    required = [requirement for requirement in _requirements() if requirement.marker is None or requirement.marker.evaluate({"extra": ""})]
    if not required:
        yield Fact("package", "not installed", "run `pip install .` in its source folder")
    modules = _modules(requirement.name for requirement in required)
    problems = _import_problems({name for names in modules.values() for name in names})
    for requirement in sorted(required, key=lambda requirement: requirement.name):
        version = installed_version(requirement.name)
        broken = "; ".join(problems[name] for name in modules[requirement.name] if problems.get(name))
        wanted = f"run `pip install '{requirement.name}{requirement.specifier}'`"
        if version is None:
            yield Fact(requirement.name, "missing", wanted)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Fact(requirement.name, version, wanted)
        else:
            yield Fact(requirement.name, version, f"cannot be imported ({broken}); install it again" if broken else "")


def mujoco_conflict() -> str:
    """What to do about a release of the package mujoco that overwrites files of mujoco-core; empty where none is installed."""
    version = installed_version("mujoco")
    allowed = next((requirement.specifier for requirement in _requirements() if requirement.name == "mujoco-core"), None)
    if version is None or allowed is None or allowed.contains(version, prereleases=True):
        return ""
    cure = f"pip uninstall --yes mujoco mujoco-core && pip install 'mujoco-core{allowed}'"
    return f"mujoco {version} overwrites files of mujoco-core; run `{cure}`"


def installed_version(distribution: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _modules(distributions: Iterable[str]) -> dict[str, list[str]]:
    """Distribution -> its public top-level modules."""
    wanted = {_plain(name): name for name in distributions}
    modules: dict[str, list[str]] = {name: [] for name in wanted.values()}
    for module, owners in importlib.metadata.packages_distributions().items():
        for owner in owners:
            if _plain(owner) in wanted and module.isidentifier() and not module.startswith("_"):
                modules[wanted[_plain(owner)]].append(module)
    return modules


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _import_problems(modules: Iterable[str]) -> dict[str, str]:
    """Module -> why its import fails; empty if the import succeeds."""
    done = _ask([sys.executable, "-c", _IMPORTS, *sorted(modules)])
    if done is None:
        return {}
    rows = [line.partition("\t") for line in done.stdout.splitlines() if "\t" in line]
    problems = {name: problem for name, _, problem in rows}
    if done.returncode and rows:
        problems[rows[-1][0]] = f"it ends Python with code {done.returncode}"
    return problems


def _simulation() -> Fact:
    done = _ask([sys.executable, "-c", _SIMULATION])
    if done is not None and done.returncode == 0:
        return Fact("backend mujoco", "simulates")
    reason = " ".join(done.stderr.split()[-12:]) if done is not None else "no answer"
    return Fact("backend mujoco", "does not simulate", f"{reason}; run `pip install --force-reinstall mujoco-core`")


def _extras() -> Iterator[Fact]:
    """The extras with their packages; a missing extra is no problem."""
    needs: dict[str, list[Requirement]] = {}
    for requirement in _requirements():
        for extra in _extras_of(requirement):
            needs.setdefault(extra, []).append(requirement)
    for extra, requirements in sorted(needs.items()):
        versions: Mapping[str, str | None] = {requirement.name: installed_version(requirement.name) for requirement in requirements}
        if all(versions.values()):
            yield Fact(f"extra {extra}", ", ".join(f"{name} {version}" for name, version in versions.items()))
        else:
            yield Fact(f"extra {extra}", f"not installed; {install_command(extra)} adds it")


def _extras_of(requirement: Requirement) -> list[str]:
    try:
        names = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    marker = requirement.marker
    return [name for name in names if marker is not None and marker.evaluate({"extra": name}) and not marker.evaluate({"extra": ""})]


def _cache() -> Fact:
    try:
        from graspgen_cli.files import default_cache
    except ImportError as error:
        return Fact("cache", "unknown", f"{error}; install what is missing")
    folder = default_cache()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(there, os.W_OK):
        return Fact("cache", str(folder), "cannot be written; set GRASPGEN_CACHE_DIR to a folder that can")
    return Fact("cache", f"{folder} ({shutil.disk_usage(there).free / 2**30:.0f} GiB free)")


def _gpu() -> Fact:
    names = gpu_names()
    return Fact("GPU", "; ".join(names) if names else "none found; none is needed")


def gpu_names() -> list[str]:
    """Name, memory and driver of every NVIDIA GPU."""
    tool = shutil.which("nvidia-smi")
    done = tool and _ask([tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    return done.stdout.strip().splitlines() if done and not done.returncode else []


def cpu_model() -> str:
    """The model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown")


def _ask(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """The finished command; None if it cannot run or exceeds TIMEOUT."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
