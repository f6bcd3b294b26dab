"""Laws of the split (nothing lost, nothing moved, no order, stable growth, the fraction met) and faults of its files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graspgen_cli.app import main
from graspgen_cli.dataset.splits import SplitPlan, assign_splits, find_texts, group_objects, update_splits
from graspgen_cli.errors import ExitCode, InputError, OutputError, SettingsError
from limits import files_of_at_most
from made_datasets import make_dataset

IDS = st.lists(st.text("ab/.é1", min_size=1, max_size=6), unique=True, max_size=30)
FRACTION = st.floats(0, 1)
SEED = st.integers(0, 2**32)
NAMES = [f"part_{i}.obj" for i in range(100)]
PINNED_SEED_0 = ("part_5.obj", "part_8.obj")
PINNED_SEED_1 = ("part_4.obj", "part_9.obj")


def fresh(object_ids: list[str], fraction: float, seed: int = 0) -> SplitPlan:
    return assign_splits(object_ids, existing_train=[], existing_valid=[], fraction=fraction, seed=seed)


# ------------------------------------------------------------------------------------------------------------------ assign_splits


@given(IDS, IDS, IDS, FRACTION, SEED)
def test_every_object_is_assigned_once_and_listed_ones_not_again(
    ids: list[str], train: list[str], valid: list[str], fraction: float, seed: int
) -> None:
    plan = assign_splits(ids, existing_train=train, existing_valid=valid, fraction=fraction, seed=seed)
    assert sorted((*plan.new_train, *plan.new_valid)) == sorted(set(ids) - {*train, *valid})
    assert set(plan.missing) == {*train, *valid} - set(ids)


@given(IDS, IDS, IDS, FRACTION, SEED, st.randoms(use_true_random=False))
def test_the_order_of_the_objects_does_not_matter(
    ids: list[str], train: list[str], valid: list[str], fraction: float, seed: int, random: Random
) -> None:
    plan = assign_splits(ids, existing_train=train, existing_valid=valid, fraction=fraction, seed=seed)
    for names in (ids, train, valid):
        random.shuffle(names)
    assert assign_splits(ids + ids, existing_train=train, existing_valid=valid, fraction=fraction, seed=seed) == plan


@given(IDS.filter(lambda ids: len(ids) >= 2), st.floats(0, 1, exclude_min=True, exclude_max=True), SEED)
def test_the_fraction_is_met_to_the_nearest_object_with_one_at_least_on_each_side(ids: list[str], fraction: float, seed: int) -> None:
    plan = fresh(ids, fraction, seed)
    assert plan.new_train and plan.new_valid
    if 1 <= fraction * len(ids) <= len(ids) - 1:
        assert abs(len(plan.new_valid) - fraction * len(ids)) <= 0.5


@given(IDS, IDS, IDS, FRACTION, SEED)
def test_with_lists_the_fraction_is_met_as_nearly_as_the_new_objects_allow(
    ids: list[str], train: list[str], valid: list[str], fraction: float, seed: int
) -> None:
    plan = assign_splits(ids, existing_train=train, existing_valid=valid, fraction=fraction, seed=seed)
    count = len({*ids, *train, *valid})
    wanted = fraction * count
    new = len(plan.new_train) + len(plan.new_valid)
    nearest = min((abs(len(valid) + take - wanted) for take in range(new + 1)), default=0)
    got = abs(len(valid) + len(plan.new_valid) - wanted)
    assert got <= max(nearest, 1) + 1e-9  # up to 1 where a side would be empty


@given(IDS, IDS, FRACTION, SEED)
def test_lists_made_anew_from_more_objects_change_only_at_the_boundary(ids: list[str], more: list[str], fraction: float, seed: int) -> None:
    before = set(fresh(ids, fraction, seed).new_valid)
    after = set(fresh(sorted({*ids, *more}), fraction, seed).new_valid) & set(ids)
    assert before <= after or after <= before


@given(IDS, IDS, FRACTION, SEED)
def test_nothing_is_new_the_second_time(ids: list[str], more: list[str], fraction: float, seed: int) -> None:
    first = fresh(ids, fraction, seed)
    second = assign_splits(ids, existing_train=first.new_train, existing_valid=first.new_valid, fraction=fraction, seed=seed)
    assert second == SplitPlan((), (), ())
    grown = assign_splits(
        sorted({*ids, *more}), existing_train=first.new_train, existing_valid=first.new_valid, fraction=fraction, seed=seed
    )
    assert not {*grown.new_train, *grown.new_valid} & set(ids)


@given(IDS, SEED)
def test_fraction_zero_and_one(ids: list[str], seed: int) -> None:
    assert fresh(ids, 0, seed) == SplitPlan(tuple(sorted(ids)), (), ())
    assert fresh(ids, 1, seed) == SplitPlan((), tuple(sorted(ids)), ())


def test_a_lone_object_is_for_training() -> None:
    assert fresh(["a"], 0.2).new_train == ("a",)


@pytest.mark.parametrize(("number", "valid"), [(2, 1), (5, 1), (13, 3), (100, 20)])
def test_a_fifth_is_for_validation(number: int, valid: int) -> None:
    assert len(fresh(NAMES[:number], 0.2).new_valid) == valid


def test_the_seed_decides_and_the_choice_is_pinned() -> None:
    """The exact choice is part of the format: another release must not reshuffle a user's dataset."""
    assert fresh(NAMES[:10], 0.2, seed=0).new_valid == PINNED_SEED_0
    assert fresh(NAMES[:10], 0.2, seed=1).new_valid == PINNED_SEED_1


