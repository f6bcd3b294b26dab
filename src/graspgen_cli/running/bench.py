"""Speed of this machine: the time of each phase on real objects, and of a whole run."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from threadpoolctl import threadpool_limits

from graspgen_cli import __version__
from graspgen_cli.errors import InputError, ObjectError, one_line
from graspgen_cli.files import CACHE_VARIABLE, read_bounded
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.making.reports import RunSummary
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import read_scales, resolve_object_paths
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TargetObject, TrialState
from graspgen_cli.running.devices import Devices
from graspgen_cli.running.engines import Engine, choose_engine
from graspgen_cli.running.machine import cpu_model, gpu_names, installed_version, usable_cores
from graspgen_cli.running.processes import SPAWN, run_in_processes
from graspgen_cli.running.run import make_grasps
from graspgen_cli.settings.commands import BenchCommand
from graspgen_cli.settings.fields import command_line
from graspgen_cli.settings.trials import JudgeSettings, SimulationSettings
from graspgen_cli.tables import DEFAULT_PROTOCOL, ENGINES, REFERENCE_ENGINE
from graspgen_cli.validate.engine import Counter, ObjectFailed, ObjectTrials, SharedCores
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.protocols import protocol_sequences

LARGEST_FILE = 64 << 20
"""Bytes of an earlier result, at most."""
NO_FIGURES = ("objects", "machine", "ratio_to_earlier")
"""Parts of a result that are no figures of the whole run."""
GUESSES = 1000
"""Guesses timed on each object."""
PAPER_OBJECTS, PAPER_GRASPS = 8454, 2048
"""Objects of GraspGen's dataset, and grasps tried of each, for the projection."""
_OF_ENGINES = tuple(name for row in ENGINES.values() for name in row.packages)
PACKAGES = ("mujoco-core", "numpy", "manifold3d", "python-fcl", "embreex", *_OF_ENGINES)

Note = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Measured:
    """An object. grasps: to be tried; preparation: s, without a cache; guesses_rate: accepted guesses per second on one core."""

    target: TargetObject
    grasps: GraspBatch
    preparation: float
    guesses_rate: float


@dataclass(frozen=True, eq=False)
class _Tried:
    """The trials of all objects on one engine. seconds: wall time after a warm-up."""

    states: list[TrialState]
    seconds: float


def run_bench(settings: BenchCommand, *, on_note: Note) -> dict[str, Any]:
    """Measures, and returns plain values with the unit in each key. on_note: gets a line for each step.

    Preparation and guesses are timed on one core without a cache; trials on all workers or GPUs after a warm-up; the whole run as `all`
    does it, into a temporary folder. Raises InputError if no object of the list can be used, and the errors of `protocol_sequences` and
    `choose_engine`.
    """
    earlier = None if settings.bench.compare is None else read_result(settings)
    tugs, shakes = protocol_sequences(settings.protocol.protocol, settings.simulation.tug_sequences, settings.simulation.shake_sequences)
    settings = settings.updated(protocol=DEFAULT_PROTOCOL, tug_sequences=tugs, shake_sequences=shakes)
    engines = {engine.name: engine for engine in (Engine(REFERENCE_ENGINE), choose_engine(settings.backend, settings.execution))}
    gripper = load_gripper(settings.gripper.gripper_config, options=settings.gripper)
    machine = _machine()
    with threadpool_limits(1, user_api="blas"):
        measured = list(_measure_objects(settings, gripper, on_note))
    if not measured:
        raise InputError(f"{settings.objects.object_scales_json}: no object of the list can be used")
    tried = {}
    for name, engine in engines.items():
        on_note(f"trying {sum(len(each.grasps) for each in measured)} grasps with {name}")
        tried[name] = _on_devices(measured, gripper, engine, settings) if engine.devices else _on_cores(measured, gripper, engine, settings)
    on_note(f"the whole run with {engine.name}")
    found = {
        "machine": machine,
        "gripper": gripper.name,
        **_figures(measured, tried, engines, settings.judge),
        **_whole_run(settings, engine),
    }
    return found if earlier is None else {**found, "ratio_to_earlier": ratios(found, earlier)}


