"""How stable labels are: the same guesses tried under many settings of the simulation, and how many labels each setting turns over.

    python benchmarks/labels.py FOLDER [--output FILE] [--page docs/label_study.md]
    python benchmarks/labels.py FOLDER --objects mug.obj box.stl --grippers franka_panda --grasps 24 --variants reference default

Every object, gripper and setting is a task of a pool with one process a core. What is done is kept in FOLDER, and a second call goes on
from there: adding variants, objects or grippers costs only what is new. After a change of the code, take another folder. Variants of
another engine than the reference backend (`mujoco_warp`) run only where they are named, one after the other, after the pool. The summary
covers the variants that are named or, without --variants, all of the reference backend; it goes to --output as JSON and, as tables, to
--page or the terminal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from label_tables import MODELS, About, show, summary
from scipy.spatial.transform import Rotation
from threadpoolctl import threadpool_limits

from graspgen_cli.files import write_atomically
from graspgen_cli.geometry.collision import GripperShape, ObjectShape
from graspgen_cli.geometry.convex import LARGEST_GAP, convex_pieces, recipe
from graspgen_cli.geometry.meshes import mass_properties, triangle_mesh
from graspgen_cli.geometry.poses import pose, transform_points
from graspgen_cli.grippers import find
from graspgen_cli.guess.loop import make_guesses
from graspgen_cli.objects.load import load_object
from graspgen_cli.objects.scales import read_scales, resolve_object_paths
from graspgen_cli.records import GraspBatch, Gripper, Outcome, TargetObject
from graspgen_cli.running.machine import cpu_model, usable_cores
from graspgen_cli.settings.guesses import GuessSettings
from graspgen_cli.settings.inputs import ObjectSettings
from graspgen_cli.settings.trials import CollisionApproximation, SimulationSettings
from graspgen_cli.validate.engine import Backend
from graspgen_cli.validate.engines.mujoco import MujocoBackend
from graspgen_cli.validate.judge import judge
from graspgen_cli.validate.scene import DEFAULT_CONTACT, ContactModel

SETTINGS = ObjectSettings()
OBJECTS = ("mug.obj", "bottle.obj", "bowl.obj", "box.stl", "banana.obj", "hammer.obj", "ring.ply", "caltrop.off")
GRIPPERS = ("robotiq_2f_85", "franka_panda")
REFERENCE = "reference"


@dataclass(frozen=True)
class Variant:
    """One setting of everything that could change a label.

    about: in words, for the tables. simulation: what differs from the default settings. shift: m by which every start is moved, in a
    random direction. turned: whether every mesh is given in another frame. cost: about how many times the default's, to begin with the
    longest tasks. against: the variant whose labels it is to come to as steps get finer.
    """

    about: str
    group: str
    simulation: dict[str, Any] = field(default_factory=dict)
    contact: ContactModel = DEFAULT_CONTACT
    shift: float = 0.0
    turned: bool = False
    engine: str = "mujoco"
    cost: float = 1.0
    against: str = REFERENCE

    @property
    def settings(self) -> SimulationSettings:
        """The simulation settings."""
        return SimulationSettings(**self.simulation)


@cache
def load_gripper(name: str) -> Gripper:
    """A built-in gripper, loaded once a process."""
    return find.load_gripper(name)


def contact(**changes: Any) -> ContactModel:
    """The default contact model with changes."""
    return replace(DEFAULT_CONTACT, **changes)


BEFORE = contact(time_constant=0.008, friction_stiffness=10.0)
"""Contacts as hard as the engine allows at 250 Hz; with contact points that do not resist turning, the defaults of earlier versions."""
FINEST: dict[str, Any] = {"fps": 2000, "steady_motion": 0.0}
POINTS: dict[str, Any] = {"contact_patch": 0.0}

VARIANTS: dict[str, Variant] = {
    REFERENCE: Variant("1/2000 s, no early end", "step", FINEST, cost=12),
    "default": Variant("the defaults: 1/250 s", "step"),
    "step_500": Variant("1/500 s", "step", {"fps": 500}, cost=2),
    "step_1000": Variant("1/1000 s", "step", {"fps": 1000}, cost=4),
    "no_early_end": Variant("1/250 s, no early end (steady motion 0)", "early end", {"steady_motion": 0.0}, cost=1.6),
    "early_end_2mm": Variant("1/250 s, steady motion 2 mm", "early end", {"steady_motion": 0.002}),
    "shift_1um": Variant("every start moved by 1 µm", "noise", shift=1e-6),
    "shift_100um": Variant("every start moved by 0.1 mm", "noise", shift=1e-4),
    "turned": Variant("every mesh turned and moved, its pieces cut anew", "noise", turned=True),
    "euler": Variant("integrator Euler", "integrator", contact=contact(integrator="euler")),
    "implicit": Variant("integrator implicit", "integrator", contact=contact(integrator="implicit")),
    "tight_solver": Variant("solver tolerance 1e-12", "solver", contact=contact(tolerance=1e-12)),
    "contact_8ms": Variant("contact time constant 0.008 s", "contact", contact=contact(time_constant=0.008)),
    "contact_15ms": Variant("contact time constant 0.015 s", "contact", contact=contact(time_constant=0.015)),
    "contact_60ms": Variant("contact time constant 0.06 s", "contact", contact=contact(time_constant=0.06)),
    "engine_impedance": Variant(
        "impedance 0.9 to 0.95 (the engine's default)", "contact", contact=contact(impedance=(0.9, 0.95, 0.001, 0.5, 2.0))
    ),
    "high_impedance": Variant("impedance 0.99 to 0.999", "contact", contact=contact(impedance=(0.99, 0.999, 0.001, 0.5, 2.0))),
    "friction_10": Variant("impratio 10", "friction", contact=contact(friction_stiffness=10.0)),
    "friction_1000": Variant("impratio 1000", "friction", contact=contact(friction_stiffness=1000.0)),
    "pyramid": Variant("pyramidal friction cone", "friction", contact=contact(elliptic=False)),
    "points": Variant("contact points (patch 0)", "patch", POINTS),
    "patch_1mm5": Variant("contact patch 1.5 mm", "patch", {"contact_patch": 0.0015}),
    "patch_6mm": Variant("contact patch 6 mm", "patch", {"contact_patch": 0.006}),
    "finer_pieces": Variant("pieces within half the gap", "pieces", {"max_surface_gap": LARGEST_GAP / 2}, cost=1.5),
    "coarser_pieces": Variant("pieces within twice the gap", "pieces", {"max_surface_gap": 2 * LARGEST_GAP}),
    "convex_hull": Variant("one convex hull", "pieces", {"collision_approximation": CollisionApproximation.CONVEX_HULL}),
    "points_fine": Variant("contact points, 1/2000 s, no early end", MODELS, {**POINTS, **FINEST}, cost=12),
    "points_usual": Variant("contact points, 1/250 s", MODELS, POINTS, against="points_fine"),
    "before_fine": Variant("0.008 s, impratio 10, points, 1/2000 s, no early end", MODELS, {**POINTS, **FINEST}, BEFORE, cost=12),
    "before": Variant("0.008 s, impratio 10, points, 1/250 s", MODELS, POINTS, BEFORE, against="before_fine"),
    "before_500": Variant("0.008 s, impratio 10, points, 1/500 s", MODELS, {**POINTS, "fps": 500}, BEFORE, against="before_fine", cost=2),
    "mujoco_warp": Variant("engine mujoco-warp on a GPU", "engine", {"max_num_envs": 512}, engine="mujoco-warp:cuda:0"),
    "mujoco_warp_cpu": Variant("engine mujoco-warp on Warp's CPU device", "engine", {"max_num_envs": 128}, engine="mujoco-warp:cpu"),
}


@dataclass(frozen=True)
class Study:
    """What is studied, and where what is done is kept."""

    folder: Path
    objects: tuple[tuple[str, float], ...]
    root: Path
    grippers: tuple[str, ...]
    grasps: int

    def result_file(self, gripper: str, object_id: str, variant: str) -> Path:
        """Where the labels of one task are kept: by all that they depend on but the code."""
        chosen = VARIANTS[variant]
        pieces = recipe(chosen.settings.collision_approximation, chosen.settings.max_surface_gap)
        about = (chosen.settings, chosen.contact, chosen.shift, chosen.turned, chosen.engine, pieces, self.scale(object_id), self.grasps)
        packages = (load_gripper(gripper).content_hash, version("mujoco-core"))
        digest = hashlib.sha256(repr((about, packages)).encode()).hexdigest()[:16]
        return self.folder / "trials" / gripper / object_id / f"{variant}-{digest}.npz"

    def scale(self, object_id: str) -> float:
        """m a mesh unit."""
        return dict(self.objects)[object_id]


Task = tuple[str, str, str]
"""Gripper, object, variant."""


def prepared_object(study: Study, object_id: str, variant: Variant) -> TargetObject:
    """An object with the variant's pieces, from the study's cache where they are there."""
    return load_object(
        object_id,
        study.scale(object_id),
        root=study.root,
        approximation=variant.settings.collision_approximation,
        cache=study.folder / "cache",
        max_surface_gap=variant.settings.max_surface_gap,
    )


def guesses(study: Study, gripper: str, object_id: str) -> GraspBatch:
    """The guesses of one gripper on one object, the same for every variant, made once."""
    path = study.folder / "guesses" / gripper / f"{object_id}-{study.grasps}-{load_gripper(gripper).content_hash[:16]}.npz"
    if not path.exists():
        target = prepared_object(study, object_id, VARIANTS["default"])
        made = make_guesses(
            ObjectShape(target),
            GripperShape(load_gripper(gripper)),
            GuessSettings(),
            object_id=object_id,
            num_free=study.grasps,
            num_colliding=0,
            first_try=0,
            max_tries=1000,
        ).grasps
        write_arrays(path, {"pose": made.pose_gripper_in_object, "opening": made.opening_width})
    with np.load(path) as kept:
        return GraspBatch(kept["pose"], kept["opening"], np.full(len(kept["opening"]), Outcome.UNVALIDATED, np.int8))


def shifted(grasps: GraspBatch, shift: float) -> GraspBatch:
    """The grasps, each moved by `shift` metres in its own seeded direction."""
    direction = np.random.Generator(np.random.Philox(0)).normal(size=(len(grasps), 3))
    poses = grasps.pose_gripper_in_object.copy()
    poses[:, :3, 3] += shift * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return replace(grasps, pose_gripper_in_object=poses)


def in_another_frame(target: TargetObject, grasps: GraspBatch, settings: SimulationSettings) -> tuple[TargetObject, GraspBatch]:
    """The object as if its mesh file had other axes and another origin, with pieces of its own, and the same grasps there."""
    motion = pose(Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix(), np.array([0.2, -0.4, 0.1]))
    mesh = triangle_mesh(transform_points(motion, target.mesh.vertices), target.mesh.faces)
    convex, mass = convex_pieces(mesh, settings.collision_approximation, settings.max_surface_gap), mass_properties(mesh)
    turned = replace(
        target,
        mesh=mesh,
        pieces=convex.pieces,
        largest_gap=convex.gaps.largest,
        center_of_mass=mass.center_of_mass,
        unit_inertia=mass.unit_inertia,
    )
    return turned, replace(grasps, pose_gripper_in_object=motion @ grasps.pose_gripper_in_object)


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Keeps arrays in a file that is put in its place whole."""
    content = BytesIO()
    np.savez(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


@cache
def backend_of(engine: str, model: ContactModel) -> Backend:
    """The engine, and behind a colon its device, with a contact model; kept since a GPU's is slow to make."""
    if engine == "mujoco":
        return MujocoBackend(threads=1, contact=model)
    from graspgen_cli.validate.engines.mujoco_warp.engine import MujocoWarpBackend

    return MujocoWarpBackend(threads=1, device=engine.partition(":")[2])


def keep_pieces(which: tuple[str, str], study: Study) -> None:
    """Makes the pieces of an object for a variant, which the cache keeps."""
    object_id, variant = which
    with threadpool_limits(1, user_api="blas"):
        prepared_object(study, object_id, VARIANTS[variant])


def keep_guesses(which: tuple[str, str], study: Study) -> None:
    """Makes the guesses of a gripper on an object, which the folder keeps."""
    with threadpool_limits(1, user_api="blas"):
        guesses(study, *which)


def label(task: Task, study: Study) -> float:
    """Tries one object's guesses in one variant and keeps the labels; CPU seconds."""
    gripper_name, object_id, name = task
    variant, gripper = VARIANTS[name], load_gripper(gripper_name)
    with threadpool_limits(1, user_api="blas"):
        target = prepared_object(study, object_id, variant)
        grasps = shifted(guesses(study, gripper_name, object_id), variant.shift)
        if variant.turned:
            target, grasps = in_another_frame(target, grasps, variant.settings)
        begun = time.process_time()
        state = backend_of(variant.engine, variant.contact).run(gripper, target, grasps, variant.settings)
        seconds = time.process_time() - begun
    content = {
        "outcome": judge(state),
        "slip": state.slip,
        "steps": state.steps,
        "seconds": seconds,
    }
    write_arrays(study.result_file(*task), content)
    return seconds


def missing(study: Study, names: Iterable[str]) -> list[Task]:
    """The tasks that are still to do, the longest first."""
    tasks = [(gripper, object_id, name) for gripper in study.grippers for object_id, _ in study.objects for name in names]
    return sorted((task for task in tasks if not study.result_file(*task).exists()), key=lambda task: -VARIANTS[task[2]].cost)


def each(work: Callable[[Any], Any], items: list[Any], *, workers: int, told: str) -> None:
    """Does the work for every item on all workers, and says how far it is."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(work, item) for item in items]
        for done, future in enumerate(as_completed(running), start=1):
            future.result()
            if sys.stderr.isatty() or done == len(items):
                print(f"\r{told}: {done} of {len(items)}", end="\n" if done == len(items) else "", file=sys.stderr, flush=True)


def run(study: Study, names: list[str], *, workers: int) -> None:
    """Makes all labels that are missing."""
    todo = missing(study, names)
    kinds = {(VARIANTS[name].settings.collision_approximation, VARIANTS[name].settings.max_surface_gap): name for _, _, name in todo}
    of_objects = sorted({(object_id, kind) for _, object_id, _ in todo for kind in kinds.values()})
    each(partial(keep_pieces, study=study), of_objects, workers=workers, told="pieces")
    each(partial(keep_guesses, study=study), sorted({task[:2] for task in todo}), workers=workers, told="guesses")
    on_cpu = [task for task in todo if VARIANTS[task[2]].engine == "mujoco"]
    each(partial(label, study=study), on_cpu, workers=workers, told="trials")
    for task in todo:
        if task not in on_cpu:
            label(task, study)


def results(study: Study, names: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Variant -> "gripper object" -> the arrays that were kept."""
    kept: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    for gripper in study.grippers:
        for object_id, _ in study.objects:
            for name in names:
                with np.load(study.result_file(gripper, object_id, name)) as arrays:
                    kept[name][f"{gripper} {object_id}"] = dict(arrays)
    return kept


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what is done is kept here")
    parser.add_argument("--objects", nargs="+", default=list(OBJECTS), help="example objects")
    parser.add_argument("--grippers", nargs="+", default=list(GRIPPERS))
    parser.add_argument("--grasps", type=int, default=500, help="guesses of each object and gripper")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="default: all of the engine mujoco")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, help="write the summary here, as JSON")
    parser.add_argument("--page", type=Path, help="put the tables into this page, between its two comments")
    return parser.parse_args()


def main() -> None:
    """Reads the flags, makes the labels, writes what they say."""
    options = parse()
    scales, root = resolve_object_paths(object_scales_json=SETTINGS.object_scales_json, object_dataset=SETTINGS.object_dataset)
    known = dict(read_scales(scales).entries)
    chosen = tuple((object_id, known[object_id]) for object_id in options.objects)
    study = Study(options.folder, chosen, root, tuple(options.grippers), options.grasps)
    names = options.variants or [name for name, variant in VARIANTS.items() if variant.engine == "mujoco"]
    names = list(dict.fromkeys([REFERENCE, "default", *(VARIANTS[name].against for name in names), *names]))
    run(study, names, workers=options.workers)
    machine = {"cpu": cpu_model(), "cores": usable_cores()}
    about = {name: About(VARIANTS[name].group, VARIANTS[name].about, VARIANTS[name].against) for name in names}
    said = summary(results(study, names), about, machine, options.grasps)
    if options.output:
        write_atomically(options.output, (json.dumps(said, indent=1) + "\n").encode())
    show(said, options.page)


if __name__ == "__main__":
    main()
