"""The scales file: what is taken, what is refused entry by entry, what is refused as a whole; and where the examples lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import OBJECTS
from graspgen_cli.errors import InputError
from graspgen_cli.files import LARGEST_FILE
from graspgen_cli.objects.scales import read_scales, resolve_object_paths


def write(folder: Path, text: str) -> Path:
    path = folder / "scales.json"
    path.write_text(text, "utf-8")
    return path


def test_order_and_values_are_the_files(tmp_path: Path) -> None:
    read = read_scales(write(tmp_path, '{"z/mug.obj": 0.001, "a/bowl.stl": 2, "b.glb": 1e-2}'))
    assert read.entries == (("z/mug.obj", 0.001), ("a/bowl.stl", 2.0), ("b.glb", 0.01))
    assert read.problems == ()
    assert all(type(scale) is float for _, scale in read.entries)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z0-9_ ]{1,8}x)?\.obj", fullmatch=True), st.floats(1e-6, 1e6), min_size=1))
def test_what_json_writes_is_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, written: dict[str, float]) -> None:
    path = write(tmp_path_factory.mktemp("scales"), json.dumps(written))
    assert dict(read_scales(path).entries) == written


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0", "not positive"),
        ("-0.0", "not positive"),
        ("-1.5", "not positive"),
        ("true", "not a number"),
        ('"0.1"', "not a number"),
        ("null", "not a number"),
        ("[1]", "not a number"),
        ('{"x": 1, "x": 2}', "not a number"),
        ("NaN", "not finite"),
        ("Infinity", "not finite"),
        ("1e999", "not finite"),
        ("1" + "0" * 400, "not finite"),
        ("1e12", "absurd"),
        ("1e-12", "absurd"),
    ],
)
def test_a_bad_scale_is_one_entrys_problem(tmp_path: Path, value: str, reason: str) -> None:
    path = write(tmp_path, f'{{"good.obj": 1.0, "bad.obj": {value}}}')
    read = read_scales(path)
    assert read.entries == (("good.obj", 1.0),)
    ((object_id, said),) = read.problems
    assert object_id == "bad.obj"
    assert reason in said and str(path) in said and "bad.obj" in said
    assert "\n" not in said and len(said) < 400


@pytest.mark.parametrize(
    ("object_id", "reason"),
    [
        ("/etc/mug.obj", "absolute"),
        ("../mug.obj", "leaves"),
        ("a/../../mug.obj", "leaves"),
        ("", "not a file's path"),
        (".", "not a file's path"),
        (" mug.obj", "space"),
        ("mug.obj\n", "space"),
        ("a\nb.obj", "line break"),
        ("a\x00b.obj", "control"),
        ("a\ud800b.obj", "control"),
        ("a\u2028b.obj", "line break"),
    ],
)
def test_a_bad_path_is_one_entrys_problem(tmp_path: Path, object_id: str, reason: str) -> None:
    read = read_scales(write(tmp_path, json.dumps({object_id: 1.0, "good.obj": 1.0})))
    assert read.entries == (("good.obj", 1.0),)
    ((said_id, said),) = read.problems
    assert said_id == object_id
    assert reason in said and "\n" not in said
    said.encode()


def test_an_object_listed_twice_is_not_used(tmp_path: Path) -> None:
    read = read_scales(write(tmp_path, '{"a.obj": 1.0, "b.obj": 1.0, "a.obj": 2.0}'))
    assert read.entries == (("b.obj", 1.0),)
    assert [object_id for object_id, _ in read.problems] == ["a.obj"]
    assert "2 times" in read.problems[0][1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b"{}", "lists no objects"),
        (b"[1]", "not a JSON object"),
        (b"3", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'{"a.obj": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "scales.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_scales(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_says_which_flag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--object-scales-json"):
        read_scales(tmp_path / "none.json")


def test_a_folder_is_not_a_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_scales(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(InputError, match="larger than 256 MiB"):
        read_scales(path)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a.obj": 1}')
    assert read_scales(path).entries == (("a.obj", 1.0),)


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")


DEFAULT = Path("objects/graspgen_example.json")


@pytest.mark.parametrize("listed", ["graspgen_example.json", "hard_example.json"])
def test_the_lists_of_the_examples_work_in_an_empty_folder(listed: str) -> None:
    found, root = resolve_object_paths(object_scales_json=Path("objects") / listed, object_dataset=Path("objects"))
    assert found == root / listed and found.read_bytes() == (OBJECTS / listed).read_bytes()
    assert (root / "mug.obj").is_file()


def test_the_working_directorys_own_files_come_first() -> None:
    Path("objects").mkdir()
    DEFAULT.write_text("{}")
    assert resolve_object_paths(object_scales_json=DEFAULT, object_dataset=Path("objects")) == (DEFAULT, Path("objects"))


def test_the_examples_list_is_not_read_against_a_stranger_folder() -> None:
    Path("objects").mkdir()
    found, root = resolve_object_paths(object_scales_json=DEFAULT, object_dataset=Path("objects"))
    assert found == root / DEFAULT.name and (root / "mug.obj").is_file()


def test_given_paths_are_left_alone() -> None:
    given_paths = (Path("mine.json"), Path("/data/meshes"))
    assert resolve_object_paths(object_scales_json=given_paths[0], object_dataset=given_paths[1]) == given_paths
    missing = Path("objects/none.json")
    assert resolve_object_paths(object_scales_json=missing, object_dataset=given_paths[1]) == (missing, given_paths[1])
