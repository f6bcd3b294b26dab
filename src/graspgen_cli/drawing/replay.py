"""`replay`: runs the trial of one grasp of a file again under its recorded conditions, and writes the video, the plot and the numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from graspgen_cli.dataset.collection import open_collection, read_entry
from graspgen_cli.dataset.provenance import Provenance, StepRecord
from graspgen_cli.drawing.film import trial_film
from graspgen_cli.drawing.plot import plot_file
from graspgen_cli.drawing.scenes import GraspSource, in_base_frame, object_root
from graspgen_cli.errors import GraspFileError, InputError, ObjectError, one_line
from graspgen_cli.files import default_cache, write_atomically
from graspgen_cli.formats.format import ObjectGrasps
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
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
    """The repeated trial of one grasp.

    path: the grasp file; grasp: index in the file. recorded: the outcome in the file. expected: the outcome of the repeated trial according
    to the file; None if the file does not tell. notes: differences from the recorded trial, a line each.
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
        """Object, gripper and grasp on one line."""
        return f"{self.target.object_id}  ·  {self.gripper.name}  ·  grasp {self.grasp}"

    @property
    def touching(self) -> tuple[str, ...]:
        """The gripper's bodies that touch the object at the end."""
        return touching_bodies(self.trace)

    @property
    def agrees(self) -> bool:
        """Whether the trial has the expected outcome, or none is expected."""
        return self.expected is None or self.expected is self.trace.outcome


@dataclass(frozen=True)
class _Conditions:
    """Settings of a trial. randomization: None for trials without randomised physics; notes: differences from the recorded settings."""

    simulation: SimulationSettings
    reach: Reach
    criterion: JudgeSettings
    randomization: RandomizationSettings | None
    notes: tuple[str, ...]


def replay_trial(settings: ReplayCommand) -> Replay:
    """Run the trial of the selected grasp again, and write the video and the plot of the settings.

    The file's simulation settings apply; settings that the user gives replace them. Raises InputError, GraspFileError, GripperError or
    ObjectError if the file, the gripper or the object cannot be used, OutputError if a file cannot be drawn or written.
    """
    replay, video, plot = _run(settings), settings.replay.video, settings.replay.plot
    trace, title = replay.trace, replay.title
    if video is not None:
        form, slow = video.suffix.lower(), settings.replay.slow_motion
        write_atomically(video, trial_film(trace, replay.gripper, replay.target, title=title, form=form, slow_motion=slow))
    if plot is not None:
        form = plot.suffix.lower()
        write_atomically(plot, _trace_table(replay) if form == ".csv" else plot_file(trace, title=title, form=form[1:]))
    return replay


def _run(settings: ReplayCommand) -> Replay:
    source, draw = GraspSource(open_collection(settings.dataset.grasp_dataset), settings), settings.replay.draw
    entry = source.collection.entries[source.first()]
    grasps, path = read_entry(entry), entry.shown
    gripper, problem = source.gripper(entry, grasps)
    if gripper is None:
        raise InputError(problem, path=path)
    # The first selected grasp with a trial; without one the first selected grasp.
    selected = source.chosen(grasps, path)
    tried = selected[np.isin(grasps.dataset.grasps.outcome[selected], _TRIED)]
    chosen = int(tried[0] if len(tried) else selected[0])
    provenance = Provenance.of(grasps.dataset)
    recorded = provenance.simulation if provenance else None
    conditions = _conditions(recorded, settings, path)
    target = _target(grasps, settings, conditions, gripper)
    grasp = _with_opening(in_base_frame(grasps, gripper)[np.array([chosen])], gripper, target)
    as_filed = grasps.dataset.grasps[np.array([chosen])]
    expected, drawn_note = _expected(as_filed, conditions, draw)
    grasp, variation = _drawn(grasp, gripper, target, conditions.randomization, draw, path)
    trace = trace_trial(gripper, target, grasp, conditions.simulation, criterion=conditions.criterion, variation=variation)
    notes = (*conditions.notes, *drawn_note, *_changes(recorded, gripper, target))
    return Replay(path, chosen, Outcome(int(as_filed.outcome[0])), expected, gripper, target, conditions.simulation, trace, notes)


