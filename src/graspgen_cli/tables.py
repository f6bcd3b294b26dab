"""The tables of what can be added to graspgen: plain data, light to import. Classes and functions are named as "module:name" and
imported when used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EngineRow:
    """A simulation engine: where its class is, what it needs, what it can do. Code asks the row and compares no names.

    place: "module:Class"; the class has what `validate.engine.Backend` asks for.
    module: top-level module that must be importable; None: none besides the core packages.
    extra: the extra of this package that installs `module`.
    packages: distributions, besides MuJoCo's, whose versions decide the outcome of a trial; the provenance records them.
    first_device: where the engine simulates if the user names no device. Such an engine tries the grasps of many objects at once, in one
        process a device (`validate.engine.Simulator`); a device whose name begins with "cuda" needs an NVIDIA GPU. None: no devices; each
        worker process has the engine to itself.
    takes_devices: whether an engine without a first device simulates on the devices that the user names, as engines with a first device do.
    preferred: whether `--backend auto` takes the engine where `module` is installed and the device exists.
    options: names of settings of the groups `backend` and `execution`, besides the device, that the engine's `open_simulator` takes.
    has_our_contacts: whether `validate.scene.ContactModel` sets its contacts, so that the provenance records that model.
    """

    place: str
    module: str | None = None
    extra: str | None = None
    packages: tuple[str, ...] = ()
    first_device: str | None = None
    takes_devices: bool = False
    preferred: bool = False
    options: tuple[str, ...] = ()
    has_our_contacts: bool = False


@dataclass(frozen=True, kw_only=True)
class FormatRow:
    """A format of grasp files.

    place: "module:name" of its `formats.format.GraspFormat`. written: whether `convert --to` offers the format.
    """

    place: str
    written: bool = False


REFERENCE_ENGINE = "mujoco"
"""The engine that gives the same bits on every run; it tries the controls and what another engine leaves in doubt."""
ENGINES = {
    REFERENCE_ENGINE: EngineRow(place="graspgen_cli.validate.engines.mujoco:MujocoBackend", has_our_contacts=True),
    "mujoco-warp": EngineRow(
        place="graspgen_cli.validate.engines.mujoco_warp.engine:MujocoWarpBackend",
        module="mujoco_warp",
        extra="gpu",
        packages=("mujoco-warp", "warp-lang"),
        first_device="cuda:0",
        preferred=True,
        has_our_contacts=True,
    ),
    "physx": EngineRow(
        place="graspgen_cli.validate.engines.physx.engine:PhysxBackend",
        module="ovphysx",
        extra="physx",
        packages=("ovphysx",),
        takes_devices=True,
    ),
}
"""The engines by the name that `--backend` takes."""

FORMATS = {
    "graspgen": FormatRow(place="graspgen_cli.formats.graspgen_json:FORMAT", written=True),
    "isaac-grasp": FormatRow(place="graspgen_cli.formats.isaac_grasp:FORMAT", written=True),
    "webdataset": FormatRow(place="graspgen_cli.formats.webdataset:FORMAT", written=True),
    "acronym": FormatRow(place="graspgen_cli.formats.acronym:FORMAT"),
}
"""The formats of grasp files by the name that `--to` takes. The suffix of a file decides its format."""


@dataclass(frozen=True, kw_only=True)
class ProtocolRow:
    """A named protocol: the disturbances of a trial once the grip has closed, first the tugs, then the shakes.

    description: the words in the help of `--protocol`.
    tugs: each a duration (s), a direction [x, y, z] in GraspGen's frame (z approach, x closing) and a scale of `--force-magnitude`.
    shakes: each a duration (s), "linear" or "rotational", an axis ("approach", "closing" or "binormal"), an amplitude (m or rad) and a
        frequency (Hz); at least four whole periods.
    """

    description: str
    tugs: tuple[tuple[float, tuple[float, float, float], float], ...] = ()
    shakes: tuple[tuple[float, str, str, float, float], ...] = ()


DEFAULT_PROTOCOL = "tug"
"""The protocol whose sequences `--tug-sequences` and `--shake-sequences` replace."""
PROTOCOLS = {
    DEFAULT_PROTOCOL: ProtocolRow(
        description="the --tug-sequences",
        tugs=(
            (0.5, (0.0, 0.0, 1.0), 1.0),
            (0.5, (0.0, 2.0, 1.0), 1.0),
            (0.5, (0.0, -2.0, 1.0), 1.0),
            (0.5, (2.0, 0.0, 1.0), 1.0),
            (0.5, (-2.0, 0.0, 1.0), 1.0),
        ),
    ),
    # A constant force on the centre of mass acts as gravity does: turning the force replaces turning the gripper.
    "gravity": ProtocolRow(
        description="the weight from six sides, 0.5 s each",
        tugs=(
            (0.5, (0.0, 0.0, 1.0), 1.0),
            (0.5, (0.0, 0.0, -1.0), 1.0),
            (0.5, (1.0, 0.0, 0.0), 1.0),
            (0.5, (-1.0, 0.0, 0.0), 1.0),
            (0.5, (0.0, 1.0, 0.0), 1.0),
            (0.5, (0.0, -1.0, 0.0), 1.0),
        ),
    ),
    # As in the ACRONYM paper, with amplitudes that the paper does not state: up to 1 g along the approach axis, as in the default tugs, and
    # about as much 0.1 m from the axis of rotation (see docs/judging.md).
    "shake": ProtocolRow(
        description="the gripper itself shaken along its approach, then about its closing axis",
        shakes=((2.5, "linear", "approach", 0.0625, 2.0), (2.5, "rotational", "closing", 0.5, 2.0)),
    ),
}
"""The protocols by the name that `--protocol` takes."""
