"""Makes the list of objects and scales that every other command starts from."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from graspgen_cli.dataset.grasp_scales import scales_of_grasps
from graspgen_cli.errors import InputError, OutputError, SettingsError
from graspgen_cli.files import write_atomically
from graspgen_cli.grippers.find import load_gripper
from graspgen_cli.objects.make_scales import ScaleRule, scale_meshes
from graspgen_cli.objects.scales import ScalesList
from graspgen_cli.settings.commands import ObjectScalesCommand


def make_scales(settings: ObjectScalesCommand, *, on_start: Callable[[int], None], on_object: Callable[[str], None]) -> ScalesList:
    """Finds the objects, writes the scales file and returns what is in it, and what was left out.

    on_start, on_object: told the number of objects, then each one's name. Raises SettingsError, InputError or OutputError where nothing
    is written.
    """
    if settings.scales_file.exists() and not settings.overwrite_scales:
        raise OutputError(f"{settings.scales_file}: exists; choose another --scales-file, or replace it with --overwrite-scales")
    if settings.from_graspgen is not None:
        listed = scales_of_grasps(
            settings.from_graspgen,
            names=settings.object_names,
            suffix=settings.mesh_suffix or "",
            on_start=on_start,
            on_object=on_object,
        )
    else:
        listed = scale_meshes(settings.object_dataset, _rule(settings), on_start=on_start, on_object=on_object)
    if not listed.entries:
        raise InputError(f"{settings.from_graspgen or settings.object_dataset}: no object can be used, {listed.problems[0][1]}")
    write_atomically(settings.scales_file, orjson.dumps(dict(listed.entries), option=orjson.OPT_INDENT_2) + b"\n")
    return listed


def _rule(settings: ObjectScalesCommand) -> ScaleRule:
    factors = settings.random_scale
    if factors is not None and factors[0] > factors[1]:
        raise SettingsError(f"--random-scale: {list(factors)} is not [low, high]; give the lower factor first")
    gripper = load_gripper(settings.gripper_config, options=settings) if settings.fit_to_gripper else None
    return ScaleRule(
        metres_per_unit=settings.unit.metres,
        seed=settings.seed,
        factors=factors,
        max_extent=settings.max_extent,
        opening=None if gripper is None else gripper.width,
    )
