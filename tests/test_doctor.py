"""The doctor: each fault that can be made in a sound dataset is found, under its own name; a repair loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import trimesh

from graspgen_cli import __version__
from graspgen_cli.app import main
from graspgen_cli.dataset.health import FindingKind as Kind
from graspgen_cli.dataset.object_map import read_object_map
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import ExitCode
from graspgen_cli.formats.graspgen_json import encode
from graspgen_cli.records import Outcome
from made_datasets import GRIPPER, OFFSET, contents, document, grasp_dataset, make_dataset, make_older, signed

Streams = pytest.CaptureFixture[str]
IDS = ["a.obj", "b.obj", "cups/c.obj", "cups/d.obj", "e.obj"]


@pytest.fixture
def paths(tmp_path: Path) -> DatasetPaths:
    return make_dataset(tmp_path / "data", IDS)


@pytest.fixture
def doctor(paths: DatasetPaths, capsys: Streams) -> Callable[..., dict[str, Any]]:
    """Runs the doctor on the dataset and returns what it says of it; the exit code must agree."""

    def run(*flags: str) -> dict[str, Any]:
        code = main(["doctor", str(paths.root), "--json", *flags])
        streams = capsys.readouterr()
        found: dict[str, Any] = orjson.loads(streams.out)["dataset"]
        assert code == (ExitCode.FAILED if found["findings"] else ExitCode.OK), streams.err
        return found

    return run


Doctor = Callable[..., dict[str, Any]]


def kinds(found: dict[str, Any]) -> list[str]:
    return sorted(each["finding"] for each in found["findings"])


def grasp_file(paths: DatasetPaths, object_id: str = "a.obj") -> Path:
    return paths.grasps / read_object_map(paths)[object_id]


def rewrite(path: Path, **grasps: object) -> None:
    """Puts other values into a grasp file, with a checksum that matches."""
    content = json.loads(path.read_bytes())
    path.write_bytes(signed({**content, "grasps": {**content["grasps"], **grasps}}))


# --- sound datasets -------------------------------------------------------------------------------------------------------------


def test_a_sound_dataset_is_sound_and_left_alone(doctor: Doctor, paths: DatasetPaths) -> None:
    make_dataset(paths.root, ["x.obj"], gripper="franka_panda")
    before = contents(paths.root)
    found = doctor()
    assert found["findings"] == [] and found["files"] == 6 and found["grippers"] == ["franka_panda", GRIPPER]
    assert doctor("--repair") == {**found, "repaired": []}
    assert contents(paths.root) == before


def test_files_of_other_tools_are_sound(doctor: Doctor, paths: DatasetPaths) -> None:
    foreign = {key: value for key, value in document().items() if key not in ("checksum", "provenance")}
    foreign["grasps"] = {key: foreign["grasps"][key] for key in ("transforms", "object_in_gripper")}
    grasp_file(paths).write_text(json.dumps(foreign))
    assert doctor()["findings"] == []


# --- grasp files ----------------------------------------------------------------------------------------------------------------

poses = np.tile(np.eye(4), (8, 1, 1))
poses[:, 0, 3] = np.arange(8)
mirrored, sheared, same = poses.copy(), poses.copy(), poses.copy()
mirrored[2, 0, 0] = -1
sheared[3, 0, 1] = 0.1
same[5] = same[4]
FAULTS: dict[str, tuple[Kind, dict[str, object]]] = {
    "mirrored": (Kind.NOT_RIGID, {"transforms": mirrored.tolist()}),
    "sheared": (Kind.NOT_RIGID, {"transforms": sheared.tolist()}),
    "last row": (Kind.NOT_RIGID, {"transforms": (poses * 2).tolist()}),
    "same pose twice": (Kind.DUPLICATE_POSES, {"transforms": same.tolist()}),
    "integers for flags": (Kind.MALFORMED, {"object_in_gripper": [1] * 8}),
    "flags too few": (Kind.MALFORMED, {"object_in_gripper": [True]}),
    "flags that disagree": (Kind.MALFORMED, {"object_in_gripper": [True] * 8}),
    "no grasps": (Kind.MALFORMED, {"transforms": [], "object_in_gripper": [], "outcome": [], "opening_width": []}),
    "nothing for a number": (Kind.MALFORMED, {"transforms": [[[None] * 4] * 4] * 8}),
    "unknown outcome": (Kind.MALFORMED, {"outcome": ["flown"] * 8}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_file_is_found_and_nothing_else(doctor: Doctor, paths: DatasetPaths, fault: str) -> None:
    kind, grasps = FAULTS[fault]
    rewrite(grasp_file(paths), **grasps)
    (found,) = [each for each in doctor()["findings"] if "map" not in each["path"] and "splits" not in each["path"]]
    assert (found["finding"], found["path"], found["gripper"]) == (kind, str(grasp_file(paths)), GRIPPER)
    assert "\n" not in found["detail"] and found["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 200_000, b"\xff", b"null"])
def test_an_unreadable_file_is_moved_aside_by_a_repair_and_nothing_else_changes(
    doctor: Doctor, paths: DatasetPaths, content: bytes
) -> None:
    path = grasp_file(paths, "e.obj")
    before = contents(paths.root)
    path.write_bytes(content)
    assert Kind.UNREADABLE in kinds(doctor())
    found = doctor("--repair")
    moved = paths.quarantine / path.name
    assert moved.read_bytes() == content and not path.exists()
    assert kinds(found) == [Kind.SPLIT_DANGLING]  # the user's line stays
    assert [line.partition(" ")[0] for line in found["repaired"]] == ["moved", "made"]
    after = contents(paths.root)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {str(each.relative_to(paths.root)) for each in (path, moved, paths.object_map)}
    assert set(json.loads(paths.object_map.read_bytes())) == {*IDS} - {"e.obj"}
    assert doctor("--repair")["repaired"] == []


def test_a_damaged_file_is_found_though_the_index_trusts_it(doctor: Doctor, paths: DatasetPaths) -> None:
    path = grasp_file(paths)
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"0.05", b"0.06", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.name in read_object_map(paths).values()
    assert Kind.DAMAGED in kinds(doctor())


def test_an_earlier_quarantined_file_is_never_replaced(doctor: Doctor, paths: DatasetPaths) -> None:
    path = grasp_file(paths)
    for content in (b"first", b"second", b"third"):
        path.write_bytes(content)
        doctor("--repair")
    names = [path.name, f"{path.name}.1", f"{path.name}.2"]
    assert [(paths.quarantine / name).read_bytes() for name in names] == [b"first", b"second", b"third"]


def test_a_folder_a_pipe_or_a_dead_link_in_the_place_of_a_file_is_moved_aside(doctor: Doctor, paths: DatasetPaths) -> None:
    (paths.grasps / "folder.grasps.json").mkdir()
    (paths.grasps / "folder.grasps.json" / "inside").write_text("kept")
    os.mkfifo(paths.grasps / "pipe.grasps.json")
    (paths.grasps / "link.grasps.json").symlink_to("/nowhere")
    assert kinds(doctor()) == [Kind.UNREADABLE] * 3
    assert doctor("--repair")["findings"] == []
    assert (paths.quarantine / "folder.grasps.json" / "inside").read_text() == "kept"
    assert (paths.quarantine / "link.grasps.json").is_symlink()


def test_few_positives_and_other_versions_are_told_but_no_reason_to_move_a_file(doctor: Doctor, paths: DatasetPaths) -> None:
    outcomes = [Outcome.HELD] * 2 + [Outcome.UNVALIDATED] * 2 + [Outcome.DROPPED] * 9
    grasp_file(paths).write_bytes(encode(grasp_dataset("a.obj", outcomes=outcomes), OFFSET))
    content = json.loads(grasp_file(paths, "b.obj").read_bytes())
    content["provenance"]["guess"]["versions"]["graspgen-cli"] = "0.0.9"
    grasp_file(paths, "b.obj").write_bytes(signed(content))
    assert kinds(doctor("--repair")) == [Kind.FEW_POSITIVES, Kind.OLD_VERSION]
    assert not paths.quarantine.exists()


def test_a_file_of_another_gripper_is_told(doctor: Doctor, paths: DatasetPaths) -> None:
    grasp_file(paths).write_bytes(encode(grasp_dataset("a.obj", gripper="hand"), OFFSET))
    assert kinds(doctor()) == [Kind.WRONG_GRIPPER]


def test_meshes_are_compared_when_their_folder_is_given(doctor: Doctor, paths: DatasetPaths, tmp_path: Path) -> None:
    meshes = tmp_path / "meshes"
    meshes.mkdir()
    for name in ("a.obj", "b.obj"):
        trimesh.creation.box((0.1, 0.1, 0.1)).export(meshes / name)
    grasp_file(paths, "cups/c.obj").write_bytes(encode(grasp_dataset("../a.obj"), OFFSET))
    found = doctor("--object-dataset", str(meshes))
    told = [(each["finding"], Path(each["path"]).name[0]) for each in found["findings"] if "mesh" in each["finding"]]
    assert told == [(Kind.MESH_CHANGED, "a"), (Kind.MESH_CHANGED, "b")] + [(Kind.MESH_MISSING, name) for name in "cde"]
    assert "leaves the folder" in next(each["detail"] for each in found["findings"] if "/c.1.0" in each["path"])


# --- between the files ----------------------------------------------------------------------------------------------------------


def test_two_files_of_one_object_are_told(doctor: Doctor, paths: DatasetPaths) -> None:
    (paths.grasps / "a.2.0.grasps.json").write_bytes(encode(grasp_dataset("a.obj", scale=2.0), OFFSET))
    (found,) = doctor("--repair")["findings"]
    assert found["finding"] == Kind.DUPLICATE_OBJECT and "a.1.0.grasps.json at scale 1, a.2.0.grasps.json at scale 2" in found["detail"]
    assert json.loads(paths.object_map.read_bytes())["a.obj"] == "a.1.0.grasps.json"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda listed: None, [Kind.MAP_BROKEN]),
        (lambda listed: {"x": 3}, [Kind.MAP_BROKEN]),
        (lambda listed: {**listed, "gone.obj": "gone.grasps.json"}, [Kind.MAP_DANGLING]),
        (lambda listed: {key: name for key, name in listed.items() if key != "a.obj"}, [Kind.MAP_LACKS]),
        (lambda listed: {**listed, "a.obj": listed["b.obj"]}, [Kind.SHARED_FILE, Kind.MAP_WRONG]),
        (lambda listed: {**listed, "a.obj": listed["b.obj"], "b.obj": listed["a.obj"]}, [Kind.MAP_WRONG, Kind.MAP_WRONG]),
    ],
)
def test_a_map_out_of_step_is_found_and_made_anew(
    doctor: Doctor, paths: DatasetPaths, change: Callable[[dict[str, str]], object], expected: list[Kind]
) -> None:
    before = paths.object_map.read_bytes()
    changed = change(json.loads(before))
    if changed is None:
        paths.object_map.unlink()
    else:
        paths.object_map.write_text(json.dumps(changed))
    assert kinds(doctor()) == sorted(expected)
    assert doctor("--repair")["findings"] == []
    assert paths.object_map.read_bytes() == before


def test_splits_out_of_step_are_found_and_never_touched(doctor: Doctor, paths: DatasetPaths) -> None:
    (paths.splits / "train.txt").write_text("# note\na.obj\nb.obj\ngone.obj\n")
    (paths.splits / "valid.txt").write_text("b.obj\n")
    before = {path: path.read_bytes() for path in paths.splits.iterdir()}
    assert kinds(doctor("--repair")) == [Kind.SPLIT_OVERLAP, Kind.SPLIT_LACKS, Kind.SPLIT_DANGLING]
    assert {path: path.read_bytes() for path in paths.splits.iterdir()} == before
    (paths.splits / "train.txt").write_bytes(b"\xff")
    assert kinds(doctor()) == [Kind.SPLIT_BROKEN]


def test_only_old_temporary_files_of_ours_are_removed(doctor: Doctor, paths: DatasetPaths) -> None:
    old, young, theirs = (paths.grasps / name for name in (".0123456789abcdef.tmp", ".0123456789abcdee.tmp", ".mine.tmp"))
    for path in (old, young, theirs):
        path.write_text("x")
    for path in (old, theirs):
        make_older(path, 4000)
    assert kinds(doctor()) == [Kind.TEMPORARY]
    assert doctor("--repair")["findings"] == []
    assert (old.exists(), young.exists(), theirs.exists()) == (False, True, True)


def test_an_archive_is_told_but_stays(doctor: Doctor, paths: DatasetPaths) -> None:
    (paths.grasps / "shard_000.tar").write_bytes(b"")
    assert kinds(doctor("--repair")) == [Kind.ARCHIVE]


def test_a_dataset_whose_files_are_all_broken_loses_its_map_to_quarantine(doctor: Doctor, paths: DatasetPaths) -> None:
    for path in paths.grasps.glob("*.grasps.json"):
        path.write_bytes(b"{")
    assert set(kinds(doctor("--repair"))) == {Kind.SPLIT_DANGLING}
    assert not list(paths.grasps.iterdir())
    assert len(list(paths.quarantine.iterdir())) == len(IDS) + 1


# --- the command ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_what_is_no_dataset_is_said_in_a_line(tmp_path: Path, make: Callable[[Path], object], capsys: Streams) -> None:
    make(tmp_path / "none")
    assert main(["doctor", str(tmp_path / "none")]) == ExitCode.BAD_INPUT
    streams = capsys.readouterr()
    assert streams.err.count("\n") == 1 and "no dataset" in streams.err


def test_the_table_names_file_finding_and_cure(paths: DatasetPaths, capsys: Streams) -> None:
    rewrite(grasp_file(paths), transforms=same.tolist())
    paths.object_map.unlink()
    assert main(["doctor", "--grasp-dataset", str(paths.root)]) == ExitCode.FAILED
    streams = capsys.readouterr()
    assert f"grasp_data/{GRIPPER}/a.1.0.grasps.json" in streams.out and "duplicate poses" in streams.out
    assert "grasp files: 5, grippers: 1, findings: 2\n" in streams.out
    assert "--repair corrects 1 of them" in streams.err
    assert main(["doctor", str(paths.root), "--repair", "--quiet"]) == ExitCode.FAILED
    assert f"made {paths.object_map} anew" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_line(paths: DatasetPaths, capsys: Streams) -> None:
    grasp_file(paths).write_bytes(b"{")
    (paths.root / "quarantine").write_text("in the way")
    assert main(["doctor", str(paths.root), "--repair"]) == ExitCode.OUTPUT
    streams = capsys.readouterr()
    assert streams.err.count("\n") == 1 and "quarantine" in streams.err


@pytest.mark.slow
def test_memory_does_not_grow_with_the_files(tmp_path: Path, capsys: Streams) -> None:
    import tracemalloc

    peaks = []
    for count in (10, 110):
        paths = make_dataset(tmp_path / str(count), [f"{i}.obj" for i in range(count)])
        tracemalloc.start()
        assert main(["doctor", str(paths.root)]) == ExitCode.OK
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 100 * 4000  # bytes an index entry, far less than a file's


# --- the machine ----------------------------------------------------------------------------------------------------------------


def machine_facts(capsys: Streams, *, code: ExitCode) -> dict[str, dict[str, Any]]:
    assert main(["doctor", "--json"]) == code
    return {fact["name"]: fact for fact in orjson.loads(capsys.readouterr().out)["machine"]}


def gpu_tool(folder: Path, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_the_machine_is_told_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Streams) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = machine_facts(capsys, code=ExitCode.OK)
    assert {"graspgen", "Python", "cores", "memory", "numpy", "mujoco-core", "backend mujoco", "extra usd", "cache", "GPU"} <= set(facts)
    assert facts["numpy"]["value"] == np.__version__ and facts["backend mujoco"]["value"] == "simulates"
    assert facts["GPU"] == {"name": "GPU", "value": "none found; none is needed", "problem": None}


@pytest.mark.slow
def test_a_gpu_tool_that_fails_shows_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Streams) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    gpu_tool(tmp_path, "exit 9")
    assert machine_facts(capsys, code=ExitCode.OK)["GPU"]["value"] == "none found; none is needed"


def install(folder: Path, name: str, *lines: str, module: str = "") -> None:
    """Puts a package's description, and the name of its module, where Python finds installed packages."""
    info = folder / f"{name.replace('-', '_')}-{__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {__version__}", *lines]))
    (info / "top_level.txt").write_text(module)


