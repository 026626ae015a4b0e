"""Attempts at a proof: each counts, none can be cut down, and a new database forgets none."""

from collections.abc import Sequence
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
from search.study import StudyError
from search.tickets import tickets_left
from search.verdict import make_record

SPACE = space_hash(Path(space.__file__))


def plan(
    verification: optuna.Study,
    storage: RDBStorage,
    first_seed: int | None,
    num_seeds: int,
    history: Sequence[dict[str, Any]] = (),
) -> range:
    return attempts.plan_attempt(verification, storage, first_seed, num_seeds, rule="the best", history=list(history))


def count(storage: RDBStorage, search_study: str) -> int:
    return attempts.count_attempts(storage, search_study, [])


def test_an_attempt_is_a_trial_put_to_the_test_on_a_first_seed(
    searched_storage: RDBStorage, search_study: optuna.Study, verification: optuna.Study
) -> None:
    assert count(searched_storage, "small") == 0  # nothing is planned yet
    plan(verification, searched_storage, 10_000, 5)
    assert count(searched_storage, "small") == 1
    plan(verification, searched_storage, 10_000, 20)  # resumed, or extended
    assert count(searched_storage, "small") == 1
    plan(verification, searched_storage, 20_000, 5)
    assert count(searched_storage, "small") == 2
    runner_up = verify.choose_trial(search_study, searched_storage, 0)
    config = rebuild_config(search_study, runner_up.trial, space.suggest_config, SPACE)
    other = verify.open_verify_study(searched_storage, search_study, runner_up, config)
    plan(other, searched_storage, 30_000, 5)
    assert count(searched_storage, "small") == 3
    assert count(searched_storage, "another") == 0


def test_an_attempt_is_on_record_before_anything_is_measured(
    searched_storage: RDBStorage,
    search_study: optuna.Study,
    winner: verify.Choice,
    winner_config: TrialConfig,
    verification: optuna.Study,
) -> None:
    assert plan(verification, searched_storage, 10_000, 5) == range(10_000, 10_005)
    assert plan(verification, searched_storage, 20_000, 3) == range(20_000, 20_003)
    reopened = verify.open_verify_study(searched_storage, search_study, winner, winner_config)
    assert reopened.user_attrs["attempts"] == {"10000": 5, "20000": 3}


def test_an_attempt_is_extended_by_asking_for_more(searched_storage: RDBStorage, verification: optuna.Study) -> None:
    plan(verification, searched_storage, 10_000, 5)
    for seed in range(10_000, 10_005):
        add_seed(verification, seed)
    seeds = plan(verification, searched_storage, 10_000, 20)
    assert seeds == range(10_000, 10_020)
    assert tickets_left(verification, seeds) == list(range(10_005, 10_020))
    assert verification.user_attrs["attempts"] == {"10000": 20}


