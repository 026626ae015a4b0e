"""A run that trains on a search's training images, and measures on its validation images."""

import time
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState
from tiny import CHANNELS, FIRST, NUM_PARAMS, TinySearch, suggest_diverging, suggest_over_budget
from training import after_an_epoch

from search.config import ModelConfig
from search.net.crops import ALL_CROPS, CENTRE, Crops
from search.net.data import Split
from search.net.device import Runtime
from search.net.model import TinyCNN
from search.net.train import Evaluation, evaluate
from search.runs.validating import Validation
from search.studies.facts import TrialFacts
from search.studies.study import StoredStudy
from search.studies.worker import WorkerError


def test_a_trial_records_what_it_was_and_how_it_went(tiny: TinySearch) -> None:
    trial = tiny.run_next()
    facts = TrialFacts.of(trial)
    assert trial.state == TrialState.COMPLETE
    assert trial.params == FIRST
    assert (facts.channels, facts.num_params) == (CHANNELS, NUM_PARAMS)
    assert (facts.ticket, facts.epochs, facts.drawn) == (0, 3, True)
    assert (facts.device, facts.precision, facts.commit) == ("cpu", "fp32", tiny.code.commit)
    assert facts.seconds > 0
    assert facts.worker_peak_memory_mb is not None
    assert facts.worker_peak_memory_mb > 10
    assert facts.train_loss is not None
    assert 0 < facts.train_loss < 10
    assert facts.val_loss is not None
    assert 0 < facts.val_loss < 10
    assert facts.prune_reason is None


