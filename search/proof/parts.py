"""What records are made of: values that agree with themselves, and files of them. Their kinds are in other modules.

A record holds what was measured; what follows from that is computed, written beside it, and, where a record is read,
computed again: a file that contradicts itself is refused. `docs/records.md` is generated from these types.
"""

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    computed_field,
    model_validator,
)

from ..config import LARGEST_INTEGER, MAX_EPOCHS, ExplainedError, shortened
from ..files import check_name, read_regular, write_atomically
from .estimates import mean_of, std_of

TOLERANCE = 1e-6  # by which a computed value may differ: other libraries round otherwise
LARGEST_RECORD = 2**26  # bytes


if TYPE_CHECKING:
    derived = property  # mypy knows no decorated properties
else:

    def derived(function: Any) -> Any:
        """What follows from the fields: written beside them, never read."""
        return computed_field(property(function))


Versions = dict[str, str]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS)]  # of a run that may be repeated
StudyName = Annotated[str, AfterValidator(check_name)]  # of a study that has, or had, a folder of its own


class RecordError(ExplainedError):
    """A record is missing, damaged, or of another version of the tool."""


class RepeatedKeyError(ExplainedError):
    """An object in a JSON file holds two values of one name: whoever reads it may see the other one."""


class Part(BaseModel):
    """A part of a record: frozen, complete, and in agreement with itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _compute_again(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """What is read from JSON has to be what would be written.

        So what was computed when the record was written has to follow from the rest, or somebody has changed it; and
        no value is taken for one of another type, as "35" would be for 35.
        """
        if not isinstance(data, dict):
            return handler(data)
        computed = {name: data[name] for name in cls.model_computed_fields if name in data}
        part = handler({name: value for name, value in data.items() if name not in computed})
        written = json.loads(part.model_dump_json(include=set(data if info.mode == "json" else computed)))
        for name, value in written.items():
            if not agree(data[name], value, whole=name in computed):
                found = shortened(value)
                meant = f"but the rest of the record gives {found}" if name in computed else f"where {found} is meant"
                raise ValueError(f"{name} is {shortened(data[name])}, {meant}")
        return part


def agree(some: Any, other: Any, *, whole: bool = True) -> bool:
    """Whether two values are the same, but for rounding; with `whole`, an object must not lack what the other has."""
    if isinstance(some, bool) or isinstance(other, bool):
        return some is other
    if isinstance(some, int) and isinstance(other, int):
        return some == other
    if isinstance(some, float | int) and isinstance(other, float | int):
        in_range = max(abs(some), abs(other)) <= sys.float_info.max  # an integer may be too large to compare
        return in_range and math.isclose(some, other, abs_tol=TOLERANCE)
    if isinstance(some, list | tuple) and isinstance(other, list):
        return len(some) == len(other) and all(agree(*pair, whole=whole) for pair in zip(some, other, strict=True))
    if isinstance(some, dict) and isinstance(other, dict):
        complete = some.keys() == other.keys() if whole else some.keys() <= other.keys()
        return complete and all(agree(value, other[key], whole=whole) for key, value in some.items())
    return bool(some == other)


class Record(Part):
    """A record: a file of its own.

    Each has a `schema_version`, raised whenever one of before could not be read, or would be read as something else.
    """

    TITLE: ClassVar[str]

    def to_json(self) -> str:
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

    def write(self, path: Path) -> None:
        """Writes the record, atomically."""
        write_atomically(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If it cannot be read, is no regular file, or is far too large.
            RecordError: If it is damaged, or of another version of the tool.
        """
        content = read_regular(path, limit=LARGEST_RECORD)
        current = cls.model_fields["schema_version"].default
        try:
            version = _version_of(content, current)
        except RepeatedKeyError as error:
            raise RecordError(f"{path} is damaged ({error}). Restore it.") from error
        if version != current:
            age = "an earlier" if version is None else "another"
            raise RecordError(f"{path} was written by {age} version of this tool. Use that version, or move it away.")
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise RecordError(f"{path} is damaged ({describe_damage(error)}). Restore it.") from error


def _version_of(content: bytes, current: int) -> Any:
    """The schema version of a record, None without one; ours for what is no JSON object: it is damaged, not old."""
    try:
        found = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return current
    return found.get("schema_version") if isinstance(found, dict) else current


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedKeyError("it holds two values of one name")
    return found


def describe_damage(error: ValidationError) -> str:
    """What is wrong with a record, in words: the first thing."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "it is not JSON"
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"it has no {place!r}"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    return f"{place}: {message}" if place else message


class Environment(Part):
    """Where runs were trained: one value each, or several with commas."""

    device: str
    precision: str
    commit: str
    versions: Versions


def describe_environment(environment: Environment) -> str:
    """That in words."""
    packages = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    return f"{environment.device} in {environment.precision}, {packages}, commit {environment.commit}"


def join_environments(environments: Iterable[Environment]) -> Environment:
    """One value each, or several with commas where they differ."""
    found = list(environments)
    packages = dict.fromkeys(name for each in found for name in each.versions)
    return Environment(
        device=_distinct(each.device for each in found),
        precision=_distinct(each.precision for each in found),
        commit=_distinct(each.commit for each in found),
        versions={name: _distinct(each.versions.get(name, "unknown") for each in found) for name in packages},
    )


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(sorted({part for value in values for part in value.split(", ") if part}))


class Spread(Part):
    """Runs of one configuration, and how they scatter; in percent.

    Attributes:
        accuracies: One per run.
    """

    accuracies: tuple[Percent, ...]

    @derived
    def mean(self) -> float | None:
        return mean_of(self.accuracies)

    @derived
    def std(self) -> float | None:
        return std_of(self.accuracies)