def test_an_attempt_is_not_cut_down_below_what_it_measured(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    plan(verification, searched_storage, 10_000, 20)
    for seed in (10_000, 10_001, 10_002, 10_004, 10_005, 10_006):  # cut off there, while 10,003 was under way
        add_seed(verification, seed)
    seeds = plan(verification, searched_storage, 10_000, 5)
    assert seeds == range(10_000, 10_007)
    assert tickets_left(verification, seeds) == [10_003]
    add_seed(verification, 10_003)
    assert [trial.params["seed"] for trial in verify.measured_seeds(verification, seeds)] == list(seeds)
    # Asked for once more, whatever the number, it is what it was.
    assert plan(verification, searched_storage, 10_000, 1) == seeds
    assert verification.user_attrs["attempts"] == {"10000": 20}


def test_what_was_planned_but_never_measured_may_be_given_up(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    plan(verification, searched_storage, 10_000, 20)
    add_seed(verification, 10_000)
    add_seed(verification, 10_008, TrialState.FAIL)
    assert plan(verification, searched_storage, 10_000, 5) == range(10_000, 10_005)


def test_an_attempt_takes_no_seed_of_another(searched_storage: RDBStorage, verification: optuna.Study) -> None:
    plan(verification, searched_storage, 10_000, 5)
    assert plan(verification, searched_storage, 10_005, 10) == range(10_005, 10_015)
    for first_seed, num_seeds in ((10_001, 2), (9_998, 3), (10_014, 1), (9_000, 9_000)):
        with pytest.raises(StudyError, match=r"are not all fresh: .* --first-seed"):
            plan(verification, searched_storage, first_seed, num_seeds)
    with pytest.raises(StudyError, match="Take fresh ones: --first-seed 10015"):
        plan(verification, searched_storage, 10_000, 6)  # nor may it be extended into another


def test_seeds_of_another_trial_are_spent(
    searched_storage: RDBStorage, search_study: optuna.Study, verification: optuna.Study
) -> None:
    plan(verification, searched_storage, 10_000, 5)
    runner_up = verify.choose_trial(search_study, searched_storage, 0)
    config = rebuild_config(search_study, runner_up.trial, space.suggest_config, SPACE)
    other = verify.open_verify_study(searched_storage, search_study, runner_up, config)
    with pytest.raises(StudyError, match="has used 10000 to 10004"):
        plan(other, searched_storage, 10_000, 5)
    assert plan(other, searched_storage, None, 5) == range(10_005, 10_010)


def test_without_a_first_seed_the_last_attempt_goes_on(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    assert plan(verification, searched_storage, None, 5) == range(10_000, 10_005)
    assert plan(verification, searched_storage, None, 8) == range(10_000, 10_008)
    plan(verification, searched_storage, 12_000, 3)
    assert plan(verification, searched_storage, None, 4) == range(12_000, 12_004)


def test_the_rule_of_an_attempt_is_that_of_its_first_command(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    plan(verification, searched_storage, 10_000, 1)
    attempts.plan_attempt(verification, searched_storage, 10_000, 2, rule="as asked for", history=[])
    add_seed(verification, 10_000)
    assert make_facts(verification, range(10_001, 10_001), [], first_seed=10_000)["chosen_by"] == "the best"


def make_facts(
    verification: optuna.Study, seeds: range, history: list[dict[str, Any]], *, first_seed: int | None = None
) -> dict[str, Any]:
    """The record of an attempt, as `verify-best` makes it, once these seeds are measured too."""
    for seed in seeds:
        add_seed(verification, seed)
    first_seed = seeds.start if first_seed is None else first_seed
    verification.set_user_attr("rules", {str(first_seed): "the best", **verification.user_attrs.get("rules", {})})
    this = attempts.identify(verification.user_attrs, first_seed)
    return make_record(
        verification,
        verify.measured_seeds(verification, range(first_seed, max(seeds.stop, first_seed + 1))),
        target=Decimal("99.4"),
        attempts=0,
        earlier_attempts=[row for row in history if row["attempt"] != this],
    )


def test_a_record_carries_the_attempts_of_the_records_that_it_replaces(verification: optuna.Study) -> None:
    first = make_facts(verification, range(10_000, 10_002), [])
    second = make_facts(verification, range(20_000, 20_003), attempts.read_history(first))
    third = make_facts(verification, range(30_000, 30_001), attempts.read_history(second))
    assert first["earlier_attempts"] == []
    rows = third["earlier_attempts"]
    assert [(row["first_seed"], row["num_seeds"]) for row in rows] == [(10_000, 2), (20_000, 3)]
    assert (rows[0]["mean"], rows[0]["min"], rows[0]["commit"]) == (pytest.approx(99.4), 99.4, "0123abc")


def test_an_attempt_that_is_extended_is_not_its_own_predecessor(verification: optuna.Study) -> None:
    first = make_facts(verification, range(10_000, 10_002), [])
    again = make_facts(verification, range(10_002, 10_003), attempts.read_history(first), first_seed=10_000)
    assert (len(again["seeds"]), again["earlier_attempts"]) == (3, [])


def test_records_of_older_versions_count(verification: optuna.Study) -> None:
    old = make_facts(verification, range(10_000, 10_002), [])
    for key in ("earlier_attempts", "config", "recipe", "chosen_by"):
        del old[key]
    (row,) = attempts.read_history(old)
    assert (row["first_seed"], row["num_seeds"], row["num_passed"]) == (10_000, 2, 2)
    assert row["attempt"] != attempts.identify(verification.user_attrs, 10_000)


@pytest.mark.parametrize("damaged", [[], 7, {}, {"seeds": []}, {"seeds": [{}]}, {"seeds": 3}], ids=str)
def test_what_is_no_record_is_not_taken_for_one_without_history(damaged: Any) -> None:
    with pytest.raises((AttributeError, IndexError, KeyError, TypeError)):
        attempts.read_history(damaged)


def test_attempts_of_a_lost_database_count_and_those_in_both_places_count_once(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    plan(verification, searched_storage, 10_000, 2)
    history = attempts.read_history(make_facts(verification, range(10_000, 10_002), []))
    plan(verification, searched_storage, 20_000, 1, history)
    assert attempts.count_attempts(searched_storage, "small", history) == 2  # the first is in the storage as well
    lost = [{**history[0], "attempt": "0123456789ab", "first_seed": 40_000}]
    assert attempts.count_attempts(searched_storage, "small", lost) == 3


def test_seeds_of_a_lost_database_are_spent_and_an_attempt_repeated_there_is_not_cut_down(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    attributes = verification.user_attrs
    same = {"attempt": attempts.identify(attributes, 10_000), "first_seed": 10_000, "num_seeds": 20}
    other = {"attempt": "0123456789ab", "first_seed": 10_020, "num_seeds": 5}
    with pytest.raises(StudyError, match="has used 10020 to 10024"):
        plan(verification, searched_storage, 10_022, 1, [same, other])
    assert plan(verification, searched_storage, None, 5, [same, other]) == range(10_000, 10_020)
