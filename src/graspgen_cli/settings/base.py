"""Groups of fields, which settings are made of, and the types that several groups share.

A group is a frozen pydantic model: one description, unit and default a field. The settings of a command hold groups as fields, and a
function takes the group that it reads. Flags, environment variables, YAML keys and API keywords are the names of the groups' fields, in one
flat list; `CommandSettings.of` and `CommandSettings.flat` convert between both views.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Rule:
    """Marks the type of a field with its allowed values.

    text: the values in words that finish "give …". holds: a test of a value. names: the choices of a field that takes a name.
    """

    text: str = ""
    holds: Callable[[Any], bool] = lambda _: True
    names: Callable[[], list[str]] | None = None

    @property
    def allowed(self) -> str:
        """The allowed values now, in words."""
        return "one of " + ", ".join(self.names()) if self.names else self.text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if not (value in self.names() if self.names else self.holds(value)):
            raise PydanticCustomError("not_allowed", "not allowed")
        return value


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


def _is_shard(shard: str) -> bool:
    number, _, count = shard.partition("/")
    return number.isdecimal() and count.isdecimal() and int(number) < int(count) <= 10**6


def ending(*suffixes: str) -> Rule:
    """The rule for a file whose name ends in one of the suffixes."""
    return Rule(f"a path that ends in {', '.join(suffixes)}", lambda path: path.suffix.lower() in suffixes)


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Axis = Annotated[
    tuple[float, float, float], Rule("a JSON list [x, y, z] that is not zero", lambda vector: 0 < math.hypot(*vector) < math.inf)
]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Factors = Annotated[
    tuple[PositiveFloat, PositiveFloat], Rule("a JSON list of two factors above 0, the lower one first", lambda pair: pair[0] <= pair[1])
]
Count = Annotated[int, Field(ge=0, le=10**9)]
PositiveCount = Annotated[int, Field(ge=1, le=10**6)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Text = Annotated[str, Field(min_length=1)]
REGEX_ALLOWED = "a regular expression of 1 to 200 characters"
Regex = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_compiled), Rule(REGEX_ALLOWED)]
Shard = Annotated[str, Rule("i/n with i from 0 to n - 1, such as 0/3", _is_shard)]
GripperName = Annotated[str, Rule("a gripper's name or the path of a gripper file", bool)]
UserPath = Annotated[Path, AfterValidator(_home_expanded)]


class Group(BaseModel):
    """Base of the groups. Its docstring, without the full stop, is its heading in the help."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    exclusive: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of fields that exclude each other."""

    @model_validator(mode="after")
    def _exclude(self) -> Self:
        for pair in self.exclusive:
            if all(getattr(self, name) is not None and getattr(self, name) is not False for name in pair):
                first, second = (name.replace("_", "-") for name in pair)
                raise ValueError(f"{first} and {second} exclude each other; set one of them")
        return self


class Origin(StrEnum):
    """The sources of a setting; each overrides the one before it."""

    DEFAULT = "default"
    GRIPPER = "gripper"
    CONFIG = "config"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True)
class Given:
    """A value from a source. place: its name of the setting, for messages. name: of the gripper, the settings file or the variable."""

    value: object
    origin: Origin
    place: str
    name: str = ""

    @property
    def source(self) -> str:
        """For ``--show-settings``: ``environment GRASPGEN_SEED``."""
        return f"{self.origin} {self.name}".strip()


class SeedSettings(Group):
    """The one source of every random choice."""

    seed: Seed = Field(0, description="Every random choice derives from it and the object; order and number of workers do not matter.")


class CommandSettings(BaseModel):
    """Base of the settings of a command, or of a part of its work: groups as fields.

    A setting in several groups, such as the seed, has one value in all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    given: Mapping[str, Given] = Field({}, exclude=True)
    """Name -> value and origin of every setting from a source; empty for settings from `of`."""
    config: Path | None = Field(None, exclude=True)
    """The settings file, which may hold settings of other commands as well."""

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
        """The settings with these values by flat name, and the defaults of the other settings.

        Raises ValueError for an unknown name, pydantic's ValidationError for a value that is not allowed.
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
        """A copy with other values by flat name, without a check."""
        assert values.keys() <= self.names().keys(), f"no such setting: {values.keys() - self.names().keys()}"
        return self.model_copy(
            update={
                name: getattr(self, name).model_copy(update={key: values[key] for key in group.model_fields if key in values})
                for name, group in self.groups().items()
            }
        )
