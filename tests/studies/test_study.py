import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
import pytest
from fakes import BINDING, REFERENCE, claim, draw, drawn, states
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from search.provenance import code_commit, versions
from search.studies.facts import FactsError, StudyFacts
from search.studies.finding import delete_studies, find_search_study, followers_of, load_studies, studies_to_delete
from search.studies.kinds import Kind
from search.studies.opening import open_bound_study, open_following_study, open_search_study
from search.studies.optuna_private import fixed_params
from search.studies.study import StoredStudy, StudyError, default_name, make_complaint_of_another_search

OTHER_FIRST: dict[str, int | float] = {"depth": 9, "width": 2.0, "lr": 0.09}


def names(storage: RDBStorage) -> list[str]:
    return optuna.get_all_study_names(storage)


def test_an_equal_binding_joins_the_study(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(2)), 90.0)
    joined = open_search_study(search.storage, "small", replace(BINDING), OTHER_FIRST)
    assert names(search.storage) == ["small"]
    assert states(joined) == ["COMPLETE"]  # nothing queued anew


def test_a_study_without_a_recipe_number_is_of_the_first_recipe(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="old", direction="maximize")
    for key, value in asdict(BINDING).items():
        if key != "recipe":
            study.set_user_attr(key, value)
    assert StoredStudy(study, storage).binding == replace(BINDING, recipe=1)


@pytest.mark.parametrize("num_attributes", [0, 3, 5, 6])
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
    search = open_search_study(storage, "small", BINDING, REFERENCE)
    assert search.binding == BINDING
    assert search.kind == Kind.SEARCH
    assert [fixed_params(trial) for trial in search.trials((TrialState.WAITING,))] == [REFERENCE]


def test_a_study_whose_creator_was_cut_off_before_its_first_trial_was_queued_gets_it(
    storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "enqueue_trial", cut_off)
        with pytest.raises(KeyboardInterrupt):
            open_search_study(storage, "small", BINDING, REFERENCE)
    search = open_search_study(storage, "small", BINDING, REFERENCE)
    assert [fixed_params(trial) for trial in search.trials()] == [REFERENCE]


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
def test_another_binding_is_refused_and_named(search: StoredStudy, field: str, value: Any, words: str) -> None:
    before = search.study.user_attrs
    with pytest.raises(StudyError) as caught:
        open_search_study(search.storage, "small", replace(BINDING, **{field: value}), REFERENCE)
    message = str(caught.value)
    assert all(str(each) in message for each in (words, value, getattr(BINDING, field), "--study-name"))
    assert "\n" not in message
    assert search.study.user_attrs == before


def test_every_difference_is_named_and_nothing_else(search: StoredStudy) -> None:
    with pytest.raises(StudyError) as caught:
        open_search_study(search.storage, "small", replace(BINDING, epochs=5, space="cd12"), REFERENCE)
    assert "epochs" in str(caught.value)
    assert "space.py" in str(caught.value)
    assert "data set" not in str(caught.value)


@pytest.mark.parametrize("directions", [["minimize"], ["maximize"], ["maximize", "minimize"]])
def test_a_study_of_another_tool_is_refused_and_left_as_it_was(storage: RDBStorage, directions: list[str]) -> None:
    plain = optuna.create_study(storage=storage, study_name="small", directions=directions)
    plain.add_trial(create_trial(values=[1.0] * len(directions)))
    with pytest.raises(StudyError, match="'small' was not made by this tool"):
        open_search_study(storage, "small", BINDING, REFERENCE)
    assert (plain.user_attrs, states(StoredStudy(plain, storage))) == ({}, ["COMPLETE"])


def test_a_minimisation_is_refused_even_without_trials(storage: RDBStorage) -> None:
    plain = optuna.create_study(storage=storage, study_name="small")
    with pytest.raises(StudyError, match="small"):
        open_search_study(storage, "small", BINDING, REFERENCE)
    assert (plain.user_attrs, plain.trials) == ({}, [])


