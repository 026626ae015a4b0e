import json
from dataclasses import asdict, replace
from typing import Any

import optuna
import pytest
from fakes import claim, draw, drawn, fail
from optuna.trial import FrozenTrial, TrialState, create_trial

import space
from search.studies.facts import (
    Environment,
    FactsError,
    MeasuredFacts,
    StudyFacts,
    TrialFacts,
    config_facts,
)
from search.studies.kinds import Kind
from search.studies.process import this_process
from search.studies.study import StoredStudy

VERSIONS = {"python": "3.12.3", "torch": "2.14.1"}
TRIAL = TrialFacts(
    ticket=3,
    owner=this_process(),
    drawn=True,
    retry_of=2,
    kills=1,
    channels=((8, 9), (10,), (11, 12)),
    blocks=("dense", "separable", "dense"),
    residual=True,
    num_params=7_993,
    seed=2**62 + 1,
    device="cpu",
    precision="fp32",
    commit="0123abc",
    versions=VERSIONS,
    epochs=15,
    seconds=93.25,
    train_loss=0.1 + 0.2,
    val_loss=float("inf"),
    worker_peak_memory_mb=612,
    prune_reason="not promising",
    fail_reason="MemoryError: out of memory",
    searched_params={"lr": 0.01, "convs_1": 2},
    errors=41,
    errors_one_view=52,
    num_images=10_000,
    num_views=27,
    train_accuracy=99.5,
    misses=((7, 4, 9, 0.75, 0.25),),
    confidence=((10, 9, 0.8),),
)
STUDY = StudyFacts(
    kind=Kind.VERIFY,
    dataset="mnist",
    split="5f3e",
    max_params=7_999,
    epochs=15,
    space="90ab",
    space_file="mine.py",
    recipe=4,
    sampler="tpe",
    pruner="percentile",
    seed=7,
    patience=20,
    num_trials=50,
    warm_start="smaller",
    num_compared=6,
    num_reranked=5,
    commit="0123abc",
    versions=VERSIONS,
    continued_with=(Environment(commit="4567def", versions=VERSIONS),),
    last_active="2026-11-25T03:16:35.091+00:00",
    search_study="small",
    reproduces="other",
    trial=3,
    planned_seeds={20_000: 5, 10_000: 3},
    rules={20_000: "the best of 3 single runs; not re-ranked"},
    planned_trials=(3, 1),
    **config_facts(space.reference_config()),
)
MEASURED: dict[str, Any] = {
    "errors": 41,
    "errors_one_view": 52,
    "num_images": 10_000,
    "num_views": 27,
    "device": "cpu",
    "precision": "fp32",
    "commit": "0123abc",
    "versions": VERSIONS,
}


def carrying(**attributes: Any) -> FrozenTrial:
    trial = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
    trial.number = 7
    return trial


def read_again(search: StoredStudy) -> StoredStudy:
    return StoredStudy.load(search.storage, search.name)


def test_all_that_a_trial_can_carry_is_read_as_it_was_written(search: StoredStudy) -> None:
    trial = claim(search, drawn(1))
    TRIAL.write(trial)
    assert TRIAL.model_fields_set == TrialFacts.model_fields.keys()
    assert TrialFacts.of(trial) == TRIAL
    assert TrialFacts.of(read_again(search).trials()[0]) == TRIAL


def test_all_that_a_study_can_carry_is_read_as_it_was_written(search: StoredStudy) -> None:
    STUDY.write(search.study)
    assert STUDY.model_fields_set == StudyFacts.model_fields.keys()
    assert read_again(search).facts == STUDY
    assert list(read_again(search).facts.planned_seeds) == [20_000, 10_000]  # in order of time


def test_attributes_are_called_as_they_always_were() -> None:
    stored = STUDY.as_attributes()
    assert stored["attempts"] == {"20000": 5, "10000": 3}
    assert (stored["rerank"], stored["planned"], stored["kind"]) == (5, [3, 1], "verify")
    assert stored["continued_with"] == [{"commit": "4567def", "versions": VERSIONS}]
    assert TRIAL.as_attributes()["owner"].keys() == {"host", "place", "pid", "started"}
    assert TRIAL.as_attributes()["channels"] == [[8, 9], [10], [11, 12]]


def test_a_configuration_is_carried_as_json_always_had_it() -> None:
    config = space.reference_config()
    stored = StudyFacts(**config_facts(config)).as_attributes()
    as_it_was = json.loads(json.dumps(asdict(config)))
    del as_it_was["model"]["blocks"], as_it_was["model"]["residual"]  # there were dense networks alone
    assert stored == {
        "num_params": config.model.num_params,
        "channels": [list(stage) for stage in config.model.channels],
        "config": as_it_was,
    }
    other = replace(config, model=replace(config.model, blocks=("dense", "separable", "dense"), residual=True))
    assert StudyFacts(**config_facts(other)).as_attributes()["config"] == json.loads(json.dumps(asdict(other)))


