"""The command line: streams, exit codes, help, and errors in one line. The work behind it is replaced by fakes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

import graspgen_cli
from graspgen_cli.analysis.compare import Comparison
from graspgen_cli.analysis.dataset_facts import DatasetAnalysis
from graspgen_cli.app import COMMANDS, main
from graspgen_cli.commands.document import EXIT_CODES, document
from graspgen_cli.commands.gripper_values import gripper_values
from graspgen_cli.commands.objects import MOST_NAMED, command_line, held_rate, report_line
from graspgen_cli.console import Console, LineProgress, printable, rates_text
from graspgen_cli.dataset.splits import SplitPlan
from graspgen_cli.errors import ExitCode, GripperError, InputError, OutputError
from graspgen_cli.making.reports import ObjectReport, Phase, RunSummary, Status
from graspgen_cli.objects.scales import ScalesList
from graspgen_cli.records import Outcome
from graspgen_cli.settings.commands import COMMAND_CLASSES, AllCommand, AnalyzeCommand, GraspCommand
from graspgen_cli.settings.fields import flag, known_fields, off_flag
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.runs import ModeSettings

Streams = pytest.CaptureFixture[str]
NEEDED = {"compare": ["a", "b"]}
"""What commands cannot do without."""


def report(object_id: str = "mug.obj", status: Status = Status.MADE, message: str = "", **numbers: Any) -> ObjectReport:
    counts = {"held": 64, "failed": 16, "unvalidated": 0, "tested": 80, "seconds": 2.06, **numbers}
    return ObjectReport(object_id=object_id, status=status, message=message, **counts)


class FakeRun:
    """Stands for graspgen_cli.running.run and gripper_run: remembers the calls, returns what the test sets."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.reports: tuple[ObjectReport, ...] = (report(), report("bowl.obj"))
        self.error: BaseException | None = None
        self.work: Callable[[], None] = lambda: None
        self.preparation = 0.5

    def run_objects(
        self, settings: GraspCommand, *, phase: Phase, on_start: Callable[[int], None], on_report: Callable[..., None]
    ) -> RunSummary:
        self.note(f"objects {phase}", settings)
        on_start(len(self.reports))
        for each in self.reports:
            on_report(each)
        return RunSummary(self.reports)

    def update_dataset_splits(self, settings: Any) -> SplitPlan:
        self.note("splits", settings)
        return SplitPlan(("mug.obj",), ("bowl.obj",), ("gone.obj",))

    def write_gripper_config(self, settings: Any) -> SimpleNamespace:
        self.note("gripper-config", settings)
        written = SimpleNamespace(path=Path("config/g.yaml"), status="written", difference="")
        differs = SimpleNamespace(path=Path("config/g.py"), status="differs", difference="-a\n+b")
        return SimpleNamespace(gripper="g", files=(written, differs), picture=Path("config/g.png"), saved=None)

    def known_grippers(self) -> SimpleNamespace:
        return SimpleNamespace(builtin=("robotiq_2f_85",), saved=("mine",), folder=Path("grippers"))

    def machine_facts(self) -> list[SimpleNamespace]:
        self.note("machine", None)
        return [SimpleNamespace(name="cores", value="2", problem="")]

    def inspect_dataset(self, root: Path, **options: Any) -> SimpleNamespace:
        self.note("doctor", {"root": root, **options})
        return SimpleNamespace(grippers=("g",), files=2, findings=(), repaired=(), repairable=0)

    def analyze_collections(self, settings: AnalyzeCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> Any:
        self.note("analyze", settings)
        return DatasetAnalysis(paths=("results",), objects=())

    def compare_collections(self, first: Path, second: Path, **callbacks: Any) -> Comparison:
        self.note("compare", (first, second))
        return Comparison((), (), (), (), ())

    def balance_dataset(self, settings: Any, **callbacks: Any) -> SimpleNamespace:
        self.note("balance", settings)
        return SimpleNamespace(objects=(), broken=())

    def filter_dataset(self, settings: Any, **callbacks: Any) -> SimpleNamespace:
        self.note("filter", settings)
        return SimpleNamespace(objects=(), broken=())

    def relabel_dataset(self, settings: Any, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> SimpleNamespace:
        self.note("relabel", settings)
        on_start(1)
        on_object("mug")
        return SimpleNamespace(objects=(), broken=())

    def convert(self, settings: Any, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> SimpleNamespace:
        self.note("convert", settings)
        on_start(1)
        on_object("mug")
        return SimpleNamespace(objects=(), damaged=(), notes=(), uuid_map=None)

    def make_scales(self, settings: Any, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> ScalesList:
        self.note("object-scales", settings)
        return ScalesList((("mug.obj", 1.0),), ())

    def make_training_scripts(self, settings: Any) -> SimpleNamespace:
        self.note("training-scripts", settings)
        scripts = [SimpleNamespace(path=Path(f"runs/{role}.sh"), status="written") for role in ("gen", "dis")]
        return SimpleNamespace(scripts=scripts, template="g", ratio="[1]", ratio_reason="as the scripts have it")

    def make_inference_config(self, settings: Any) -> SimpleNamespace:
        self.note("inference-config", settings)
        return SimpleNamespace(path=Path("g.yaml"), status="written", demo="python demo.py")

    def run_bench(self, settings: Any, *, on_note: Callable[[str], None]) -> dict[str, Any]:
        self.note("bench", settings)
        on_note("trying")
        machine = {"cpu": "C", "cores": 2, "load_before": 0.1}
        rows = {"mug.obj": {"faces": 12, "pieces": 1, "preparation_s": 0.25, "accepted_guesses_per_s": 1000}}
        figures = {"preparation_s_per_object": self.preparation, "validated_grasps_per_s": {"mujoco": 60.5, "mujoco-warp": 4000}}
        return {"machine": machine, "gripper": "g", **figures, "whole_run_backend": "mujoco", "objects": rows}

    def open_view(self, settings: Any) -> SimpleNamespace:
        self.note("view", settings)
        return SimpleNamespace(damaged=())

    def run_replay(self, settings: Any) -> SimpleNamespace:
        self.note("replay", settings)
        state = SimpleNamespace(finger_contact_force=np.array([[1.0, 2.0]]), slip=np.array([[0.001, np.nan]]))
        trace = SimpleNamespace(state=state, outcome=Outcome.HELD, failed_at=None, time=np.array([0.1]))
        target, gripper = SimpleNamespace(object_id="mug.obj"), SimpleNamespace(name="g")
        told = {"path": Path("mug.json"), "grasp": 3, "recorded": Outcome.HELD, "agrees": True, "notes": (), "touching": ("finger",)}
        return SimpleNamespace(trace=trace, target=target, gripper=gripper, **told)

    def note(self, name: str, settings: Any) -> None:
        self.calls.append((name, settings))
        self.work()
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRun]:
    fake = FakeRun()
    stand_ins: dict[str, dict[str, Any]] = {
        "running.run": {name: getattr(fake, name) for name in ("run_objects", "update_dataset_splits")},
        "making.gripper_config": {
            "prepare_gripper": fake.write_gripper_config,
            "write_gripper_config": fake.write_gripper_config,
            "known_grippers": fake.known_grippers,
        },
        "grippers.export": {
            "gripper_table": lambda gripper: [("closing speed", "150 mm/s")],
            "gripper_document": lambda gripper: {"name": gripper},
        },
        "running.bench": {"run_bench": fake.run_bench},
        "running.machine": {"machine_facts": fake.machine_facts},
        "dataset.repair": {"inspect_dataset": fake.inspect_dataset},
        "analysis.analyze": {"analyze_collections": fake.analyze_collections},
        "analysis.compare": {"compare_collections": fake.compare_collections},
        "analysis.subsets": {"balance_dataset": fake.balance_dataset, "filter_dataset": fake.filter_dataset},
        "dataset.convert": {"convert": fake.convert},
        "making.object_scales": {"make_scales": fake.make_scales},
        "training.scripts": {"make_training_scripts": fake.make_training_scripts},
        "training.inference": {"make_inference_config": fake.make_inference_config},
        "making.relabel": {"relabel_dataset": fake.relabel_dataset},
        "drawing.view": {
            "open_view": fake.open_view,
            "export": lambda view, path: (),
            "serve": lambda view, on_ready: on_ready("http://127.0.0.1:8080"),
        },
        "drawing.replay": {
            "run_replay": fake.run_replay,
            "write_video": lambda replay, path, **options: None,
            "write_plot": lambda replay, path, **options: None,
        },
        "drawing.viewer": {"show": lambda trace, gripper: None},
    }
    for module, functions in stand_ins.items():
        for name, function in functions.items():
            monkeypatch.setattr(f"graspgen_cli.{module}.{name}", function)
    monkeypatch.setenv("COLUMNS", "80")
    for name in [name for name in os.environ if name.startswith("GRASPGEN_")]:
        monkeypatch.delenv(name)
    yield fake


def names(fake: FakeRun) -> list[str]:
    return [name for name, _ in fake.calls]


# --- what each command does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [
        (["guess"], ["objects guess"]),
        (["validate"], ["objects validate"]),
        (["validate", "--guess-only"], ["objects guess"]),
        (["fill"], ["objects fill"]),
        (["splits"], ["splits"]),
        (["gripper-config"], ["gripper-config"]),
        (["analyze"], ["analyze"]),
        (["compare", "a", "b"], ["compare"]),
        (["balance"], ["balance"]),
        (["filter"], ["filter"]),
        (["convert"], ["convert"]),
        (["object-scales"], ["object-scales"]),
        (["training-scripts"], ["training-scripts"]),
        (["inference-config"], ["inference-config"]),
        (["relabel"], ["relabel"]),
        (["doctor"], ["machine"]),
        (["doctor", "results"], ["doctor"]),
        (["doctor", "results", "--machine"], ["machine", "doctor"]),
        (["bench"], ["bench"]),
        (["all", "--shard", "0/3"], ["gripper-config", "objects all"]),
        (["view"], ["view"]),
        (["view", "franka_panda", "--export", "a.png"], ["view"]),
        (["replay", "results", "--video", "a.mp4"], ["replay"]),
        (["all"], ["gripper-config", "objects all", "splits"]),
        (["all", "--guess-only"], ["gripper-config", "objects guess", "splits"]),
    ],
)
def test_each_command_runs_its_phases(arguments: list[str], calls: list[str], run: FakeRun, capsys: Streams) -> None:
    assert main(arguments) == ExitCode.OK
    assert names(run) == calls
    assert capsys.readouterr().out


def test_commands_hand_their_settings_on(run: FakeRun) -> None:
    main(["guess", "--seed", "7", "--overwrite-grasps"])
    main(["fill", "--num-offsets", "3"])
    (_, guess), (_, fill) = run.calls
    assert (guess.guess.seed, guess.mode.guess_only, guess.mode.overwrite_grasps) == (7, True, True)
    assert (fill.guess.num_offsets, fill.mode.fill_grasps) == (3, True)


def test_all_leaves_the_splits_where_no_object_has_grasps(run: FakeRun) -> None:
    run.reports = (report(status=Status.FAILED, held=0, failed=0, tested=0, message="not a mesh"),)
    assert main(["all"]) == ExitCode.FAILED
    assert names(run) == ["gripper-config", "objects all"]


def test_summary_names_what_is_short_or_failed_and_what_comes_next(run: FakeRun, capsys: Streams) -> None:
    run.reports = (report(), report("thin.obj", Status.SHORT, "12 of 64 held"), report("x.obj", Status.FAILED, "x.obj: not a mesh"))
    assert main(["all", "--grasp-dataset", "my data"]) == ExitCode.FAILED
    out = capsys.readouterr().out
    assert re.search(r"objects +3\n", out) and re.search(r"short +1\n", out) and re.search(r"grasps held +192\n", out)
    assert "  thin.obj: 12 of 64 held\n" in out and "  x.obj: x.obj: not a mesh\n" in out
    assert "gripper config differs: config/g.py" in out and "1 objects added to train, 1 to valid" in out
    assert out.endswith("files: my data\nnext:  graspgen analyze --grasp-dataset 'my data'\n")


def test_all_of_a_shard_leaves_the_splits_for_when_all_are_done(run: FakeRun, capsys: Streams) -> None:
    assert main(["all", "--shard", "1/2"]) == ExitCode.OK
    assert capsys.readouterr().out.endswith("next:  graspgen splits\n")


def test_bench_prints_every_figure_or_sets_it_beside_an_earlier_one(run: FakeRun, tmp_path: Path, capsys: Streams) -> None:
    assert main(["bench", "--quiet"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert re.search(r"validated_grasps_per_s mujoco-warp +4000\n", out) and re.search(r"mug.obj +12 +1 +0.25 +1000\n", out)
    run.preparation = 1.0
    main(["bench", "--json"])
    (tmp_path / "before.json").write_text(capsys.readouterr().out)
    run.preparation = 0.25
    assert main(["bench", "--compare", str(tmp_path / "before.json"), "--json"]) == ExitCode.OK
    ratios = orjson.loads(capsys.readouterr().out)["ratio_to_earlier"]
    assert ratios == {"preparation_s_per_object": 0.25, "validated_grasps_per_s mujoco": 1.0, "validated_grasps_per_s mujoco-warp": 1.0}
    assert main(["bench", "--compare", str(tmp_path / "before.json")]) == ExitCode.OK
    assert re.search(r"preparation_s_per_object +1 +0.25 +0.25\n", capsys.readouterr().out)


@pytest.mark.parametrize("content", ["", "[1]", '{"command": "all"}', None])
def test_bench_looks_at_what_it_is_to_compare_before_it_measures(
    content: str | None, run: FakeRun, tmp_path: Path, capsys: Streams
) -> None:
    earlier = tmp_path / "before.json"
    if content is not None:
        earlier.write_text(content)
    assert main(["bench", "--compare", str(earlier)]) == ExitCode.BAD_INPUT
    assert last_line(capsys).startswith(f"graspgen: {earlier}: ") and run.calls == []


def test_short_objects_are_no_failure(run: FakeRun) -> None:
    run.reports = (report(status=Status.SHORT, message="12 of 64 held"),)
    assert main(["all"]) == ExitCode.OK


def test_summary_does_not_list_thousands_of_objects(run: FakeRun, capsys: Streams) -> None:
    run.reports = tuple(report(f"{i}.obj", Status.SHORT, "few") for i in range(MOST_NAMED + 5))
    main(["guess", "--quiet"])
    out = capsys.readouterr().out
    assert out.count(".obj: few") == MOST_NAMED and "and 5 more" in out


def test_held_rate_counts_only_what_this_run_tested() -> None:
    filled = report(held=64, tested=10, tested_held=4)
    kept = report(status=Status.KEPT, held=64, tested=0, tested_held=0)
    assert held_rate(RunSummary((filled, kept))) == 0.4
    assert held_rate(RunSummary((kept,))) is None
    assert held_rate(RunSummary((report(tested=10, tested_held=None),))) is None


def test_next_command_names_the_same_dataset() -> None:
    settings = AllCommand.of(gripper_config="franka_panda", object_dataset=Path("my meshes"), seed=3)
    assert command_line("validate --load-guesses", settings) == (
        "graspgen validate --load-guesses --object-dataset 'my meshes' --gripper-config franka_panda"
    )
    assert command_line("analyze", settings) == "graspgen analyze --gripper-config franka_panda"


def test_gripper_config_says_what_is_worth_a_note(tmp_path: Path, capsys: Streams) -> None:
    main(["gripper-config", "--graspgen-source", str(tmp_path / "no")])
    streams = capsys.readouterr()
    elsewhere, differs = streams.err.splitlines()
    assert "results/config/grippers" in elsewhere and "--graspgen-source" in elsewhere
    assert "--overwrite-gripper-config" in differs
    assert "written: config/g.yaml\n" in streams.out and re.search(r"closing speed +150 mm/s", streams.out)
    assert "differs: config/g.py\n    -a\n    +b\n" in streams.out and "picture: config/g.png\n" in streams.out
    main(["gripper-config", "--graspgen-source", str(tmp_path)])
    assert capsys.readouterr().err.splitlines() == [differs]


def test_a_gripper_file_gives_its_bite(tmp_path: Path) -> None:
    assert gripper_values("robotiq_2f_85").keys() == gripper_values("franka_panda").keys() == {"bite"}
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmodel: mine.xml\nbite: 0.0125\n")
    assert gripper_values(str(file)) == {"bite": 0.0125}
    file.write_text("name: mine\nmodel: mine.xml\n")
    assert gripper_values(str(file)) == {}
    file.write_text("name: mine\nbites: 1\n")
    with pytest.raises(GripperError, match="unknown key"):
        gripper_values(str(file))


@pytest.mark.parametrize("gripper", ["nobody", "no.yaml", "mine.xml", "x" * 5000, "..", "/dev"])
def test_a_gripper_that_is_not_there_is_for_the_command_to_report(gripper: str) -> None:
    assert gripper_values(gripper) == {}


# --- streams -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_all_that_stdout_gets(name: str, capsys: Streams) -> None:
    assert main([name, *NEEDED.get(name, []), "--json"]) == ExitCode.OK
    content = orjson.loads(capsys.readouterr().out)
    assert content["command"] == name


@pytest.mark.parametrize("name", COMMANDS)
def test_quiet_leaves_stderr_empty(name: str, capsys: Streams) -> None:
    main([name, *NEEDED.get(name, []), "--quiet"])
    assert capsys.readouterr().err == ""


def test_json_of_a_run_has_every_object(run: FakeRun, capsys: Streams) -> None:
    run.reports = (report(tested_held=40), report("x.obj", Status.FAILED, "no"))
    assert main(["validate", "--json"]) == ExitCode.FAILED
    content = orjson.loads(capsys.readouterr().out)
    assert [(row["object_id"], row["status"], row["held"]) for row in content["objects"]] == [
        ("mug.obj", "made", 64),
        ("x.obj", "failed", 64),
    ]
    assert (content["status"]["failed"], content["held_rate"]) == (1, 0.5)


def test_without_a_terminal_there_is_one_line_an_object(run: FakeRun, capsys: Streams) -> None:
    run.reports = (report(), report("a\nb\x1b[31m.obj", Status.FAILED, "not a mesh"))
    main(["guess"])
    assert capsys.readouterr().err.splitlines() == [
        "[1/2] mug.obj: made, 64 held, 16 failed (2.1 s)",
        r"[2/2] a\nb\x1b[31m.obj: failed, 64 held, 16 failed (2.1 s): not a mesh",
    ]


def test_quiet_still_names_failed_objects(run: FakeRun, capsys: Streams) -> None:
    run.reports = (report(), report("x.obj", Status.FAILED, "not a mesh"))
    main(["guess", "--quiet"])
    assert capsys.readouterr().err.splitlines() == ["[2/2] x.obj: failed, 64 held, 16 failed (2.1 s): not a mesh"]


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with contextlib.redirect_stderr(terminal), Console().progress() as progress:
        progress.start(2)
        progress.advance("mug.obj: made", validated=80, failed=False)
        progress.advance("x.obj: failed: [bold]no", validated=0, failed=True)
    shown = terminal.getvalue()
    assert "2/2" in shown and "objects/s" in shown and "validated grasps/s" in shown
    assert "x.obj: failed: [bold]no" in shown and "mug.obj" not in shown


def test_rates() -> None:
    assert rates_text(10, 500, 5.0) == "2.00 objects/s, 100 validated grasps/s"
    assert rates_text(1, 0, 0.5) == "2.00 objects/s"


def test_tables_are_not_cut_where_nobody_sets_a_width(capsys: Streams) -> None:
    long = "a" * 300
    Console().table(("object", "n"), [(long, "1"), ("[red]x", "22")])
    out = capsys.readouterr().out
    assert f"{long}   1\n" in out and "[red]x" in out


def test_line_progress_counts() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream)
    progress.start(3)
    progress.advance("a", validated=1, failed=False)
    progress.advance("b", validated=1, failed=False)
    assert stream.getvalue() == "[1/3] a\n[2/3] b\n"


def test_printable_keeps_text_and_escapes_the_rest() -> None:
    assert printable("Schüssel 1 ü 杯.obj") == "Schüssel 1 ü 杯.obj"
    assert printable("a\nb\x1b\udcff") == r"a\nb\x1b\udcff"


def test_report_line_says_only_what_there_is() -> None:
    assert report_line(report(held=0, failed=16, unvalidated=64, seconds=0.5)) == "mug.obj: made, 64 unvalidated, 16 failed (0.5 s)"


# --- errors --------------------------------------------------------------------------------------------------------------------


def last_line(capsys: Streams) -> str:
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.count("\n") == 1, streams.err
    return streams.err.removesuffix("\n")


@pytest.mark.parametrize(
    ("arguments", "named", "command"),
    [
        (["gues"], "gues", "graspgen"),
        (["--sed"], "--sed", "graspgen"),
        (["all", "--sead", "3"], "--sead", "graspgen all"),
        (["splits", "--fps", "3"], "--fps", "graspgen splits"),
        (["all", "--seed"], "--seed", "graspgen all"),
        (["all", "now"], "now", "graspgen all"),
    ],
)
def test_what_typer_refuses_is_one_line_with_advice(arguments: list[str], named: str, command: str, run: FakeRun, capsys: Streams) -> None:
    assert main(arguments) == ExitCode.USAGE
    line = last_line(capsys)
    assert line.startswith("graspgen: ") and named in line and line.endswith(f"; `{command} --help` shows what there is")
    assert run.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all", "--guess-only", "--no-guess-only"], "graspgen: --guess-only and --no-guess-only exclude each other; give one of them"),
        (["all", "--fps", "x"], "graspgen: --fps: 'x' is not allowed; give a whole number from 50 to 10000"),
        (["all", "--config", "no.yaml"], "graspgen: no.yaml: cannot be read (No such file or directory); give a YAML file of settings"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], message: str, run: FakeRun, capsys: Streams) -> None:
    assert main(arguments) == ExitCode.USAGE
    assert last_line(capsys) == message
    assert run.calls == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("scales.json: not JSON"), ExitCode.BAD_INPUT),
        (GripperError("no gripper is called x"), ExitCode.BAD_INPUT),
        (OutputError("results: cannot be written"), ExitCode.OUTPUT),
    ],
)
@pytest.mark.parametrize("name", COMMANDS)
def test_errors_of_the_work_are_one_line_and_a_code(name: str, error: Exception, code: ExitCode, run: FakeRun, capsys: Streams) -> None:
    run.error = error
    assert main([name, *NEEDED.get(name, [])]) == code
    assert last_line(capsys) == f"graspgen: {error}"