def test_the_choice_does_not_follow_the_alphabet() -> None:
    places = [NAMES.index(name) for name in fresh(NAMES, 0.5).new_valid]
    assert 35 < sum(places) / len(places) < 65
    assert 15 < sum(place < 50 for place in places) < 35


def test_a_full_validation_list_takes_no_more() -> None:
    plan = assign_splits(["a", "b", "c", "d"], existing_train=[], existing_valid=["a", "b"], fraction=0.25, seed=0)
    assert plan == SplitPlan(("c", "d"), (), ())


def test_an_empty_training_list_gets_an_object_even_if_the_fraction_is_high() -> None:
    plan = assign_splits(["a", "b", "c"], existing_train=[], existing_valid=["a", "b"], fraction=0.99, seed=0)
    assert plan.new_train == ("c",)


def test_an_object_in_both_lists_stays_in_both() -> None:
    plan = assign_splits(["a", "b"], existing_train=["a"], existing_valid=["a"], fraction=0.5, seed=0)
    assert plan == SplitPlan(("b",), (), ())


# ---------------------------------------------------------------------------------------------------------------------- groups

FOLDER_IDS = st.lists(
    st.builds("{}{}.obj".format, st.sampled_from(["", "a/", "b/", "b/c/", "d/"]), st.integers(0, 6)), unique=True, max_size=20
)


def grouped(ids: list[str], fraction: float, seed: int = 0, train: tuple[str, ...] = (), valid: tuple[str, ...] = ()) -> SplitPlan:
    groups = group_objects(sorted({*ids, *train, *valid}), by_folder=True)
    return assign_splits(ids, existing_train=train, existing_valid=valid, fraction=fraction, seed=seed, groups=groups)


def folder(object_id: str) -> str:
    return object_id.rpartition("/")[0] or object_id


@given(FOLDER_IDS, FRACTION, SEED)
def test_a_group_stays_on_one_side(ids: list[str], fraction: float, seed: int) -> None:
    plan = grouped(ids, fraction, seed)
    assert sorted((*plan.new_train, *plan.new_valid)) == sorted(ids)
    assert not {*map(folder, plan.new_train)} & {*map(folder, plan.new_valid)}


@given(FOLDER_IDS, st.floats(0, 1, exclude_min=True, exclude_max=True), SEED)
def test_with_two_groups_no_side_is_empty(ids: list[str], fraction: float, seed: int) -> None:
    plan = grouped(ids, fraction, seed)
    assert bool(plan.new_valid and plan.new_train) == (len({*map(folder, ids)}) >= 2)


@given(FOLDER_IDS, FOLDER_IDS, FRACTION, FRACTION)
def test_new_variants_follow_those_that_are_listed(ids: list[str], more: list[str], fraction: float, other: float) -> None:
    first = grouped(ids, fraction)
    plan = grouped(sorted({*ids, *more}), other, 1, train=first.new_train, valid=first.new_valid)
    train, valid = {*first.new_train, *plan.new_train}, {*first.new_valid, *plan.new_valid}
    assert train | valid == {*ids, *more} and not train & valid
    assert not {*map(folder, train)} & {*map(folder, valid)}


@given(FOLDER_IDS, FOLDER_IDS, FOLDER_IDS, FRACTION, SEED)
def test_whatever_is_listed_every_object_is_assigned_once(
    ids: list[str], train: list[str], valid: list[str], fraction: float, seed: int
) -> None:
    plan = grouped(ids, fraction, seed, tuple(train), tuple(valid))
    assert sorted((*plan.new_train, *plan.new_valid)) == sorted(set(ids) - {*train, *valid})


