"""The cascade of the settings: precedence, provenance, and every mistake in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graspgen_cli.errors import GripperError, SettingsError
from graspgen_cli.settings.base import REGEX_ALLOWED, CommandSettings
from graspgen_cli.settings.cascade import resolve, settings_document, settings_text, source
from graspgen_cli.settings.commands import (
    COMMAND_CLASSES,
    AllCommand,
    AnalyzeCommand,
    FillCommand,
    GraspCommand,
    GuessCommand,
    SplitsCommand,
)
from graspgen_cli.settings.fields import Kind, command_line, environment_names, grouped, known_settings, settings_of
from graspgen_cli.settings.sources import MAX_FILE_BYTES

OTHER_VALUES: dict[Kind, tuple[object, ...]] = {
    Kind.INTEGER: (101, 202, 303),
    Kind.NUMBER: (0.25, 0.5, 0.125),
    Kind.PATH: ("a_b", "c-d", "e f"),
    Kind.TEXT: ("franka_panda", "my-gripper.yaml", "other"),
    Kind.JSON: ([[1.0, [0.0, 1.0, 0.0], 2.0]], [[2.0, [0.0, 1.0, 0.0], 2.0]], []),
}
"""Three valid values of each kind, none a default."""


NAMED_VALUES: dict[str, tuple[object, ...]] = {
    "tug_sequences": OTHER_VALUES[Kind.JSON],
    "shake_sequences": (
        [[2.0, "linear", "approach", 0.05, 2.0]],
        [[3.0, "rotational", "closing", 0.5, 2.0]],
        [[1.0, "linear", "binormal", 0.01, 5.0]],
    ),
    "contact_patch": (0.001, 0.002, 0.0),
    "finger_colliders": (["a", "b"], ["left", "right"], ["b", "a"]),
    "approach_axis": ([1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]),
    "up_axis": ([1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 1.0]),
    "random_scale": ([0.5, 2.0], [1.0, 1.0], [0.1, 0.2]),
    **dict.fromkeys(("randomize_friction", "randomize_mass", "randomize_grip_force"), ([0.5, 1.5], [1.0, 1.0], [0.1, 0.2])),
    "shard": ("0/2", "1/2", "4/7"),
    "approach_direction": ([1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]),
    "paths": (["a"], ["b", "c d"], ["[e]"]),
    "output": (["a.json"], ["b.csv", "c.html"], ["d.csv"]),
    "export": ("a_b.png", "c-d.glb", "e f.html"),
    "video": ("a_b.mp4", "c-d.gif", "e f.png"),
    "plot": ("a_b.png", "c-d.svg", "e f.csv"),
    "open_configuration": ({"left": 0.04}, {"left": 0.5, "right": -0.5}, {"left": 0.0}),
}


def settle(
    command_class: type[Any] = AllCommand,
    *,
    flags: Mapping[str, object] | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    gripper: Mapping[str, object] | None = None,
) -> Any:
    return resolve(command_class, flags=flags or {}, config=config, environ=environ or {}, gripper_values=lambda _: gripper or {})


def mistakes(**sources: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settle(**sources)
    return str(caught.value).splitlines()


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def values_for(name: str) -> tuple[object, ...]:
    setting = known_settings()[name]
    if setting.kind is Kind.BOOLEAN:
        default = setting.field.default
        return (not default, default, not default)
    if setting.kind is Kind.CHOICE:
        names = setting.choices
        return (names[-1], names[0], names[-1])
    return NAMED_VALUES[name] if name in NAMED_VALUES else OTHER_VALUES[setting.kind]


def typed(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


# --- every command, every field ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command_class", COMMAND_CLASSES.values(), ids=COMMAND_CLASSES)
def test_groups_cover_every_field_once(command_class: type[CommandSettings]) -> None:
    shown = [setting.name for _, settings in grouped(command_class) for setting in settings]
    assert shown == list(settings_of(command_class)) and sorted(shown) == sorted(command_class.names()) == sorted(command_class.of().flat())
    assert all(settings for _, settings in grouped(command_class))


def test_a_setting_of_several_groups_has_one_value() -> None:
    settings = AllCommand.of(seed=3)
    assert settings.guess.seed == settings.randomization.seed == settings.splits.seed == settings.flat()["seed"] == 3
    changed = settings.updated(seed=5, fps=500)
    assert (changed.guess.seed, changed.splits.seed, changed.simulation.fps, settings.guess.seed) == (5, 5, 500, 3)
    with pytest.raises(ValueError, match="another value"):
        AllCommand(**{**dict(settings), "guess": changed.guess})


def test_a_name_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown settings fsp"):
        AllCommand.of(fsp=3)


def test_every_field_has_a_description_and_one_default_everywhere() -> None:
    for name in known_settings():
        fields = [command.names()[name].model_fields[name] for command in COMMAND_CLASSES.values() if name in command.names()]
        assert len({str(field.default) for field in fields}) == 1
        assert all(field.description and field.description[0].isupper() and field.description.endswith(".") for field in fields)


def test_documented_flags_have_the_documented_defaults() -> None:
    """The table of the issue: defaults that users of the replaced tool rely on."""
    settings = SimpleNamespace(**{name: value for group in AllCommand.groups() for name, value in getattr(AllCommand.of(), group)})
    assert (settings.object_scales_json, settings.object_dataset) == (Path("objects/graspgen_example.json"), Path("objects"))
    assert (settings.grasp_dataset, settings.graspgen_source) == (Path("results"), Path("~/github/GraspGen").expanduser())
    assert (settings.gripper_config, settings.num_collision_free_grasps, settings.num_colliding_grasps) == ("robotiq_2f_85", 64, 16)
    assert (settings.valid_set_percentage, settings.seed, settings.num_orientations) == (0.2, 0, 1)
    assert (settings.percent_random_guess_angle, settings.standoff_distance, settings.num_offsets) == (0.75, 0.001, 16)
    assert (settings.center_finger_opening, settings.max_guess_tries, settings.pinch_width_resolution) == (True, 100, 8)
    assert (settings.fps, settings.initial_grasp_duration, settings.force_magnitude) == (250, 1.0, 1.0)
    assert (settings.object_mass, settings.friction, settings.max_num_grasps) == (1.0, 1.0, 0)
    assert (settings.sampler, settings.collision_approximation) == ("finger-pads", "convex-decomposition")
    assert [list(map(list_of, tug)) for tug in settings.tug_sequences] == [
        [0.5, [x, y, 1.0], 1.0] for x, y in ((0, 0), (0, 2), (0, -2), (2, 0), (-2, 0))
    ]


def list_of(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_commands_chained_by_all_take_its_settings() -> None:
    assert all(set(part.names()) <= set(AllCommand.names()) for part in (GuessCommand, GraspCommand, FillCommand, SplitsCommand))


def test_guess_and_fill_are_the_loop_with_one_mode_set() -> None:
    guess = settle(GuessCommand, flags={"seed": "7", "overwrite_grasps": True}).grasp_command()
    assert isinstance(guess, GraspCommand)
    assert (guess.guess.seed, guess.mode.guess_only, guess.mode.overwrite_grasps, guess.mode.fill_grasps) == (7, True, True, False)
    fill = settle(FillCommand, flags={"fps": "500"}).grasp_command()
    assert (fill.simulation.fps, fill.mode.fill_grasps, fill.mode.guess_only) == (500, True, False)


# --- precedence and provenance -------------------------------------------------------------------------------------------------


def test_precedence_of_all_five_sources(tmp_path: Path) -> None:
    config = write(tmp_path / "my.yaml", "standoff-distance: 0.003\nnum-offsets: 3\nnum_orientations: 3\n")
    resolved = settle(
        gripper={"bite": 0.002, "standoff_distance": 0.002, "num_offsets": 2, "num_orientations": 2},
        config=config,
        environ={"GRASPGEN_NUM_OFFSETS": "4", "GRASPGEN_NUM_ORIENTATIONS": "4"},
        flags={"num_orientations": "5"},
    )
    simulation, guess = resolved.simulation, resolved.guess
    assert (simulation.fps, source(resolved, "fps")) == (250, "default")
    assert (guess.bite, source(resolved, "bite")) == (0.002, "gripper robotiq_2f_85")
    assert (guess.standoff_distance, source(resolved, "standoff_distance")) == (0.003, f"config {config}")
    assert (guess.num_offsets, source(resolved, "num_offsets")) == (4, "environment GRASPGEN_NUM_OFFSETS")
    assert (guess.num_orientations, source(resolved, "num_orientations")) == (5, "flag")


@pytest.mark.parametrize("name", sorted(known_settings()))
def test_each_field_is_set_by_file_environment_and_flag(name: str, tmp_path: Path) -> None:
    command_class = next(each for each in COMMAND_CLASSES.values() if name in each.names())
    low, middle, high = values_for(name)
    config = write(tmp_path / "c.yaml", f"{name.replace('_', '-')}: {orjson.dumps(low).decode()}\n")
    environ = {f"GRASPGEN_{name.upper()}": typed(middle)}
    steps = [
        settle(command_class, config=config),
        settle(command_class, config=config, environ=environ),
        settle(command_class, config=config, environ=environ, flags={name: high if isinstance(high, bool) else typed(high)}),
    ]
    assert [step.flat()[name] for step in steps] == [low, middle, high]
    assert [source(step, name).split()[0] for step in steps] == ["config", "environment", "flag"]


@pytest.mark.parametrize(
    ("variable", "name"),
    [("GRASP_DATASET_DIR", "grasp_dataset"), ("OBJECT_DATASET_DIR", "object_dataset"), ("GRASP_GEN_CODE_DIR", "graspgen_source")],
)
def test_environment_names_of_the_ecosystem(variable: str, name: str) -> None:
    resolved = settle(environ={variable: "theirs"})
    assert (resolved.flat()[name], source(resolved, name)) == ("theirs", f"environment {variable}")
    ours = settle(environ={variable: "theirs", f"GRASPGEN_{name.upper()}": "ours"})
    assert ours.flat()[name] == "ours"
    assert environment_names(name)[1] == variable


def test_empty_environment_variable_counts_as_not_set() -> None:
    assert settle(environ={"GRASP_DATASET_DIR": "", "GRASPGEN_SEED": ""}).given == {}


def test_a_switch_can_be_turned_off_again() -> None:
    resolved = settle(environ={"GRASPGEN_GUESS_ONLY": "yes"}, flags={"guess_only": False})
    assert (resolved.mode.guess_only, source(resolved, "guess_only")) == (False, "flag")


def test_gripper_is_asked_by_its_effective_name(tmp_path: Path) -> None:
    asked: list[str] = []

    def values(name: str) -> dict[str, object]:
        asked.append(name)
        return {"bite": 0.004}

    config = write(tmp_path / "c.yaml", "gripper_config: from_file\n")
    resolved = resolve(GuessCommand, flags={}, config=config, environ={"GRASPGEN_GRIPPER_CONFIG": "from_env"}, gripper_values=values)
    assert asked == ["from_env"]
    assert source(resolved, "bite") == "gripper from_env"


def test_gripper_is_not_asked_where_it_has_nothing_to_say() -> None:
    def values(name: str) -> dict[str, object]:
        raise AssertionError("not to be called")

    resolve(SplitsCommand, flags={}, config=None, environ={}, gripper_values=values)


def test_an_error_of_the_gripper_passes_through() -> None:
    def values(name: str) -> dict[str, object]:
        raise GripperError("no such gripper")

    with pytest.raises(GripperError, match="no such gripper"):
        resolve(GuessCommand, flags={}, config=None, environ={}, gripper_values=values)


def test_a_gripper_sets_only_how_it_is_used() -> None:
    assert mistakes(gripper={"seed": 3, "grasp_dataset": "x"}) == [
        "gripper robotiq_2f_85: unknown setting 'seed'; `graspgen all --help` names the settings",
        "gripper robotiq_2f_85: unknown setting 'grasp_dataset'; `graspgen all --help` names the settings",
    ]


def test_a_file_may_serve_all_commands(tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "fps: 500\nseed: 3\nmin-success: 5\nworkers: 2\n")
    assert settle(SplitsCommand, config=config).splits.seed == 3
    assert settle(AnalyzeCommand, config=config).analyze.min_success == 5
    assert settle(GuessCommand, config=config).execution.workers == 2


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_file_sets_nothing(text: str, tmp_path: Path) -> None:
    assert settle(config=write(tmp_path / "c.yaml", text)).given == {}


def test_a_file_may_say_null_where_there_need_be_no_value(tmp_path: Path) -> None:
    resolved = settle(config=write(tmp_path / "c.yaml", "bite: null\n"), gripper={"bite": 0.002})
    assert resolved.guess.bite is None


def test_home_folder_is_found_wherever_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    resolved = settle(environ={"GRASP_DATASET_DIR": "~/data"})
    assert resolved.dataset.grasp_dataset == Path("/home/someone/data")
    assert resolved.graspgen.graspgen_source == Path("/home/someone/github/GraspGen")


def test_a_home_folder_that_is_not_known_is_one_line() -> None:
    said = mistakes(flags={"graspgen_source": "~nobody-of-this-name/GraspGen"})
    assert "--graspgen-source: the home folder in ~nobody-of-this-name/GraspGen is not known" in said


def test_the_next_command_repeats_what_flags_and_environment_set_and_names_the_settings_file(tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "fps: 500\nguess-only: true\n")
    environ = {"GRASPGEN_WORKERS": "2", "GRASPGEN_OVERWRITE_GRASPS": "1"}
    run = settle(config=config, environ=environ, flags={"seed": "0", "friction": "0.5"}, gripper={"bite": 0.004})
    line = command_line("validate", run, load_guesses=True, guess_only=False, overwrite_grasps=False, fill_grasps=False)
    words = "--seed 0 --workers 2 --friction 0.5 --no-overwrite-grasps --no-guess-only --load-guesses"
    assert line == f"graspgen validate {words} --config {config}"


# --- mistakes ------------------------------------------------------------------------------------------------------------------

WHOLE = "a whole number from 50 to 10000"
SEED = "a whole number from 0 to 9223372036854775807"
TUGS = "a JSON list of [duration s, [x, y, z], scale]"


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    config = write(tmp_path / "my.yaml", "num-ofsets: 3\nnum-offsets: many\n")
    lines = mistakes(config=config, environ={"GRASPGEN_SEED": "-1"}, flags={"fps": "fast", "sampler": "best"}, gripper={"bite": 0})
    assert sorted(lines) == sorted(
        [
            f"{config}: unknown setting 'num-ofsets'; did you mean num-offsets?",
            f"{config}: num-offsets: 'many' is not allowed; give a whole number from 1 to 1000000",
            f"environment variable GRASPGEN_SEED: '-1' is not allowed; give {SEED}",
            f"--fps: 'fast' is not allowed; give {WHOLE}",
            "--sampler: 'best' is not allowed; give one of finger-pads, antipodal, acronym",
            "gripper robotiq_2f_85: bite: 0 is not allowed; give a number above 0",
        ]
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fps", "49", f"--fps: '49' is not allowed; give {WHOLE}"),
        ("fps", "250.5", f"--fps: '250.5' is not allowed; give {WHOLE}"),
        ("fps", "", f"--fps: '' is not allowed; give {WHOLE}"),
        ("object_mass", "nan", "--object-mass: 'nan' is not allowed; give a number above 0"),
        ("object_mass", "inf", "--object-mass: 'inf' is not allowed; give a number above 0"),
        ("friction", "-0.1", "--friction: '-0.1' is not allowed; give a number of at least 0"),
        ("valid_set_percentage", "20", "--valid-set-percentage: '20' is not allowed; give a number from 0 to 1"),
        ("grasp_dataset", "", "--grasp-dataset: '' is not allowed; give a path"),
        ("grasp_dataset", "\udcff", r"--grasp-dataset: '\udcff' is not allowed; give a path"),
        ("gripper_config", " ", "--gripper-config: ' ' is not allowed; give a gripper's name or the path of a gripper file"),
        ("tug_sequences", "[[1", f"--tug-sequences: '[[1' is not allowed; give {TUGS}"),
        ("tug_sequences", "[[1,[0,0],1]]", f"--tug-sequences: '[[1,[0,0],1]]' is not allowed; give {TUGS}"),
        ("tug_sequences", "[[1,[0,0,0],1]]", "--tug-sequences: a tug needs a direction that is not zero: [0.0, 0.0, 0.0]"),
        ("seed", "9" * 5000, f"--seed: '{'9' * 39} … (5002 characters) is not allowed; give {SEED}"),
    ],
)
def test_a_wrong_flag_is_one_line(name: str, value: str, message: str) -> None:
    assert mistakes(flags={name: value}) == [message]


def test_deeply_nested_json_is_a_mistake_like_any_other() -> None:
    assert len(mistakes(flags={"tug_sequences": "[" * 100_000})) == 1


@pytest.mark.parametrize("text", ["true", "yes", "on"])
def test_true_is_not_one(text: str, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", f"seed: {text}\n")
    assert mistakes(config=config) == [f"{config}: seed: true is not allowed; give {SEED}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "not a mapping of names to values, such as `num-offsets: 16`"),
        ("seed\n", "not a mapping of names to values, such as `num-offsets: 16`"),
        ("seed: 1\nseed: 2\n", "line 2 gives seed again"),
        ("num-offsets: 1\nnum_offsets: 2\n", "line 2 gives num-offsets again"),
        ("a: &a [1]\nb: *a\n", "line 2 refers to another value (*a); write it out"),
        ("fps: " + "[" * 20 + "]" * 20, "nested more than 16 deep, or more than 8000000 values"),
        ("seed: " + "1" * MAX_FILE_BYTES, "larger than 64 KiB"),
    ],
)
def test_a_broken_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", text)
    assert mistakes(config=config) == [f"{config}: cannot be read ({message}); give a YAML file of settings"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("seed: 1\nfps: [1\n", " line 3"),
        ("fps: !!python/object:os.system x\n", " line 1"),
        ("seed: 1\n---\nseed: 2\n", " line 2"),
        ("seed: 1\0\n", ""),
        ("fps: " + "[" * 20_000, ""),
    ],
)
def test_what_is_no_yaml_is_one_line(text: str, place: str, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", text)
    (line,) = mistakes(config=config)
    assert line.startswith(f"{config}: cannot be read (") and place in line and "\n" not in line


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("gripper-config: caf\xe9".encode("latin-1"))
    reasons = {tmp_path / "no.yaml": "No such file or directory", tmp_path: "Is a directory", Path("/dev/zero"): "larger than 64 KiB"}
    for path, reason in reasons.items():
        assert mistakes(config=path) == [f"{path}: cannot be read ({reason}); give a YAML file of settings"]
    (line,) = mistakes(config=tmp_path / "latin.yaml")
    assert "utf-8" in line


@pytest.mark.parametrize("first, second", [("overwrite_grasps", "fill_grasps"), ("guess_only", "load_guesses")])
def test_modes_that_exclude_each_other(first: str, second: str) -> None:
    names = f"{first.replace('_', '-')} and {second.replace('_', '-')}"
    assert mistakes(flags={first: True}, environ={f"GRASPGEN_{second.upper()}": "1"}) == [f"{names} exclude each other; set one of them"]


def test_the_gap_is_one_of_a_decomposition() -> None:
    given = {"max_surface_gap": "0.001", "collision_approximation": "coacd"}
    wanted = "max-surface-gap goes with collision-approximation convex-decomposition only; leave one of them out"
    assert mistakes(flags=given) == [wanted]


def test_one_way_to_name_devices() -> None:
    given = {"device": "cuda:1", "devices": "cuda:0,cuda:1"}
    assert mistakes(flags=given) == ["device and devices exclude each other; set one of them"]


@pytest.mark.parametrize("shard", ["3/3", "-1/3", "1", "1/", "/3", "1/0", "1/3/5", "a/b", "1.0/3", "0/1000001"])
def test_a_shard_is_one_of_its_count(shard: str) -> None:
    assert mistakes(flags={"shard": shard}) == [f"--shard: {shard!r} is not allowed; give i/n with i from 0 to n - 1, such as 0/3"]


@hypothesis_settings(max_examples=15)
@given(text=st.text(max_size=60), name=st.sampled_from(sorted(AllCommand.names())))
def test_any_text_is_a_value_or_one_line(text: str, name: str) -> None:
    """No value that anybody can type ends in anything but a setting or one line without the words of the library behind it."""
    flags = {"gripper_config": "x", name: text}
    try:
        settle(flags=flags)
    except SettingsError as error:
        (line,) = str(error).splitlines()
        # A value of the right kind that is refused all the same is refused with a reason of its own.
        ends = (known_settings()[name].allowed, "is not known", REGEX_ALLOWED)
        assert line.startswith(f"--{name.replace('_', '-')}: ") and line.endswith(ends)
        assert "pydantic" not in line and "http" not in line


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_any_file_is_settings_or_lines(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = tmp_path_factory.mktemp("any") / "c.yaml"
    config.write_bytes(text.encode())
    try:
        settle(config=config)
    except SettingsError as error:
        assert all(line.startswith(str(config)) for line in str(error).splitlines())


# --- showing -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command_class", COMMAND_CLASSES.values(), ids=COMMAND_CLASSES)
def test_shown_settings_cover_every_field_and_read_back(command_class: type[CommandSettings], tmp_path: Path) -> None:
    environ = {"GRASPGEN_SEED": "12", "GRASPGEN_GRASP_DATASET": "a: b # c", "GRASPGEN_GRIPPER_CONFIG": "85", "GRASPGEN_WORKERS": "3"}
    first = settle(command_class, environ=environ)
    text = settings_text(first)
    assert set(yaml.safe_load(text)) == {name.replace("_", "-") for name in command_class.names()}
    again = settle(command_class, config=write(tmp_path / "c.yaml", text))
    assert again.flat() == first.flat()
    assert ("# environment GRASPGEN_GRASP_DATASET" in text) == ("grasp_dataset" in command_class.names())
    assert "# environment GRASPGEN_" in text and "# default" in text


def test_settings_document_has_value_and_source() -> None:
    document = settings_document(settle(flags={"sampler": "antipodal"}))
    assert set(document) == set(AllCommand.names())
    assert document["sampler"] == {"value": "antipodal", "source": "flag"}
    assert document["grasp_dataset"]["value"] == "results"
    assert orjson.dumps(document)


def test_several_paths_come_as_a_flag_given_again_a_list_or_one_text(tmp_path: Path) -> None:
    for typed_in, paths in ((["a", "b c"], ("a", "b c")), ("a", ("a",)), ('["a", "b"]', ("a", "b"))):
        assert settle(AnalyzeCommand, flags={"paths": typed_in}).inputs.paths == tuple(map(Path, paths))
    config = write(tmp_path / "c.yaml", "paths: results\noutput: [a.csv, b.json]\n")
    settings = settle(AnalyzeCommand, config=config)
    assert (settings.inputs.paths, settings.analyze.output) == ((Path("results"),), (Path("a.csv"), Path("b.json")))


@pytest.mark.parametrize("wrong", [["a", ""], ["a\0"], "[1]", '["a"', "[]]"])
def test_paths_that_are_none_are_refused(wrong: object) -> None:
    with pytest.raises(SettingsError, match="paths"):
        settle(AnalyzeCommand, flags={"paths": wrong})
