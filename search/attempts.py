"""The attempts at a proof: each look at the test digits counts, also those whose database is gone.

An attempt is a configuration put to the test on consecutive seeds. The storage knows those at trials of its own
searches, and a record carries those of the records that it replaces. No two attempts share a seed: a seed is fresh
once.
"""

import hashlib
import json
from typing import Any

import optuna
from optuna.storages import RDBStorage

from search.storage import exclusive
from search.study import StudyError, complete_trials, load_studies

DEFAULT_FIRST_SEED = 10_000  # the search derives its seeds far above (`search.config.derive_seed`)

Facts = dict[str, Any]
IDENTIFYING = ("dataset", "epochs", "recipe", "channels", "config")
SUMMARISED = ("trial", "num_params", "num_passed", "min", "mean", "std", "target", "confirmed", "commit")


def plan_attempt(
    verification: optuna.Study,
    storage: RDBStorage,
    first_seed: int | None,
    num_seeds: int,
    *,
    rule: str,
    history: list[Facts],
) -> range:
    """The seeds of an attempt, which is on record from here on.

    An attempt is known by its first seed. It can be extended but not cut down: if more than `num_seeds` of its seeds
    were measured, they count, and gaps among them are filled. A verdict must not leave out what is known.

    Args:
        verification: The study of the trial's seeds.
        first_seed: None for the trial's last attempt, or, without one, the first seed that no attempt has used.
        rule: What chose the trial; that of the first command is kept.
        history: The attempts that records know of (`read_history`).

    Raises:
        StudyError: If another attempt has used one of the seeds.
    """
    with exclusive(storage):
        attributes = verification.user_attrs
        stored: dict[str, int] = attributes.get("attempts", {})
        recorded = {row["first_seed"]: row["num_seeds"] for row in history if _is_at(row, attributes)}
        own = {**recorded, **{int(first): count for first, count in stored.items()}}
        others = _seeds_of_others(verification, storage, history)
        if first_seed is None:
            first_seed = list(own)[-1] if own else max([DEFAULT_FIRST_SEED, *(seeds.stop for seeds in others)])
        planned = stored.get(str(first_seed), 0)
        known = max(recorded.get(first_seed, 0), _num_measured(verification, first_seed, planned))
        seeds = range(first_seed, first_seed + max(num_seeds, known))
        _refuse_used(seeds, others + [range(first, first + own[first]) for first in own if first != first_seed])
        verification.set_user_attr("attempts", {**stored, str(first_seed): max(planned, num_seeds)})
        verification.set_user_attr("rules", {str(first_seed): rule, **attributes.get("rules", {})})
    return seeds


def _num_measured(verification: optuna.Study, first_seed: int, planned: int) -> int:
    """How many seeds an attempt has come to, gaps included."""
    measured = {trial.params["seed"] for trial in complete_trials(verification)}
    return max((count for count in range(1, planned + 1) if first_seed + count - 1 in measured), default=0)


def _seeds_of_others(verification: optuna.Study, storage: RDBStorage, history: list[Facts]) -> list[range]:
    """The seeds of all attempts at other configurations of this search."""
    attributes = verification.user_attrs
    in_storage = [
        range(int(first), int(first) + count)
        for study in load_studies(storage)
        if study.user_attrs.get("search_study") == attributes["search_study"]
        and study.study_name != verification.study_name
        for first, count in study.user_attrs.get("attempts", {}).items()
    ]
    recorded = [row for row in history if not _is_at(row, attributes)]
    return in_storage + [range(row["first_seed"], row["first_seed"] + row["num_seeds"]) for row in recorded]


def _refuse_used(seeds: range, used: list[range]) -> None:
    for other in used:
        if seeds.start < other.stop and other.start < seeds.stop:
            free = max(each.stop for each in [seeds, *used])
            raise StudyError(
                f"Seeds {seeds.start} to {seeds.stop - 1} are not all fresh: another attempt at this search has used "
                f"{other.start} to {other.stop - 1}. Take fresh ones: --first-seed {free}."
            )


def identify(facts: Facts, first_seed: int) -> str:
    """The name of an attempt, the same wherever it is recorded: in a study's attributes or in a record."""
    parts = [[facts.get(key) for key in IDENTIFYING], first_seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _is_at(row: Facts, attributes: Facts) -> bool:
    """Whether an attempt was at the configuration that a study or a record is about."""
    return bool(row["attempt"] == identify(attributes, row["first_seed"]))


def read_history(previous: Facts | None) -> list[Facts]:
    """The attempts that a record knows of, itself included, in one row each.

    Raises:
        KeyError, TypeError, IndexError, AttributeError: If it is not a record.
    """
    if previous is None:
        return []
    rows = [*previous.get("earlier_attempts", []), summarise(previous)]
    for row in rows:
        _ = row["first_seed"] + row["num_seeds"], row["attempt"].strip()  # all are there, numbers and text
    return rows


def count_attempts(storage: RDBStorage, search_study: str, history: list[Facts]) -> int:
    """All attempts: those in the storage, this one included, and those that only records know of."""
    return len(_stored_attempts(storage, search_study) | {row["attempt"] for row in history})


def _stored_attempts(storage: RDBStorage, search_study: str) -> set[str]:
    """The attempts at trials of this search that are on record in the storage, finished or not."""
    attributes = [study.user_attrs for study in load_studies(storage)]
    return {
        identify(each, int(first_seed))
        for each in attributes
        if each.get("search_study") == search_study
        for first_seed in each.get("attempts", {})
    }


def summarise(record: Facts) -> Facts:
    """An attempt in one row; what older records lack is None."""
    first_seed = record["seeds"][0]["seed"]
    return {
        "attempt": identify(record, first_seed),
        "first_seed": first_seed,
        "num_seeds": len(record["seeds"]),
        **{key: record.get(key) for key in SUMMARISED},
    }
