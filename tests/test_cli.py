"""The command line: streams, exit codes, help, and errors in one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

import graspgen_cli
from examples import OBJECTS
from graspgen_cli.app import main
from graspgen_cli.commands import COMMANDS, load_command
from graspgen_cli.commands.command import Command, gripper_values, report_line
from graspgen_cli.commands.document import EXIT_CODES, document
from graspgen_cli.console import MOST_NAMED, Console, Progress, printable, rates_text
from graspgen_cli.errors import ExitCode, GripperError, InputError, OutputError
from graspgen_cli.making.reports import ObjectReport, RunSummary, Status
from graspgen_cli.settings.commands import COMMAND_CLASSES, AllCommand, CompareCommand, GuessCommand
from graspgen_cli.settings.fields import Setting, command_line, flag, known_settings
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.runs import ModeSettings
from stand_in_checkout import make_checkout, make_run

Streams = pytest.CaptureFixture[str]
GRIPPER = "robotiq_2f_85"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in [name for name in os.environ if name.startswith("GRASPGEN_") and name != "GRASPGEN_CACHE_DIR"]:
        monkeypatch.delenv(name)


@dataclass(frozen=True)
class Dataset:
    """A dataset in the folder `root`, and what making it printed: an object that was made, and one without a mesh."""

    root: Path
    code: int
    out: str
    err: str

    @property
    def where(self) -> list[str]:
        """The flags that name objects, dataset and quotas."""
        scales = ["--object-scales-json", str(self.root / "scales.json"), "--object-dataset", str(OBJECTS)]
        quotas = ["--num-collision-free-grasps", "5", "--num-colliding-grasps", "1", "--workers", "1"]
        return [*scales, *quotas, "--grasp-dataset", str(self.root / "my data")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Dataset:
    root = tmp_path_factory.mktemp("cli")
    (root / "scales.json").write_text(json.dumps({"box.stl": 0.001, "gone.obj": 1.0}))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["all", *Dataset(root, 0, "", "").where, "--graspgen-source", str(root / "no")])
    return Dataset(root, code, out.getvalue(), err.getvalue())


def report(object_id: str = "mug.obj", status: Status = Status.MADE, message: str = "", **numbers: Any) -> ObjectReport:
    counts = {"held": 64, "failed": 16, "unvalidated": 0, "tested": 80, "seconds": 2.06, **numbers}
    return ObjectReport(object_id=object_id, status=status, message=message, **counts)


def shown(*reports: ObjectReport, name: str = "guess", **streams: bool) -> ExitCode:
    """What a command prints of a run with these reports."""
    code: ExitCode = load_command(name).show(RunSummary(reports), COMMAND_CLASSES[name].of(), Console(command=name, **streams))
    return code


def last_line(capsys: Streams) -> str:
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.count("\n") == 1, streams.err
    return streams.err.removesuffix("\n")


# --- what commands print -------------------------------------------------------------------------------------------------------


def test_all_prints_its_summary_its_failures_and_the_next_command(dataset: Dataset) -> None:
    assert dataset.code == ExitCode.FAILED
    assert re.search(r"objects +2\n  made +1\n  failed +1\n", dataset.out) and re.search(r"grasps held +5\n", dataset.out)
    assert re.search(r"failed:\n  gone.obj: .*gone.obj", dataset.out)
    assert re.search(r"splits: \d objects added to train, \d to valid\n", dataset.out)
    config = dataset.root / "my data" / "config" / "grippers" / GRIPPER
    assert f"gripper config written: {config}.yaml\n" in dataset.out
    line = ["--object-dataset", str(OBJECTS), "--object-scales-json", f"{dataset.root}/scales.json", "--grasp-dataset"]
    following = shlex.join(["graspgen", "analyze", *line, f"{dataset.root}/my data", "--workers", "1"])
    assert dataset.out.endswith(f"files: {dataset.root}/my data\nnext:  {following}\n")


def test_without_a_terminal_there_is_one_line_an_object_and_notes_on_stderr(dataset: Dataset) -> None:
    *objects, note = dataset.err.splitlines()
    assert sorted(line[6:].partition(" (")[0] for line in objects) == ["box.stl: made, 5 held, 3 failed", "gone.obj: failed"]
    assert [line[:6] for line in objects] == ["[1/2] ", "[2/2] "]
    assert note == (
        f"{dataset.root}/no does not exist: the gripper config goes to {dataset.root}/my data/config/grippers; "
        "copy it to GraspGen's config/grippers, or name the checkout with --graspgen-source"
    )


def test_quiet_still_names_failed_objects(dataset: Dataset, capsys: Streams) -> None:
    assert main(["validate", *dataset.where, "--quiet"]) == ExitCode.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\[\d/2\] gone.obj: failed \(\d+\.\d s\): .*gone.obj.*", line)


def test_all_of_one_shard_leaves_the_splits_to_their_command(dataset: Dataset, tmp_path: Path, capsys: Streams) -> None:
    where = [*dataset.where[:-1], str(tmp_path / "out"), "--graspgen-source", str(tmp_path)]
    codes = [main(["all", *where, "--shard", f"{part}/2"]) for part in range(2)]
    assert sorted(codes) == [ExitCode.OK, ExitCode.FAILED]
    assert capsys.readouterr().out.count("next:  graspgen splits --object-dataset ") == 2
    assert not (tmp_path / "out" / "splits").exists() and list((tmp_path / "out" / "grasp_data" / GRIPPER).glob("box*"))
    made = graspgen_cli.make_dataset(
        object_scales_json=dataset.root / "scales.json",
        object_dataset=OBJECTS,
        grasp_dataset=tmp_path / "out",
        graspgen_source=tmp_path,
        num_collision_free_grasps=5,
        num_colliding_grasps=1,
        shard="0/2",
    )
    assert made.splits is None and len(made.summary.reports) == 1


def test_all_leaves_the_splits_where_no_object_has_grasps(tmp_path: Path, capsys: Streams) -> None:
    (tmp_path / "scales.json").write_text('{"gone.obj": 1.0}')
    words = ["--object-scales-json", str(tmp_path / "scales.json"), "--grasp-dataset", str(tmp_path / "out"), "--workers", "1"]
    assert main(["all", *words, "--graspgen-source", str(tmp_path), "--json"]) == ExitCode.FAILED
    assert orjson.loads(capsys.readouterr().out)["splits"] is None and not (tmp_path / "out" / "splits").exists()


def test_short_objects_are_no_failure(capsys: Streams) -> None:
    assert shown(report(status=Status.SHORT, message="12 of 64 held")) == ExitCode.OK
    assert "short:\n  mug.obj: 12 of 64 held\n" in capsys.readouterr().out


def test_summary_does_not_list_thousands_of_objects(capsys: Streams) -> None:
    shown(*(report(f"{i}.obj", Status.SHORT, "few") for i in range(MOST_NAMED + 5)))
    out = capsys.readouterr().out
    assert out.count(".obj: few") == MOST_NAMED and "and 5 more" in out


def test_held_rate_counts_only_what_this_run_tested(capsys: Streams) -> None:
    filled = report(held=64, tested=10, tested_held=4)
    kept = report(status=Status.KEPT, held=64, tested=0, tested_held=0)
    for reports, rate in (((filled, kept), 0.4), ((kept,), None), ((report(tested=10, tested_held=None),), None)):
        shown(*reports, json=True)
        assert orjson.loads(capsys.readouterr().out)["held_rate"] == rate


def test_json_of_a_run_has_every_object(capsys: Streams) -> None:
    assert shown(report(tested_held=40), report("x.obj", Status.FAILED, "no"), name="validate", json=True) == ExitCode.FAILED
    content = orjson.loads(capsys.readouterr().out)
    assert [(row["object_id"], row["status"], row["held"]) for row in content["objects"]] == [
        ("mug.obj", "made", 64),
        ("x.obj", "failed", 64),
    ]
    assert (content["command"], content["status"]["failed"], content["held_rate"]) == ("validate", 1, 0.5)


def test_the_next_command_has_every_setting_of_the_run_that_it_takes() -> None:
    settings = AllCommand.of(gripper_config="franka_panda", object_dataset=Path("my meshes"), seed=3, fps=250, overwrite_grasps=True)
    assert command_line("validate", settings, load_guesses=True, overwrite_grasps=False) == (
        "graspgen validate --object-dataset 'my meshes' --gripper-config franka_panda --seed 3 --load-guesses"
    )
    assert command_line("analyze", settings) == "graspgen analyze --object-dataset 'my meshes' --gripper-config franka_panda"
    several = CompareCommand.of(paths=[Path("a"), Path("b c")])
    assert command_line("compare", several) == "graspgen compare --paths a --paths 'b c'"


def test_a_setting_of_the_grippers_file_is_not_repeated(capsys: Streams, dataset: Dataset) -> None:
    main(["all", *dataset.where, "--graspgen-source", str(dataset.root / "no"), "--guess-only"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next:")]
    assert line.startswith("next:  graspgen validate ") and line.endswith(" --load-guesses") and "--bite" not in line


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


@pytest.fixture(scope="module")
def words(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The arguments with which each command works on the dataset."""
    folder = tmp_path_factory.mktemp("words")
    results = str(shutil.copytree(dataset.root / "my data", folder / "results"))
    checkout = make_checkout(folder / "GraspGen", "robotiq_2f_140")
    (folder / "scales.json").write_text('{"box.stl": 0.001}')
    (folder / "meshes").mkdir()
    shutil.copy(OBJECTS / "box.stl", folder / "meshes")
    for role in ("gen", "dis"):
        make_run(folder / "training", GRIPPER, role)
    main(["gripper-config", "--graspgen-source", str(checkout), "--grasp-dataset", results, "--do-not-draw-picture", "--quiet"])
    run = [*dataset.where, "--object-scales-json", str(folder / "scales.json"), "--grasp-dataset", results]
    training = ["--graspgen-source", str(checkout), "--training-results", str(folder / "training")]
    return {
        **dict.fromkeys(("guess", "validate", "fill"), run),
        "all": [*run, "--graspgen-source", str(checkout)],
        "relabel": [results],
        "splits": [*dataset.where[:4], "--grasp-dataset", results],
        "gripper-config": ["--graspgen-source", str(checkout), "--do-not-draw-picture"],
        "analyze": [results, "--workers", "1"],
        "compare": [results, results, "--workers", "1"],
        "balance": [results, "--output-dataset", str(folder / "balanced")],
        "filter": [results, "--output-dataset", str(folder / "filtered")],
        "convert": [results, "--output-dataset", str(folder / "converted")],
        "object-scales": [str(folder / "meshes"), "--unit", "mm", "--scales-file", str(folder / "made.json")],
        "training-scripts": [*training, "--grasp-dataset", results, "--object-dataset", str(OBJECTS)],
        "inference-config": training,
        "view": [GRIPPER, "--export", str(folder / "gripper.glb")],
        "replay": [results, "--object-dataset", str(OBJECTS)],
        "doctor": [results],
        "bench": [*run, "--trials", "1"],
    }


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name == "bench" else name for name in COMMANDS])
def test_json_is_all_that_stdout_gets_and_quiet_leaves_stderr_empty(name: str, words: dict[str, list[str]], capsys: Streams) -> None:
    assert main([name, *words[name], "--json", "--quiet"]) == ExitCode.OK
    streams = capsys.readouterr()
    assert orjson.loads(streams.out)["command"] == name and streams.err == ""


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
    progress = Progress(stream)
    progress.start(3)
    progress.advance("a", validated=1, failed=False)
    progress.advance("b", validated=1, failed=False)
    assert stream.getvalue() == "[1/3] a\n[2/3] b\n"


