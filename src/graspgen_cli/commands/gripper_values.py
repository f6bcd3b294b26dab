"""What a gripper file sets: the second source of the settings."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from graspgen_cli.files import read_bounded
from graspgen_cli.settings.sources import MAX_FILE_BYTES


def gripper_values(gripper: str) -> dict[str, object]:
    """Field name to value for a gripper, given by the name of a built-in or saved one, or by the path of its file.

    Raises GripperError for a file that is wrong; a gripper that is not there, or cannot be read, is for the command itself to report.
    """
    from graspgen_cli.grippers.gripper_file import parse_gripper_file, saved_file

    path = Path(gripper)
    is_file = path.suffix in (".yaml", ".yml")
    builtin = resources.files("graspgen_cli.grippers.catalog").joinpath(gripper, "gripper.yaml")
    try:
        file = path if is_file else saved_file(gripper) or builtin
        content = read_bounded(file, largest=MAX_FILE_BYTES) if isinstance(file, Path) else file.read_bytes()
        text = content.decode("utf-8")
    except (OSError, ValueError):
        return {}
    described = parse_gripper_file(text, source=gripper)
    return {} if described.bite is None else {"bite": described.bite}