def test_what_is_new_of_a_torn_group_is_for_training() -> None:
    assert grouped(["a/1", "a/2", "a/3"], 0.5, train=("a/1",), valid=("a/2",)) == SplitPlan(("a/3",), (), ())


def test_groups_meet_the_fraction_as_well_as_they_can() -> None:
    ids = [f"{group}/{number}" for group in range(50) for number in range(1 + group % 4)]
    assert abs(len(grouped(ids, 0.2).new_valid) - 0.2 * len(ids)) <= 2


def test_objects_in_no_folder_are_groups_of_their_own() -> None:
    assert group_objects(["a.obj", "b.obj", "x/a.obj", "x/b.obj", "x/y/a.obj"], by_folder=True) == {
        "a.obj": "a.obj",
        "b.obj": "b.obj",
        "x/a.obj": "\0x",
        "x/b.obj": "\0x",
        "x/y/a.obj": "\0x/y",
    }


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"^(\w+?)_", ["mug", "mug", "", "cup"]),
        (r"^[a-z]+", ["mug", "mug", "x", "cup"]),
        (r"_(v\d)|_big", ["v1", "v2", "", "_big"]),
        ("z*", ["", "", "", ""]),
    ],
)
def test_an_expression_finds_its_first_group_or_all(pattern: str, found: list[str]) -> None:
    assert find_texts(pattern, ["mug_v1.obj", "mug_v2.obj", "x.obj", "cup_big.obj"]) == found


def test_objects_of_which_an_expression_finds_the_same_are_a_group_and_others_are_alone() -> None:
    groups = group_objects(["mug_1.obj", "mug_2.obj", "mug", "1.obj"], by_regex="^(.*)_")
    assert groups == {"mug_1.obj": "\0mug", "mug_2.obj": "\0mug", "mug": "mug", "1.obj": "1.obj"}


@pytest.mark.slow
def test_an_expression_that_would_run_for_years_is_stopped() -> None:
    start = time.monotonic()
    with pytest.raises(SettingsError, match=r"--by-regex: .* takes more than 10 s") as caught:
        group_objects(["a" * 100 + "!"], by_regex="(a+)+$")
    assert time.monotonic() - start < 30 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by-regex", "("], "--by-regex: '(' is not allowed ("),
        (["--by-regex", "("], "; give a regular expression of 1 to 200 characters"),
        (["--by-regex", "a{99999999999}"], "--by-regex: 'a{99999999999}' is not allowed ("),
        (["--by-regex", "a" * 201], "a regular expression of 1 to 200 characters"),
        (["--by-regex", ""], "a regular expression of 1 to 200 characters"),
        (["--by-regex", "a", "--by-folder"], "by-folder and by-regex exclude each other; set one of them"),
    ],
)
def test_a_wrong_grouping_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["splits", *arguments]) == ExitCode.USAGE
    streams = capsys.readouterr()
    assert message in streams.err and streams.err.count("\n") == 1 and streams.out == ""


@pytest.mark.parametrize("flags", [["--by-folder"], ["--by-regex", "^(.*)/"]])
def test_variants_stay_together_through_the_command(tmp_path: Path, flags: list[str]) -> None:
    ids = [f"{name}/v{number}.obj" for name in ("mug", "cup", "jug", "pan", "pot") for number in range(3)]
    paths = make_dataset(tmp_path, ids)
    for path in paths.splits.iterdir():
        path.unlink()
    (tmp_path / "scales.json").write_text(json.dumps(dict.fromkeys(ids, 1.0)))
    (paths.splits / "train.txt").write_text("# mine\njug/v1.obj\ngone.obj\n")
    command = ["splits", "--object-scales-json", str(tmp_path / "scales.json"), "--grasp-dataset", str(tmp_path), *flags]
    assert main(command) == ExitCode.OK
    train, valid = (trainer_reads(paths.splits / name) for name in ("train.txt", "valid.txt"))
    assert train[:3] == ["# mine", "jug/v1.obj", "gone.obj"] and {"jug/v0.obj", "jug/v2.obj"} < set(train)
    assert len(valid) == 3 and len({*map(folder, valid)}) == 1
    assert sorted([*train[1:], *valid]) == sorted([*ids, "gone.obj"])


# ------------------------------------------------------------------------------------------------------------------ update_splits