def test_only_what_is_set_is_written(search: StoredStudy) -> None:
    before = read_again(search).study.user_attrs
    StudyFacts(seed=7).write(search.study)
    assert read_again(search).study.user_attrs == {**before, "seed": 7}
    trial = claim(search, drawn(1))
    TrialFacts(epochs=3).write(trial)
    TrialFacts(seconds=1.5).write(trial)
    assert set(trial.user_attrs) == {"ticket", "owner", "epochs", "seconds"}


def test_what_a_trial_does_not_carry_is_not_known() -> None:
    facts = TrialFacts.of(carrying())
    assert facts == TrialFacts()
    assert (facts.ticket, facts.owner, facts.epochs, facts.drawn) == (None, None, 0, False)


def test_what_a_study_does_not_carry_is_not_known() -> None:
    assert StudyFacts.of(optuna.create_study()) == StudyFacts()


def test_what_a_later_version_adds_is_ignored(search: StoredStudy) -> None:
    search.study.set_user_attr("carbon", {"grams": [1, 2]})
    assert search.facts.dataset == "sample"
    assert TrialFacts.of(carrying(ticket=3, mood="good", pid=1)) == TrialFacts(ticket=3)
    assert MeasuredFacts.of(carrying(**MEASURED, mood="good")).errors == 41


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"ticket": "first"}, "'first' as 'ticket'"),
        ({"epochs": None}, "None as 'epochs'"),
        ({"epochs": 2.5}, "2.5 as 'epochs'"),
        ({"seconds": "a\nwhile"}, "'a\\nwhile' as 'seconds'"),
        ({"channels": [[8], "x"]}, "as 'channels.1'"),
        ({"owner": {"host": "here", "pid": 1}}, "no 'owner.started'"),
        ({"versions": {"torch\n": 2}}, "2 as"),
    ],
)
def test_a_trial_with_a_value_of_the_wrong_kind_is_refused_in_one_line(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(FactsError) as caught:
        TrialFacts.of(carrying(**attributes))
    message = str(caught.value)
    assert message.startswith("Trial 7 carries ")
    assert words in message
    assert "--storage" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"max_params": "many"}, "'many' as 'max_params'"),
        ({"attempts": {"first": 3}}, "as 'attempts.first"),
        ({"planned": 3}, "3 as 'planned'"),
        ({"continued_with": [{"commit": "0123abc"}]}, "no 'continued_with.0.versions'"),
    ],
)
def test_a_study_with_a_value_of_the_wrong_kind_is_refused_in_one_line(attributes: dict[str, Any], words: str) -> None:
    study = optuna.create_study(study_name="small")
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    with pytest.raises(FactsError) as caught:
        StudyFacts.of(study)
    message = str(caught.value)
    assert message.startswith("Study 'small' carries ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("missing", MEASURED)
def test_a_measured_trial_that_lacks_something_is_refused_and_says_what(missing: str) -> None:
    assert MeasuredFacts.of(carrying(**MEASURED)).num_images == 10_000
    with pytest.raises(FactsError, match=rf"Trial 7 carries no '{missing}'"):
        MeasuredFacts.of(carrying(**{key: value for key, value in MEASURED.items() if key != missing}))


def test_facts_cannot_be_changed_but_copied() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TRIAL.ticket = 4
    assert TRIAL.model_copy(update={"ticket": 4}).ticket == 4


def test_a_trial_was_interrupted_if_it_failed_without_a_reason(search: StoredStudy) -> None:
    interrupted, failed, complete = (claim(search, drawn(3)) for _ in range(3))
    draw(interrupted)
    search.study.tell(interrupted, state=TrialState.FAIL)
    fail(search, failed)
    search.study.tell(complete, 90.0)
    answers = [TrialFacts.of(trial).was_interrupted(trial.state) for trial in search.trials()]
    assert answers == [True, False, False]


def test_a_fact_that_is_misspelt_is_an_error_but_what_others_have_written_is_passed_over() -> None:
    with pytest.raises(ValueError, match="typo"):
        TrialFacts(typo=1)
    assert TrialFacts.of(carrying(typo=1, epochs=3)) == TrialFacts(epochs=3, drawn=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", "35"), ("epochs", True), ("epochs", -1), ("seed", 2**63), ("drawn", "yes"), ("owner", 5)],
)
def test_a_value_of_another_type_or_out_of_range_is_no_fact(name: str, value: Any) -> None:
    with pytest.raises(FactsError, match=f"Trial 7 carries .* as '{name}"):
        TrialFacts.of(carrying(**{name: value}))
