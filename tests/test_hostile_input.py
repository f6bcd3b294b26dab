"""Input that anybody may have written: each broken file is one labelled failure, in one line, and disturbs nothing else."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import orjson
import pytest
import trimesh

import graspgen_cli
from graspgen_cli.app import main
from graspgen_cli.dataset.object_map import read_object_map
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import ExitCode
from graspgen_cli.formats.graspgen_json import read_grasp_file
from made_datasets import GRIPPER, contents, document, make_dataset, signed

Streams = pytest.CaptureFixture[str]
QUICK = ["--num-collision-free-grasps", "6", "--num-colliding-grasps", "0", "--max-guess-tries", "20", "--workers", "1"]
BRICK = trimesh.creation.box((0.03, 0.04, 0.05))


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good mesh."""
    folder = tmp_path_factory.mktemp("meshes")
    BRICK.export(folder / "brick.stl")
    return folder


def run(command: str, scales: Path, meshes: Path, dataset: Path, *flags: str) -> int:
    where = ["--object-scales-json", str(scales), "--object-dataset", str(meshes), "--grasp-dataset", str(dataset)]
    return main([command, *where, *flags])


def write_scales(folder: Path, object_ids: dict[str, object]) -> Path:
    path = folder / "scales.json"
    path.write_text(json.dumps(object_ids))
    return path


def complaint(capsys: Streams) -> str:
    """The one line on stderr that a command ended with."""
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.count("\n") == 1 and streams.err.startswith("graspgen: "), streams
    return streams.err


# --- no way to run what is read -------------------------------------------------------------------------------------------------

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {("yaml", name) for name in ("load", "load_all", "unsafe_load", "full_load")} | {("os", "system"), ("os", "popen")}
LOADERS = {"SafeLoader", "CSafeLoader"}


