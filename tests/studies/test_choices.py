import subprocess
import sys

import optuna
import pytest
from fakes import draw
from optuna.trial import TrialState

from search import settings
from search.studies.choices import PRUNERS, SAMPLERS, ChoiceError, make_pruner, make_sampler
from search.studies.plan import Params


def test_the_choices_are_those_that_settings_take() -> None:
    assert (tuple(SAMPLERS), tuple(PRUNERS)) == (settings.SAMPLERS, settings.PRUNERS)


def drawn_by(name: str, seed: int, num_trials: int = 12) -> list[Params]:
    study = optuna.create_study(direction="maximize", sampler=make_sampler(name, seed))
    for number in range(num_trials):
        trial = study.ask()
        draw(trial)
        study.tell(trial, number)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_repeats_itself_with_the_same_seed_and_with_no_other(name: str) -> None:
    drawn = drawn_by(name, 7)
    assert drawn_by(name, 7) == drawn
    assert drawn_by(name, 8) != drawn


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_may_be_as_large_as_those_that_are_derived(name: str) -> None:
    assert drawn_by(name, 2**63 - 1, 1) == drawn_by(name, 2**32 - 1, 1)


def report_curve(study: optuna.Study, accuracies: list[float]) -> bool:
    """Whether a trial of this learning curve is to be pruned at its end."""
    trial = study.ask()
    for epoch, accuracy in enumerate(accuracies, start=1):
        trial.report(accuracy, step=epoch)
    prunes = trial.should_prune()
    study.tell(trial, state=TrialState.PRUNED if prunes else TrialState.COMPLETE, values=None if prunes else accuracy)
    return prunes


@pytest.mark.parametrize(("num_complete", "num_epochs", "prunes"), [(4, 5, True), (4, 4, False), (3, 5, False)])
def test_the_percentile_pruner_waits_for_four_complete_trials_and_the_fifth_epoch(
    num_complete: int, num_epochs: int, prunes: bool
) -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("percentile"))
    for number in range(num_complete):
        assert not report_curve(study, [90.0 + number] * 15)
    assert report_curve(study, [50.0] * num_epochs) == prunes


def test_the_percentile_pruner_spares_what_is_not_among_the_last_quarter() -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("percentile"))
    for number in range(5):
        assert not report_curve(study, [90.0 + number] * 15)
    assert not report_curve(study, [91.5] * 5)
    assert report_curve(study, [90.5] * 5)


def test_without_a_pruner_nothing_is_pruned() -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("none"))
    for _ in range(6):
        assert not report_curve(study, [95.0] * 15)
    assert not report_curve(study, [10.0] * 15)


def test_an_unknown_sampler_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ChoiceError, match=rf"no sampler 'grid'\. Known are: {', '.join(SAMPLERS)}\."):
        make_sampler("grid", 0)


def test_an_unknown_pruner_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ChoiceError, match=rf"no pruner 'median'\. Known are: {', '.join(PRUNERS)}\."):
        make_pruner("median")


def test_a_row_added_to_the_table_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "genetic", lambda seed: optuna.samplers.NSGAIISampler(seed=seed))
    assert isinstance(make_sampler("genetic", 0), optuna.samplers.NSGAIISampler)


def test_the_names_can_be_listed_without_loading_optuna() -> None:
    program = "import sys, search.studies.choices; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
