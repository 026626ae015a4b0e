"""The attempts at a proof: each counts, also those whose database is gone.

An attempt is a configuration put to the test on consecutive seeds. Databases know those at their own searches, and the
records (`verify.json`) carry those before them. On one data set no two attempts share a seed: a seed is fresh once.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from search.config import Channels, ExplainedError, TrialConfig
from search.proof.records import Attempt, Proof

SPACING = 1_000  # between the first seeds of attempts
DEFAULT_FIRST_SEED = 10_000  # the search derives its seeds far above (`search.config.derive_seed`)

_CONFIG = TypeAdapter(TrialConfig)


class SeedsError(ExplainedError):
    """The seeds that were asked for are not fresh."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an attempt is at: a configuration on a data set.

    Attributes:
        config: As JSON has it, for that of an earlier recipe may lack what there is today.
    """

    dataset: str | None
    epochs: int | None
    recipe: int | None
    channels: Channels | None
    config: Mapping[str, Any] | None

    @classmethod
    def of(cls, proof: Proof) -> "Subject":
        return cls(
            dataset=proof.dataset,
            epochs=proof.epochs,
            recipe=proof.recipe,
            channels=proof.channels,
            config=_CONFIG.dump_python(proof.config, mode="json"),
        )

    def attempt(self, first_seed: int) -> str:
        """The name of an attempt, the same wherever it is recorded: in a database or in a record."""
        parts = [[self.dataset, self.epochs, self.recipe, self.channels, self.config], first_seed]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def is_of(self, row: Attempt) -> bool:
        return row.attempt == self.attempt(row.first_seed)


def attempts_of(proof: Proof) -> list[Attempt]:
    """The attempts that a record knows of, itself included, in one row each."""
    itself = Attempt(
        attempt=Subject.of(proof).attempt(proof.first_seed),
        first_seed=proof.first_seed,
        num_seeds=len(proof.seeds),
        errors=tuple(row.errors for row in proof.seeds),
        trial=proof.trial,
        num_params=proof.num_params,
        num_passed=proof.num_passed,
        min=proof.min,
        mean=proof.mean,
        std=proof.std,
        target=proof.target,
        confirmed=proof.confirmed,
        commit=proof.commit,
    )
    return [*proof.earlier_attempts, itself]


def planned_in(history: Iterable[Attempt], subject: Subject) -> dict[int, int]:
    """How many seeds the recorded attempts at a subject have, by their first seed; in order of time."""
    planned: dict[int, int] = {}
    for row in history:
        if subject.is_of(row):  # the last of equals moves to the end: records are in order of time
            planned[row.first_seed] = max(planned.pop(row.first_seed, 0), row.num_seeds)
    return planned


def plan_seeds(
    first_seed: int | None, num_seeds: int, *, own: Mapping[int, int], known: Mapping[int, int], used: Iterable[range]
) -> range:
    """The seeds of an attempt.

    An attempt is known by its first seed. It can be extended but not cut down: if more than `num_seeds` of its seeds
    were measured, they count, and gaps among them are filled. A verdict must not leave out what is known.

    Args:
        first_seed: None for the last attempt at this configuration, or, without one, the next round number that is
            free.
        own: How many seeds were planned for each attempt at this configuration, by the first seed; the last one last.
        known: How many of them have been measured, gaps included.
        used: The seeds of others.

    Raises:
        SeedsError: If one of the seeds was used before.
    """
    others = list(used)
    if first_seed is None:
        first_seed = list(own)[-1] if own else next_free(others)
    seeds = range(first_seed, first_seed + max(num_seeds, known.get(first_seed, 0)))
    others += [range(first, first + count) for first, count in own.items() if first != first_seed]
    _refuse_used(seeds, others)
    return seeds


def next_free(used: Iterable[range]) -> int:
    """Far enough from any other attempt that both can be extended."""
    after = max((seeds.stop for seeds in used), default=DEFAULT_FIRST_SEED)
    return max(DEFAULT_FIRST_SEED, math.ceil(after / SPACING) * SPACING)


def _refuse_used(seeds: range, used: Sequence[range]) -> None:
    for other in used:
        if seeds.start < other.stop and other.start < seeds.stop:
            raise SeedsError(
                f"Seeds {seeds.start} to {seeds.stop - 1} are not all fresh: {other.start} to {other.stop - 1} were "
                f"used before. Take fresh ones: --first-seed {next_free([seeds, *used])}."
            )


def earlier_attempts(
    subject: Subject,
    seeds: range,
    errors: Sequence[int],
    *,
    history: Iterable[Attempt],
    stored: Iterable[Attempt],
) -> tuple[Attempt, ...]:
    """All attempts but the one of these seeds, by first seed; what records know goes before what the database knows.

    Each tells whether it was at this configuration. A record of the same seeds that came to other errors, on another
    machine or in another precision, is an attempt of its own: it must not be forgotten.

    Args:
        errors: Of the seeds that are measured.
    """
    this = subject.attempt(seeds.start)
    rows: dict[tuple[str, tuple[int, ...]], Attempt] = {}
    for row in sorted(history, key=lambda row: row.num_seeds):  # the fullest record of an attempt counts
        if row.attempt != this:
            rows[row.attempt, ()] = row
        elif row.errors and not _agree(row.errors, errors):
            rows[this, row.errors] = row
    for row in stored:
        if row.attempt != this:
            rows.setdefault((row.attempt, ()), row)
    flagged = [row.model_copy(update={"same_configuration": subject.is_of(row)}) for row in rows.values()]
    return tuple(sorted(flagged, key=lambda row: row.first_seed))


def _agree(some: Sequence[int], others: Sequence[int]) -> bool:
    """Whether two lists of errors begin alike, as far as both go."""
    return all(one == other for one, other in zip(some, others, strict=False))
