"""The ledger: every look at the test images, appended once and never changed. What a verdict may say derives from it.

An entry is what was asked for (a proof: its seeds and its target) or what was seen (a configuration trained from a
seed, by whichever command). Ledgers of several places are joined: an entry is known by its content.
"""

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from ..config import ExplainedError
from ..files import whole_lines
from .parts import Count, Environment, Part, RecordError, describe_damage, join_environments
from .tested import AskedSeeds, MeasuredSeed, OtherLooks, Outcome, Subject, Tested

SPACING = 1_000  # between the first seeds of configurations
DEFAULT_FIRST_SEED = 10_000  # the search derives its seeds far above (`search.config.derive_seed`)
LADDER_SEEDS = 2**31  # from here on; out of a proof's reach


class SeedsError(ExplainedError):
    """The seeds that were asked for are not fresh."""


class _Entry(Part):
    """Attributes are those of `Tested`."""

    TITLE: ClassVar[str]

    subject: Subject
    study_name: str
    trial: Count
    num_params: Count


class Asked(_Entry):
    """A proof was asked for, whatever became of it."""

    TITLE = "attempts.jsonl: a line for a proof that was asked for"

    kind: Literal["asked"] = "asked"
    seeds: AskedSeeds

    @property
    def id(self) -> str:
        return _hash(self.kind, self.subject.key, self.seeds.model_dump(mode="json", exclude={"commit"}))


class Look(_Entry):
    """A configuration was trained from a seed, and measured on the test images.

    Attributes:
        outcome: What it came to.
        environment: Where it was trained.
        time: When it ended, in UTC; empty where that is not known.
    """

    TITLE = "attempts.jsonl: a line for a network that was measured"

    kind: Literal["look"] = "look"
    seed: Count
    outcome: Outcome
    num_images: Annotated[int, Field(ge=1)]
    environment: Environment
    time: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if max(self.outcome.errors, self.outcome.errors_one_view) > self.num_images:
            raise ValueError(f"seed {self.seed}: more errors than test images")
        return self

    @property
    def id(self) -> str:
        """Without where and when: the same errors once more are nothing new."""
        return _hash(self.kind, self.subject.key, self.seed, self.num_images, self.outcome.model_dump(mode="json"))


Entry = Asked | Look
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def parse_line(line: str | bytes, where: object) -> Entry:
    """An entry, from a line of `attempts.jsonl` or of the database.

    Raises:
        RecordError: If it is damaged: the miss that it may tell of would be forgotten.
    """
    try:
        return _ENTRY.validate_json(line)
    except ValidationError as error:
        raise RecordError(f"{where} is damaged ({describe_damage(error)}). Restore it.") from error


def parse_lines(content: bytes, where: object) -> list[Entry]:
    """The entries of an `attempts.jsonl`; a last line that was cut off is none yet. Raises as `parse_line` does."""
    lines = whole_lines(content).splitlines()
    return [parse_line(line, f"{where}, line {number},") for number, line in enumerate(lines, start=1)]


def entries_of(tested: Tested) -> Iterator[Entry]:
    """What a record knows of a configuration."""
    shared = {name: getattr(tested, name) for name in _Entry.model_fields}
    for asked in tested.asked:
        yield Asked(seeds=asked, **shared)
    for row in tested.seeds:
        for outcome in row.outcomes:
            yield Look(
                seed=row.seed,
                outcome=outcome,
                num_images=tested.num_images,
                environment=tested.environment,
                time="",
                **shared,
            )


