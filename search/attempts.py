"""The attempts at a proof: each one at the test digits counts, also those whose database is gone.

An attempt is a configuration put to the test on a first seed. The storage holds those of its own searches, and a
record carries those of the records that it replaces.
"""

import hashlib
import json
from typing import Any

import optuna
from optuna.storages import RDBStorage

from search.storage import exclusive
from search.study import complete_trials, load_studies

Facts = dict[str, Any]
SUMMARISED = ("trial", "num_params", "num_passed", "min", "mean", "std", "target", "confirmed", "commit")


def plan_attempt(verification: optuna.Study, storage: RDBStorage, first_seed: int, num_seeds: int) -> range:
    """The seeds of an attempt, which is on record from here on.

    An attempt is known by its first seed. It can be extended but not cut down: if an earlier command measured
    more than `num_seeds` of its seeds, they count, and gaps among them are filled. A verdict must not leave out
    what is known.
    """
    with exclusive(storage):
        attempts: dict[str, int] = verification.user_attrs.get("attempts", {})
        planned = attempts.get(str(first_seed), 0)
        complete = complete_trials(verification)
        seeds = {trial.params["seed"] for trial in complete}
        measured = [seed for seed in range(first_seed, first_seed + planned) if seed in seeds]
        num_measured = measured[-1] + 1 - first_seed if measured else 0
        verification.set_user_attr("attempts", {**attempts, str(first_seed): max(planned, num_seeds)})
    return range(first_seed, first_seed + max(num_seeds, num_measured))


def identify(config: dict[str, Any], first_seed: int) -> str:
    """The name of an attempt, the same wherever it is recorded."""
    return hashlib.sha256(json.dumps([config, first_seed], sort_keys=True).encode()).hexdigest()[:12]


def stored_attempts(storage: RDBStorage, search_study: str) -> set[str]:
    """The attempts at trials of this search that are on record in the storage, finished or not."""
    attributes = [study.user_attrs for study in load_studies(storage)]
    return {
        identify(each["config"], int(first_seed))
        for each in attributes
        if each.get("search_study") == search_study
        for first_seed in each.get("attempts", {})
    }


def earlier_attempts(config: dict[str, Any], first_seed: int, previous: Facts | None) -> list[Facts]:
    """The attempts that the record to be replaced knows of, itself included, in one row each; not this one."""
    this = identify(config, first_seed)
    return [each for each in _history(previous) if each["attempt"] != this]


def count_attempts(storage: RDBStorage, search_study: str, earlier: list[Facts]) -> int:
    """All attempts: those in the storage, this one included, and those that only records know of."""
    return len(stored_attempts(storage, search_study) | {each["attempt"] for each in earlier})


def reused_seeds(seeds: range, earlier: list[Facts]) -> list[int]:
    """Those of the seeds that an earlier attempt has used."""
    spent = {seed for each in earlier for seed in range(each["first_seed"], each["first_seed"] + each["num_seeds"])}
    return [seed for seed in seeds if seed in spent]


def _history(record: Facts | None) -> list[Facts]:
    """A record's earlier attempts, and itself; nothing of a record from before attempts had names."""
    if record is None or "earlier_attempts" not in record:
        return []
    return [*record["earlier_attempts"], summarise(record)]


def summarise(record: Facts) -> Facts:
    """An attempt in one row."""
    first_seed = record["seeds"][0]["seed"]
    return {
        "attempt": identify(record["config"], first_seed),
        "first_seed": first_seed,
        "num_seeds": len(record["seeds"]),
        **{key: record[key] for key in SUMMARISED},
    }
