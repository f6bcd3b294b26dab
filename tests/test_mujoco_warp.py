"""The GPU backend: what it packs is what was there, and its trials end as those of the reference. Warp runs on the CPU too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import trimesh

from examples import example_object
from graspgen_cli.errors import ObjectError
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.objects.load import load_object
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TargetObject, TrialState
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.engine import ObjectFailed, ObjectResults, ObjectTrials, make_backend
from graspgen_cli.validate.engines.mujoco_warp.packing import FIELDS_OF_OBJECTS, joined_meshes, mesh_of_geoms, rows_of_objects
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.scene import build_scene, in_body_frame

SETTINGS = SimulationSettings()
OBJECTS = ("box.stl", "banana.obj", "pear.obj")


def with_room(gripper: Gripper, pieces: int) -> mujoco.MjModel:
    """A scene of an object of that many pieces."""
    target = example_object("box.stl", pieces=True)
    return build_scene(gripper, replace(target, pieces=target.pieces * pieces), SETTINGS).model


@pytest.mark.slow
def test_joined_meshes_are_those_of_a_scene_that_has_them_all(gripper_shape: Callable[[str], GripperShape]) -> None:
    """Every vertex, polygon, map and graph, by the addresses that the engine follows."""
    gripper = gripper_shape("robotiq_2f_85").gripper
    targets = [in_body_frame(example_object(name, pieces=True)) for name in OBJECTS]  # the whole has one frame
    models = [build_scene(gripper, target, SETTINGS).model for target in targets]
    whole = build_scene(gripper, replace(targets[0], pieces=sum((t.pieces for t in targets), ())), SETTINGS).model
    joined = joined_meshes(models)
    rows = mesh_of_geoms(with_room(gripper, max(len(t.pieces) for t in targets)), models)
    own = models[0].ngeom - len(targets[0].pieces)
    assert rows[1, own + len(targets[1].pieces) :].tolist() == [-1] * (rows.shape[1] - own - len(targets[1].pieces))
    expected = [whole.geom_dataid[own + i] for i in range(sum(len(t.pieces) for t in targets))]
    found = [row[own + i] for row, target in zip(rows, targets, strict=True) for i in range(len(target.pieces))]
    for mesh, other in zip(expected, found, strict=True):
        for a, b in zip(parts_of_mesh(lambda n: getattr(whole, n), mesh), parts_of_mesh(joined.__getitem__, other), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)


def parts_of_mesh(table: Callable[[str], np.ndarray], mesh: int) -> list[np.ndarray]:
    """Everything that belongs to one mesh."""
    vertices = slice(table("mesh_vertadr")[mesh], table("mesh_vertadr")[mesh] + table("mesh_vertnum")[mesh])
    polygons = range(table("mesh_polyadr")[mesh], table("mesh_polyadr")[mesh] + table("mesh_polynum")[mesh])
    parts = [table("mesh_vert")[vertices], table("mesh_polynormal")[polygons.start : polygons.stop]]
    for address, count, values in (
        *((table("mesh_polyvertadr")[p], table("mesh_polyvertnum")[p], "mesh_polyvert") for p in polygons),
        *((table("mesh_polymapadr")[v], table("mesh_polymapnum")[v], "mesh_polymap") for v in range(vertices.start, vertices.stop)),
    ):
        parts.append(table(values)[address : address + count])
    graph = table("mesh_graphadr")[mesh]
    if graph >= 0:
        sizes = table("mesh_graph")[graph : graph + 2]
        parts.append(table("mesh_graph")[graph : graph + 2 + 3 * sizes[0] + 6 * sizes[1]])
    return parts


def test_rows_of_objects_are_their_own_models_values(gripper_shape: Callable[[str], GripperShape]) -> None:
    gripper = gripper_shape("franka_panda").gripper
    models = [build_scene(gripper, example_object(name, pieces=True), SETTINGS).model for name in OBJECTS]
    template = with_room(gripper, 16)
    for field in FIELDS_OF_OBJECTS:
        rows = rows_of_objects(template, models, field)
        for row, model in zip(rows, models, strict=True):
            own = np.asarray(getattr(model, field), np.float32).ravel()
            np.testing.assert_array_equal(row[: own.size], own)


def guesses(shape: GripperShape, name: str, count: int) -> tuple[TargetObject, GraspBatch]:
    target = example_object(name, pieces=True)
    result = make_guesses(
        ObjectShape(target), shape, GuessSettings(), object_id=name, num_free=count, num_colliding=0, first_try=0, max_tries=100
    )
    return target, result.grasps


@pytest.fixture(scope="module")
def states() -> Callable[..., list[tuple[TargetObject, GraspBatch, TrialState]]]:
    """End states of the first guesses on some objects with the Robotiq 2F-85, all in one launch of few worlds on Warp's CPU device."""
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from examples import gripper_by_name
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    shape = gripper_by_name("robotiq_2f_85")

    def run(names: tuple[str, ...] = OBJECTS, *, worlds: int = 8) -> list[tuple[TargetObject, GraspBatch, TrialState]]:
        backend = MujocoWarpBackend(threads=1, device="cpu", worlds=worlds)
        made = [guesses(shape, name, 8) for name in names]
        batches = [ObjectTrials(i, target, grasps) for i, (target, grasps) in enumerate(made)]
        ended = {result.number: result.state for result in backend.run_many(shape.gripper, batches, SETTINGS)}
        return [(target, grasps, ended[i]) for i, (target, grasps) in enumerate(made)]

    return run


