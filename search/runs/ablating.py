"""The ladder: what each method earned, one added after the other, and each left out alone.

Batch norm, dropout and augmentation, as in the hand-made study that this tool replaces; everything else is the
winner's. Each run is a trial of a study of its own, as in a verification. Test accuracy is measured for the record and
picks nothing.
"""

from ..config import TrialConfig
from ..files import write_atomically
from ..proof.ladder import ByHand, Ladder, Rung
from ..proof.ledger import LADDER_SEEDS
from ..proof.parts import Spread
from ..settings import AblateSettings
from ..show import ladder as words
from ..show.screen import Screen
from ..studies.facts import TrialFacts
from ..studies.kinds import Kind
from ..studies.space import Space
from ..studies.study import StoredStudy, StudyError
from .following import FollowUp, open_follower
from .frontiers import refresh_frontier
from .rungs import RUNGS, SOME_DROPOUT, RungTask, rung_config, runs_of
from .session import Ended
from .testing import Measured, made_with

BY_HAND = {  # best training and test accuracy, one run each (the write-up that this tool replaces)
    "plain": ByHand(train=80.05, test=79.29),
    "+ batch norm": ByHand(train=99.66, test=99.32),
    "+ dropout": ByHand(train=99.07, test=99.40),
    "+ augmentation (all)": ByHand(train=97.85, test=99.42),
}
BY_HAND_DATASET = "mnist"  # it used all of it


def run_ablation(settings: AblateSettings, space: Space, screen: Screen) -> Ended[Ladder]:
    """Takes the winner's recipe apart, over seeds. Raises as `run_search` does."""
    follow_up = FollowUp.begin(settings, space, screen, trial=settings.trial)
    search, session = follow_up.search, follow_up.session
    ablation = open_follower(search, Kind.ABLATE, follow_up.choice, follow_up.config)
    screen.say(f"Taking trial {follow_up.number} of {search.name} apart, {follow_up.choice.rule}.")
    num_seeds = max(settings.seeds, num_complete_seeds(ablation))
    if num_seeds > settings.seeds:
        screen.warn(f"{num_seeds} seeds of every rung were measured before: all of them count, not {settings.seeds}.")
    folder = settings.results_dir / search.name
    task = RungTask(test=follow_up.test, config=follow_up.config, folder=folder)
    job = session.job(ablation, runs_of(num_seeds), task, epochs=follow_up.test.epochs)
    interrupted = session.run(ablation, job)
    refresh_frontier(session, follow_up.test.dataset, follow_up.test.epochs)  # its full rung is the winner itself
    if interrupted:
        return Ended(record=None, interrupted=True)
    ablation.record_use()
    record = make_ladder(ablation, follow_up.config, num_seeds)
    # A trial that is asked for has records of its own, so that it does not replace the winner's.
    stem = "ablation" if settings.trial is None else f"ablation-{follow_up.number}"
    path, page, picture = (folder / f"{stem}.{ending}" for ending in ("json", "md", "png"))
    record.write(path)
    write_atomically(page, words.to_markdown(record))
    write_atomically(picture, words.plot(record))
    from .pages import write_page  # loads matplotlib: not before there is something to draw

    report = write_page(search, settings, space, screen) if settings.trial is None else ()
    return Ended(record=record, files=(path, page, picture, *report))


def _complete_runs(ablation: StoredStudy) -> dict[tuple[str, int], Measured]:
    """By rung and seed."""
    return {(trial.params["rung"], trial.params["seed"]): Measured.of(trial) for trial in ablation.complete_trials()}


def num_complete_seeds(ablation: StoredStudy) -> int:
    """For how many seeds every rung is measured."""
    complete = _complete_runs(ablation).keys()
    count = 0
    while all((rung, LADDER_SEEDS + count) in complete for rung in RUNGS):
        count += 1
    return count


def make_ladder(ablation: StoredStudy, config: TrialConfig, num_seeds: int) -> Ladder:
    """The ladder of so many seeds.

    Raises:
        StudyError: If some runs are not measured yet.
    """
    runs = _complete_runs(ablation)
    seeds = range(LADDER_SEEDS, LADDER_SEEDS + num_seeds)
    if any((rung, seed) not in runs for rung in RUNGS for seed in seeds):
        raise StudyError("Another command is at work on some of these runs. Run this one again when it has ended.")
    facts = ablation.facts
    return Ladder.model_validate(
        {
            "study_name": facts.search_study,
            "trial": facts.trial,
            "dataset": facts.dataset,
            "num_images": runs[next(iter(RUNGS)), seeds.start].facts.num_images,
            "epochs": facts.epochs,
            "recipe": facts.recipe,
            "config": config,
            "dropout": config.model.dropout or SOME_DROPOUT,
            "first_seed": LADDER_SEEDS,
            "num_seeds": num_seeds,
            "rungs": tuple(
                _describe_rung(rung, config, [runs[rung, seed] for seed in seeds], facts.dataset == BY_HAND_DATASET)
                for rung in RUNGS
            ),
            **dict(made_with([runs[rung, seed] for rung in RUNGS for seed in seeds])),
        }
    )


def _describe_rung(rung: str, config: TrialConfig, runs: list[Measured], compares_by_hand: bool) -> Rung:
    facts = [TrialFacts.of(run.trial) for run in runs]
    ended = [(run, each) for run, each in zip(runs, facts, strict=True) if each.train_accuracy is not None]
    return Rung(
        rung=rung,
        methods=RUNGS[rung],
        config=rung_config(config, RUNGS[rung]),
        errors=tuple(run.facts.errors for run in runs),
        errors_one_view=tuple(run.facts.errors_one_view for run in runs),
        diverged=len(runs) - len(ended),
        test=Spread(accuracies=tuple(run.accuracy for run, _ in ended)),
        test_one_view=Spread(accuracies=tuple(run.accuracy_one_view for run, _ in ended)),
        # By one view, for all views of 60,000 images would take longer than the training; so it compares with the
        # test images by one view. On the images as they are, without distortions.
        train_one_view=Spread(accuracies=tuple(each.train_accuracy or 0.0 for _, each in ended)),
        by_hand=BY_HAND.get(rung) if compares_by_hand else None,
    )
