"""Faults that are really injected: killed processes, failing writes, a full disk, damaged files, two runs at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trimesh

from graspgen_cli.app import main
from graspgen_cli.dataset.locks import object_lock, open_object_locks, owned
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import InputError
from graspgen_cli.formats.graspgen_json import read_grasp_file
from limits import files_of_at_most

GRASPS = "grasp_data/franka_panda"
QUOTAS = ["--num-collision-free-grasps", "4", "--num-colliding-grasps", "2"]
NOT_DATA = ("runs.jsonl", "failures", "locks", "index", "quarantine")

INTERRUPTIBLE = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
"""A shell starts what it runs in the background with SIGINT ignored, and so would be what the tests start."""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small boxes."""
    folder = tmp_path_factory.mktemp("objects")
    for n in range(6):
        trimesh.creation.box((0.02 + 0.003 * n, 0.03, 0.04)).export(folder / f"box{n}.obj")
    (folder / "list.json").write_text(json.dumps({f"box{n}.obj": 1.0 for n in range(6)}))
    return folder


def command(objects: Path, out: Path, *flags: str, verb: str = "all") -> list[str]:
    where = ["--object-scales-json", str(objects / "list.json"), "--object-dataset", str(objects), "--grasp-dataset", str(out)]
    workers = [] if "--workers" in flags else ["--workers", "1"]
    return [verb, *where, "--gripper-config", "franka_panda", "--quiet", *QUOTAS, *workers, *flags]


def start(objects: Path, out: Path, *flags: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "graspgen_cli", *command(objects, out, *flags)]
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=INTERRUPTIBLE
    )


def contents(dataset: Path) -> dict[str, bytes]:
    files = (p for p in sorted(dataset.rglob("*")) if p.is_file())
    named = {str(p.relative_to(dataset)): p.read_bytes() for p in files}
    return {name: content for name, content in named.items() if not name.startswith(NOT_DATA) and not name.endswith(".png")}