@dataclass(frozen=True)
class Ledger:
    """All that is known of looks at the test images, in order of time."""

    entries: tuple[Entry, ...]

    @classmethod
    def joined(cls, *parts: Iterable[Entry]) -> "Ledger":
        """Ledgers of several places as one; of equal entries, the first place's counts."""
        by_id: dict[str, Entry] = {}
        for part in parts:
            for entry in part:
                by_id.setdefault(entry.id, entry)
        return cls(tuple(sorted(by_id.values(), key=_time_of)))

    def tested(self, subject: Subject) -> Tested | None:
        """A configuration: every proof of it that was asked for, and every seed that was measured; None if neither.

        Raises:
            RecordError: If not all were measured on as many test images: then their errors do not compare.
        """
        found = self._by_subject.get(subject.key)
        if found is None:
            return None
        asked = [entry for entry in found if isinstance(entry, Asked)]
        looks = [entry for entry in found if isinstance(entry, Look)]
        outcomes: dict[int, list[Outcome]] = {}
        for look in looks:
            outcomes.setdefault(look.seed, []).append(look.outcome)
        sizes = sorted({look.num_images for look in looks})
        if len(sizes) > 1:
            raise RecordError(
                f"Trial {looks[0].trial} of {looks[0].study_name} was measured on {' and on '.join(map(str, sizes))} "
                f"test images of {subject.dataset}: a record of it or an attempts.jsonl is damaged. Restore it."
            )
        num_images = sizes[0] if sizes else 0
        named = (asked or looks)[0]
        return Tested(
            subject=subject,
            study_name=named.study_name,
            trial=named.trial,
            num_params=named.num_params,
            num_images=num_images,
            asked=tuple(entry.seeds for entry in asked),
            seeds=tuple(MeasuredSeed.of(seed, outcomes[seed], num_images) for seed in sorted(outcomes)),
            **dict(join_environments(look.environment for look in looks)),
        )

    def attempts(self, dataset: str) -> list[Tested]:
        """The configurations on a data set of which a proof was asked for, in order of time."""
        subjects = {
            entry.subject.key: entry.subject
            for entry in self.entries
            if isinstance(entry, Asked) and entry.subject.dataset == dataset
        }
        return [tested for tested in map(self.tested, subjects.values()) if tested is not None]

    @functools.cached_property
    def _by_subject(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.subject.key, []).append(entry)
        return found

    def only(self, keep: Callable[["Entry"], bool]) -> "Ledger":
        """The entries that are kept."""
        return Ledger(tuple(filter(keep, self.entries)))

    def other_looks(self, dataset: str) -> tuple[OtherLooks, ...]:
        """What ladders and reproductions have shown of a data set's test images."""
        looks = Counter(
            (entry.outcome.command, entry.study_name, entry.trial)
            for entry in self.entries
            if isinstance(entry, Look) and entry.subject.dataset == dataset and entry.outcome.command != "verify-best"
        )
        return tuple(
            OtherLooks(command=command, study_name=study_name, trial=trial, num_runs=count)
            for (command, study_name, trial), count in sorted(looks.items())
        )

    def used(self, subject: Subject) -> list[range]:
        """Seeds that are not fresh for a configuration, for others on its data set were to have them.

        Its own may be measured again: all that they come to counts.
        """
        others = [
            entry for entry in self.entries if entry.subject.dataset == subject.dataset and entry.subject != subject
        ]
        asked = [entry.seeds.range for entry in others if isinstance(entry, Asked)]
        seen = {entry.seed for entry in others if isinstance(entry, Look) and entry.seed < LADDER_SEEDS}
        return [*asked, *(range(seed, seed + 1) for seed in sorted(seen.difference(*asked)))]


def _time_of(entry: Entry) -> str:
    return entry.seeds.time if isinstance(entry, Asked) else entry.time


def plan_seeds(ledger: Ledger, subject: Subject, first_seed: int | None, num_seeds: int) -> range:
    """The seeds of a proof.

    Asked for again from the same first seed, they can become more but not fewer than were measured: gaps among those
    are filled, for a run may have been cut off because it went badly.

    Args:
        first_seed: None for that of the last proof of this configuration, or, without one, the next round number that
            is free.

    Raises:
        SeedsError: If one of the seeds was used before by another configuration.
    """
    used, tested = ledger.used(subject), ledger.tested(subject)
    asked = tested.asked if tested is not None else ()
    if first_seed is None:
        first_seed = asked[-1].first_seed if asked else next_free(used)
    planned = set().union(*(each.range for each in asked if each.first_seed == first_seed))
    measured = planned.intersection(row.seed for row in tested.seeds) if tested is not None else set()
    seeds = range(first_seed, max(first_seed + num_seeds, max(measured, default=0) + 1))
    for other in used:
        if seeds.start < other.stop and other.start < seeds.stop:
            raise SeedsError(
                f"Seeds {seeds.start} to {seeds.stop - 1} are not all fresh: {other.start} to {other.stop - 1} were "
                f"used before. Take fresh ones: --first-seed {next_free([seeds, *used])}."
            )
    return seeds


def next_free(used: Iterable[range]) -> int:
    """Far enough from all that was used that both can be extended."""
    after = max((seeds.stop for seeds in used), default=DEFAULT_FIRST_SEED)
    return max(DEFAULT_FIRST_SEED, math.ceil(after / SPACING) * SPACING)
