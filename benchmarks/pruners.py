"""Pruners, replayed on full learning curves: what each saves, and what it costs.

python cli.py search --study-name curves --trials 40 --sampler random --pruner none --data-dir data
python benchmarks/pruners.py --storage sqlite:///study.db --study-name curves

The curves are those of a study that nothing pruned. They are replayed many times, each time in another order, as a
study with the pruner under test, which is Optuna's own and sees what it would see: the intermediate values of the
trials that came before, of the complete ones for most. So that a pruner cannot win by suiting one best curve, random
parts of the curves are replayed as well: what is lost there must not exceed the noise of a run.
"""

import json
import random
import signal
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from search.config import ExplainedError  # noqa: E402 (the path comes first)
from search.provenance import code_commit, versions  # noqa: E402
from search.runner import num_cores  # noqa: E402
from search.storage import open_storage  # noqa: E402
from search.study import find_search_study, make_pruner  # noqa: E402

Curve = tuple[float, ...]  # the validation accuracy after every epoch, in percent
ENDS_AT_ONCE = (signal.SIGINT, signal.SIG_DFL)  # a worker, at Ctrl-C
LARGEST_RISK = 0.02  # what saves most within it is to be the default
PART = 0.75  # of the curves
NOISE = 0.05  # points: the standard deviation over seeds of one configuration (results/LOG.md)


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What became of one order of the curves.

    Attributes:
        saved: The share of the epochs that were not trained.
        killed_best: Whether every curve that ends highest was pruned.
        regret: By how much the best complete trial falls short of the best curve, in points.
    """

    saved: float
    killed_best: bool
    regret: float


def replay(curves: Sequence[Curve], pruner: BasePruner) -> Replay:
    """Runs the curves as the trials of a study, one after the other."""
    study = optuna.create_study(
        direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0), study_name="replay"
    )
    trained = sum(_run_trial(study, curve) for curve in curves)
    best = max(curve[-1] for curve in curves)
    survivors = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = max(trial.value for trial in survivors if trial.value is not None)
    total = sum(len(curve) for curve in curves)
    return Replay(saved=1 - trained / total, killed_best=found < best, regret=best - found)


def _run_trial(study: optuna.Study, curve: Curve) -> int:
    """Returns the number of epochs that were trained."""
    trial = study.ask()
    for epoch, accuracy in enumerate(curve, start=1):
        trial.report(accuracy, step=epoch)
        if epoch < len(curve) and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, curve[-1])
    return len(curve)


def orders(curves: Sequence[Curve], num_orders: int, share: float) -> list[list[Curve]]:
    """Random parts of the curves in random order, the same for every pruner."""
    generator = random.Random(0)
    size = max(2, round(share * len(curves)))
    return [generator.sample(list(curves), size) for _ in range(num_orders)]


def candidates() -> dict[str, Callable[[], BasePruner]]:
    """The pruners under test. "percentile 75" prunes what is below three quarters of the complete trials."""
    tested: dict[str, Callable[[], BasePruner]] = {
        "none": NopPruner,
        "the default": partial(make_pruner, "percentile"),
    }
    for percentile in (25.0, 50.0, 75.0):
        for startup in (4, 8):
            for warmup in (1, 2, 3, 4, 5, 6, 8, 10):
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
    tested["hyperband, factor 3"] = partial(HyperbandPruner, min_resource=1, max_resource=15, reduction_factor=3)
    return tested


def _patient(pruner: BasePruner) -> BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PatientPruner(pruner, patience=1)


def measure(name: str, replays: list[list[Curve]], parts: list[list[Curve]]) -> dict[str, Any]:
    """One candidate over all orders, and over parts of the curves."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    outcomes = [replay(curves, candidates()[name]()) for curves in replays]
    of_parts = [replay(curves, candidates()[name]()) for curves in parts]
    return {
        "pruner": name,
        "epochs_saved": statistics.mean(outcome.saved for outcome in outcomes),
        "best_killed": statistics.mean(outcome.killed_best for outcome in outcomes),
        "mean_regret": statistics.mean(outcome.regret for outcome in outcomes),
        "max_regret": max(outcome.regret for outcome in outcomes),
        "parts_mean_regret": statistics.mean(outcome.regret for outcome in of_parts),
        "parts_lost": statistics.mean(outcome.regret > NOISE for outcome in of_parts),
    }


