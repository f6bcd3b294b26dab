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
    preferred: whether `--backend auto` takes the engine where `module` is installed and the device exists.
    has_our_contacts: whether `validate.contact.ContactModel` sets its contacts, so that the provenance records that model.
    """

    place: str
    module: str | None = None
    extra: str | None = None
    packages: tuple[str, ...] = ()
    first_device: str | None = None
    preferred: bool = False
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
    "isaaclab": EngineRow(
        place="graspgen_cli.validate.engines.isaaclab.backend:IsaacLabBackend",
        module="isaaclab",
        extra="isaaclab",
        packages=("isaaclab",),
        first_device="cuda:0",
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
