"""The ladder: what each method earned, one added after the other, and each left out alone.

Batch norm, dropout and augmentation, as in the hand-made study that this tool replaces; everything else is the
winner's. Each run is a trial of a study of its own, as in a verification. Test accuracy is measured for the record and
picks nothing.
"""

from dataclasses import dataclass, replace

import optuna

from search.config import AugmentConfig, TrialConfig
from search.files import write_atomically
from search.net.train import evaluate
from search.proof.records import ByHand, Ladder, Rung, Spread
from search.runs.session import Ended, Session
from search.runs.testing import LARGEST_SEED, FinalResources, FinalTest, Measured, made_with
from search.runs.winner import Choice, choose_trial, rebuild_config
from search.settings import AblateSettings
from search.show import ladder as words
from search.show.screen import Screen
from search.studies.facts import StudyFacts, TrialFacts, config_facts
from search.studies.job import Result, ShouldStop
from search.studies.kinds import Kind
from search.studies.plan import GivenPlan
from search.studies.space import Space
from search.studies.study import StoredStudy, StudyError, find_search_study, open_following_study

FIRST_SEED = 2**31  # out of a verification's reach: what is measured here must not be proved with
SOME_DROPOUT = 0.05  # where the winner has none, so that the ladder has the rung

RUNGS = {
    "plain": (),
    "+ batch norm": ("norm",),
    "+ dropout": ("norm", "dropout"),
    "+ augmentation (all)": ("norm", "dropout", "augmentation"),
    "all but batch norm": ("dropout", "augmentation"),
    "all but dropout": ("norm", "augmentation"),
    # all but augmentation is the third rung
}
BY_HAND = {  # best training and test accuracy, one run each (the write-up that this tool replaces)
    "plain": ByHand(train=80.05, test=79.29),
    "+ batch norm": ByHand(train=99.66, test=99.32),
    "+ dropout": ByHand(train=99.07, test=99.40),
    "+ augmentation (all)": ByHand(train=97.85, test=99.42),
}
BY_HAND_DATASET = "mnist"  # it used all of it


def rung_config(config: TrialConfig, methods: tuple[str, ...]) -> TrialConfig:
    """The configuration with these methods alone, of "norm", "dropout" and "augmentation"."""
    model = replace(
        config.model,
        norm="norm" in methods,
        dropout=(config.model.dropout or SOME_DROPOUT) if "dropout" in methods else 0.0,
    )
    return replace(config, model=model, augment=config.augment if "augmentation" in methods else AugmentConfig())


@dataclass(frozen=True, kw_only=True)
class RungTask:
    """Computes a rung with one seed."""

    test: FinalTest
    config: TrialConfig

    def prepare(self, device: str) -> FinalResources:
        return self.test.prepare(device)

    def recover(self) -> None:
        self.test.recover()

    def run(self, trial: optuna.Trial, resources: FinalResources, should_stop: ShouldStop) -> Result:
        rung, seed = trial.suggest_categorical("rung", list(RUNGS)), trial.suggest_int("seed", 0, LARGEST_SEED)
        config = rung_config(self.config, RUNGS[rung])
        TrialFacts(num_params=config.model.num_params).write(trial)
        tested = self.test.run(trial, config, resources, seed=seed, should_stop=should_stop)
        if tested.model is not None:
            on_training = evaluate(tested.model, resources.training, resources.runtime)
            TrialFacts(train_accuracy=on_training.accuracy).write(trial)
        return Result(value=tested.evaluation.accuracy)


def runs_of(num_seeds: int) -> GivenPlan:
    """Every rung with every seed, each rung once before any again."""
    seeds = range(FIRST_SEED, FIRST_SEED + num_seeds)
    return GivenPlan(runs=tuple({"rung": rung, "seed": seed} for seed in seeds for rung in RUNGS))


