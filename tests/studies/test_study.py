import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from test_tickets import BINDING, REFERENCE, claim, states

from search.provenance import code_commit, versions
from search.study import Binding, StudyError, best_trial, find_search_study, last_active, open_search_study, record_use


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return open_search_study(storage, "small", BINDING, REFERENCE)


def test_an_equal_binding_joins_the_study(study: optuna.Study, storage: RDBStorage) -> None:
    study.tell(claim(study, range(2)), 90.0)
    joined = open_search_study(storage, "small", replace(BINDING), {"depth": 9, "width": 2.0, "lr": 0.09})
    assert joined._study_id == study._study_id
    assert states(joined) == ["COMPLETE"]  # nothing queued anew


def test_a_study_without_a_recipe_number_is_of_the_first_recipe(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="old", direction="maximize")
    for key, value in asdict(BINDING).items():
        if key != "recipe":
            study.set_user_attr(key, value)
    assert Binding.of(study) == replace(BINDING, recipe=1)


@pytest.mark.parametrize("num_attributes", [0, 3, 5])
def test_a_study_whose_creator_was_cut_off_is_set_up_by_the_next(
    storage: RDBStorage, monkeypatch: pytest.MonkeyPatch, num_attributes: int
) -> None:
    set_user_attr, left = optuna.Study.set_user_attr, iter(range(num_attributes))

    def cut_off(study: optuna.Study, key: str, value: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        set_user_attr(study, key, value)

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "set_user_attr", cut_off)
        with pytest.raises(KeyboardInterrupt):
            open_search_study(storage, "small", BINDING, REFERENCE)
    study = open_search_study(storage, "small", BINDING, REFERENCE)
    assert Binding.of(study) == BINDING
    assert study.user_attrs["kind"] == "search"
    assert states(study) == ["WAITING"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("dataset", "mnist", "data set"),
        ("split", "77aa", "split"),
        ("max_params", 3_999, "budget"),
        ("epochs", 5, "epochs"),
        ("space", "cd12", "space.py"),
        ("recipe", 99, "recipe of this tool"),
    ],
)
def test_another_binding_is_refused_and_named(
    study: optuna.Study, storage: RDBStorage, field: str, value: Any, words: str
) -> None:
    before = study.user_attrs
    with pytest.raises(StudyError) as caught:
        open_search_study(storage, "small", replace(BINDING, **{field: value}), REFERENCE)
    message = str(caught.value)
    assert all(str(each) in message for each in (words, value, getattr(BINDING, field), "--study-name"))
    assert "\n" not in message
    assert study.user_attrs == before


def test_every_difference_is_named_and_nothing_else(study: optuna.Study, storage: RDBStorage) -> None:
    with pytest.raises(StudyError) as caught:
        open_search_study(storage, "small", replace(BINDING, epochs=5, space="cd12"), REFERENCE)
    assert "epochs" in str(caught.value)
    assert "space.py" in str(caught.value)
    assert "data set" not in str(caught.value)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_study_of_another_tool_is_refused_and_left_as_it_was(storage: RDBStorage, direction: str) -> None:
    plain = optuna.create_study(storage=storage, study_name="small", direction=direction)
    plain.add_trial(create_trial(value=1.0))
    with pytest.raises(StudyError, match="'small' was not made by this tool"):
        open_search_study(storage, "small", BINDING, REFERENCE)
    assert (plain.user_attrs, states(plain)) == ({}, ["COMPLETE"])


def test_a_minimisation_is_refused_even_without_trials(storage: RDBStorage) -> None:
    plain = optuna.create_study(storage=storage, study_name="small")
    with pytest.raises(StudyError, match="small"):
        open_search_study(storage, "small", BINDING, REFERENCE)
    assert (plain.user_attrs, plain.trials) == ({}, [])