def trainer_reads(path: Path) -> list[str]:
    """The lines as GraspGen's loader takes them: text mode, stripped, blank ones skipped."""
    with path.open(encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def test_both_lists_are_made_for_the_trainer(tmp_path: Path) -> None:
    folder = tmp_path / "splits" / "hand"
    plan = update_splits(folder, NAMES[:10], fraction=0.2, seed=0)
    assert (folder / "train.txt").read_bytes() == "".join(f"{name}\n" for name in plan.new_train).encode()
    assert trainer_reads(folder / "valid.txt") == list(plan.new_valid)
    assert sorted(path.name for path in folder.iterdir()) == ["train.txt", "valid.txt"]


def test_an_empty_side_still_has_its_file(tmp_path: Path) -> None:
    update_splits(tmp_path, ["a"], fraction=0.0, seed=0)
    assert (tmp_path / "valid.txt").read_bytes() == b""


LINES = st.lists(st.sampled_from(["", "# note", "gone.obj", "  a", "b ", "a", "\tc", "é"]), max_size=8)


@given(LINES, LINES, st.sampled_from(["\n", "\r\n"]), st.booleans(), IDS, FRACTION)
def test_the_users_text_stays_as_it_is_and_lines_never_join(
    tmp_path_factory: pytest.TempPathFactory, train: list[str], valid: list[str], end: str, closed: bool, ids: list[str], fraction: float
) -> None:
    folder = tmp_path_factory.mktemp("splits")
    before = {name: (end.join(lines) + end * closed).encode() for name, lines in (("train.txt", train), ("valid.txt", valid))}
    for name, content in before.items():
        (folder / name).write_bytes(content)
    listed = {name: trainer_reads(folder / name) for name in before}
    plan = update_splits(folder, ids, fraction=fraction, seed=0)
    for name, new in (("train.txt", plan.new_train), ("valid.txt", plan.new_valid)):
        assert (folder / name).read_bytes().startswith(before[name])
        assert trainer_reads(folder / name) == listed[name] + list(new)
    assert {*ids} <= {*trainer_reads(folder / "train.txt"), *trainer_reads(folder / "valid.txt")}
    assert update_splits(folder, ids, fraction=fraction, seed=0).new_train == ()


def test_a_missing_newline_does_not_glue_lines(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"a\r\nb")
    update_splits(tmp_path, ["a", "b", "c"], fraction=0.0, seed=0)
    assert (tmp_path / "train.txt").read_bytes() == b"a\r\nb\r\nc\r\n"


def test_comments_are_neither_objects_nor_missing_unless_an_object_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("# mine\n#1.obj\ngone.obj\n")
    plan = update_splits(tmp_path, ["#1.obj"], fraction=0.0, seed=0)
    assert plan == SplitPlan((), (), ("gone.obj",))


def test_a_list_that_gains_nothing_is_not_touched(tmp_path: Path) -> None:
    update_splits(tmp_path, NAMES, fraction=0.2, seed=0)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    update_splits(tmp_path, NAMES, fraction=0.9, seed=5)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.txt"
    real.write_text("a\n")
    real.chmod(0o664)
    folder = tmp_path / "splits"
    folder.mkdir()
    (folder / "train.txt").symlink_to(real)
    update_splits(folder, ["a", "b"], fraction=0.0, seed=0)
    assert (folder / "train.txt").is_symlink()
    assert real.read_text() == "a\nb\n"
    assert real.stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize("bad", ["", " a", "a ", "a\nb", "a\rb", "a\n#b", "\ud800"])
def test_an_id_that_a_line_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError, match="rename the object") as caught:
        update_splits(tmp_path / "splits", ["good", bad], fraction=0.5, seed=0)
    str(caught.value).encode()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "splits").exists()


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "valid.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match=r"valid\.txt: not UTF-8 text \(byte 2\)"):
        update_splits(tmp_path, ["a"], fraction=0.5, seed=0)
    assert not (tmp_path / "train.txt").exists()


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").mkdir()
    with pytest.raises(InputError, match=r"train\.txt: cannot be read"):
        update_splits(tmp_path, ["a"], fraction=0.5, seed=0)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "splits").symlink_to("/proc/splits")
    with pytest.raises(OutputError, match=r"train\.txt: cannot be written \("):
        update_splits(tmp_path / "splits", ["a"], fraction=0.0, seed=0)


def test_a_write_that_fails_leaves_the_old_list_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\n")
    (tmp_path / "valid.txt").write_text("")
    with pytest.raises(OutputError, match="File too large"), files_of_at_most(2):
        update_splits(tmp_path, ["a", "b"], fraction=0.0, seed=0)
    assert (tmp_path / "train.txt").read_text() == "a\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.txt", "valid.txt"]


def test_a_run_that_stopped_between_the_lists_is_completed(tmp_path: Path) -> None:
    whole = update_splits(tmp_path, NAMES, fraction=0.2, seed=0)
    (tmp_path / "valid.txt").unlink()
    assert update_splits(tmp_path, NAMES, fraction=0.2, seed=0) == SplitPlan((), whole.new_valid, ())