def _conditions(recorded: StepRecord | None, settings: ReplayCommand, path: Path) -> _Conditions:
    given = {name: getattr(settings.simulation, name) for name in settings.simulation.model_fields_set}
    if recorded is None or not recorded.settings:
        note = "the file does not say how its grasps were tried: the settings of this command are used"
        return _Conditions(SimulationSettings(**given), settings.reach.reach, JudgeSettings(), None, (note,))
    values = {name: value for name, value in recorded.settings.items() if name in SimulationSettings.model_fields}
    try:
        filed = SimulationSettings.model_validate(values)
        simulation = SimulationSettings.model_validate({**values, **given})
        reach, criterion, randomization = recorded.reach(), recorded.criterion(), recorded.randomization()
    except ValueError as error:
        raise GraspFileError(f"its simulation settings cannot be used ({one_line(error)})", path=path) from error
    changed = sorted(name for name in given if name in values and getattr(simulation, name) != getattr(filed, name))
    if "reach" in settings.reach.model_fields_set and settings.reach.reach is not reach:
        reach = settings.reach.reach
        changed.append("reach")
    backend = str(recorded.settings.get("backend", REFERENCE_ENGINE))[:40]
    notes = [f"{name} is not what the file says: its outcome may be another one" for name in changed]
    if backend != REFERENCE_ENGINE:
        notes.insert(0, f"the file's outcomes come from the backend {backend}; the trial is that of {REFERENCE_ENGINE}")
    return _Conditions(simulation, reach, criterion, randomization, tuple(notes))


def _target(grasps: ObjectGrasps, settings: ReplayCommand, conditions: _Conditions, gripper: Gripper) -> TargetObject:
    dataset, simulation = grasps.dataset, conditions.simulation
    if problem := id_problem(dataset.object_id):
        raise ObjectError(f"{dataset.object_id[:80]!r} {problem}")
    return load_object(
        dataset.object_id,
        dataset.scale,
        root=object_root(settings.objects),
        approximation=simulation.collision_approximation,
        cache=default_cache(),
        max_surface_gap=simulation.max_surface_gap,
        reach=GripperShape(gripper).reach(conditions.reach),
    )


def _with_opening(grasp: GraspBatch, gripper: Gripper, target: TargetObject) -> GraspBatch:
    """The grasp; if the file has no opening, at the opening that `validate` would choose."""
    if np.isfinite(grasp.opening_width).all():
        return grasp
    fitted = fit_openings(ObjectShape(target), GripperShape(gripper), grasp)
    return replace(grasp, opening_width=fitted.opening_width)


def _expected(grasp: GraspBatch, conditions: _Conditions, draw: int | None) -> tuple[Outcome | None, list[str]]:
    """The outcome of the repeated trial according to the file's grasp, and notes. draw: number of the randomised draw; None or 0: none."""
    recorded, measured, randomization = Outcome(int(grasp.outcome[0])), grasp.measured, conditions.randomization
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
    held_undisturbed = np.isnan(measured[0, Measure.LOSS_TIME]) and meets(measured, conditions.criterion)[0]
    return (Outcome.HELD if held_undisturbed else Outcome.DROPPED), [note]


def _drawn(
    grasp: GraspBatch, gripper: Gripper, target: TargetObject, randomization: RandomizationSettings | None, draw: int | None, path: Path
) -> tuple[GraspBatch, Variation | None]:
    """The grasp and the physics of a randomised draw; without a draw the grasp alone."""
    if not draw:
        return grasp, None
    if randomization is None:
        raise InputError("its grasps were not tried with randomised physics", path=path, advice="leave --draw out")
    if draw > randomization.randomize_draws:
        raise InputError(f"there is no draw {draw}; the last is {randomization.randomize_draws}", path=path)
    trials, variation = drawn_trials(gripper, target.object_id, grasp, randomization)
    return trials[np.array([draw])], variation[np.array([draw])]


def _changes(recorded: StepRecord | None, gripper: Gripper, target: TargetObject) -> list[str]:
    """Notes on the recorded mesh, gripper and contact model that differ from today's."""
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


def _trace_table(replay: Replay) -> bytes:
    """CSV of all steps: SI units, the object's pose in the gripper's base as position and rows of the rotation matrix."""
    trace, joints = replay.trace, replay.gripper.joint_names
    rotation = [f"object_r{i}{j}" for i in range(3) for j in range(3)]
    names = ["time_s", "force_1_N", "force_2_N", "slip_m", "slip_rad", "object_x_m", "object_y_m", "object_z_m", *rotation, *joints]
    poses = trace.pose_object_in_gripper
    columns = [trace.time, trace.finger_contact_force, trace.slip, poses[:, :3, 3], poses[:, :3, :3].reshape(-1, 9), trace.joint_position]
    lines = [",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in np.column_stack(columns)]
    head = ",".join(f'"{name}"' if "," in name or '"' in name else name for name in names)
    return "\n".join([head, *lines, ""]).encode()