def test_a_study_says_what_it_is_bound_to_and_made_with(study: optuna.Study) -> None:
    recorded = study.user_attrs
    assert Binding.of(study) == BINDING
    assert recorded.items() >= asdict(BINDING).items()
    assert (recorded["commit"], recorded["versions"]) == (code_commit(), versions())
    assert recorded["versions"]["optuna"] == optuna.__version__
    assert "continued_with" not in recorded
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_a_study_names_every_environment_that_it_was_continued_with_once(study: optuna.Study) -> None:
    made_with = {"commit": "0123abc", "versions": {"torch": "2.0.0"}}
    for key, value in made_with.items():
        study.set_user_attr(key, value)  # as if it had been made earlier
    for _ in range(2):
        record_use(study)
    recorded = study.user_attrs
    assert {key: recorded[key] for key in made_with} == made_with
    assert recorded["continued_with"] == [{"commit": code_commit(), "versions": versions()}]


def test_nothing_is_known_of_the_activity_of_an_untouched_study(storage: RDBStorage) -> None:
    assert last_active(optuna.create_study(storage=storage)) == ""


def test_a_study_is_active_when_it_is_opened_and_when_a_trial_begins_or_ends(study: optuna.Study) -> None:
    opened = last_active(study)
    trial = claim(study, range(1))
    begun = last_active(study)
    study.tell(trial, 90.0)
    ended = last_active(study)
    record_use(study)
    assert opened < begun < ended < last_active(study)


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Somewhere-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_activity_is_told_in_utc_wherever_the_trial_ran(study: optuna.Study) -> None:
    opened = datetime.fromisoformat(last_active(study))
    study.tell(claim(study, range(1)), 90.0)
    ended = datetime.fromisoformat(last_active(study))
    assert ended.tzinfo == UTC
    assert opened < ended < opened + timedelta(hours=1)  # Optuna's times are local


def test_a_study_whose_trial_ended_last_was_active_last(study: optuna.Study, storage: RDBStorage) -> None:
    trial = claim(study, range(1))
    open_search_study(storage, "other", BINDING, REFERENCE)
    assert find_search_study(storage, None).study_name == "other"
    study.tell(trial, 90.0)
    assert find_search_study(storage, None).study_name == "small"


def test_the_last_active_study_is_found(storage: RDBStorage) -> None:
    for name in ("a", "b", "c", "a"):
        open_search_study(storage, name, BINDING, REFERENCE)
    assert find_search_study(storage, None).study_name == "a"
    assert find_search_study(storage, "b").study_name == "b"


def test_a_search_with_a_complete_trial_is_found_before_one_without(study: optuna.Study, storage: RDBStorage) -> None:
    study.tell(claim(study, range(1)), 90.0)
    open_search_study(storage, "just begun", BINDING, REFERENCE)
    assert find_search_study(storage, None).study_name == "small"


def test_no_other_kind_of_study_is_found(study: optuna.Study, storage: RDBStorage) -> None:
    verification = optuna.create_study(storage=storage, study_name="small-verify-0")
    verification.set_user_attr("kind", "verify")
    record_use(verification)
    optuna.create_study(storage=storage, study_name="plain")
    assert find_search_study(storage, None).study_name == "small"
    for name in ("small-verify-0", "plain", "absent"):
        with pytest.raises(StudyError, match=rf"no search study '{name}' in this storage, but: small\."):
            find_search_study(storage, name)


def test_a_storage_without_studies_says_what_to_do(storage: RDBStorage) -> None:
    with pytest.raises(StudyError, match=r"cli\.py search"):
        find_search_study(storage, None)


def test_the_best_is_the_earliest_of_the_highest(study: optuna.Study) -> None:
    assert best_trial(study) is None
    for value in (90.0, 95.0, 95.0, 94.0):
        study.tell(claim(study, range(9)), value)
    pruned = claim(study, range(9))
    pruned.report(99.0, step=1)
    study.tell(pruned, state=TrialState.PRUNED)
    best = best_trial(study)
    assert best is not None
    assert best.number == 1