def test_printable_keeps_text_and_escapes_the_rest() -> None:
    assert printable("Schüssel 1 ü 杯.obj") == "Schüssel 1 ü 杯.obj"
    assert printable("a\nb\x1b\udcff") == r"a\nb\x1b\udcff"


def test_a_line_is_one_line_whatever_the_name_of_the_object() -> None:
    stream = io.StringIO()
    Progress(stream).advance(report_line(report("a\nb\x1b[31m.obj", Status.FAILED, "not a mesh")), failed=True)
    assert stream.getvalue() == "[1/0] a\\nb\\x1b[31m.obj: failed, 64 held, 16 failed (2.1 s): not a mesh\n"


def test_report_line_says_only_what_there_is() -> None:
    assert report_line(report(held=0, failed=16, unvalidated=64, seconds=0.5)) == "mug.obj: made, 64 unvalidated, 16 failed (0.5 s)"


# --- errors --------------------------------------------------------------------------------------------------------------------

WORK: list[Callable[[], None]] = []
"""What the command of `at_work` does."""


def at_work(settings: GuessCommand) -> None:
    WORK[-1]()


def done(result: None, settings: GuessCommand, console: Console) -> ExitCode:
    return ExitCode.OK


WORKING = Command(settings=GuessCommand, call="test_cli:at_work", show=done, about="", examples=("graspgen working",))


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command that does what the caller gives, and returns its exit code."""
    monkeypatch.setitem(COMMANDS, "working", ("test_cli:WORKING", "A command of the tests."))

    def run(work: Callable[[], None], *flags: str) -> int:
        WORK[:] = [work]
        return main(["working", *flags])

    return run


def raises(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


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
def test_what_typer_refuses_is_one_line_with_advice(arguments: list[str], named: str, command: str, capsys: Streams) -> None:
    assert main(arguments) == ExitCode.USAGE
    line = last_line(capsys)
    assert line.startswith("graspgen: ") and named in line and line.endswith(f"; `{command} --help` shows what there is")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all", "--guess-only", "--no-guess-only"], "graspgen: --guess-only and --no-guess-only exclude each other; give one of them"),
        (["all", "--fps", "x"], "graspgen: --fps: 'x' is not allowed; give a whole number from 50 to 10000"),
        (["all", "--config", "no.yaml"], "graspgen: no.yaml: cannot be read (No such file or directory); give a YAML file of settings"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], message: str, capsys: Streams) -> None:
    assert main(arguments) == ExitCode.USAGE
    assert last_line(capsys) == message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("scales.json: not JSON"), ExitCode.BAD_INPUT),
        (GripperError("no gripper is called x"), ExitCode.BAD_INPUT),
        (OutputError("results: cannot be written"), ExitCode.OUTPUT),
    ],
)
def test_errors_of_the_work_are_one_line_and_a_code(error: Exception, code: ExitCode, working: Callable[..., int], capsys: Streams) -> None:
    assert working(raises(error)) == code
    assert last_line(capsys) == f"graspgen: {error}"


LATER = ("view", "replay", "inference-config")
"""Commands that read other files before the gripper."""


@pytest.mark.parametrize(
    "name", [name for name, command in COMMAND_CLASSES.items() if "gripper_config" in command.names() and name not in LATER]
)
def test_every_command_reports_an_unknown_gripper_in_one_line(name: str, tmp_path: Path, capsys: Streams) -> None:
    scales = ["--fit-to-gripper", str(OBJECTS), "--scales-file", str(tmp_path / "x.json")]
    where = scales if name == "object-scales" else ["--grasp-dataset", str(tmp_path)]
    assert main([name, "--gripper-config", "nobody", *where]) == ExitCode.BAD_INPUT
    assert "nobody" in last_line(capsys)


def test_an_unexpected_error_is_one_line(working: Callable[..., int], capsys: Streams) -> None:
    assert working(raises(ZeroDivisionError("division\nby zero"))) == ExitCode.FAILED
    line = last_line(capsys)
    assert line.startswith(r"graspgen: unexpected ZeroDivisionError: division\nby zero; ") and "--debug" in line


def test_debug_shows_the_traceback(working: Callable[..., int], capsys: Streams) -> None:
    assert working(raises(InputError("scales.json: not JSON")), "--debug") == ExitCode.BAD_INPUT
    err = capsys.readouterr().err
    assert "Traceback" in err and "in at_work" in err and err.endswith("\ngraspgen: scales.json: not JSON\n")


def test_interruption_says_how_to_go_on(working: Callable[..., int], capsys: Streams) -> None:
    assert working(raises(KeyboardInterrupt())) == ExitCode.INTERRUPTED
    assert last_line(capsys) == "graspgen: interrupted; finished files are kept, and the same command continues"


def test_a_termination_that_goes_lost_is_told_again_but_not_while_it_is_heeded(working: Callable[..., int]) -> None:
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

    began = time.monotonic()
    assert working(loses_one) == ExitCode.TERMINATED and heeded and time.monotonic() - began < 4
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0) and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_termination_is_an_interruption_with_a_code_of_its_own(working: Callable[..., int], capsys: Streams) -> None:
    ended: list[bool] = []

    def terminated_twice() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # Slurm sends several
            ended.append(True)

    assert working(terminated_twice) == ExitCode.TERMINATED == 128 + signal.SIGTERM and ended
    assert last_line(capsys) == "graspgen: terminated; finished files are kept, and the same command continues"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_program_that_takes_the_signal_itself_keeps_it(working: Callable[..., int]) -> None:
    taken: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: taken.append(number))
    try:
        assert working(lambda: os.kill(os.getpid(), signal.SIGTERM)) == ExitCode.OK
    finally:
        signal.signal(signal.SIGTERM, before)
    assert taken == [signal.SIGTERM]


# --- names and help ------------------------------------------------------------------------------------------------------------


def effective(arguments: list[str], capsys: Streams) -> dict[str, object]:
    """The settings that the command would run with."""
    assert main([*arguments, "--show-settings", "--json"]) == ExitCode.OK
    return {name: entry["value"] for name, entry in orjson.loads(capsys.readouterr().out)["settings"].items()}


def test_underscores_are_as_good_as_dashes_in_names_but_stay_in_values(capsys: Streams) -> None:
    config = effective(["gripper_config", "--grasp_dataset", "my_dir", "--overwrite_gripper_config"], capsys)
    assert (config["grasp_dataset"], config["overwrite_gripper_config"]) == ("my_dir", True)
    words = ["--object_dataset=a_b", "--num-collision_free_grasps=3", "--do_not_center_finger_opening", "--sampler", "finger-pads"]
    everything = effective(["all", *words], capsys)
    assert (everything["object_dataset"], everything["num_collision_free_grasps"]) == ("a_b", 3)
    assert everything["center_finger_opening"] is False


def test_negative_numbers_are_values(capsys: Streams) -> None:
    assert main(["all", "--bite", "-1"]) == ExitCode.USAGE
    assert "--bite: '-1'" in last_line(capsys)


def test_environment_and_file_reach_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Streams) -> None:
    (tmp_path / "c.yaml").write_text("num-offsets: 3\nfps: 300\n")
    monkeypatch.setenv("GRASP_DATASET_DIR", "elsewhere")
    monkeypatch.setenv("GRASPGEN_FPS", "400")
    settings = effective(["validate", "--config", str(tmp_path / "c.yaml")], capsys)
    assert (settings["num_offsets"], settings["fps"], settings["grasp_dataset"]) == (3, 400, "elsewhere")


@pytest.mark.parametrize("name", COMMANDS)
def test_show_settings_covers_every_field_and_runs_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Streams
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([name, "--show-settings", "--json"]) == ExitCode.OK
    content = orjson.loads(capsys.readouterr().out)
    assert content["command"] == name and set(content["settings"]) == set(COMMAND_CLASSES[name].names())
    assert all(set(entry) == {"value", "source"} for entry in content["settings"].values())
    known = next(field for field in ("seed", "grasp_dataset", "gripper_config", "workers") if field in content["settings"])
    assert main([name, "--show-settings", flag(known), "7"]) == ExitCode.OK
    assert re.search(r"(seed: 7|grasp-dataset: \"7\"|gripper-config: \"7\"|workers: 7) +# flag\n", capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []


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
def test_examples_of_the_help_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Streams) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seed: 1\n")
    examples = [line for line in document().splitlines() if line.startswith("graspgen ")]
    assert len(examples) >= 2 * len(COMMANDS)
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        assert main([*words[1:], "--show-settings"]) == ExitCode.OK, example


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
    assert Setting(GuessSettings, "center_finger_opening").off_flag == "--do-not-center-finger-opening"
    assert Setting(ModeSettings, "guess_only").off_flag == "--no-guess-only"


# --- documentation -------------------------------------------------------------------------------------------------------------


def test_documentation_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "commands.md"
    assert page.read_text("utf-8") == document(), "run: python -m graspgen_cli.commands.document > docs/commands.md"


def test_documentation_names_every_flag_and_exit_code() -> None:
    page = document()
    assert all(f"`{flag(name)}`" in page for name in known_settings())
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
