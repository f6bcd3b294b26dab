"""What a gripper file sets: the second source of the settings."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def gripper_values(gripper: str) -> dict[str, object]:
    """Field name to value for a gripper, given by built-in name or by the path of its file.

    Raises GripperError for a file that is wrong; a gripper that is not there, or cannot be read, is for the command itself to report.
    """
    from graspgen_cli.grippers.gripper_file import parse_gripper_file

    path = Path(gripper)
    is_file = path.suffix in (".yaml", ".yml")
    file = path if is_file else resources.files("graspgen_cli.grippers.catalog").joinpath(gripper, "gripper.yaml")
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError):
        return {}
    content = parse_gripper_file(text, source=gripper)
    return {} if content.bite is None else {"bite": content.bite}