@pytest.fixture(scope="module")
def reference(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The dataset of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("reference")
    assert main(command(objects, out)) == 0
    return contents(out)


def test_a_lock_holds_between_processes_and_dies_with_its_process(tmp_path: Path) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from graspgen_cli.dataset.paths import DatasetPaths\n"
        "from graspgen_cli.dataset.locks import object_lock\n"
        f"with object_lock(DatasetPaths(Path({str(tmp_path)!r}), 'g'), 'a.obj', wait=False) as mine:\n"
        "    print(mine, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    paths = DatasetPaths(tmp_path, "g")
    try:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        with object_lock(paths, "a.obj", wait=False) as mine, object_lock(paths, "b.obj", wait=False) as other:
            assert (mine, other) == (False, True)
    finally:
        process.kill()
        process.wait()
    with object_lock(paths, "a.obj", wait=False) as mine:
        assert mine


@pytest.mark.slow
def test_a_run_with_other_settings_is_told_who_is_there(tmp_path: Path) -> None:
    holder = (
        "import time; from pathlib import Path; from graspgen_cli.dataset.paths import DatasetPaths\n"
        "from graspgen_cli.dataset.locks import owned\n"
        f"with owned(DatasetPaths(Path({str(tmp_path)!r}), 'g'), {{'fps': 250, 'seed': 0}}): print('here', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    paths = DatasetPaths(tmp_path, "g")
    try:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        cleaned: list[str] = []
        with owned(paths, {"fps": 250, "seed": 0}, clean=lambda: cleaned.append("beside")):
            pass
        assert not cleaned
        with (
            pytest.raises(InputError, match=rf"process {process.pid} .*fps 250 there, 500 here") as caught,
            owned(paths, {"fps": 500, "seed": 0}),
        ):
            pass
        assert "\n" not in str(caught.value)
    finally:
        process.kill()
        process.wait()
    with owned(paths, {"fps": 500, "seed": 0}, clean=lambda: cleaned.append("alone")):
        assert cleaned == ["alone"]
    assert cleaned == ["alone", "alone"]


def test_without_locks_nothing_is_cleared_away_that_another_run_might_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    cleaned: list[str] = []
    with owned(DatasetPaths(tmp_path, "g"), {"fps": 500}, clean=lambda: cleaned.append("alone")):
        pass
    assert not cleaned


@pytest.mark.slow
def test_a_run_clears_away_what_its_own_dead_workers_left(objects: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    """As a node of a cluster that dies while it writes: the run goes on elsewhere and ends well."""
    out = tmp_path / "out"
    run = start(objects, out)
    while run.poll() is None and not list((out / GRASPS).glob("*.grasps.json")):
        time.sleep(0.005)
    (out / GRASPS / ".0123456789abcdef.tmp").write_bytes(b'{"object":')
    assert run.poll() is None and run.wait(120) == 0
    assert contents(out) == reference


@pytest.mark.slow
def test_a_process_that_gives_one_object_back_keeps_the_others(tmp_path: Path) -> None:
    """The kernel would give them all back, had the process opened the file twice and closed it once."""
    paths = DatasetPaths(tmp_path, "g")
    locks = open_object_locks(paths)
    with locks.held("a.obj") as mine:
        with locks.held("b.obj") as other:
            assert mine and other
        look = (
            "from pathlib import Path; from graspgen_cli.dataset.paths import DatasetPaths\n"
            "from graspgen_cli.dataset.locks import open_object_locks\n"
            f"locks = open_object_locks(DatasetPaths(Path({str(tmp_path)!r}), 'g'))\n"
            "with locks.held('a.obj') as a, locks.held('b.obj') as b: print(a, b)"
        )
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
        assert done.stdout == "False True\n"


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(objects: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    runs = [start(objects, tmp_path / "out") for _ in range(2)]
    for run in runs:
        _, err = run.communicate(timeout=120)
        assert run.returncode == 0, err
    assert contents(tmp_path / "out") == reference
    made = [json.loads(line)["objects"]["made"] for line in (tmp_path / "out/runs.jsonl").read_text().splitlines()]
    assert len(made) == 2 and sum(made) == 6


def kill_at_random_moments(objects: Path, out: Path, times: int, longest: float) -> None:
    moments = random.Random(5)
    for _ in range(times):
        run = start(objects, out, "--workers", moments.choice("12"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=moments.uniform(0.8, longest))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        if moments.random() < 0.3 and (out / GRASPS).is_dir():  # otherwise most kills would hit finished datasets
            for path in (out / GRASPS).glob("*.grasps.json"):
                if moments.random() < 0.5:
                    path.unlink()


@pytest.mark.slow
def test_killed_thirty_times_the_dataset_ends_the_same(objects: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    kill_at_random_moments(objects, tmp_path / "out", 30, 3.5)
    assert main(command(objects, tmp_path / "out")) == 0
    assert contents(tmp_path / "out") == reference


class Faulty:
    """A system call that fails at the nth time, once or from then on."""

    def __init__(self, real: object, nth: int, code: int, *, forever: bool) -> None:
        self.real, self.left, self.code, self.forever, self.struck = real, nth, code, forever, False

    def __call__(self, *arguments: object, **options: object) -> object:
        self.left -= 1
        if self.left == 0 or (self.forever and self.left < 0):
            self.struck = True
            raise OSError(self.code, os.strerror(self.code))
        return self.real(*arguments, **options)  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize(("call", "code"), [("fsync", errno.EIO), ("replace", errno.ENOSPC)])
def test_every_failing_call_leaves_whole_files(
    call: str,
    code: int,
    forever: bool,
    objects: Path,
    tmp_path: Path,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Guesses of two objects only, which is quick: the same code writes all files."""
    whole, listed = tmp_path / "whole", tmp_path / "list.json"
    listed.write_text('{"box0.obj": 1.0, "box1.obj": 1.0}')
    two = ["--object-scales-json", str(listed)]
    assert main([*command(objects, whole, verb="guess"), *two]) == 0
    expected = contents(whole)
    owner = {"fsync": os, "replace": Path}[call]
    real = getattr(owner, call)
    for nth in range(1, 40):
        out = tmp_path / f"out{nth}"
        fault = Faulty(real, nth, code, forever=forever)
        with monkeypatch.context() as patch:
            patch.setattr(owner, call, (lambda f: lambda *a, **k: f(*a, **k))(fault))
            result = main([*command(objects, out, verb="guess"), *two])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        if not fault.struck:
            assert nth > 1 and result == 0
            break
        assert result != 0 or not forever
        assert result == 0 or os.strerror(code) in said
        found = contents(out)
        assert {name: expected[name] for name in found if name in expected and "map_" not in name} == {
            name: content for name, content in found.items() if "map_" not in name
        }
        assert main([*command(objects, out, verb="guess"), *two]) == 0
        assert contents(out) == expected
        shutil.rmtree(out)
    else:
        pytest.fail("more calls than expected")


@pytest.mark.slow
def test_files_that_may_not_grow_are_named_and_leave_no_part(objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every write beyond 4,000 bytes of a file fails, so that no grasp file can be written to its end."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    larger = ["--num-collision-free-grasps", "30"]
    assert main([*command(objects, whole, verb="guess"), *larger]) == 0
    with files_of_at_most(4000):
        assert main([*command(objects, out, verb="guess"), *larger]) != 0
    said = capsys.readouterr().err
    assert os.strerror(errno.EFBIG) in said and "Traceback" not in said
    assert not list(out.rglob("*.grasps.json")) and not list(out.rglob("*.tmp"))
    assert main([*command(objects, out, verb="guess"), *larger]) == 0
    assert contents(out) == contents(whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_harms_nothing(
    objects: Path, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    larger = ["--num-collision-free-grasps", "60"]
    whole = tmp_path / "whole"
    assert main([*command(objects, whole, verb="guess"), *larger]) == 0
    assert main([*command(objects, small_disk / "out", verb="guess"), *larger]) != 0
    said = capsys.readouterr().err
    assert "No space left on device" in said and "Traceback" not in said
    expected = contents(whole)
    for name, content in contents(small_disk / "out").items():
        assert name.startswith("failures") or "map_" in name or expected[name] == content


@pytest.mark.slow
def test_a_damaged_file_is_found_and_only_its_object_made_anew(objects: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    out, moments = tmp_path / "out", random.Random(1)
    assert main(command(objects, out)) == 0
    names = [name for name in reference if name.endswith(".grasps.json")]
    for trial in range(6):
        path = out / names[trial % len(names)]
        content = bytearray(path.read_bytes())
        if trial % 2:
            del content[moments.randrange(1, len(content) - 2) :]
        else:
            place = content.index(b"transforms") + moments.randrange(20, 200)
            content[place] = ord("7") if content[place : place + 1].isdigit() and content[place] != ord("7") else content[place] ^ 1
        path.write_bytes(bytes(content))
        before = {name: (out / name).stat().st_mtime_ns for name in names}
        assert main(command(objects, out)) == 1
        assert main(["doctor", str(out), "--repair"]) == 1  # moves the broken file aside
        assert main(command(objects, out)) == 0
        changed = {name for name in names if (out / name).exists() and (out / name).stat().st_mtime_ns != before[name]}
        assert changed == {str(path.relative_to(out))}
        assert contents(out) == reference


@pytest.mark.slow
def test_a_hanging_object_is_given_up_and_the_others_are_made(objects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mesh file is a pipe into which nobody writes: reading it waits for ever."""
    os.mkfifo(objects / "hang.obj")
    listed = tmp_path / "list.json"
    listed.write_text('{"hang.obj": 1.0, "box0.obj": 1.0}')
    flags = ["--object-scales-json", str(listed), "--object-timeout", "5"]
    assert main([*command(objects, tmp_path / "out", "--workers", "2"), *flags]) == 1
    assert "hang.obj: not done after 5 s" in capsys.readouterr().out
    assert (tmp_path / "out" / GRASPS / "box0.1.0.grasps.json").is_file()
    failure = json.loads((tmp_path / "out/failures/franka_panda.jsonl").read_text())
    assert failure["object_id"] == "hang.obj"


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def spawned(pid: int) -> list[int]:
    """The workers among a process's children."""
    return [child for child in children(pid) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.slow
def test_a_worker_that_dies_takes_only_its_object_along(objects: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run = start(objects, out, "--workers", "2")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((out / GRASPS).glob("*.grasps.json")):
        time.sleep(0.02)
    os.kill(spawned(run.pid)[0], signal.SIGKILL)
    run.communicate(timeout=120)
    failed = (out / "failures/franka_panda.jsonl").read_text().splitlines() if (out / "failures").exists() else []
    assert len(failed) <= 1 and run.returncode == len(failed)
    assert len(list((out / GRASPS).glob("*.grasps.json"))) == 6 - len(failed)
    shutil.rmtree(out / "splits")  # an object that comes later is listed later
    assert main(command(objects, out)) == 0
    assert contents(out) == reference


@pytest.mark.slow
def test_ctrl_c_ends_soon_with_130_and_the_way_to_go_on(objects: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run = start(objects, out, "--workers", "2", "--num-collision-free-grasps", "5000")
    while len(spawned(run.pid)) < 2:  # trimesh catches a Ctrl-C while it is imported
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    began = time.monotonic()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and time.monotonic() - began < 10
    assert "Traceback" not in said and "the same command continues" in said
    for path in (out / GRASPS).glob("*.grasps.json"):
        read_grasp_file(path)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("end", [os.kill, os.killpg], ids=["parent", "all"])  # `kill`; Slurm's scancel or time limit
def test_termination_ends_soon_and_leaves_nothing_behind(
    objects: Path, tmp_path: Path, reference: dict[str, bytes], workers: str, end: Callable[[int, int], None]
) -> None:
    out = tmp_path / "out"
    run = start(objects, out, "--workers", workers)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((out / GRASPS).glob("*.grasps.json")):
        time.sleep(0.02)
    started = spawned(run.pid)
    end(run.pid, signal.SIGTERM)
    _, said = run.communicate(timeout=20)
    assert run.returncode == 143
    assert said.splitlines()[-1] == "graspgen: terminated; finished files are kept, and the same command continues"
    assert "Traceback" not in said and not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert list(out.rglob(".*.tmp")) == []
    assert 1 <= len(list((out / GRASPS).glob("*.grasps.json"))) < 6
    with owned(DatasetPaths(out, "franka_panda"), {"other": "settings"}):  # nobody is at work there any more
        pass
    assert main(command(objects, out)) == 0
    assert contents(out) == reference


@pytest.mark.slow
def test_guess_kill_validate_fill_splits_end_in_the_dataset_of_all(objects: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    assert main(command(objects, out, verb="guess")) == 0
    for name in ("box1.1.0.grasps.json", "box4.1.0.grasps.json"):  # as if the run had been killed before these
        (out / GRASPS / name).unlink()
    where = ["--object-scales-json", str(objects / "list.json"), "--object-dataset", str(objects), "--grasp-dataset", str(out)]
    assert main(command(objects, out, "--load-guesses", verb="validate")) == 0
    assert main(command(objects, out, verb="fill")) == 0
    assert main(["splits", *where, "--gripper-config", "franka_panda"]) == 0
    assert main(["gripper-config", "--grasp-dataset", str(out), "--gripper-config", "franka_panda"]) == 0
    assert contents(out) == reference
