"""What `replay` does: finds the grasp, tries it again as the file says it was tried, and shows what happens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from graspgen_cli.dataset.collection import open_collection, read_entry
from graspgen_cli.dataset.provenance import Provenance, StepRecord
from graspgen_cli.drawing.film import trial_film
from graspgen_cli.drawing.plot import plot_file
from graspgen_cli.drawing.scenes import GraspSource, in_base_frame, object_root
from graspgen_cli.errors import GraspFileError, InputError, ObjectError
from graspgen_cli.files import default_cache, write_atomically
from graspgen_cli.formats.format import ObjectGrasps
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.geometry.finger_reach import FingerReach
from graspgen_cli.guess.place import fit_openings
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import id_problem
from graspgen_cli.records import GraspBatch, Gripper, Measure, Outcome, TargetObject
from graspgen_cli.settings.commands import ReplayCommand
from graspgen_cli.settings.guesses import Reach
from graspgen_cli.settings.trials import JudgeSettings, RandomizationSettings, SimulationSettings
from graspgen_cli.tables import REFERENCE_ENGINE
from graspgen_cli.validate.engine import Variation
from graspgen_cli.validate.judge import meets
from graspgen_cli.validate.scene import recorded_contact
from graspgen_cli.validate.trace import TrialTrace, touching_bodies, trace_trial
from graspgen_cli.validate.trials import drawn_trials

_TRIED = (Outcome.HELD, Outcome.DROPPED, Outcome.UNSTABLE)


@dataclass(frozen=True, eq=False)
class Replay:
    """One grasp, tried again.

    path: the file. grasp: its index there. recorded: the outcome in the file. expected: how the trial should end by what the file says;
    None where it does not say. notes: what is not as it was, a line each.
    """

    path: Path
    grasp: int
    recorded: Outcome
    expected: Outcome | None
    gripper: Gripper
    target: TargetObject
    settings: SimulationSettings
    trace: TrialTrace
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is shown, in a line."""
        return f"{self.target.object_id}  ·  {self.gripper.name}  ·  grasp {self.grasp}"

    @property
    def touching(self) -> tuple[str, ...]:
        """The gripper's bodies that touch the object at the end."""
        return touching_bodies(self.trace)

    @property
    def agrees(self) -> bool:
        """Whether the trial ends as the file says, which it may leave open."""
        return self.expected is None or self.expected is self.trace.outcome


def replay_trial(settings: ReplayCommand) -> Replay:
    """Tries the grasp of the settings again, and writes the video and the plot that they name.

    Raises as `run_replay` does, and OutputError.
    """
    replay, wanted = run_replay(settings), settings.replay
    if wanted.video is not None:
        write_video(replay, wanted.video, slow_motion=wanted.slow_motion)
    if wanted.plot is not None:
        write_plot(replay, wanted.plot)
    return replay


def run_replay(settings: ReplayCommand) -> Replay:
    """Tries the grasp of the settings again: on the file's own simulation settings but for those that were given anew.

    Raises InputError, GraspFileError, GripperError or ObjectError where the file, the gripper or the object cannot be used.
    """
    source = GraspSource(open_collection(settings.dataset.grasp_dataset), settings)
    entry = source.collection.entries[source.first()]
    grasps = read_entry(entry)
    gripper, problem = source.gripper(entry, grasps)
    if gripper is None:
        raise InputError(problem, path=entry.shown)
    chosen = _first_tried(source, grasps, entry.shown)
    made = Provenance.of(grasps.dataset)
    recorded = made.simulation if made else None
    simulation, notes = _simulation(recorded, settings, entry.shown)
    reach, reach_note = _reach(recorded, settings, entry.shown)
    target = _target(grasps, settings, simulation, GripperShape(gripper).reach(reach))
    grasp = _with_opening(in_base_frame(grasps, gripper)[np.array([chosen])], gripper, target)
    criterion, randomization = _judged_by(recorded, entry.shown)
    as_filed = grasps.dataset.grasps[np.array([chosen])]
    expected, drawn_note = _expected(as_filed, criterion, randomization, settings.replay.draw)
    grasp, variation = _draw(grasp, gripper, target, randomization, settings.replay.draw, entry.shown)
    trace = trace_trial(gripper, target, grasp, simulation, criterion=criterion, variation=variation)
    notes = [*notes, *reach_note, *drawn_note, *_changes(recorded, gripper, target)]
    return Replay(entry.shown, chosen, Outcome(int(as_filed.outcome[0])), expected, gripper, target, simulation, trace, tuple(notes))