@pytest.mark.slow
def test_trials_end_as_on_the_reference_backend(
    states: Callable[..., list[tuple[TargetObject, GraspBatch, TrialState]]], gripper_shape: Callable[[str], GripperShape]
) -> None:
    """24 trials of three objects pass through 8 worlds."""
    agree = 0
    for target, grasps, state in states():
        reference = make_backend("mujoco", threads=2).run(gripper_shape("robotiq_2f_85").gripper, target, grasps, SETTINGS)
        agree += int((judge(state) == judge(reference)).sum())
        both = (judge(state) == Outcome.HELD) & (judge(reference) == Outcome.HELD)
        apart = np.abs(state.penetration[both] - reference.penetration[both])
        assert np.median(apart) < 2e-5 and apart.max() < 1e-3
        assert state.finite.all() and (state.started_inside == reference.started_inside).all()
    assert agree >= 23


@pytest.mark.slow
def test_an_objects_trials_do_not_depend_on_the_others_in_the_launch(
    states: Callable[..., list[tuple[TargetObject, GraspBatch, TrialState]]],
) -> None:
    together = {target.object_id: state for target, _, state in states()}
    [(_, _, alone)] = states(("pear.obj",))
    np.testing.assert_array_equal(judge(together["pear.obj"]), judge(alone))
    np.testing.assert_allclose(together["pear.obj"].finger_contact_force, alone.finger_contact_force, rtol=0.05, atol=0.5)


def jammed_box(folder: Path) -> tuple[TargetObject, GraspBatch]:
    """A box that the inner links of the 2F-85 meet before its pads do, each along an edge, and two grasps of it."""
    trimesh.creation.box((0.03558984, 0.06042974, 0.13443414)).export(folder / "box.stl")
    pose = np.array([[0, -0.14428352, -0.98953639, 0.12207027], [-1, 0, 0, 0], [0, 0.98953639, -0.14428352, 0.01544316], [0, 0, 0, 1]])
    approximation = CollisionApproximation.CONVEX_DECOMPOSITION
    target = load_object("box.stl", 1.0, root=folder, approximation=approximation, cache=None)
    return target, replace(guesses_of(pose), opening_width=np.full(2, 0.085))


