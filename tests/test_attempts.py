"""Attempts at a proof: each counts, none can be cut down, and a new database forgets none."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from recording import add_seed

import space
from search import attempts, verify
from search.config import TrialConfig
from search.objective import rebuild_config
from search.provenance import space_hash
from search.tickets import tickets_left
from search.verdict import make_record

SPACE = space_hash(Path(space.__file__))


def count(storage: RDBStorage, search_study: str) -> int:
    return attempts.count_attempts(storage, search_study, [])


def test_an_attempt_is_a_trial_put_to_the_test_on_a_first_seed(
    searched_storage: RDBStorage, search_study: optuna.Study, verification: optuna.Study
) -> None:
    assert count(searched_storage, "small") == 0  # nothing is planned yet
    attempts.plan_attempt(verification, searched_storage, 10_000, 5)
    assert count(searched_storage, "small") == 1
    attempts.plan_attempt(verification, searched_storage, 10_000, 20)  # resumed, or extended
    assert count(searched_storage, "small") == 1
    attempts.plan_attempt(verification, searched_storage, 20_000, 5)
    assert count(searched_storage, "small") == 2
    runner_up = verify.choose_trial(search_study, searched_storage, 0)
    config = rebuild_config(search_study, runner_up.trial, space.suggest_config, SPACE)
    other = verify.open_verify_study(searched_storage, search_study, runner_up, config)
    attempts.plan_attempt(other, searched_storage, 10_000, 5)
    assert count(searched_storage, "small") == 3
    assert count(searched_storage, "another") == 0


def test_an_attempt_is_on_record_before_anything_is_measured(
    searched_storage: RDBStorage,
    search_study: optuna.Study,
    winner: verify.Choice,
    winner_config: TrialConfig,
    verification: optuna.Study,
) -> None:
    assert attempts.plan_attempt(verification, searched_storage, 10_000, 5) == range(10_000, 10_005)
    assert attempts.plan_attempt(verification, searched_storage, 20_000, 3) == range(20_000, 20_003)
    reopened = verify.open_verify_study(searched_storage, search_study, winner, winner_config)
    assert reopened.user_attrs["attempts"] == {"10000": 5, "20000": 3}


def test_an_attempt_is_extended_by_asking_for_more(searched_storage: RDBStorage, verification: optuna.Study) -> None:
    attempts.plan_attempt(verification, searched_storage, 10_000, 5)
    for seed in range(10_000, 10_005):
        add_seed(verification, seed)
    seeds = attempts.plan_attempt(verification, searched_storage, 10_000, 20)
    assert seeds == range(10_000, 10_020)
    assert tickets_left(verification, seeds) == list(range(10_005, 10_020))
    assert verification.user_attrs["attempts"] == {"10000": 20}


def test_an_attempt_is_not_cut_down_below_what_it_measured(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    attempts.plan_attempt(verification, searched_storage, 10_000, 20)
    for seed in (10_000, 10_001, 10_002, 10_004, 10_005, 10_006):  # cut off there, while 10,003 was under way
        add_seed(verification, seed)
    seeds = attempts.plan_attempt(verification, searched_storage, 10_000, 5)
    assert seeds == range(10_000, 10_007)
    assert tickets_left(verification, seeds) == [10_003]
    add_seed(verification, 10_003)
    assert [trial.params["seed"] for trial in verify.measured_seeds(verification, seeds)] == list(seeds)
    # Asked for once more, whatever the number, it is what it was.
    assert attempts.plan_attempt(verification, searched_storage, 10_000, 1) == seeds
    assert verification.user_attrs["attempts"] == {"10000": 20}


def test_what_was_planned_but_never_measured_may_be_given_up(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    attempts.plan_attempt(verification, searched_storage, 10_000, 20)
    add_seed(verification, 10_000)
    add_seed(verification, 10_008, TrialState.FAIL)
    assert attempts.plan_attempt(verification, searched_storage, 10_000, 5) == range(10_000, 10_005)


def test_seeds_of_another_attempt_do_not_stretch_this_one(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    attempts.plan_attempt(verification, searched_storage, 10_000, 5)
    attempts.plan_attempt(verification, searched_storage, 10_003, 10)
    for seed in range(10_000, 10_013):
        add_seed(verification, seed)
    assert attempts.plan_attempt(verification, searched_storage, 10_000, 3) == range(10_000, 10_005)
    assert attempts.plan_attempt(verification, searched_storage, 10_003, 3) == range(10_003, 10_013)


def make_facts(verification: optuna.Study, seeds: range, previous: dict[str, Any] | None) -> dict[str, Any]:
    """The record of an attempt at these seeds, as `verify-best` makes it."""
    for seed in seeds:
        add_seed(verification, seed)
    earlier = attempts.earlier_attempts(verification.user_attrs["config"], seeds.start, previous)
    return make_record(
        verification,
        verify.measured_seeds(verification, seeds),
        target=Decimal("99.4"),
        attempts=0,
        earlier_attempts=earlier,
    )


def test_a_record_carries_the_attempts_of_the_records_that_it_replaces(verification: optuna.Study) -> None:
    first = make_facts(verification, range(10_000, 10_002), None)
    second = make_facts(verification, range(20_000, 20_003), first)
    third = make_facts(verification, range(30_000, 30_001), second)
    assert first["earlier_attempts"] == []
    rows = third["earlier_attempts"]
    assert [(row["first_seed"], row["num_seeds"], row["num_passed"]) for row in rows] == [
        (10_000, 2, 2),
        (20_000, 3, 3),
    ]
    assert (rows[0]["mean"], rows[0]["min"], rows[0]["commit"]) == (pytest.approx(99.4), 99.4, "0123abc")


def test_an_attempt_that_is_extended_is_not_its_own_predecessor(verification: optuna.Study) -> None:
    first = make_facts(verification, range(10_000, 10_002), None)
    assert attempts.earlier_attempts(verification.user_attrs["config"], 10_000, first) == []


def test_attempts_of_a_lost_database_count_and_those_in_both_places_count_once(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    attempts.plan_attempt(verification, searched_storage, 10_000, 2)
    first = make_facts(verification, range(10_000, 10_002), None)
    attempts.plan_attempt(verification, searched_storage, 20_000, 1)
    config = verification.user_attrs["config"]
    earlier = attempts.earlier_attempts(config, 20_000, first)
    assert attempts.count_attempts(searched_storage, "small", earlier) == 2  # the first is in the storage as well
    lost = [{**earlier[0], "attempt": attempts.identify({**config, "lr": 0.5}, 10_000)}]
    assert attempts.count_attempts(searched_storage, "small", lost) == 3


def test_seeds_of_an_earlier_attempt_are_told(verification: optuna.Study) -> None:
    earlier = [attempts.summarise(make_facts(verification, range(10_000, 10_003), None))]
    assert attempts.reused_seeds(range(10_002, 10_005), earlier) == [10_002]
    assert attempts.reused_seeds(range(11_000, 11_005), earlier) == []