def read_result(settings: BenchCommand) -> dict[str, Any]:
    """The result of an earlier run, which --compare names. Raises InputError if the file is not one."""
    path, again = settings.bench.compare, f"`{command_line('bench', settings, compare=None)} --json`"
    assert path is not None
    try:
        content = orjson.loads(read_bounded(path, largest=LARGEST_FILE))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as JSON ({one_line(error)})", path=path, advice=f"give what {again} printed") from None
    if not isinstance(content, dict) or content.get("command") != "bench":
        raise InputError(f"not what {again} prints", path=path)
    return content


def figures(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number of a result by its name; a number of one engine also by the name of the engine."""
    for name, value in result.items():
        if name in NO_FIGURES:
            continue
        if isinstance(value, Mapping):
            yield from ((f"{name} {part}", number) for part, number in figures(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def ratios(found: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, float]:
    """Each number of this result divided by the number of the earlier one, if both have it."""
    before = dict(figures(earlier))
    return {name: round(value / before[name], 3) for name, value in figures(found) if before.get(name)}


def _measure_objects(settings: BenchCommand, gripper: Gripper, on_note: Note) -> Iterator[_Measured]:
    scales_file, root = resolve_object_paths(
        object_scales_json=settings.objects.object_scales_json, object_dataset=settings.objects.object_dataset
    )
    shape = GripperShape(gripper)
    for object_id, scale in read_scales(scales_file).entries:
        on_note(f"preparing and guessing {object_id}")
        try:
            start = time.perf_counter()
            target = load_object(
                object_id,
                scale,
                root=root,
                approximation=settings.simulation.collision_approximation,
                cache=None,
                max_surface_gap=settings.simulation.max_surface_gap,
                reach=shape.reach(settings.reach.reach),
            )
            preparation = time.perf_counter() - start
        except ObjectError as error:
            on_note(str(error))
            continue
        grasps, rate = _guess(target, shape, settings)
        yield _Measured(target, grasps[: settings.bench.trials], preparation, rate)


def _guess(target: TargetObject, gripper: GripperShape, settings: BenchCommand) -> tuple[GraspBatch, float]:
    """Guesses free of collision, and their rate in the best of three runs."""
    shape, best = ObjectShape(target), float("inf")
    for _ in range(3):
        start = time.perf_counter()
        result = make_guesses(
            shape,
            gripper,
            settings.guess,
            object_id=target.object_id,
            num_free=max(GUESSES, settings.bench.trials),
            num_colliding=0,
            first_try=0,
            max_tries=settings.quotas.max_guess_tries,
        )
        best = min(best, time.perf_counter() - start)
    return result.grasps, len(result.grasps) / best


def _on_cores(measured: Sequence[_Measured], gripper: Gripper, engine: Engine, settings: BenchCommand) -> _Tried:
    """One object is one task, as in a run. The time is from the start of the first task to the end of the last."""
    count = min(settings.execution.workers or usable_cores(), len(measured))
    busy = SPAWN.RawValue("i", count)
    work = [(each.target, each.grasps) for each in measured]
    arguments = (gripper, engine.name, settings.simulation, work[0], busy)
    results = [result for _, result in run_in_processes(work, make_trials, arguments, count=count, busy=busy)]
    done = [result for result in results if isinstance(result, tuple)]
    if len(done) < len(work):
        raise InputError(f"{len(work) - len(done)} of {len(work)} worker tasks died; run again with fewer --workers")
    return _Tried([state for state, _, _ in done], max(end for _, _, end in done) - min(start for _, start, _ in done))


Work = tuple[TargetObject, GraspBatch]


def make_trials(
    gripper: Gripper, backend: str, settings: SimulationSettings, like: Work, busy: Counter
) -> Callable[[Work], tuple[TrialState, float, float]]:
    """For a worker process: a handler that returns the states of an object's trials, with start and end by the monotonic clock, s. A first
    trial warms the engine up."""
    engine = SharedCores(backend, usable_cores(), busy)
    engine.run(gripper, like[0], like[1][:1], settings)

    def work(task: Work) -> tuple[TrialState, float, float]:
        start = time.monotonic()
        with threadpool_limits(1, user_api="blas"):
            state = engine.run(gripper, *task, settings)
        return state, start, time.monotonic()

    return work


def _on_devices(measured: Sequence[_Measured], gripper: Gripper, engine: Engine, settings: BenchCommand) -> _Tried:
    """All objects at once, twice: the engine may compile in the first pass."""
    trials = [ObjectTrials(number, each.target, each.grasps) for number, each in enumerate(measured)]
    devices = Devices(engine, gripper, settings.simulation)
    try:
        devices.start()
        for _ in range(2):
            start = time.perf_counter()
            results = list(devices.try_all(trials))
            seconds = time.perf_counter() - start
    finally:
        devices.stop()
    states = []
    for result in results:
        if isinstance(result, ObjectFailed):
            raise InputError(f"--backend {engine.name}: {measured[result.number].target.object_id}: {result.reason}")
        states.append(result.state)
    return _Tried(states, seconds)


def _figures(
    measured: Sequence[_Measured], tried: dict[str, _Tried], engines: dict[str, Engine], criterion: JudgeSettings
) -> dict[str, Any]:
    preparation = [each.preparation for each in measured]
    guesses = [each.guesses_rate for each in measured]
    grasps = sum(len(each.grasps) for each in measured)
    cpu = statistics.mean(each.preparation + PAPER_GRASPS / each.guesses_rate for each in measured if each.guesses_rate)
    return {
        "preparation_s_per_object": round(statistics.median(preparation), 3),
        "longest_preparation_s": round(max(preparation), 3),
        "accepted_guesses_per_s": round(statistics.median(guesses)),
        "slowest_accepted_guesses_per_s": round(min(guesses)),
        "validated_grasps_per_s": {name: round(grasps / each.seconds, 1) for name, each in tried.items()},
        "world_steps_per_s": {name: round(sum(int(s.steps.sum()) for s in each.states) / each.seconds) for name, each in tried.items()},
        "held_fraction": {name: round(_held(each, criterion) / grasps, 4) for name, each in tried.items()},
        "projected_hours": {
            name: round(projected_hours(cpu, grasps / each.seconds, overlapping=bool(engines[name].devices)), 2)
            for name, each in tried.items()
        },
        "objects": {each.target.object_id: _object_figures(each) for each in measured},
    }


def projected_hours(cpu: float, rate: float, *, overlapping: bool) -> float:
    """Hours for GraspGen's dataset, with one guess and one trial for each grasp, if its objects are like the measured ones.

    cpu: s on one core for the preparation and the guesses of an object. rate: grasps tried per second. overlapping: whether trials run
    beside the other work, as on a GPU, so that the slower of the two decides; otherwise the times add up.
    """
    rest, trials = PAPER_OBJECTS * cpu / usable_cores(), PAPER_OBJECTS * PAPER_GRASPS / rate
    return (max(rest, trials) if overlapping else rest + trials) / 3600


def _held(tried: _Tried, criterion: JudgeSettings) -> int:
    return sum(int((judge(state, criterion) == Outcome.HELD).sum()) for state in tried.states)


def _object_figures(each: _Measured) -> dict[str, Any]:
    return {
        "faces": len(each.target.mesh.faces),
        "pieces": len(each.target.pieces),
        "preparation_s": round(each.preparation, 3),
        "accepted_guesses_per_s": round(each.guesses_rate),
    }


def _whole_run(settings: BenchCommand, engine: Engine) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, _cache_in(Path(folder) / "cache"):
        chosen = settings.grasp_command().updated(grasp_dataset=Path(folder) / "dataset", backend=engine.name)
        start = time.perf_counter()
        summary: RunSummary = make_grasps(chosen, on_start=lambda _: None, on_report=lambda _: None)
        seconds = time.perf_counter() - start
    return {
        "whole_run_backend": engine.name,
        "whole_run_s": round(seconds, 2),
        "whole_run_objects_per_s": round(len(summary.reports) / seconds, 3),
        "whole_run_validated_grasps_per_s": round(sum(report.tested for report in summary.reports) / seconds, 1),
        "peak_rss_mb": round(_peak_rss()),
    }


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """An empty cache of convex pieces for this process and its workers."""
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = before


def _peak_rss() -> float:
    """MB: peak memory of this process, or of the largest worker that has ended."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return largest / (2**20 if sys.platform == "darwin" else 2**10)


def _machine() -> dict[str, Any]:
    """The facts that the figures depend on."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "gpus": gpu_names(),
        "graspgen": __version__,
        "packages": {name: found for name in PACKAGES if (found := installed_version(name))},
        "load_before": round(os.getloadavg()[0], 2),
    }