def forbidden(text: str) -> list[str]:
    """What in a module's text could run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.Call):
            found += forbidden_call(node)
        elif isinstance(node, ast.Attribute) and node.attr.endswith("Loader") and node.attr not in LOADERS:
            found.append(node.attr)
    return found


def forbidden_call(node: ast.Call) -> list[str]:
    function, given = node.func, {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if isinstance(function, ast.Name):
        return [function.id] if function.id in FORBIDDEN_CALLS else []
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return []
    called = (function.value.id, function.attr)
    loads_objects = called == ("np", "load") and given.get("allow_pickle") != "False"
    return [".".join(called)] if called in FORBIDDEN_METHODS or loads_objects or given.get("shell") == "True" else []


def test_no_module_can_run_what_it_reads() -> None:
    package = Path(graspgen_cli.__file__).parent
    found = {path.name: forbidden(path.read_text("utf-8")) for path in package.rglob("*.py")}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "yaml.load(text)",
        "yaml.compose(text, Loader=yaml.Loader)",
        "eval(x)",
        "np.load(path)",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_test_above_can_fail(line: str) -> None:
    assert forbidden(line)


# --- meshes ---------------------------------------------------------------------------------------------------------------------

STL = BRICK.export(file_type="stl")
OBJ = BRICK.export(file_type="obj").encode()
PLY = BRICK.export(file_type="ply")
OFF = BRICK.export(file_type="off").encode()
GLB = BRICK.export(file_type="glb")
BROKEN_MESHES: dict[str, bytes] = {
    "empty.obj": b"",
    "blank.stl": b" \n",
    "words.obj": b"this is no mesh\n",
    "words.stl": b"this is no mesh at all, only words\n" * 20,
    "words.ply": b"ply but not really",
    "words.off": b"OFF\nwords",
    "words.glb": b"glTFwords",
    "words.gltf": b"{",
    "list.gltf": b"[]",
    "nested.gltf": b"[" * 1_000_000,
    "half.stl": STL[: len(STL) // 2],
    "half.ply": PLY[: len(PLY) // 2],
    "half.off": OFF[: len(OFF) // 2],
    "half.glb": GLB[: len(GLB) // 2],
    "zeros.stl": bytes(1000),
    "count.stl": STL[:80] + b"\xff\xff\xff\x7f" + STL[84:],
    "points.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\n",
    "nan.obj": OBJ.replace(b"v 0.0", b"v nan").replace(b"v -0.0", b"v nan"),
    "infinite.obj": b"v 1e999 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "outside.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
    "negative.off": b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -7\n",
    "point.obj": b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n",
    "picture.png": b"\x89PNG",
    "nothing": b"v 0 0 0",
    "archive.3mf": b"PK\x03\x04",
    "binary.obj": bytes(range(256)) * 4,
    "reference.gltf": b'{"asset":{"version":"2.0"},"buffers":[{"uri":"../../etc/passwd","byteLength":9}],"meshes":[]}',
}


def test_each_broken_mesh_is_one_failure_and_the_good_one_is_made(meshes: Path, tmp_path: Path, capsys: Streams) -> None:
    folder = tmp_path / "meshes"
    folder.mkdir()
    for name, content in BROKEN_MESHES.items():
        (folder / name).write_bytes(content)
    (folder / "folder.obj").mkdir()
    (folder / "loop.obj").symlink_to(folder / "loop.obj")
    BRICK.export(folder / "brick.stl")
    make_dataset(tmp_path / "data", ["x.obj"])
    before = contents(tmp_path / "data")
    bad = [*BROKEN_MESHES, "folder.obj", "loop.obj", "gone.obj"]
    listed = write_scales(tmp_path, {**dict.fromkeys(bad, 1.0), "brick.stl": 1.0})
    assert run("guess", listed, folder, tmp_path / "data", *QUICK, "--json") == ExitCode.FAILED
    streams = capsys.readouterr()
    assert "Traceback" not in streams.err
    rows = {row["object_id"]: row for row in orjson.loads(streams.out)["objects"]}
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {*bad}
    for name in bad:
        message = rows[name]["message"]
        assert name in message and "\n" not in message and len(message) < 400, message
        assert not re.search(r"unexpected \w+(Error|Exception)", message), message
    after = contents(tmp_path / "data")
    new = {name for name in after if name not in before}
    assert new == {f"grasp_data/{GRIPPER}/brick.1.0.grasps.json"}
    assert all(after[name] == content for name, content in before.items() if "map" not in name)


# --- scales files ---------------------------------------------------------------------------------------------------------------

BROKEN_SCALES: dict[str, bytes] = {
    "empty": b"",
    "half": b'{"brick.stl": 1.0',
    "list": b"[]",
    "number": b"3",
    "nothing": b"{}",
    "not text": b"\xff\xfe\x00",
    "deep": b'{"a":' * 1_000_000,
    "deep list": b"[" * 1_000_000,
    "python": b"{'brick.stl': 1.0}",
    "two": b'{"brick.stl": 1.0} {}',
    "yaml": b"brick.stl: 1.0\n",
}


@pytest.mark.parametrize("name", BROKEN_SCALES)
def test_a_broken_list_of_objects_is_one_line_and_nothing_is_written(name: str, meshes: Path, tmp_path: Path, capsys: Streams) -> None:
    (tmp_path / "scales.json").write_bytes(BROKEN_SCALES[name])
    assert run("guess", tmp_path / "scales.json", meshes, tmp_path / "data", *QUICK) == ExitCode.BAD_INPUT
    assert str(tmp_path / "scales.json") in complaint(capsys)
    assert not (tmp_path / "data").exists()


BAD_SCALES: list[object] = [0, -1, "1", None, True, [1.0], {}, 1e300, 1e-300, 10**400]
BAD_IDS = ["", " ", ".", "..", "../up.stl", "a/../../up.stl", "/etc/passwd", "a\nb.stl", "a\0.stl", " brick.stl", "a\u2028b.stl"]


def test_each_entry_that_cannot_be_used_is_one_failure(meshes: Path, tmp_path: Path, capsys: Streams) -> None:
    bad = {f"scale{i}.stl": value for i, value in enumerate(BAD_SCALES)} | dict.fromkeys(BAD_IDS, 1.0)
    outside = contents(tmp_path)
    listed = write_scales(tmp_path, {**bad, "brick.stl": 1.0})
    assert run("guess", listed, meshes, tmp_path / "data", *QUICK, "--json") == ExitCode.FAILED
    streams = capsys.readouterr()
    rows = orjson.loads(streams.out)["objects"]
    assert {row["object_id"] for row in rows if row["status"] == "failed"} == {*bad}
    assert "Traceback" not in streams.err and all("\n" not in row["message"] for row in rows)
    written = {*contents(tmp_path)} - {*outside, "scales.json"}
    assert all(name.startswith("data/") for name in written)
    assert set(read_object_map(DatasetPaths(tmp_path / "data", GRIPPER))) == {"brick.stl"}


# --- grasp files ----------------------------------------------------------------------------------------------------------------


def changed(**parts: object) -> bytes:
    content = document("0.stl")
    return signed({**content, **{name: value for name, value in parts.items() if name in content}})


WHOLE = signed(document("0.stl"))
BROKEN_GRASPS: list[bytes] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b"\xff\xfe",
    b"[" * 1_000_000,
    b'{"grasps":' * 1_000_000,
    WHOLE[: len(WHOLE) // 2],
    WHOLE[:-2],
    WHOLE.replace(b"0.05", b"0.06", 1),
    WHOLE.replace(b"true", b"fals", 1),
    WHOLE.replace(b"held", b"hold", 1),
    changed(grasps={}),
    changed(grasps=[]),
    changed(grasps={"transforms": [], "object_in_gripper": []}),
    changed(grasps={"transforms": [[1]], "object_in_gripper": [True]}),
    changed(object="0.stl"),
    changed(object={"file": ["0.stl"], "scale": 1.0}),
    changed(object={"file": "0.stl", "scale": "1"}),
    changed(gripper=[1]),
    changed(gripper={"width": {}}),
    changed(provenance=[1]),
    b"PK\x03\x04" + bytes(100),
    bytes(1000),
]


def test_each_broken_grasp_file_is_one_failure_and_stays_as_it_is(meshes: Path, tmp_path: Path, capsys: Streams) -> None:
    folder = tmp_path / "meshes"
    folder.mkdir()
    ids = [f"{number}.stl" for number in range(len(BROKEN_GRASPS))]
    for object_id in ids:
        (folder / object_id).write_bytes(STL)
    paths = make_dataset(tmp_path / "data", [*ids, "sound.stl"])
    for object_id, content in zip(ids, BROKEN_GRASPS, strict=True):
        (paths.grasps / f"{object_id[:-4]}.1.0.grasps.json").write_bytes(content)
    before = contents(paths.root)
    listed = write_scales(tmp_path, dict.fromkeys(ids, 1.0))
    assert run("guess", listed, folder, paths.root, *QUICK, "--json") == ExitCode.FAILED
    streams = capsys.readouterr()
    assert "Traceback" not in streams.err
    rows = {row["object_id"]: row for row in orjson.loads(streams.out)["objects"]}
    failed = {object_id for object_id, row in rows.items() if row["status"] == "failed"}
    assert failed == {*ids}, {*ids} - failed
    assert all("--overwrite-grasps" in rows[object_id]["message"] and "\n" not in rows[object_id]["message"] for object_id in failed)
    assert contents(paths.root) == before
    assert main(["analyze", "--grasp-dataset", str(paths.root)]) == ExitCode.FAILED
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(ids) and all(line.startswith(f"graspgen: {paths.grasps}/") for line in lines)


# --- maps and splits ------------------------------------------------------------------------------------------------------------

BROKEN_MAPS = [
    b"",
    b"{",
    b"[]",
    b"3",
    b"\xff",
    b"[" * 1_000_000,
    b'{"a.stl": "../../../outside.grasps.json"}',
    b'{"a.stl": "/etc/passwd"}',
    b'{"a.stl": {"b": "c"}, "b.stl": null}',
]


@pytest.mark.parametrize("content", BROKEN_MAPS, ids=range(len(BROKEN_MAPS)))
def test_a_broken_map_heals(content: bytes, meshes: Path, tmp_path: Path) -> None:
    paths = make_dataset(tmp_path / "data", ["a.stl", "b.stl"])
    before = contents(paths.root)
    paths.object_map.write_bytes(content)
    assert main(["doctor", str(paths.root), "--repair", "--quiet"]) == ExitCode.OK
    assert contents(paths.root) == before


@pytest.mark.parametrize("content", [b"\xff", b"a\n\x80\n", None, b"a" * (1 << 20) + b"\xff"], ids=range(4))
def test_a_broken_list_of_a_split_is_one_line_and_stays(content: bytes | None, meshes: Path, tmp_path: Path, capsys: Streams) -> None:
    paths = make_dataset(tmp_path / "data", ["a.stl", "b.stl"])
    broken = paths.splits / "train.txt"
    broken.unlink()
    broken.mkdir() if content is None else broken.write_bytes(content)
    before = contents(paths.root)
    listed = write_scales(tmp_path, {"a.stl": 1.0, "b.stl": 1.0})
    assert run("splits", listed, meshes, paths.root) == ExitCode.BAD_INPUT
    assert str(broken) in complaint(capsys)
    assert contents(paths.root) == before


# --- settings and gripper files -------------------------------------------------------------------------------------------------

BOMB = b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"
BROKEN_YAML: dict[str, bytes] = {
    "tab": b"seed:\t- 1\n\t- 2",
    "deep": b"[" * 1_000_000,
    "deep mapping": b"{a: " * 10_000,
    "bomb": BOMB,
    "tag": b"seed: !!python/object/apply:os.system ['touch run']\n",
    "new tag": b"seed: !mine 3\n",
    "list": b"- seed\n",
    "not text": b"seed: \xff\n",
    "control": b"seed: \x01\n",
    "key": b"? [1, 2]\n: 3\n",
    "date": b"seed: 2001-99-99\n",
    "half": b'seed: "1\n',
    "unknown": b"sead: 1\n",
    "wrong": b"seed: many\n",
}


@pytest.mark.parametrize("name", BROKEN_YAML)
def test_a_broken_settings_file_is_told_and_nothing_is_run(
    name: str, tmp_path: Path, capsys: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_bytes(BROKEN_YAML[name])
    assert main(["guess", "--config", "c.yaml"]) == ExitCode.USAGE
    streams = capsys.readouterr()
    assert all(line.startswith("graspgen: c.yaml") for line in streams.err.splitlines()) and len(streams.err) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize("name", [*BROKEN_YAML, "empty", "no model"])
def test_a_broken_gripper_file_is_one_line(name: str, tmp_path: Path, capsys: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"empty": b"", "no model": b"name: g\nmodel: gone.xml\n"}
    (tmp_path / "g.yaml").write_bytes({**BROKEN_YAML, **more}[name])
    assert main(["splits", "--gripper-config", "g.yaml"]) == ExitCode.BAD_INPUT
    assert len(complaint(capsys)) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["g.yaml"]


# --- too large for memory -------------------------------------------------------------------------------------------------------

LARGE = """
import os, resource, sys
from pathlib import Path
from graspgen_cli.app import main
import graspgen_cli.running.run, mujoco
used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), -1))
for command in sys.argv[1].split(";"):
    print(main(command.split()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("fill", ["zeros", "nested"])
def test_files_that_would_not_fit_into_memory_are_refused(fill: str, meshes: Path, tmp_path: Path) -> None:
    """1 GB of nothing, or 10⁷ nested lists, in the place of each kind of file, with 1 GiB of memory to spare."""

    def enlarge(path: Path) -> Path:
        with path.open("wb") as file:
            if fill == "nested":
                file.write(b"[" * 10_000_000)
            else:
                file.truncate(1_000_000_000)
        return path

    paths = make_dataset(tmp_path / "data", ["brick.stl", "b.stl"])
    enlarge(paths.grasps / "b.1.0.grasps.json")
    enlarge(paths.object_map)
    enlarge(paths.index)
    listed = write_scales(tmp_path, {"brick.stl": 1.0})
    large, gripper, config = (enlarge(tmp_path / name) for name in ("large.json", "g.yaml", "c.yaml"))
    dataset = f"--grasp-dataset {paths.root} --object-dataset {meshes}"
    commands = [
        f"splits --quiet {dataset} --object-scales-json {large}",
        f"splits --quiet {dataset} --object-scales-json {listed} --gripper-config {gripper}",
        f"splits --quiet {dataset} --object-scales-json {listed} --config {config}",
        f"analyze --quiet {dataset.partition(' --object')[0]}",
        f"doctor --quiet {paths.root} --repair",
        f"splits --quiet {dataset} --object-scales-json {listed}",
    ]
    done = subprocess.run([sys.executable, "-c", LARGE, ";".join(commands)], capture_output=True, text=True, check=False)
    codes = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    assert codes == [ExitCode.BAD_INPUT, ExitCode.BAD_INPUT, ExitCode.USAGE, ExitCode.FAILED, ExitCode.FAILED, ExitCode.OK], done
    assert "Traceback" not in done.stderr and "unexpected" not in done.stderr
    assert (paths.quarantine / "b.1.0.grasps.json").is_file()


# --- names ----------------------------------------------------------------------------------------------------------------------

NAMES = [
    "mug.stl",
    "cups/mug.stl",
    "Cups/Mug.stl",
    "a.b.c/mug.v1.2.stl",
    "with space/my mug.stl",
    "Schüssel/杯子 🍵.stl",
    unicodedata.normalize("NFD", "Schüssel/é.stl"),
    unicodedata.normalize("NFC", "Schüssel/é.stl"),
    ".hidden.stl",
    "...stl",
    "x" * 200 + ".stl",
    "y" * 200 + "/" + "x" * 200 + ".stl",
    "杯" * 80 + ".stl",
    "con.stl",
    'a"b<c>|?*.stl',
    "back\\slash.stl",
    "-rf.stl",
    "#comment.stl",
    "%2e%2e%2fup.stl",
    "mug.1.0.grasps.json.stl",
    "$(touch run).stl",
]


def alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@pytest.mark.slow
def test_whatever_objects_are_called_each_has_its_file_inside_the_dataset(tmp_path: Path, capsys: Streams) -> None:
    folder = tmp_path / "meshes"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(STL)
    (folder / "real.stl").symlink_to(folder / "mug.stl")
    (folder / "link").symlink_to(folder / "cups", target_is_directory=True)
    names = [*NAMES, "real.stl", "link/mug.stl"]
    refused = ["../meshes/mug.stl", str(folder / "mug.stl"), "cups/../../meshes/mug.stl", "cups/../mug.stl"]
    listed = write_scales(tmp_path, dict.fromkeys([*names, *refused], 1.0))
    before = contents(tmp_path)
    assert run("guess", listed, folder, tmp_path / "data", *QUICK, "--quiet", "--json") == ExitCode.FAILED
    rows = {row["object_id"]: row for row in orjson.loads(capsys.readouterr().out)["objects"]}
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {*refused}
    assert {name: content for name, content in contents(tmp_path).items() if not name.startswith("data/")} == before
    paths = DatasetPaths(tmp_path / "data", GRIPPER)
    listed_files = json.loads(paths.object_map.read_bytes())
    assert set(listed_files) == {*names} and len({alike(name) for name in listed_files.values()}) == len(names)
    assert all(read_grasp_file(paths.grasps / file).object_id == name for name, file in listed_files.items())
    assert len(list(paths.grasps.glob("*.grasps.json"))) == len(names)
    assert run("splits", listed, folder, paths.root, "--quiet") == ExitCode.OK
    lines = [line for name in ("train.txt", "valid.txt") for line in (paths.splits / name).read_text("utf-8").splitlines()]
    assert sorted(lines) == sorted(names)
    assert main(["doctor", str(paths.root), "--object-dataset", str(folder), "--quiet"]) == ExitCode.OK


@pytest.mark.slow
def test_the_map_follows_the_scale_of_the_list(meshes: Path, tmp_path: Path) -> None:
    paths = DatasetPaths(tmp_path / "data", GRIPPER)
    for scale in (1.0, 1.1, 1.0):
        listed = write_scales(tmp_path, {"brick.stl": scale})
        assert run("guess", listed, meshes, paths.root, *QUICK, "--quiet") == ExitCode.OK
        assert json.loads(paths.object_map.read_bytes()) == {"brick.stl": f"brick.{scale}.grasps.json"}
    assert len(list(paths.grasps.glob("*.grasps.json"))) == 2


def test_a_grasp_file_that_is_a_link_is_replaced_and_what_it_leads_to_stays(meshes: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_bytes(signed(document("brick.stl")))
    before = outside.read_bytes()
    paths = DatasetPaths(tmp_path / "data", GRIPPER)
    paths.grasps.mkdir(parents=True)
    (paths.grasps / "brick.1.0.grasps.json").symlink_to(outside)
    listed = write_scales(tmp_path, {"brick.stl": 1.0})
    assert run("guess", listed, meshes, paths.root, *QUICK, "--quiet", "--overwrite-grasps") == ExitCode.OK
    assert outside.read_bytes() == before
    assert not (paths.grasps / "brick.1.0.grasps.json").is_symlink()