def test_a_study_of_another_tool_whose_attributes_are_named_like_ours_is_refused_in_one_line(
    storage: RDBStorage,
) -> None:
    plain = optuna.create_study(storage=storage, study_name="small", direction="maximize")
    plain.set_user_attr("kind", "image classification")
    plain.set_user_attr("epochs", "five\nor six")
    with pytest.raises(FactsError, match=r"'small' carries .* as 'epochs'") as caught:
        open_search_study(storage, "small", BINDING, REFERENCE)
    assert "\n" not in str(caught.value)
    assert StoredStudy(plain, storage).kind is None
    assert StoredStudy(plain, storage).last_active() == ""


def test_a_study_says_what_it_is_bound_to_and_made_with(search: StoredStudy) -> None:
    recorded = search.study.user_attrs
    assert search.binding == BINDING
    assert recorded.items() >= asdict(BINDING).items()
    assert (search.facts.commit, search.facts.versions) == (code_commit(), versions())
    assert recorded["versions"]["optuna"] == optuna.__version__
    assert "continued_with" not in recorded
    assert search.study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_a_study_names_every_environment_that_it_was_continued_with_once(search: StoredStudy) -> None:
    made_with: dict[str, Any] = {"commit": "0123abc", "versions": {"torch": "2.0.0"}}
    StudyFacts(**made_with).write(search.study)  # as if it had been made earlier
    for _ in range(2):
        search.record_use()
    recorded = search.study.user_attrs
    assert {key: recorded[key] for key in made_with} == made_with
    assert recorded["continued_with"] == [{"commit": code_commit(), "versions": versions()}]


def test_nothing_is_known_of_the_activity_of_an_untouched_study(storage: RDBStorage) -> None:
    assert StoredStudy(optuna.create_study(storage=storage), storage).last_active() == ""


def test_a_study_is_active_when_it_is_opened_and_when_a_trial_begins_or_ends(search: StoredStudy) -> None:
    opened = search.last_active()
    trial = claim(search, drawn(1))
    begun = search.last_active()
    search.study.tell(trial, 90.0)
    ended = search.last_active()
    search.record_use()
    assert opened < begun < ended < search.last_active()


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Somewhere-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_activity_is_told_in_utc_wherever_the_trial_ran(search: StoredStudy) -> None:
    opened = datetime.fromisoformat(search.last_active())
    search.study.tell(claim(search, drawn(1)), 90.0)
    ended = datetime.fromisoformat(search.last_active())
    assert ended.tzinfo == UTC
    assert opened < ended < opened + timedelta(hours=1)  # Optuna's times are local


def test_a_study_whose_trial_ended_last_was_active_last(search: StoredStudy) -> None:
    trial = claim(search, drawn(1))
    open_search_study(search.storage, "other", BINDING, REFERENCE)
    assert find_search_study(search.storage, None).name == "other"
    search.study.tell(trial, 90.0)
    assert find_search_study(search.storage, None).name == "small"


def test_the_last_active_study_is_found(storage: RDBStorage) -> None:
    for name in ("a", "b", "c", "a"):
        open_search_study(storage, name, BINDING, REFERENCE)
    assert find_search_study(storage, None).name == "a"
    assert find_search_study(storage, "b").name == "b"


def test_a_search_is_active_as_long_as_what_follows_it(search: StoredStudy) -> None:
    open_search_study(search.storage, "other", BINDING, REFERENCE)
    assert find_search_study(search.storage, None).name == "other"
    open_following_study(search, Kind.VERIFY, StudyFacts(trial=0), trial=0)
    assert find_search_study(search.storage, None).name == "small"


def test_a_search_with_a_complete_trial_is_found_before_one_without(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(1)), 90.0)
    open_search_study(search.storage, "just begun", BINDING, REFERENCE)
    assert find_search_study(search.storage, None).name == "small"


