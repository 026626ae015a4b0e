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


def count(storage: RDBStorage, dataset: str = "sample") -> int:
    return len(attempts.stored_attempts(storage, dataset))


def test_an_attempt_is_a_trial_put_to_the_test_on_a_first_seed(
    searched_storage: RDBStorage, search_study: optuna.Study, verification: optuna.Study
) -> None:
    assert count(searched_storage) == 0  # nothing is planned yet
    plan(verification, searched_storage, 10_000, 5)
    assert count(searched_storage) == 1
    plan(verification, searched_storage, 10_000, 20)  # resumed, or extended
    assert count(searched_storage) == 1
    plan(verification, searched_storage, 20_000, 5)
    assert count(searched_storage) == 2
    runner_up = verify.choose_trial(search_study, searched_storage, 0)
    config = rebuild_config(search_study, runner_up.trial, space.suggest_config, SPACE)
    other = verify.open_verify_study(searched_storage, search_study, runner_up, config)
    plan(other, searched_storage, 30_000, 5)
    assert count(searched_storage) == 3
    assert count(searched_storage, "mnist") == 0


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
    assert verification.user_attrs["attempts"] == {"10000": 5, "10005": 10}
    for first_seed, num_seeds in ((10_001, 2), (9_998, 3), (10_014, 1), (9_000, 9_000)):
        with pytest.raises(StudyError, match=r"are not all fresh: .* --first-seed"):
            plan(verification, searched_storage, first_seed, num_seeds)
    with pytest.raises(StudyError, match="Take fresh ones: --first-seed 11000"):
        plan(verification, searched_storage, 10_000, 6)  # nor may it be extended into another


def test_seeds_of_another_trial_are_spent(
    searched_storage: RDBStorage, search_study: optuna.Study, verification: optuna.Study
) -> None:
    plan(verification, searched_storage, 10_000, 5)
    runner_up = verify.choose_trial(search_study, searched_storage, 0)
    config = rebuild_config(search_study, runner_up.trial, space.suggest_config, SPACE)
    other = verify.open_verify_study(searched_storage, search_study, runner_up, config)
    with pytest.raises(StudyError, match="10000 to 10004 were used before"):
        plan(other, searched_storage, 10_000, 5)
    assert plan(other, searched_storage, None, 5) == range(11_000, 11_005)
    assert plan(verification, searched_storage, None, 20) == range(10_000, 10_020)  # there is room to extend both


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
    assert verification.user_attrs["rules"] == {"10000": "the best"}