def guesses_of(pose: np.ndarray) -> GraspBatch:
    """The same pose twice, not tried yet."""
    return GraspBatch(
        pose_gripper_in_object=np.stack([pose, pose]), opening_width=np.zeros(2), outcome=np.full(2, Outcome.UNVALIDATED, np.int8)
    )


@pytest.mark.slow
def test_what_a_link_jams_is_left_to_the_reference(
    gripper_shape: Callable[[str], GripperShape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In single precision a link has one point of contact where it has two, and gives way until the pads touch."""
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    gripper, (target, grasps) = gripper_shape("robotiq_2f_85").gripper, jammed_box(tmp_path)
    backend = MujocoWarpBackend(threads=1, device="cpu", worlds=2)
    reference = make_backend("mujoco", threads=1).run(gripper, target, grasps, SETTINGS)
    assert (judge(reference) == Outcome.DROPPED).all()
    np.testing.assert_array_equal(backend.run(gripper, target, grasps, SETTINGS).pose_object_in_gripper, reference.pose_object_in_gripper)
    monkeypatch.setattr("graspgen_cli.validate.engines.mujoco_warp.lane.JAMMED", np.inf)
    assert (judge(backend.run(gripper, target, grasps, SETTINGS)) == Outcome.HELD).all()


@pytest.mark.slow
def test_links_of_no_finger_are_those_that_the_fingers_do_not_carry(gripper_shape: Callable[[str], GripperShape]) -> None:
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.worlds import links_of_no_finger

    gripper = gripper_shape("robotiq_2f_85").gripper
    scene = build_scene(gripper, example_object("box.stl", pieces=True), SETTINGS)
    marked = links_of_no_finger(scene, gripper)
    names = {scene.model.geom(number).name for number in np.flatnonzero(marked)}
    assert {"body", "left_inner_bar", "right_inner_bar", "left_crank"} <= names
    assert not names & {"left_pad", "right_pad", "left_backing", "graspgen_object_0"} and set(marked) == {0, 1}


@pytest.mark.slow
def test_an_object_of_which_no_scene_can_be_made_takes_no_other_along(gripper_shape: Callable[[str], GripperShape]) -> None:
    """Its only piece is flat, which the engine makes no hull of."""
    pytest.importorskip("mujoco_warp", reason="the GPU backend needs the packages of the extra gpu")
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend, MujocoWarpSimulator

    shape = gripper_shape("franka_panda")
    target, grasps = guesses(shape, "pear.obj", 2)
    piece = target.pieces[0]
    flat = replace(piece, vertices=piece.vertices * [1.0, 1.0, 0.0])
    trials = [ObjectTrials(0, replace(target, pieces=(flat,)), grasps), ObjectTrials(1, target, grasps)]
    short = SimulationSettings(initial_grasp_duration=0.04, tug_sequences=())
    failed, made = sorted(MujocoWarpSimulator(shape.gripper, short, device="cpu", worlds=2).run(trials), key=lambda each: each.number)
    assert isinstance(failed, ObjectFailed) and failed.number == 0 and failed.reason.startswith("unexpected ")
    assert isinstance(made, ObjectResults) and len(made.state.steps) == 2
    with pytest.raises(ObjectError, match=r"pear\.obj: unexpected \w+: ."):
        MujocoWarpBackend(threads=1, device="cpu", worlds=2).run(shape.gripper, trials[0].target, grasps, short)


@pytest.mark.slow
def test_where_a_buffer_overflows_the_reference_backend_decides(
    states: Callable[..., list[tuple[TargetObject, GraspBatch, TrialState]]],
    gripper_shape: Callable[[str], GripperShape],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("graspgen_cli.validate.engines.mujoco_warp.worlds.ROWS_PER_WORLD", 8)
    [(target, grasps, state)] = states(("pear.obj",))
    reference = make_backend("mujoco", threads=1).run(gripper_shape("robotiq_2f_85").gripper, target, grasps, SETTINGS)
    np.testing.assert_array_equal(state.pose_object_in_gripper, reference.pose_object_in_gripper)