def _judged_by(recorded: StepRecord | None, path: Path) -> tuple[JudgeSettings, RandomizationSettings | None]:
    """The criterion by which the file's trials were judged, and how their physics was varied, if it was."""
    if recorded is None:
        return JudgeSettings(), None
    try:
        return recorded.criterion(), recorded.randomization()
    except ValueError as error:
        raise GraspFileError("what it says of how its trials were judged cannot be used", path=path) from error


def _expected(
    grasp: GraspBatch, criterion: JudgeSettings, randomization: RandomizationSettings | None, draw: int | None
) -> tuple[Outcome | None, list[str]]:
    """How the trial of one grasp should end by the file, and what is to be said of that."""
    recorded, measured = Outcome(int(grasp.outcome[0])), grasp.measured
    fraction = float(measured[0, Measure.HELD_FRACTION])
    if recorded not in _TRIED:
        return None, []
    if randomization is None or np.isnan(fraction):
        return recorded, []
    held = round(fraction * randomization.randomize_draws)
    shown = f"draw {draw}" if draw else "the trial without them"
    note = f"the file's outcome is that of {randomization.randomize_draws} randomised draws, {held} of which held; this is {shown}"
    if draw:
        return None, [note]
    if recorded is Outcome.UNSTABLE:
        return recorded, [note]
    held_as_it_is = np.isnan(measured[0, Measure.LOSS_TIME]) and meets(measured, criterion)[0]
    return (Outcome.HELD if held_as_it_is else Outcome.DROPPED), [note]


def _draw(
    grasp: GraspBatch, gripper: Gripper, target: TargetObject, randomization: RandomizationSettings | None, draw: int | None, path: Path
) -> tuple[GraspBatch, Variation | None]:
    """The trial of the draw that was asked for, or the grasp as it is."""
    if not draw:
        return grasp, None
    if randomization is None:
        raise InputError("its grasps were not tried with randomised physics", path=path, advice="leave --draw out")
    if draw > randomization.randomize_draws:
        raise InputError(f"there is no draw {draw}", path=path, advice=f"the last is {randomization.randomize_draws}")
    trials, variation = drawn_trials(gripper, target.object_id, grasp, randomization)
    return trials[np.array([draw])], variation[np.array([draw])]


def _first_tried(source: GraspSource, grasps: ObjectGrasps, path: Path) -> int:
    """The first grasp that the settings leave, of those that were tried if there is one."""
    chosen = source.chosen(grasps, path)
    tried = chosen[np.isin(grasps.dataset.grasps.outcome[chosen], _TRIED)]
    return int(tried[0] if len(tried) else chosen[0])


def _simulation(recorded: StepRecord | None, settings: ReplayCommand, path: Path) -> tuple[SimulationSettings, list[str]]:
    """The settings of the trial, and what has to be said of them."""
    fields = SimulationSettings.model_fields
    given = {name: getattr(settings.simulation, name) for name in settings.simulation.model_fields_set}
    if recorded is None or not recorded.settings:
        return SimulationSettings(**given), ["the file does not say how its grasps were tried: the settings of this command are used"]
    values: dict[str, Any] = {name: value for name, value in recorded.settings.items() if name in fields}
    try:
        simulation = SimulationSettings.model_validate({**values, **given})
    except ValidationError as error:
        raise GraspFileError(f"its simulation settings cannot be used ({error.errors()[0]['msg']})", path=path) from error
    backend, notes = str(recorded.settings.get("backend", REFERENCE_ENGINE))[:40], []
    if backend != REFERENCE_ENGINE:
        notes = [f"the file's outcomes come from the backend {backend}; the trial is that of {REFERENCE_ENGINE}"]
    changed = sorted(name for name in given if name in values and getattr(simulation, name) != _value(values, name))
    return simulation, notes + [f"{name} is not what the file says: its outcome may be another one" for name in changed]


