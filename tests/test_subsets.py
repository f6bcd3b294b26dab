"""`graspgen balance` and `graspgen filter`: what is kept, what stays untouched, and what becomes of the rest of a file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysed import COLLISION, DROPPED, HELD, UNSTABLE, UNVALIDATED, made, row_of_poses, write_dataset
from foreign_files import isaac_document, write_datagen, write_webdataset, write_yaml
from graspgen_cli.analysis.subsets import balanced, conditions, matching
from graspgen_cli.app import main
from graspgen_cli.dataset.collection import open_collection, read_entry
from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import ExitCode, SettingsError
from graspgen_cli.formats.format import ObjectGrasps
from graspgen_cli.formats.graspgen_json import encode, read_grasp_file
from graspgen_cli.records import GraspBatch, Outcome
from graspgen_cli.settings.datasets import BalanceSettings, FilterSettings
from made_datasets import GRIPPER, OFFSET, contents, make_dataset

Streams = pytest.CaptureFixture[str]


def batch(held: int, failed: int, untested: int = 0) -> GraspBatch:
    kinds = [HELD] * held + [(COLLISION, DROPPED, UNSTABLE)[k % 3] for k in range(failed)] + [UNVALIDATED] * untested
    order = np.random.default_rng(0).permutation(len(kinds))
    return made("a", [kinds[k] for k in order]).grasps


def kept(grasps: GraspBatch, **settings: object) -> tuple[int, int]:
    chosen = grasps[balanced(BalanceSettings(**settings), grasps, np.random.default_rng(0))]
    return chosen.count(HELD), chosen.count(COLLISION, DROPPED, UNSTABLE)


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({}, (20, 9)),
        ({"num_held": 5}, (5, 9)),
        ({"num_held": 0}, (0, 9)),
        ({"num_held": 100, "num_failed": 4}, (20, 4)),
        ({"failed_per_held": 1.0}, (9, 9)),
        ({"failed_per_held": 0.25}, (20, 5)),
        ({"failed_per_held": 3.0}, (3, 9)),
        ({"failed_per_held": 0.0}, (20, 0)),
        ({"failed_per_held": 0.5, "num_held": 10}, (10, 5)),
        ({"failed_per_held": 0.5, "num_failed": 3}, (7, 3)),
    ],
)
def test_numbers_and_ratio(settings: dict[str, float], numbers: tuple[int, int]) -> None:
    assert kept(batch(20, 9, 3), **settings) == numbers


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.01, 20))
def test_the_ratio_is_met_as_nearly_as_whole_numbers_allow(held: int, failed: int, ratio: float) -> None:
    few, fewer = kept(batch(held, failed), failed_per_held=ratio)
    assert few <= held and fewer <= failed
    assert abs(fewer - ratio * few) <= 0.5 + 1e-6
    one_more = math.floor(ratio * (few + 1) + 0.5)
    assert few == held or one_more > failed  # no larger choice has the ratio


def test_the_choice_is_in_the_files_order_and_depends_on_the_seed_alone(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", [made("a.obj", [HELD] * 40), made("b.obj", [HELD] * 40)])
    for name, seed in (("one", "1"), ("again", "1"), ("two", "2")):
        assert main(["balance", str(tmp_path / "d"), "--output-dataset", str(tmp_path / name), "--num-held", "10", "--seed", seed]) == 0
    one, again, two = (contents(tmp_path / name) for name in ("one", "again", "two"))
    assert one == again != two
    poses = {each.object_id: each.grasps.pose_gripper_in_object[:, 0, 3] for each in read_all(tmp_path / "one")}
    assert all((np.diff(row) > 0).all() for row in poses.values())  # rows of poses go along x
    assert poses["a.obj"].tolist() != poses["b.obj"].tolist()


def read_all(root: Path) -> list[object]:
    return [read_entry(entry).dataset for entry in open_collection(root).entries]


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({"indices": "0, 2,5:"}, [0, 2, 5, 6, 7]),
        ({"indices": ":2,99"}, [0, 1]),
        ({"indices": "3:5"}, [3, 4]),
        ({"outcomes": "dropped, collision"}, [6, 7]),
        ({"max_opening": 0.02}, [0, 1]),
        ({"min_opening": 0.03}, [3, 4, 5, 6, 7]),
        ({"min_opening": 0.02, "max_opening": 0.03}, [1, 3]),
        ({"approach_direction": (0, 0, -2)}, list(range(7))),
        ({"approach_direction": (0, 0, 1)}, []),
        ({"approach_direction": (1, 0, 0), "approach_angle": 1}, [7]),
        ({"approach_direction": (1, 0, -1), "approach_angle": 45}, list(range(8))),
        ({"outcomes": "held", "indices": "4:"}, [4, 5]),
    ],
)
def test_conditions(settings: dict[str, object], places: list[int]) -> None:
    poses = row_of_poses(8)
    poses[7, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # approach along +x
    widths = [0.01, 0.02, math.nan, 0.03, 0.04, 0.05, 0.06, 0.07]
    found = ObjectGrasps(made("a", [HELD] * 6 + [COLLISION, DROPPED], poses=poses, width=widths), "base")
    assert matching(conditions(FilterSettings(**settings)), found).tolist() == places


@pytest.mark.parametrize("text", ["", ",", "a", "-1", "1-3", "1:2:3", "5 6", "1e3"])
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="no place and no range"):
        conditions(FilterSettings.model_construct(indices=text, outcomes=None, approach_angle=30.0, **dict.fromkeys(OTHERS)))


OTHERS = ("min_opening", "max_opening", "approach_direction")


def test_wrong_conditions_end_before_anything_is_written(tmp_path: Path, capsys: Streams) -> None:
    make_dataset(tmp_path / "d", ["a.obj"])
    out = tmp_path / "o"
    for flags in (["--outcomes", "hold"], ["--indices", "x"], ["--min-opening", "0.2", "--max-opening", "0.1"], ["--approach-angle", "0"]):
        assert main(["filter", str(tmp_path / "d"), "--output-dataset", str(out), *flags]) == ExitCode.USAGE
        assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_a_copy_is_a_whole_dataset_and_the_original_is_untouched(tmp_path: Path, capsys: Streams) -> None:
    make_dataset(tmp_path / "d", ["a.obj", "b.obj", "c.obj", "d/a.obj"])
    (tmp_path / "d" / "config" / "grippers").mkdir(parents=True)
    (tmp_path / "d" / "config" / "grippers" / "g.yaml").write_text("width: 1")
    before = contents(tmp_path / "d")
    assert main(["filter", str(tmp_path / "d"), "--output-dataset", str(tmp_path / "o"), "--outcomes", "held"]) == ExitCode.OK
    assert contents(tmp_path / "d") == before
    assert main(["doctor", str(tmp_path / "o")]) == ExitCode.OK, capsys.readouterr().out
    assert (tmp_path / "o" / "config" / "grippers" / "g.yaml").read_text() == "width: 1"
    for name in ("train.txt", "valid.txt"):
        split = Path("splits") / GRIPPER / name
        assert (tmp_path / "o" / split).read_text() == (tmp_path / "d" / split).read_text()
    assert len(read_all(tmp_path / "o")) == 4


def test_objects_of_which_nothing_is_left_are_named_and_leave_the_lists(tmp_path: Path, capsys: Streams) -> None:
    paths = write_dataset(tmp_path / "d", [made("a.obj", [HELD] * 6), made("b.obj", [DROPPED] * 6)])
    paths.splits.mkdir(parents=True)
    (paths.splits / "train.txt").write_text("a.obj\nb.obj\n")
    (paths.splits / "valid.txt").write_text("")
    assert main(["filter", str(tmp_path / "d"), "--output-dataset", str(tmp_path / "o"), "--outcomes", "held"]) == ExitCode.OK
    assert "no grasp kept, nothing written: b.obj" in capsys.readouterr().out
    out = DatasetPaths(tmp_path / "o", GRIPPER)
    assert (out.splits / "train.txt").read_text() == "a.obj\n"
    assert list(json.loads(out.object_map.read_text())) == ["a.obj"]


def test_what_a_file_says_of_each_grasp_goes_with_it(tmp_path: Path) -> None:
    dataset = made("a.obj", [HELD, DROPPED, HELD, HELD])
    records = {"guess": None, "simulation": None}
    earlier = [{**records, "outcome": ["held", "held", "dropped"]}]  # the fourth grasp came later
    dataset = replace(dataset, provenance={**dataset.provenance, "earlier": earlier})
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.grasps.json").write_bytes(encode(dataset, OFFSET, beside={"grasps": {"score": [1, 2, 3, 4], "unit": "x"}}))
    assert main(["filter", str(folder), "--output-dataset", str(tmp_path / "o"), "--indices", "1,2:"]) == ExitCode.OK
    (entry,) = open_collection(tmp_path / "o").entries
    document = json.loads(entry.path.read_text())
    assert document["grasps"]["score"] == [2, 3, 4] and document["grasps"]["unit"] == "x"
    assert document["provenance"]["earlier"] == [{**records, "outcome": ["held", "dropped"]}]
    assert document["provenance"]["subset"][0] | {"command": "filter", "indices": "1,2:", "of": 4} == document["provenance"]["subset"][0]
    assert read_grasp_file(entry.path).grasps.outcome.tolist() == [DROPPED, HELD, HELD]


@pytest.mark.parametrize("form", ["datagen", "yaml", "shards"])
def test_every_format_can_be_filtered(form: str, tmp_path: Path) -> None:
    if form == "datagen":
        write_datagen(tmp_path / "d", ["cups/mug.obj"])
    elif form == "yaml":
        write_yaml(tmp_path / "d" / "mug.yaml", isaac_document())
    else:
        write_webdataset(tmp_path / "d", ["cups/mug.obj"])
    assert main(["filter", str(tmp_path / "d"), "--output-dataset", str(tmp_path / "o"), "--outcomes", "held"]) == ExitCode.OK
    (before,), (after,) = read_all(tmp_path / "d"), read_all(tmp_path / "o")
    wanted = before.grasps[before.grasps.outcome == Outcome.HELD]  # type: ignore[attr-defined]
    assert np.allclose(after.grasps.pose_gripper_in_object, wanted.pose_gripper_in_object)  # type: ignore[attr-defined]


def test_no_folder_with_grasps_is_written_to(tmp_path: Path, capsys: Streams) -> None:
    make_dataset(tmp_path / "d", ["a.obj"])
    assert main(["balance", str(tmp_path / "d"), "--output-dataset", str(tmp_path / "d")]) == ExitCode.OUTPUT
    assert "holds grasps already; choose another --output-dataset" in capsys.readouterr().err


def test_broken_files_are_named_and_the_rest_is_copied(tmp_path: Path, capsys: Streams) -> None:
    paths = make_dataset(tmp_path / "d", ["a.obj"])
    (paths.grasps / "x.grasps.json").write_text("{")
    (paths.grasps / "y.grasps.json").write_bytes(encode(made("../../evil.obj", [HELD] * 5), OFFSET))
    assert main(["balance", str(tmp_path / "d"), "--output-dataset", str(tmp_path / "o"), "--json"]) == ExitCode.FAILED
    streams = capsys.readouterr()
    assert "x.grasps.json" in streams.err and "evil.obj" in streams.err
    assert [row["object_id"] for row in json.loads(streams.out)["objects"]] == ["a.obj"]


def test_a_balanced_dataset_has_no_rate_to_compare(tmp_path: Path, capsys: Streams) -> None:
    write_dataset(tmp_path / "d", [made("a.obj", [HELD] * 50 + [DROPPED] * 10)])
    main(["balance", str(tmp_path / "d"), "--output-dataset", str(tmp_path / "o"), "--failed-per-held", "1"])
    capsys.readouterr()
    main(["analyze", str(tmp_path / "o"), "--json"])
    (row,) = json.loads(capsys.readouterr().out)["objects"]
    assert (row["held"], row["dropped"], row["compared"]) == (10, 10, None)
