"""Pruners, replayed on full learning curves: what each saves, and what it costs.

python -m benchmarks.pruners --json > results/reference/pruners.json

The curves are those of `benchmarks.points`, which nothing pruned. They are replayed many times, each time in another
order, as a study with the pruner under test, which is Optuna's own and sees what it would see: the intermediate values
of the trials that came before, of the complete ones for most. So that a pruner cannot win by suiting one best curve,
random parts of the curves are replayed as well: what is lost there must not exceed the noise of a run.
"""

import math
import random
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.trial import TrialState
from rich.console import Console, Group
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.command import Benchmark, finish
from benchmarks.curves import tell_curve
from benchmarks.records import EpochPrediction, FinalAccuracy, Points, PrunerReplays, PrunerRow, read
from search.commands.options import json_option
from search.config import ExplainedError
from search.provenance import code_commit, versions
from search.studies.choices import PRUNER_PERCENTILE, PRUNER_STARTUP_TRIALS, PRUNER_WARMUP_EPOCHS, make_pruner


class Learned(NamedTuple):
    """A trial that nothing pruned: the validation accuracy after every epoch, by one view, and its value, by all."""

    curve: tuple[float, ...]
    value: float


PART = 0.75  # of the curves


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What became of one order of the curves.

    Attributes:
        saved: The share of the epochs that were not trained.
        killed_best: Whether every trial of highest value was pruned.
        regret: By how much the best complete trial falls short of the best, in points.
    """

    saved: float
    killed_best: bool
    regret: float


def replay(trials: Sequence[Learned], pruner: BasePruner) -> Replay:
    """Runs them as the trials of a study, one after the other."""
    study = optuna.create_study(
        direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0), study_name="replay"
    )
    trained = sum(tell_curve(study, study.ask(), *trial) for trial in trials)
    best = max(trial.value for trial in trials)
    survivors = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = max(trial.value for trial in survivors if trial.value is not None)
    total = sum(len(trial.curve) for trial in trials)
    return Replay(saved=1 - trained / total, killed_best=found < best, regret=best - found)


def orders(trials: Sequence[Learned], num_orders: int, share: float) -> list[list[Learned]]:
    """Random parts of them in random order, the same for every pruner."""
    generator = random.Random(0)
    size = max(2, round(share * len(trials)))
    return [generator.sample(list(trials), size) for _ in range(num_orders)]


def candidates(epochs: int) -> dict[str, Callable[[], BasePruner]]:
    """The pruners under test. "percentile 75" prunes what is below three quarters of the complete trials."""
    tested: dict[str, Callable[[], BasePruner]] = {
        "none": NopPruner,
        "the default": partial(make_pruner, "percentile"),
    }
    for percentile in (25.0, 50.0, 75.0):
        for startup in (4, 8):
            for warmup in (1, 2, 3, 4, 5, 6, 8, 10):
                if (percentile, startup, warmup) == (PRUNER_PERCENTILE, PRUNER_STARTUP_TRIALS, PRUNER_WARMUP_EPOCHS):
                    continue  # the default
                tested[f"percentile {percentile:.0f}, start-up {startup}, warm-up {warmup}"] = partial(
                    PercentilePruner, percentile, n_startup_trials=startup, n_warmup_steps=warmup
                )
    for warmup in (2, 3, 5):
        tested[f"percentile 50, start-up 8, warm-up {warmup}, patience 1"] = partial(
            _patient, PercentilePruner(50.0, n_startup_trials=8, n_warmup_steps=warmup)
        )
    for factor in (2, 3, 4):
        for first in (1, 2, 4):
            tested[f"successive halving, first rung {first}, factor {factor}"] = partial(
                SuccessiveHalvingPruner, min_resource=first, reduction_factor=factor
            )
    tested["hyperband, factor 3"] = partial(HyperbandPruner, min_resource=1, max_resource=epochs, reduction_factor=3)
    return tested


def _patient(pruner: BasePruner) -> BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PatientPruner(pruner, patience=1)


def measure(name: str, replays: list[list[Learned]], parts: list[list[Learned]], noise: float) -> PrunerRow:
    """One candidate over all orders, and over parts of the trials.

    Args:
        noise: The standard deviation of a trial's runs, in points.
    """
    make = candidates(len(replays[0][0].curve))[name]
    outcomes = [replay(trials, make()) for trials in replays]
    of_parts = [replay(trials, make()) for trials in parts]
    return PrunerRow(
        pruner=name,
        epochs_saved=statistics.mean(outcome.saved for outcome in outcomes),
        best_killed=statistics.mean(outcome.killed_best for outcome in outcomes),
        mean_regret=statistics.mean(outcome.regret for outcome in outcomes),
        max_regret=max(outcome.regret for outcome in outcomes),
        parts_mean_regret=statistics.mean(outcome.regret for outcome in of_parts),
        parts_lost=statistics.mean(outcome.regret > noise for outcome in of_parts),
    )


def pooled_std(rows: Sequence[Sequence[float]]) -> float | None:
    """Of repeated runs, over all points that were run again; None where none was."""
    repeated = [row for row in rows if len(row) > 1]
    freedom = sum(len(row) - 1 for row in repeated)
    if not freedom:
        return None
    return math.sqrt(sum(statistics.variance(row) * (len(row) - 1) for row in repeated) / freedom)


def predictiveness(trials: Sequence[Learned]) -> list[EpochPrediction]:
    """How well each epoch's accuracy ranks the trials as their values do."""
    final = [trial.value for trial in trials]
    return [
        EpochPrediction(epoch=epoch, rank_correlation=float(spearmanr(accuracies, final).statistic))
        for epoch, accuracies in enumerate(zip(*(trial.curve for trial in trials), strict=True), start=1)
    ]


