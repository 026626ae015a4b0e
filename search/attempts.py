"""The attempts at a proof: each counts, also those whose database is gone.

An attempt is a configuration put to the test on consecutive seeds. The storage knows those at its own searches, and
the records (`verify.json`) carry those before them. On one data set no two attempts share a seed: a seed is fresh
once.
"""

import hashlib
import json
import math
import statistics
from typing import Any

import optuna
from optuna.storages import RDBStorage

from search.storage import exclusive
from search.study import StudyError, complete_trials, load_studies

SPACING = 1_000  # between the first seeds of attempts
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
        first_seed: None for the trial's last attempt, or, without one, the next round number that is free.
        rule: What chose the trial; that of the first command is kept.
        history: The attempts that records know of (`read_history`).

    Raises:
        StudyError: If another attempt has used one of the seeds.
    """
    with exclusive(storage):
        attributes = verification.user_attrs
        stored: dict[str, int] = attributes.get("attempts", {})
        recorded: dict[int, int] = {}
        for row in history:
            if _is_at(row, attributes):  # the last of equals moves to the end: records are in order of time
                count = max(recorded.pop(row["first_seed"], 0), row["num_seeds"])
                recorded[row["first_seed"]] = count
        own = {**recorded, **{int(first): count for first, count in stored.items()}}
        used = _seeds_of_others(verification, storage, history)
        if first_seed is None:
            last = attributes.get("last_attempt", list(own)[-1] if own else None)
            first_seed = last if last is not None else _next_free(used)
        known = max(recorded.get(first_seed, 0), _num_measured(verification, first_seed))
        seeds = range(first_seed, first_seed + max(num_seeds, known))
        used += [range(first, first + count) for first, count in own.items() if first != first_seed]
        used += _reproduced_seeds(verification, storage, recorded)
        _refuse_used(seeds, used)
        planned = max(stored.get(str(first_seed), 0), len(seeds))
        verification.set_user_attr("attempts", {**stored, str(first_seed): planned})
        verification.set_user_attr("last_attempt", first_seed)
        verification.set_user_attr("rules", {str(first_seed): rule, **attributes.get("rules", {})})
    return seeds


def with_all_measured(verification: optuna.Study, seeds: range) -> range:
    """The seeds of an attempt, extended by those that another command has measured meanwhile."""
    return range(seeds.start, seeds.start + max(len(seeds), _num_measured(verification, seeds.start)))


def _num_measured(verification: optuna.Study, first_seed: int) -> int:
    """How many seeds an attempt has come to, gaps included."""
    planned = verification.user_attrs.get("attempts", {}).get(str(first_seed), 0)
    measured = {trial.params["seed"] for trial in complete_trials(verification)}
    return max((count for count in range(1, planned + 1) if first_seed + count - 1 in measured), default=0)


def _next_free(used: list[range]) -> int:
    """Far enough from any other attempt that both can be extended."""
    after = max((seeds.stop for seeds in used), default=DEFAULT_FIRST_SEED)
    return max(DEFAULT_FIRST_SEED, math.ceil(after / SPACING) * SPACING)


def _seeds_of_others(verification: optuna.Study, storage: RDBStorage, history: list[Facts]) -> list[range]:
    """The seeds of all attempts at other configurations on this data set."""
    attributes = verification.user_attrs
    rows = [*stored_attempts(storage, attributes["dataset"]), *history]
    others = [row for row in rows if not _is_at(row, attributes)]
    return [range(row["first_seed"], row["first_seed"] + row["num_seeds"]) for row in others]


def _reproduced_seeds(verification: optuna.Study, storage: RDBStorage, recorded: dict[int, int]) -> list[range]:
    """Seeds on which a reproduction has shown this configuration, beyond those of its attempts."""
    config = verification.user_attrs["config"]
    shown = {
        trial.params["seed"]
        for study in load_studies(storage)
        if study.user_attrs.get("kind") == "reproduce" and study.user_attrs.get("config") == config
        for trial in complete_trials(study)
    }
    measured = {trial.params["seed"] for trial in complete_trials(verification)}
    of_records = {first + place for first, count in recorded.items() for place in range(count)}
    return [range(seed, seed + 1) for seed in sorted(shown - measured - of_records)]


def _refuse_used(seeds: range, used: list[range]) -> None:
    for other in used:
        if seeds.start < other.stop and other.start < seeds.stop:
            raise StudyError(
                f"Seeds {seeds.start} to {seeds.stop - 1} are not all fresh: {other.start} to {other.stop - 1} were "
                f"used before. Take fresh ones: --first-seed {_next_free([seeds, *used])}."
            )


def identify(facts: Facts, first_seed: int) -> str:
    """The name of an attempt, the same wherever it is recorded: in a study's attributes or in a record."""
    parts = [[facts.get(key) for key in IDENTIFYING], first_seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _is_at(row: Facts, attributes: Facts) -> bool:
    """Whether an attempt was at the configuration that a study or a record is about."""
    return bool(row["attempt"] == identify(attributes, row["first_seed"]))


def read_history(record: Any) -> list[Facts]:
    """The attempts that a record knows of, itself included, in one row each.

    Raises:
        KeyError, TypeError, IndexError, AttributeError: If it is not a record.
    """
    rows = [*record.get("earlier_attempts", []), _summarise(record)]
    for row in rows:
        _ = row["first_seed"] + row["num_seeds"], row["attempt"].strip()  # all are there, numbers and text
    return rows


def _summarise(record: Facts) -> Facts:
    """An attempt in one row; what older records lack is None."""
    first_seed = record["seeds"][0]["seed"]
    return {
        "attempt": identify(record, first_seed),
        "first_seed": first_seed,
        "num_seeds": len(record["seeds"]),
        "errors": [each["errors"] for each in record["seeds"]],
        **{key: record.get(key) for key in SUMMARISED},
    }


def stored_attempts(storage: RDBStorage, dataset: str) -> list[Facts]:
    """The attempts on this data set that are on record in the storage, finished or not, in one row each."""
    return [
        {
            "attempt": identify(study.user_attrs, int(first_seed)),
            "first_seed": int(first_seed),
            "num_seeds": count,
            "errors": None,  # of all its seeds: they may not be there
            **dict.fromkeys(SUMMARISED),
            **{key: study.user_attrs.get(key) for key in ("trial", "num_params")},
            **_outcome(study, range(int(first_seed), int(first_seed) + count)),
        }
        for study in load_studies(storage)
        if study.user_attrs.get("dataset") == dataset
        for first_seed, count in study.user_attrs.get("attempts", {}).items()
    ]


def _outcome(verification: optuna.Study, seeds: range) -> Facts:
    """What is known of an attempt that may have been given up."""
    accuracies = [trial.value or 0.0 for trial in complete_trials(verification) if trial.params["seed"] in seeds]
    return {
        "num_measured": len(accuracies),
        "min": min(accuracies, default=None),
        "mean": statistics.mean(accuracies) if accuracies else None,
    }


def other_looks(storage: RDBStorage, dataset: str) -> list[Facts]:
    """The studies in the storage that show test accuracies without being an attempt: ablations and reproductions."""
    looks = [
        {"study_name": study.study_name, "trial": study.user_attrs["trial"], "num_runs": len(complete_trials(study))}
        for study in load_studies(storage)
        if study.user_attrs.get("kind") in ("ablate", "reproduce") and study.user_attrs.get("dataset") == dataset
    ]
    return [look for look in looks if look["num_runs"]]


def earlier_attempts(
    verification: optuna.Study, storage: RDBStorage, seeds: range, history: list[Facts]
) -> list[Facts]:
    """All attempts but the one of these seeds, by first seed; what records know goes before what the storage knows.

    `same_configuration` tells which were at this one. A record of the same seeds that came to other errors, on another
    machine or in another precision, is an attempt of its own: it must not be forgotten.
    """
    attributes = verification.user_attrs
    this = identify(attributes, seeds.start)
    errors = {trial.params["seed"]: int(trial.user_attrs["errors"]) for trial in complete_trials(verification)}
    measured = [errors[seed] for seed in seeds if seed in errors]
    rows: dict[tuple[str, str], Facts] = {}
    for row in sorted(history, key=lambda row: int(row["num_seeds"])):  # the fullest record of an attempt counts
        if row["attempt"] != this:
            rows[row["attempt"], ""] = row
        elif row.get("errors") and not _agree(row["errors"], measured):
            rows[this, str(row["errors"])] = row
    for row in stored_attempts(storage, attributes["dataset"]):
        if row["attempt"] != this:
            rows.setdefault((row["attempt"], ""), row)
    flagged = [{**row, "same_configuration": _is_at(row, attributes)} for row in rows.values()]
    return sorted(flagged, key=lambda row: int(row["first_seed"]))


def _agree(some: list[int], others: list[int]) -> bool:
    """Whether two lists of errors begin alike, as far as both go."""
    return all(one == other for one, other in zip(some, others, strict=False))