def test_an_unexpected_error_is_one_line(run: FakeRun, capsys: Streams) -> None:
    run.error = ZeroDivisionError("division\nby zero")
    assert main(["guess"]) == ExitCode.FAILED
    line = last_line(capsys)
    assert line.startswith(r"graspgen: unexpected ZeroDivisionError: division\nby zero; ") and "--debug" in line


def test_debug_shows_the_traceback(run: FakeRun, capsys: Streams) -> None:
    run.error = InputError("scales.json: not JSON")
    assert main(["guess", "--debug"]) == ExitCode.BAD_INPUT
    err = capsys.readouterr().err
    assert "Traceback" in err and "in run_objects" in err and err.endswith("\ngraspgen: scales.json: not JSON\n")


def test_interruption_says_how_to_go_on(run: FakeRun, capsys: Streams) -> None:
    run.error = KeyboardInterrupt()
    assert main(["all"]) == ExitCode.INTERRUPTED
    assert last_line(capsys) == "graspgen: interrupted; what was finished is kept, and the same command goes on from there"


def test_a_termination_that_goes_lost_is_told_again_but_not_while_it_is_heeded(run: FakeRun, capsys: Streams) -> None:
    """As native code loses exceptions that signals raise in it."""
    heeded = []

    def loses_one() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        try:
            time.sleep(5)
        finally:
            for _ in range(3):
                time.sleep(0.3)
                with contextlib.suppress(OSError):
                    raise OSError
            heeded.append(True)

    run.work = loses_one
    began = time.monotonic()
    assert main(["all"]) == ExitCode.TERMINATED and heeded and time.monotonic() - began < 4
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0) and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_termination_is_an_interruption_with_a_code_of_its_own(run: FakeRun, capsys: Streams) -> None:
    ended: list[bool] = []

    def terminated_twice() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # Slurm sends several
            ended.append(True)

    run.work = terminated_twice
    assert main(["all"]) == ExitCode.TERMINATED == 128 + signal.SIGTERM and ended
    assert last_line(capsys) == "graspgen: terminated; what was finished is kept, and the same command goes on from there"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_program_that_takes_the_signal_itself_keeps_it(run: FakeRun) -> None:
    taken: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: taken.append(number))
    try:
        run.work = lambda: os.kill(os.getpid(), signal.SIGTERM)
        assert main(["guess"]) == ExitCode.OK
    finally:
        signal.signal(signal.SIGTERM, before)
    assert taken == [signal.SIGTERM]


