"""What settings are made of: groups of fields, and the types that several groups share.

A group is a frozen pydantic model: one description, unit and default a field. A command's settings hold groups as fields, and a function
takes the group that it reads. Flags, environment variables, YAML keys and API keywords are the names of the groups' fields, all in one
flat list; `CommandSettings.of` and `CommandSettings.flat` lead from the one view to the other.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


@dataclass(frozen=True)
class OneOf:
    """Marks a text field that takes one of the names that `names` gives, at the time when it is asked."""

    names: Callable[[], list[str]]

    def check(self, name: str) -> str:
        """The name. Raises PydanticCustomError for any other."""
        if name not in self.names():
            raise PydanticCustomError("one_of", "not one of the names")
        return name


def _compiled(pattern: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError, MemoryError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{pattern!a} is not allowed ({reason}); give {REGEX_ALLOWED}") from error
    return pattern


def _home_expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home folder in {path} is not known") from error


def _checked_shard(shard: str) -> str:
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count) <= 10**6):
        raise ValueError(f"{shard!a} is not allowed; give {SHARD_ALLOWED}")
    return shard


def _direction(vector: tuple[float, float, float]) -> tuple[float, float, float]:
    if not 0 < math.hypot(*vector) < math.inf:
        raise ValueError("a direction must not be zero")
    return vector


def _ascending(factors: tuple[float, float]) -> tuple[float, float]:
    if factors[0] > factors[1]:
        raise ValueError(f"the least factor comes first: [{factors[1]:g}, {factors[0]:g}]")
    return factors


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Axis = Annotated[tuple[float, float, float], AfterValidator(_direction)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Factors = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]
Count = Annotated[int, Field(ge=0, le=10**9)]
PositiveCount = Annotated[int, Field(ge=1, le=10**6)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
LONGEST_REGEX = 200
REGEX_ALLOWED = f"a regular expression of 1 to {LONGEST_REGEX} characters"
Regex = Annotated[str, AfterValidator(_compiled)]
SHARD_ALLOWED = "i/n with i from 0 to n - 1, such as 0/3"
Shard = Annotated[str, AfterValidator(_checked_shard)]
UserPath = Annotated[Path, AfterValidator(_home_expanded)]


class Group(BaseModel):
    """Base of the groups. Its docstring, without the full stop, is its heading in the help."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Origin(StrEnum):
    """The sources of a setting; each overrides the one before it."""

    DEFAULT = "default"
    GRIPPER = "gripper"
    CONFIG = "config"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class SeedSettings(Group):
    """The one source of every random choice."""

    seed: Seed = Field(0, description="Every random choice derives from it, per object; order and worker count do not matter.")


class CommandSettings(BaseModel):
    """Base of what a command, or a part of its work, is told: groups as fields, nothing else.

    A setting that several groups have, such as the seed, has one value in all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    origins: Mapping[str, Origin] = Field({}, exclude=True)
    """Name -> origin of every setting with another origin than its default; empty for settings that a program made."""
    config: Path | None = Field(None, exclude=True)
    """The settings file, which may hold settings of other commands too."""

    @model_validator(mode="after")
    def _one_value_a_name(self) -> Self:
        values = self.flat()
        for name, group in self.model_dump(mode="json").items():
            assert all(values[key] == value for key, value in group.items()), f"{name} has another value than a group after it"
        return self

    @classmethod
    def groups(cls) -> dict[str, type[Group]]:
        """Field name -> class of every group."""
        annotations = {name: field.annotation for name, field in cls.model_fields.items()}
        return {name: group for name, group in annotations.items() if isinstance(group, type) and issubclass(group, Group)}

    @classmethod
    def names(cls) -> dict[str, type[Group]]:
        """Name of every setting -> class of a group that has it."""
        names: dict[str, type[Group]] = {}
        for group in cls.groups().values():
            names |= {name: group for name in group.model_fields if name not in names}
        return names

    @classmethod
    def of(cls, values: Mapping[str, object] | None = None, /, **more: object) -> Self:
        """The settings with these values, by the settings' flat names; the others have their defaults.

        Raises ValueError for a name that is no setting, pydantic's ValidationError for a value that is not allowed.
        """
        given = {**(values or {}), **more}
        if unknown := sorted(set(given) - set(cls.names())):
            raise ValueError(f"unknown settings {', '.join(unknown)}; there are {', '.join(sorted(cls.names()))}")
        return cls.model_validate(
            {name: {key: given[key] for key in group.model_fields if key in given} for name, group in cls.groups().items()}
        )

    def flat(self) -> dict[str, Any]:
        """Name of every setting -> its value as JSON has it."""
        return {key: value for group in self.model_dump(mode="json").values() for key, value in group.items()}

    def updated(self, **values: object) -> Self:
        """A copy in which the settings of these flat names have other values, which are not checked."""
        assert values.keys() <= self.names().keys(), f"no such setting: {values.keys() - self.names().keys()}"
        return self.model_copy(
            update={
                name: getattr(self, name).model_copy(update={key: values[key] for key in group.model_fields if key in values})
                for name, group in self.groups().items()
            }
        )