def test_every_epoch_is_reported_with_one_view_and_the_value_is_the_last_ones_with_all(
    tiny: TinySearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = []

    def watched_evaluate(model: TinyCNN, split: Split, runtime: Runtime, crops: Crops = CENTRE) -> Evaluation:
        evaluation = evaluate(model, split, runtime, crops)
        accuracies.append((len(crops), evaluation.accuracy))
        return evaluation

    monkeypatch.setattr("search.runs.validating.evaluate", watched_evaluate)
    trial = tiny.run_next()
    assert list(trial.intermediate_values) == [1, 2, 3]
    assert accuracies == [
        *((1, accuracy) for accuracy in trial.intermediate_values.values()),
        (len(ALL_CROPS), trial.value),
    ]
    assert all(0 <= accuracy <= 100 for accuracy in trial.intermediate_values.values())


def test_the_seconds_of_a_run_include_its_measuring_by_all_views(
    tiny: TinySearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_epochs = []

    def slow_evaluate(model: TinyCNN, split: Split, runtime: Runtime, crops: Crops = CENTRE) -> Evaluation:
        if len(crops) > 1:
            of_the_epochs.append(TrialFacts.of(tiny.stored.trials()[0]).seconds)
            time.sleep(0.2)
        return evaluate(model, split, runtime, crops)

    monkeypatch.setattr("search.runs.validating.evaluate", slow_evaluate)
    assert TrialFacts.of(tiny.run_next()).seconds > of_the_epochs[0] + 0.19


def test_the_distance_to_the_budget_is_recorded_as_a_constraint(tiny: TinySearch) -> None:
    assert tiny.run_next().constraints == {"num_params": NUM_PARAMS - 1_000}
    assert tiny.changed(max_params=NUM_PARAMS).run_next().state == TrialState.COMPLETE  # the limit itself is allowed


def test_a_network_over_budget_is_refused_untrained(tiny: TinySearch) -> None:
    trial = tiny.changed(suggest_config=suggest_over_budget).run_next()
    facts = TrialFacts.of(trial)
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {}
    assert facts.prune_reason == "over budget"
    assert facts.num_params is not None
    assert facts.num_params > 1_000
    assert trial.constraints["num_params"] > 0
    assert tiny.stored.best_trial() is None
    assert not tiny.model_path.exists()


def test_one_parameter_over_budget_is_over_budget(tiny: TinySearch) -> None:
    trial = tiny.changed(max_params=NUM_PARAMS - 1).run_next()
    assert TrialFacts.of(trial).prune_reason == "over budget"


def test_the_parameters_of_the_real_network_count(tiny: TinySearch, monkeypatch: pytest.MonkeyPatch) -> None:
    class LargerCNN(TinyCNN):
        def __init__(self, config: ModelConfig) -> None:
            super().__init__(config)
            self.extra = torch.nn.Parameter(torch.zeros(1))

    monkeypatch.setattr("search.runs.validating.TinyCNN", LargerCNN)
    with pytest.raises(WorkerError, match=f"AssertionError: .*{NUM_PARAMS + 1}"):
        tiny.run_next()
    assert {trial.state for trial in tiny.stored.trials()} == {TrialState.FAIL}
    assert all(trial.intermediate_values == {} for trial in tiny.stored.trials())


def test_a_trial_that_diverges_is_pruned_and_says_so(tiny: TinySearch) -> None:
    trial = tiny.changed(suggest_config=suggest_diverging).run_next()
    assert trial.state == TrialState.PRUNED
    assert TrialFacts.of(trial).prune_reason == "diverged"
    assert not tiny.model_path.exists()


def add_perfect_trials(search: StoredStudy, number: int) -> None:
    for _ in range(number):
        perfect = dict.fromkeys(range(1, 7), 100.0)
        search.study.add_trial(optuna.trial.create_trial(value=100.0, intermediate_values=perfect))


@pytest.mark.parametrize(
    ("pruner", "num_better", "state", "epochs"),
    [
        ("percentile", 4, TrialState.PRUNED, 5),  # after the warm-up
        ("percentile", 3, TrialState.COMPLETE, 6),  # too few to compare with
        ("none", 4, TrialState.COMPLETE, 6),
    ],
)
def test_the_pruner_ends_what_is_far_behind(
    tiny: TinySearch, pruner: str, num_better: int, state: TrialState, epochs: int
) -> None:
    add_perfect_trials(tiny.stored, num_better)
    trial = tiny.changed(epochs=6).run_next(pruner=pruner)
    facts = TrialFacts.of(trial)
    assert trial.state == state
    assert facts.epochs == len(trial.intermediate_values) == epochs
    assert facts.prune_reason == ("not promising" if state == TrialState.PRUNED else None)


def test_an_interrupted_trial_comes_to_what_it_would_have_come_to(tiny: TinySearch) -> None:
    tiny.run_next()
    interrupted = tiny.run_next(should_stop=after_an_epoch())
    assert interrupted.state == TrialState.FAIL
    assert TrialFacts.of(interrupted).epochs == len(interrupted.intermediate_values) == 1
    assert TrialFacts.of(interrupted).fail_reason is None
    retry = tiny.run_next()
    assert TrialFacts.of(retry).ticket == TrialFacts.of(interrupted).ticket == 1
    uninterrupted = tiny.under_name("uninterrupted")
    _, twin = uninterrupted.run_next(), uninterrupted.run_next()
    assert interrupted.params == retry.params == twin.params
    assert retry.intermediate_values == twin.intermediate_values
    assert TrialFacts.of(retry).train_loss == TrialFacts.of(twin).train_loss


def test_a_ticket_trained_again_comes_to_the_same_to_the_last_digit(tiny: TinySearch) -> None:
    first = tiny.run_next()
    again = tiny.under_name("again").run_next()
    other = tiny.run_next()  # the next ticket's seed is another
    assert (first.value, first.intermediate_values) == (again.value, again.intermediate_values)
    for name in ("seed", "train_loss", "val_loss"):
        assert getattr(TrialFacts.of(first), name) == getattr(TrialFacts.of(again), name)
        assert getattr(TrialFacts.of(first), name) != getattr(TrialFacts.of(other), name)


def test_a_trial_asked_to_stop_in_its_last_epoch_completes(tiny: TinySearch) -> None:
    assert tiny.changed(epochs=1).run_next(should_stop=after_an_epoch()).state == TrialState.COMPLETE


def test_a_worker_prepares_the_searchs_digits_where_no_files_are(tmp_path: Path) -> None:
    validation = Validation(dataset="sample", data_dir=tmp_path, precision="fp32", max_params=1_000, epochs=1)
    resources = validation.prepare("cpu")
    assert (len(resources.training), len(resources.validation)) == (3_200, 800)
    assert (resources.runtime.device.type, resources.runtime.precision) == ("cpu", "fp32")
    assert list(tmp_path.iterdir()) == []