# --- names and help ------------------------------------------------------------------------------------------------------------


def test_underscores_are_as_good_as_dashes_in_names_but_stay_in_values(run: FakeRun) -> None:
    main(["gripper_config", "--grasp_dataset", "my_dir", "--overwrite_gripper_config"])
    main(["all", "--object_dataset=a_b", "--num-collision_free_grasps=3", "--do_not_center_finger_opening", "--sampler", "finger-pads"])
    (_, config), (_, everything), *_ = run.calls
    assert (config.dataset.grasp_dataset, config.graspgen.overwrite_gripper_config) == (Path("my_dir"), True)
    assert (everything.objects.object_dataset, everything.quotas.num_collision_free_grasps) == (Path("a_b"), 3)
    assert everything.guess.center_finger_opening is False


def test_negative_numbers_are_values(capsys: Streams) -> None:
    assert main(["all", "--bite", "-1"]) == ExitCode.USAGE
    assert "--bite: '-1'" in last_line(capsys)


def test_environment_and_file_reach_the_command(run: FakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text("num-offsets: 3\nfps: 300\n")
    monkeypatch.setenv("GRASP_DATASET_DIR", "elsewhere")
    monkeypatch.setenv("GRASPGEN_FPS", "400")
    main(["validate", "--config", str(tmp_path / "c.yaml")])
    ((_, settings),) = run.calls
    assert (settings.guess.num_offsets, settings.simulation.fps, settings.dataset.grasp_dataset) == (3, 400, Path("elsewhere"))


@pytest.mark.parametrize("name", COMMANDS)
def test_show_settings_covers_every_field_and_runs_nothing(name: str, run: FakeRun, capsys: Streams) -> None:
    assert main([name, "--show-settings", "--json"]) == ExitCode.OK
    content = orjson.loads(capsys.readouterr().out)
    assert set(content["settings"]) in [set(command_class.names()) for command_class in COMMAND_CLASSES]
    assert all(set(entry) == {"value", "source"} for entry in content["settings"].values())
    known = next(field for field in ("seed", "grasp_dataset", "gripper_config", "workers") if field in content["settings"])
    assert main([name, "--show-settings", flag(known), "7"]) == ExitCode.OK
    assert re.search(r"(seed: 7|grasp-dataset: \"7\"|gripper-config: \"7\"|workers: 7) +# flag\n", capsys.readouterr().out)
    assert run.calls == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_flag_in_full_and_has_examples(name: str, capsys: Streams) -> None:
    assert main([name, "--help"]) == ExitCode.OK
    out = capsys.readouterr().out
    shown = set(re.findall(r"--[a-z-]+", out))
    main([name, "--show-settings", "--json"])
    fields = orjson.loads(capsys.readouterr().out)["settings"]
    assert shown >= {flag(field) for field in fields} | {"--config", "--show-settings", "--json", "--quiet", "--debug", "--help"}
    assert f"Usage: graspgen {name} [OPTIONS]" in out
    assert len(re.findall(rf"^ graspgen {name}", out, re.MULTILINE)) >= 2
    assert all(len(line) <= 80 for line in out.splitlines())


@pytest.mark.slow
def test_examples_of_the_help_work(run: FakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Streams) -> None:
    pytest.importorskip("plotly", reason="an example writes a report, which needs plotly: pip install '.[report]'")
    import shlex

    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seed: 1\n")
    (tmp_path / "before.json").write_text('{"command": "bench"}')
    examples = [line for line in document().splitlines() if line.startswith("graspgen ")]
    assert len(examples) >= 2 * len(COMMANDS)
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        assert main(words[1:]) == ExitCode.OK or "--min-success" in words, example


def test_table_of_contents_names_every_command(capsys: Streams) -> None:
    assert main(["--help"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert all(re.search(rf"^│ {name} ", out, re.MULTILINE) for name in COMMANDS)


def test_without_a_command_there_is_the_help_and_exit_code_2(capsys: Streams) -> None:
    assert main([]) == ExitCode.USAGE
    assert "Commands" in capsys.readouterr().out


def test_version(capsys: Streams) -> None:
    assert main(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"graspgen {graspgen_cli.__version__}\n"


def test_off_flags() -> None:
    assert off_flag(GuessSettings, "center_finger_opening") == "--do-not-center-finger-opening"
    assert off_flag(ModeSettings, "guess_only") == "--no-guess-only"


# --- documentation -------------------------------------------------------------------------------------------------------------


def test_documentation_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "commands.md"
    assert page.read_text("utf-8") == document(), "run: python -m graspgen_cli.commands.document > docs/commands.md"


def test_documentation_names_every_flag_and_exit_code() -> None:
    page = document()
    assert all(f"`{flag(name)}`" in page for name in known_fields())
    assert set(EXIT_CODES) == set(ExitCode)
    assert all(line.count("|") == line.replace("\\|", "").count("|") for line in page.splitlines())


def test_documentation_has_one_row_a_flag_that_names_its_commands(capsys: Streams) -> None:
    expected: dict[str, list[str]] = {}
    for command in COMMANDS:
        main([command, "--show-settings", "--json"])
        for name in orjson.loads(capsys.readouterr().out)["settings"]:
            expected.setdefault(flag(name), []).append(command)
    rows = re.findall(r"^\| `(--[a-z-]+)`.*\| ([^|]+) \|$", document(), re.MULTILINE)
    found = [(name, commands.split(", ")) for name, commands in rows if commands != "all commands"]
    assert sorted(found) == sorted(expected.items())


# --- as a process --------------------------------------------------------------------------------------------------------------


def graspgen(*arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(graspgen_cli.__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-m", "graspgen_cli", *arguments], stderr=subprocess.PIPE, env=environment, **settings)


def test_a_reader_that_goes_away_is_not_complained_about() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = graspgen("splits", "--show-settings", stdout=writer)
    os.close(writer)
    assert process.communicate()[1] == b""
    assert process.returncode == ExitCode.FAILED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        process = graspgen("splits", "--show-settings", stdout=full)
        assert process.communicate()[1] == b"graspgen: stdout: No space left on device\n"
    assert process.returncode == ExitCode.OUTPUT


def test_completion_offers_flags_and_choices() -> None:
    environment = {**os.environ, "_GRASPGEN_COMPLETE": "complete_bash", "COMP_WORDS": "graspgen all --sampler a", "COMP_CWORD": "3"}
    done = subprocess.run([sys.executable, "-m", "graspgen_cli"], env=environment, capture_output=True, check=True)
    assert done.stdout.split() == [b"antipodal", b"acronym"]