@click.command(cls=Benchmark)
@click.option(
    "--points",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default="results/reference/points-7999.json",
    show_default=True,
    help="A record of `benchmarks.points`.",
)
@click.option("--orders", "num_orders", type=click.IntRange(min=1), default=200, show_default=True)
@json_option
def main(path: Path, num_orders: int, as_json: bool) -> None:
    """Replays pruners on full learning curves; takes some minutes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recorded = read(Points, path)
    noise = pooled_std([point.further for point in recorded.points])
    if noise is None:
        raise ExplainedError(f"No point of {recorded.study_name!r} was run again: search on, with --rerank 10.")
    trials = [Learned(point.curve, point.value) for point in recorded.points]
    replays, parts = orders(trials, num_orders, 1.0), orders(trials, num_orders, PART)
    names = track(list(candidates(recorded.epochs)), "Replaying", console=Console(stderr=True), transient=True)
    rows = [measure(name, replays, parts, noise) for name in names]
    final = [trial.value for trial in trials]
    replayed = PrunerReplays(
        curves=len(trials),
        dataset=recorded.dataset,
        max_params=recorded.max_params,
        epochs=recorded.epochs,
        orders=num_orders,
        part=PART,
        noise=noise,
        final_accuracy=FinalAccuracy(best=max(final), median=statistics.median(final), worst=min(final)),
        pruners=tuple(rows),
        predictiveness=tuple(predictiveness(trials)),
        commit=code_commit(),
        versions=versions(),
    )
    finish(replayed, report, as_json=as_json)


def report(replayed: PrunerReplays) -> Group:
    table = Table(title=f"{replayed.curves} curves in {replayed.orders} orders", box=None)
    for heading in ("Pruner", "Saved", "Killed", "Regret", "Lost"):  # fits 80 columns
        table.add_column(heading, justify="left" if heading == "Pruner" else "right")
    for row in sorted(replayed.pruners, key=lambda row: -row.epochs_saved):
        shares = f"{row.epochs_saved:.1%}", f"{row.best_killed:.1%}"
        table.add_row(row.pruner, *shares, f"{row.mean_regret:.3f}", f"{row.parts_lost:.1%}")
    correlations = ", ".join(f"{row.epoch}: {row.rank_correlation:.2f}" for row in replayed.predictiveness)
    return Group(
        table,
        "Saved: epochs. Killed: the best configuration; regret: by how many points what is found falls short of it. "
        f"Lost: with {replayed.part:.0%} of the curves, more than {replayed.noise:.3f} points, the noise of a run.",
        f"Rank correlation of each epoch's accuracy with the value: {correlations}.",
    )


if __name__ == "__main__":
    main()