def choose(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What saves most among those that rarely kill the best configuration, or lose more than noise on a part."""
    safe = [row for row in rows if max(row["best_killed"], row["parts_lost"]) <= LARGEST_RISK]
    return max(safe, key=lambda row: row["epochs_saved"])


def predictiveness(curves: Sequence[Curve]) -> list[dict[str, float]]:
    """How well each epoch's accuracy ranks the configurations as the last epoch does (Spearman)."""
    final = [curve[-1] for curve in curves]
    return [
        {"epoch": epoch, "rank_correlation": float(spearmanr([curve[epoch - 1] for curve in curves], final).statistic)}
        for epoch in range(1, len(curves[0]) + 1)
    ]


def load_curves(storage_url: str, study_name: str) -> tuple[list[Curve], dict[str, Any]]:
    """The learning curves of a study's complete trials, and what they were made with."""
    study = find_search_study(open_storage(storage_url), study_name)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    curves = [tuple(value for _, value in sorted(trial.intermediate_values.items())) for trial in trials]
    if len(curves) < 2 or len({len(curve) for curve in curves}) > 1:
        raise ExplainedError(f"Study {study_name!r} has no two complete trials of equal length.")
    made_with = {key: study.user_attrs[key] for key in ("dataset", "max_params", "epochs", "sampler", "commit")}
    if study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)):
        raise ExplainedError(f"Trials of study {study_name!r} were pruned; full curves need --pruner none.")
    return curves, made_with


@click.command()
@click.option("--storage", default="sqlite:///results/reference/curves.db", show_default=True)
@click.option("--study-name", default="curves", show_default=True)
@click.option("--orders", "num_orders", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def main(storage: str, study_name: str, num_orders: int, as_json: bool) -> None:
    """Replays pruners on the curves of a study that nothing pruned; takes some minutes."""
    try:
        curves, made_with = load_curves(storage, study_name)
    except ExplainedError as error:
        raise click.ClickException(str(error)) from error
    with ProcessPoolExecutor(num_cores(), initializer=signal.signal, initargs=ENDS_AT_ONCE) as pool:
        replays, parts = orders(curves, num_orders, 1.0), orders(curves, num_orders, PART)
        rows = list(pool.map(partial(measure, replays=replays, parts=parts), candidates()))
    facts = {
        "curves": len(curves),
        "made_with": made_with,
        "orders": num_orders,
        "part": PART,
        "final_accuracy": {
            "best": max(curve[-1] for curve in curves),
            "median": statistics.median(curve[-1] for curve in curves),
            "worst": min(curve[-1] for curve in curves),
        },
        "chosen": choose(rows)["pruner"],
        "pruners": rows,
        "predictiveness": predictiveness(curves),
        "commit": code_commit(),
        "versions": versions(),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        _print(facts)


def _print(facts: dict[str, Any]) -> None:
    console = Console()
    result = Table(title=f"{facts['curves']} curves in {facts['orders']} orders", box=None)
    for heading in ("Pruner", "Saved", "Killed", "Regret", "Lost"):  # fits 80 columns
        result.add_column(heading, justify="left" if heading == "Pruner" else "right")
    for row in sorted(facts["pruners"], key=lambda row: -row["epochs_saved"]):
        result.add_row(
            row["pruner"],
            f"{row['epochs_saved']:.1%}",
            f"{row['best_killed']:.1%}",
            f"{row['mean_regret']:.3f}",
            f"{row['parts_lost']:.1%}",
        )
    console.print(result)
    console.print(
        "Saved: epochs. Killed: the best configuration; regret: by how many points what is found falls short of it. "
        f"Lost: with {facts['part']:.0%} of the curves, more than {NOISE} points, the noise of a run."
    )
    console.print(f"Saves most at a risk of at most {LARGEST_RISK:.0%}: {facts['chosen']}.")
    correlations = ", ".join(f"{row['epoch']}: {row['rank_correlation']:.2f}" for row in facts["predictiveness"])
    console.print(f"Rank correlation of each epoch's accuracy with the last: {correlations}.")


if __name__ == "__main__":
    main()