def _value(values: dict[str, Any], name: str) -> object:
    return getattr(SimulationSettings.model_validate({name: values[name]}), name)


def _reach(recorded: StepRecord | None, settings: ReplayCommand, path: Path) -> tuple[Reach, list[str]]:
    """What counts as out of reach: as was asked for, else as in the file's trials; and what has to be said of that."""
    if recorded is None:
        return settings.reach.reach, []
    try:
        reach = recorded.reach()
    except ValueError as error:
        raise GraspFileError("what it says of what was out of reach cannot be used", path=path) from error
    if "reach" not in settings.reach.model_fields_set or settings.reach.reach is reach:
        return reach, []
    return settings.reach.reach, ["reach is not what the file says: its outcome may be another one"]


def _target(grasps: ObjectGrasps, settings: ReplayCommand, simulation: SimulationSettings, reach: FingerReach | None) -> TargetObject:
    dataset = grasps.dataset
    if problem := id_problem(dataset.object_id):
        raise ObjectError(f"{dataset.object_id[:80]!r} {problem}")
    return load_object(
        dataset.object_id,
        dataset.scale,
        root=object_root(settings.objects),
        approximation=simulation.collision_approximation,
        cache=default_cache(),
        max_surface_gap=simulation.max_surface_gap,
        reach=reach,
    )


def _with_opening(grasp: GraspBatch, gripper: Gripper, target: TargetObject) -> GraspBatch:
    """The grasp at the opening that `validate` would give it where the file does not say."""
    if np.isfinite(grasp.opening_width).all():
        return grasp
    fitted = fit_openings(ObjectShape(target), GripperShape(gripper), grasp)
    return replace(grasp, opening_width=fitted.opening_width)


def _changes(recorded: StepRecord | None, gripper: Gripper, target: TargetObject) -> list[str]:
    """What the file's grasps were tried with that is not here any more."""
    if recorded is None:
        return []
    notes = []
    if recorded.object_digest not in (None, target.content_hash):
        notes.append("the mesh is not the one that the grasps were tried on")
    if recorded.gripper_digest not in (None, gripper.content_hash):
        notes.append("the gripper is not the one that the grasps were tried with")
    contact = recorded.settings.get("contact")
    if contact is not None and contact != recorded_contact(REFERENCE_ENGINE):
        notes.append("contacts were computed otherwise when the grasps were tried")
    return notes


def write_video(replay: Replay, path: Path, *, slow_motion: float) -> None:
    """Writes the trial as a video or a strip. Raises OutputError where that cannot be drawn or written."""
    form = path.suffix.lower()
    film = trial_film(replay.trace, replay.gripper, replay.target, title=replay.title, form=form, slow_motion=slow_motion)
    write_atomically(path, film)


def write_plot(replay: Replay, path: Path) -> None:
    """Writes the plot, or the numbers behind it. Raises OutputError where that cannot be drawn or written."""
    form = path.suffix.lower()
    content = trace_table(replay).encode() if form == ".csv" else plot_file(replay.trace, title=replay.title, form=form[1:])
    write_atomically(path, content)


def trace_table(replay: Replay) -> str:
    """The numbers of every step as CSV: SI units, the object's pose in the gripper's base as position and rotation matrix rows."""
    trace, joints = replay.trace, replay.gripper.joint_names
    rotation = [f"object_r{i}{j}" for i in range(3) for j in range(3)]
    names = ["time_s", "force_1_N", "force_2_N", "slip_m", "slip_rad", "object_x_m", "object_y_m", "object_z_m", *rotation, *joints]
    poses = trace.pose_object_in_gripper
    columns = [trace.time, trace.finger_contact_force, trace.slip, poses[:, :3, 3], poses[:, :3, :3].reshape(-1, 9), trace.joint_position]
    rows = np.column_stack(columns)
    lines = [",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in rows]
    return "\n".join([",".join(f'"{name}"' if "," in name or '"' in name else name for name in names), *lines, ""])