def test_no_other_kind_of_study_is_found(search: StoredStudy) -> None:
    storage = search.storage
    open_following_study(search, Kind.VERIFY, StudyFacts(trial=0), trial=0)
    optuna.create_study(storage=storage, study_name="plain")
    assert find_search_study(storage, None).name == "small"
    for name in ("small-verify-0", "plain", "absent"):
        with pytest.raises(StudyError, match=rf"no search study '{name}' in this storage, but: small\."):
            find_search_study(storage, name)


def test_a_storage_without_studies_says_what_to_do(storage: RDBStorage) -> None:
    with pytest.raises(StudyError, match=r"cli\.py search"):
        find_search_study(storage, None)


def test_the_best_is_the_earliest_of_the_highest(search: StoredStudy) -> None:
    assert search.best_trial() is None
    for value in (90.0, 95.0, 95.0, 94.0):
        search.study.tell(claim(search, drawn(9)), value)
    pruned = claim(search, drawn(9))
    pruned.report(99.0, step=1)
    search.study.tell(pruned, state=TrialState.PRUNED)
    best = search.best_trial()
    assert best is not None
    assert best.number == 1


def test_a_sibling_is_in_the_same_database_or_nowhere(search: StoredStudy) -> None:
    open_search_study(search.storage, "other", BINDING, REFERENCE)
    sibling = search.sibling("other")
    assert sibling is not None
    assert (sibling.name, sibling.storage) == ("other", search.storage)
    assert search.sibling("absent") is None


def test_what_a_study_carries_is_read_anew_each_time(search: StoredStudy) -> None:
    StudyFacts(sampler="random").write(StoredStudy.load(search.storage, "small").study)
    assert search.facts.sampler == "random"


def test_the_default_name_tells_what_does_not_compare() -> None:
    assert default_name("mnist", 7_999, 15) == "mnist-7999p-15e"


def test_a_following_study_is_bound_like_its_search_and_joined_by_the_next_command(search: StoredStudy) -> None:
    first, second = (open_following_study(search, Kind.VERIFY, StudyFacts(trial=3), trial=3) for _ in range(2))
    assert first.name == second.name == "small-verify-3"
    assert names(search.storage) == ["small", "small-verify-3"]
    assert (second.kind, second.binding, second.facts.search_study) == (Kind.VERIFY, BINDING, "small")
    assert second.facts.trial == 3
    assert second.study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_a_following_study_of_something_else_is_refused_with_the_way_out(search: StoredStudy) -> None:
    facts = StudyFacts(trial=3, channels=((8,), (8,), (8,)))
    before = open_following_study(search, Kind.VERIFY, facts, trial=3).study.user_attrs
    with pytest.raises(StudyError, match=r"'small-verify-3' verified something else\. .*cli\.py delete small'"):
        open_following_study(search, Kind.VERIFY, facts.model_copy(update={"channels": ((9,), (8,), (8,))}), trial=3)
    assert StoredStudy.load(search.storage, "small-verify-3").study.user_attrs == before


@pytest.mark.parametrize("num_attributes", [0, 2, 4])
def test_a_bound_study_whose_creator_was_cut_off_is_not_there_and_made_by_the_next(
    storage: RDBStorage, monkeypatch: pytest.MonkeyPatch, num_attributes: int
) -> None:
    facts = StudyFacts(reproduces="small", trial=3, dataset="sample", epochs=15)
    set_user_attr, left = optuna.Study.set_user_attr, iter(range(num_attributes))

    def cut_off(study: optuna.Study, key: str, value: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        set_user_attr(study, key, value)

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "set_user_attr", cut_off)
        with pytest.raises(KeyboardInterrupt):
            open_bound_study(storage, "repeated", Kind.REPRODUCE, facts)
    assert optuna.get_all_study_names(storage) == []  # nothing takes it for what it is not yet
    stored = open_bound_study(storage, "repeated", Kind.REPRODUCE, facts)
    assert stored.kind == Kind.REPRODUCE
    assert stored.study.user_attrs.items() >= facts.as_attributes().items()