def test_what_is_missing_or_broken_is_a_problem_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Streams) -> None:
    """With other requirements than its own, a module that raises, and one that ends Python."""
    required = ["numpy<1", "no-such-package>=3", "odd-package", "worse-package", "mujoco-core>=4", 'nowhere>1; extra == "far"']
    install(tmp_path, "graspgen-cli", *(f"Requires-Dist: {line}" for line in required), "Provides-Extra: far")
    for name, content in (("odd", "raise ValueError('odd\\nhere')"), ("worse", "import os; os.abort()")):
        install(tmp_path, f"{name}-package", module=f"{name}_module")
        (tmp_path / f"{name}_module.py").write_text(content)
    install(tmp_path, "mujoco")
    gpu_tool(tmp_path, "echo 'Card, 1 MiB, 1.0'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path)
    facts = machine_facts(capsys, code=ExitCode.FAILED)
    assert facts["numpy"]["problem"] == "run `pip install 'numpy<1'`"
    missing = facts["no-such-package"]
    assert (missing["value"], missing["problem"]) == ("missing", "run `pip install 'no-such-package>=3'`")
    assert "cannot be imported (ValueError: odd here)" in facts["odd-package"]["problem"]
    assert "cannot be imported (it ends Python with code -6)" in facts["worse-package"]["problem"]
    assert facts["extra far"]["value"].startswith("not installed; ") and facts["extra far"]["problem"] is None
    assert facts["mujoco"]["problem"].startswith(f"mujoco {__version__} overwrites files of mujoco-core; run `pip uninstall ")
    assert facts["GPU"]["value"] == "Card, 1 MiB, 1.0"


# --- beside a run ---------------------------------------------------------------------------------------------------------------

RUN = """
import sys
from pathlib import Path
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.dataset.locks import owned
with owned(DatasetPaths(Path(sys.argv[1]), sys.argv[2]), {"seed": 0}):
    print("at work", flush=True)
    sys.stdin.read()
"""


def test_a_repair_waits_for_no_run_and_a_look_needs_none(doctor: Doctor, paths: DatasetPaths, capsys: Streams) -> None:
    paths.object_map.unlink()
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(paths.root), GRIPPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "at work\n"
        assert main(["doctor", str(paths.root), "--repair"]) == ExitCode.BAD_INPUT
        assert str(other.pid) in (line := capsys.readouterr().err) and line.count("\n") == 1
        assert kinds(doctor()) == [Kind.MAP_BROKEN]
        other.communicate()
    assert doctor("--repair")["findings"] == []