def run_ablation(settings: AblateSettings, space: Space, screen: Screen) -> Ended[Ladder]:
    """Takes the winner's recipe apart, over seeds. Raises as `run_search` does."""
    session = Session.open(settings, space, screen, create=False)
    search = find_search_study(session.storage, settings.study_name)
    choice = choose_trial(search, settings.trial)
    config = rebuild_config(search, choice.trial, space)
    binding = search.binding
    test = FinalTest(
        dataset=binding.dataset, data_dir=settings.data_dir, precision=session.precision, epochs=binding.epochs
    )
    test.check_data()
    ablation = open_ablation_study(search, choice, config)
    screen.say(f"Taking trial {choice.trial.number} of {search.name} apart, {choice.rule}.")
    num_seeds = max(settings.seeds, num_complete_seeds(ablation))
    if num_seeds > settings.seeds:
        screen.warn(f"{num_seeds} seeds of every rung were measured before: all of them count, not {settings.seeds}.")
    job = session.job(ablation, runs_of(num_seeds), RungTask(test=test, config=config), epochs=binding.epochs)
    if session.run(ablation, job):
        return Ended(record=None, interrupted=True)
    ablation.record_use()
    record = make_ladder(ablation, config, num_seeds)
    folder = settings.results_dir / search.name
    record.write(folder / "ablation.json")
    write_atomically(folder / "ablation.md", words.to_markdown(record))
    write_atomically(folder / "ablation.png", words.plot(record))
    return Ended(record=record)


def open_ablation_study(search: StoredStudy, choice: Choice, config: TrialConfig) -> StoredStudy:
    """The study whose trials are the rungs of one searched trial, over seeds.

    Raises:
        StudyError: If a study of that name took another configuration apart.
    """
    number = choice.trial.number
    facts = StudyFacts(trial=number, **config_facts(config))
    return open_following_study(search, Kind.ABLATE, facts, trial=number)


def _complete_runs(ablation: StoredStudy) -> dict[tuple[str, int], Measured]:
    """By rung and seed."""
    return {(trial.params["rung"], trial.params["seed"]): Measured.of(trial) for trial in ablation.complete_trials()}


def num_complete_seeds(ablation: StoredStudy) -> int:
    """For how many seeds every rung is measured."""
    complete = _complete_runs(ablation).keys()
    count = 0
    while all((rung, FIRST_SEED + count) in complete for rung in RUNGS):
        count += 1
    return count


def make_ladder(ablation: StoredStudy, config: TrialConfig, num_seeds: int) -> Ladder:
    """The ladder of so many seeds.

    Raises:
        StudyError: If some runs are not measured yet.
    """
    runs = _complete_runs(ablation)
    seeds = range(FIRST_SEED, FIRST_SEED + num_seeds)
    if any((rung, seed) not in runs for rung in RUNGS for seed in seeds):
        raise StudyError("Another command is at work on some of these runs. Run this one again when it has ended.")
    facts = ablation.facts
    return Ladder.model_validate(
        {
            "study_name": facts.search_study,
            "trial": facts.trial,
            "dataset": facts.dataset,
            "epochs": facts.epochs,
            "config": config,
            "dropout": config.model.dropout or SOME_DROPOUT,
            "first_seed": FIRST_SEED,
            "num_seeds": num_seeds,
            "rungs": tuple(
                _describe_rung(rung, [runs[rung, seed] for seed in seeds], facts.dataset == BY_HAND_DATASET)
                for rung in RUNGS
            ),
            **dict(made_with([runs[rung, seed] for rung in RUNGS for seed in seeds])),
        }
    )


def _describe_rung(rung: str, runs: list[Measured], compares_by_hand: bool) -> Rung:
    facts = [TrialFacts.of(run.trial) for run in runs]
    ended = [(run, each) for run, each in zip(runs, facts, strict=True) if each.train_accuracy is not None]
    num_params = facts[0].num_params
    assert num_params is not None, runs
    return Rung(
        rung=rung,
        methods=RUNGS[rung],
        num_params=num_params,
        diverged=len(runs) - len(ended),
        test=Spread(accuracies=tuple(run.accuracy for run, _ in ended)),
        test_one_view=Spread(accuracies=tuple(run.accuracy_one_view for run, _ in ended)),
        # By one view, for all views of 60,000 digits would take longer than the training; so it compares with the
        # test digits by one view. On the digits as they are, without distortions.
        train_one_view=Spread(accuracies=tuple(each.train_accuracy or 0.0 for _, each in ended)),
        by_hand=BY_HAND.get(rung) if compares_by_hand else None,
    )