def follow(search: StoredStudy) -> list[str]:
    """Gives a search followers of each kind, and returns their names."""
    return [
        open_following_study(search, Kind.RERANK, StudyFacts()).name,
        open_following_study(search, Kind.VERIFY, StudyFacts(trial=3), trial=3).name,
        open_following_study(search, Kind.ABLATE, StudyFacts(trial=3), trial=3).name,
        open_following_study(search, Kind.REPRODUCE, StudyFacts(trial=3), trial=3, identity="0123ab").name,
    ]


def test_a_search_is_deleted_with_what_followed_it_and_nothing_else(search: StoredStudy) -> None:
    storage = search.storage
    followers = follow(search)
    other = open_search_study(storage, "small-2", BINDING, REFERENCE)
    kept = ["small-2", *follow(other)]
    assert followers_of(storage, "small") == followers
    assert studies_to_delete(storage, "small") == ["small", *followers]
    delete_studies(storage, studies_to_delete(storage, "small"))
    assert names(storage) == kept


def test_a_follower_alone_can_be_deleted(search: StoredStudy) -> None:
    followers = follow(search)
    assert studies_to_delete(search.storage, followers[1]) == followers[1:2]


def test_what_followed_a_search_that_is_gone_can_be_deleted_by_its_name(search: StoredStudy) -> None:
    followers = follow(search)
    optuna.delete_study(study_name="small", storage=search.storage)
    assert studies_to_delete(search.storage, "small") == followers


def test_a_new_search_is_refused_while_followers_of_an_earlier_one_are_there(search: StoredStudy) -> None:
    storage = search.storage
    *followers, reproduction = follow(search)
    optuna.delete_study(study_name="small", storage=storage)
    with pytest.raises(StudyError, match=r"cli\.py delete small'") as caught:
        open_search_study(storage, "small", BINDING, REFERENCE)
    assert ", ".join(followers) in str(caught.value)
    assert names(storage) == [*followers, reproduction]
    delete_studies(storage, followers)
    assert states(open_search_study(storage, "small", BINDING, REFERENCE)) == ["WAITING"]  # a reproduction is no bar


def test_another_tools_study_is_neither_a_follower_nor_deleted(search: StoredStudy) -> None:
    storage = search.storage
    optuna.create_study(storage=storage, study_name="small-rerank")
    optuna.create_study(storage=storage, study_name="plain")
    assert followers_of(storage, "small") == []
    assert studies_to_delete(storage, "small") == ["small"]
    with pytest.raises(StudyError, match="'plain' was not made by this tool"):
        studies_to_delete(storage, "plain")
    with pytest.raises(StudyError, match="no study 'absent'"):
        studies_to_delete(storage, "absent")


def test_the_complaint_of_another_search_of_the_same_name_says_what_to_do(search: StoredStudy) -> None:
    reranking = open_following_study(search, Kind.RERANK, StudyFacts())
    message = str(make_complaint_of_another_search(reranking))
    assert "'small-rerank' re-ranked another search of this name" in message
    assert "delete small'" in message


def test_all_studies_of_a_database_are_loaded_those_of_other_tools_too(search: StoredStudy) -> None:
    open_following_study(search, Kind.RERANK, StudyFacts())
    optuna.create_study(storage=search.storage, study_name="plain")
    kinds = {stored.name: stored.kind for stored in load_studies(search.storage)}
    assert kinds == {"small": Kind.SEARCH, "small-rerank": Kind.RERANK, "plain": None}


def test_a_study_of_a_later_version_is_read_as_far_as_it_is_known(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(1)), 90.0)
    search.study.set_user_attr("mood", {"good": True})
    search.study.set_user_attr("kind", "distillation")  # a kind that this version does not know
    assert search.kind is None
    with pytest.raises(StudyError, match="no search study"):
        find_search_study(search.storage, None)


def test_trials_are_those_of_the_states_asked_for(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(3)), 90.0)
    draw(claim(search, drawn(3)))
    assert [trial.number for trial in search.complete_trials()] == [0]
    assert [trial.number for trial in search.trials((TrialState.RUNNING,))] == [1]
    assert [trial.number for trial in search.trials()] == [0, 1]