def make_facts(
    verification: optuna.Study, storage: RDBStorage, seeds: range, history: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of an attempt, as `verify-best` makes it."""
    seeds = plan(verification, storage, seeds.start, len(seeds), history)
    measured = {trial.params["seed"] for trial in verification.get_trials()}
    for seed in set(seeds) - measured:
        add_seed(verification, seed)
    return make_record(
        verification,
        verify.measured_seeds(verification, seeds),
        target=Decimal("99.4"),
        earlier_attempts=attempts.earlier_attempts(verification, storage, seeds, history),
        other_looks=[],
    )


def test_a_record_carries_the_attempts_of_the_records_that_it_replaces(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    first = make_facts(verification, searched_storage, range(10_000, 10_002), [])
    second = make_facts(verification, searched_storage, range(20_000, 20_003), attempts.read_history(first))
    third = make_facts(verification, searched_storage, range(30_000, 30_001), attempts.read_history(second))
    assert (first["attempts"], first["earlier_attempts"]) == (1, [])
    assert third["attempts"] == 3
    rows = third["earlier_attempts"]
    assert [(row["first_seed"], row["num_seeds"]) for row in rows] == [(10_000, 2), (20_000, 3)]
    assert (rows[0]["mean"], rows[0]["min"], rows[0]["commit"]) == (pytest.approx(99.4), 99.4, "0123abc")


def test_an_attempt_that_is_extended_is_not_its_own_predecessor(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    first = make_facts(verification, searched_storage, range(10_000, 10_002), [])
    again = make_facts(verification, searched_storage, range(10_000, 10_003), attempts.read_history(first))
    assert (len(again["seeds"]), again["attempts"], again["earlier_attempts"]) == (3, 1, [])


def test_an_attempt_that_was_not_finished_counts_and_a_record_carries_it(
    searched_storage: RDBStorage, search_study: optuna.Study, verification: optuna.Study
) -> None:
    runner_up = verify.choose_trial(search_study, searched_storage, 0)
    config = rebuild_config(search_study, runner_up.trial, space.suggest_config, SPACE)
    other = verify.open_verify_study(searched_storage, search_study, runner_up, config)
    plan(other, searched_storage, 10_000, 5)
    facts = make_facts(verification, searched_storage, range(11_000, 11_001), [])
    (row,) = facts["earlier_attempts"]
    assert (row["trial"], row["first_seed"], row["num_seeds"], row["num_passed"]) == (0, 10_000, 5, None)
    assert (row["num_measured"], row["min"], row["same_configuration"]) == (0, None, False)
    add_seed(other, 10_002)  # what was seen of it counts
    (row,) = make_facts(verification, searched_storage, range(11_000, 11_001), [])["earlier_attempts"]
    assert (row["num_measured"], row["min"], row["mean"]) == (1, 99.4, 99.4)


def test_the_same_seeds_with_other_errors_are_another_attempt(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    plan(verification, searched_storage, 10_000, 2)
    add_seed(verification, 10_000)  # 60 errors each
    add_seed(verification, 10_001)
    record = make_facts(verification, searched_storage, range(10_000, 10_002), [])
    for errors, num_others in (([60, 60], 0), ([60], 0), ([60, 60, 70], 0), ([61, 60], 1), ([60, 61, 60], 1)):
        elsewhere = attempts.read_history(record)[0] | {"errors": errors, "min": 99.39}
        rows = attempts.earlier_attempts(verification, searched_storage, range(10_000, 10_002), [elsewhere])
        assert len(rows) == num_others
        assert all(row["same_configuration"] for row in rows)


def test_the_attempt_that_was_begun_last_goes_on(searched_storage: RDBStorage, verification: optuna.Study) -> None:
    plan(verification, searched_storage, 10_000, 20)
    plan(verification, searched_storage, 30_000, 5)
    assert plan(verification, searched_storage, None, 5) == range(30_000, 30_005)
    plan(verification, searched_storage, 10_000, 20)
    assert plan(verification, searched_storage, None, 20) == range(10_000, 10_020)


def test_what_else_has_shown_test_accuracies_is_listed(searched_storage: RDBStorage) -> None:
    for kind, runs in (("ablate", 2), ("reproduce", 1), ("ablate", 0), ("rerank", 1)):
        study = optuna.create_study(storage=searched_storage, study_name=f"{kind} {runs}", direction="maximize")
        for key, value in {"kind": kind, "dataset": "sample", "trial": 2}.items():
            study.set_user_attr(key, value)
        for seed in range(runs):
            add_seed(study, seed)
    assert attempts.other_looks(searched_storage, "sample") == [
        {"study_name": "ablate 2", "trial": 2, "num_runs": 2},
        {"study_name": "reproduce 1", "trial": 2, "num_runs": 1},
    ]
    assert attempts.other_looks(searched_storage, "mnist") == []


def test_what_another_command_has_measured_meanwhile_counts(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    seeds = plan(verification, searched_storage, 10_000, 2)
    plan(verification, searched_storage, 10_000, 4)  # by another command
    assert attempts.with_all_measured(verification, seeds) == seeds
    add_seed(verification, 10_003)
    assert attempts.with_all_measured(verification, seeds) == range(10_000, 10_004)


def test_seeds_that_a_reproduction_has_shown_are_spent_for_that_configuration(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    shown = optuna.create_study(storage=searched_storage, study_name="small-reproduce-2", direction="maximize")
    shown.set_user_attr("kind", "reproduce")
    shown.set_user_attr("config", verification.user_attrs["config"])
    plan(verification, searched_storage, 10_000, 1)
    for seed in (10_000, 20_000):  # one of the record, and a fresh one
        add_seed(shown, seed)
    add_seed(verification, 10_000)
    assert plan(verification, searched_storage, 10_000, 5) == range(10_000, 10_005)
    with pytest.raises(StudyError, match="20000 to 20000 were used before"):
        plan(verification, searched_storage, 20_000, 5)


def test_records_of_older_versions_count(searched_storage: RDBStorage, verification: optuna.Study) -> None:
    old = make_facts(verification, searched_storage, range(10_000, 10_002), [])
    for key in ("earlier_attempts", "config", "recipe", "chosen_by"):
        del old[key]
    (row,) = attempts.read_history(old)
    assert (row["first_seed"], row["num_seeds"], row["num_passed"]) == (10_000, 2, 2)
    assert row["attempt"] != attempts.identify(verification.user_attrs, 10_000)


@pytest.mark.parametrize("damaged", [None, [], 7, {}, {"seeds": []}, {"seeds": [{}]}, {"seeds": 3}], ids=str)
def test_what_is_no_record_is_not_taken_for_one_without_history(damaged: Any) -> None:
    with pytest.raises((AttributeError, IndexError, KeyError, TypeError)):
        attempts.read_history(damaged)


def test_attempts_of_a_lost_database_count_and_those_in_both_places_count_once(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    history = attempts.read_history(make_facts(verification, searched_storage, range(10_000, 10_002), []))
    lost = {**history[0], "attempt": "0123456789ab", "first_seed": 40_000}
    earlier = attempts.earlier_attempts(verification, searched_storage, range(20_000, 20_001), [*history, lost])
    assert [(row["first_seed"], row["num_passed"]) for row in earlier] == [(10_000, 2), (40_000, 2)]


def test_seeds_of_a_lost_database_are_spent_and_an_attempt_repeated_there_is_not_cut_down(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    attributes = verification.user_attrs
    same = {"attempt": attempts.identify(attributes, 10_000), "first_seed": 10_000, "num_seeds": 20}
    other = {"attempt": "0123456789ab", "first_seed": 10_020, "num_seeds": 5}
    with pytest.raises(StudyError, match="10020 to 10024 were used before"):
        plan(verification, searched_storage, 10_022, 1, [same, other])
    assert plan(verification, searched_storage, None, 5, [same, other]) == range(10_000, 10_020)
    assert verification.user_attrs["attempts"] == {"10000": 20}
