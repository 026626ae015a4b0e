"""Samplers, pruners and rules of re-ranking, compared on simulated searches.

python -m benchmarks.samplers --keep simulated --json > results/reference/samplers.json

Each simulated search is Optuna's own, in a world drawn from the surrogate (`benchmarks.surrogate`): a trial has a
learning curve and a run's noise, and every epoch costs one. What counts is the value *without noise* of what is chosen
in the end, at equal cost: a search that spends more on re-ranking has fewer trials. The same worlds serve all.
"""

import hashlib
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click
import optuna
from joblib import Memory
from rich.console import Console, Group
from rich.progress import track
from rich.table import Table

import space
from benchmarks import curves, simulation, surrogate
from benchmarks.command import Benchmark, finish
from benchmarks.records import Mean, Points, RuleRow, SampledBudget, SampledRow, Samplers, read
from benchmarks.simulation import (
    CANDIDATES,
    DEFAULT_RULE,
    FEWEST_TRIALS,
    RULES,
    Rule,
    Simulated,
    Truth,
    simulate,
    surrogate_of,
)
from benchmarks.surrogate import ROUGH, SMOOTH
from search.commands.options import json_option
from search.config import ExplainedError
from search.proof.estimates import paired_margin
from search.provenance import code_commit, versions
from search.settings import SearchSettings
from search.studies import choices, lessons, optuna_private
from search.studies.choices import PRUNERS

REFERENCE_POINTS = ("results/reference/points-2000.json", "results/reference/points-7999.json")
NUM_TRIALS = 50  # whole trials that a search may cost, re-ranking included
SIMULATED_BY = (simulation, surrogate, curves, choices, lessons, optuna_private, space)


Outcomes = list[Simulated]


def measure(
    truth: Truth,
    cost: int,
    num_searches: int,
    simulate_one: Callable[..., Simulated],
    run_all: Callable[..., Iterable[Simulated]],
) -> SampledBudget:
    """All samplers and pruners, and all rules with the default ones, at one budget."""
    fitted = surrogate_of(truth)
    default = (SearchSettings.sampler, SearchSettings.pruner)
    arms = [default, *((each, pruner) for each in CANDIDATES for pruner in PRUNERS if (each, pruner) != default)]
    title = f"{fitted.recorded.max_params:,} parameters, smoothness {truth.smoothness}"
    outcomes: dict[tuple[str, str], Outcomes] = {}
    for sampler, pruner in track(arms, title, console=Console(stderr=True), transient=True):
        rules = RULES if (sampler, pruner) == default else (DEFAULT_RULE,)
        one = partial(simulate_one, truth, sampler, pruner, cost, rules)
        outcomes[sampler, pruner] = list(run_all(one, range(num_searches)))
    return SampledBudget(
        max_params=fitted.recorded.max_params,
        smoothness=truth.smoothness,
        surrogate=fitted.describe(),
        samplers=tuple(_sampled_row(*arm, outcomes[arm], outcomes[default]) for arm in arms),
        rules=tuple(_rule_row(rule, outcomes[default]) for rule in RULES),
    )


def _sampled_row(sampler: str, pruner: str, outcomes: Outcomes, default: Outcomes) -> SampledRow:
    earned = [outcome.earned[DEFAULT_RULE.name] for outcome in outcomes]
    by_default = [outcome.earned[DEFAULT_RULE.name] for outcome in default]
    return SampledRow(
        sampler=sampler,
        pruner=pruner,
        trials=statistics.mean(outcome.trials for outcome in outcomes),
        earned=_mean(earned),
        beyond_default=_mean([ours - theirs for ours, theirs in zip(earned, by_default, strict=True)]),
    )


def _rule_row(rule: Rule, outcomes: Outcomes) -> RuleRow:
    earned = [outcome.earned[rule.name] for outcome in outcomes]
    return RuleRow(
        rule=rule.name,
        runs=rule.num_runs,
        earned=_mean(earned),
        beyond_default=_mean([each.earned[rule.name] - each.earned[DEFAULT_RULE.name] for each in outcomes]),
    )


def _simulate_in(keep: Path | None, points: Path) -> Callable[..., Simulated]:
    """Remembers in that folder what was simulated, with this code, these points and this Optuna."""
    if keep is None:
        return simulate
    digest = hashlib.sha256(optuna.__version__.encode())
    for path in (points, *(Path(module.__file__ or "") for module in SIMULATED_BY)):
        digest.update(path.read_bytes())
    remembered: Callable[..., Simulated] = Memory(keep / digest.hexdigest()[:16], verbose=0).cache(simulate)
    return remembered


def _mean(values: Sequence[float]) -> Mean:
    margin = paired_margin(values)  # None where all are equal, as those of the default beside itself are: no noise
    return Mean(mean=statistics.mean(values), margin=margin or 0.0)


@click.command(cls=Benchmark)
@click.option(
    "--points",
    "paths",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    default=REFERENCE_POINTS,
    show_default=True,
    help="Records of `benchmarks.points`.",
)
@click.option("--searches", type=click.IntRange(min=2), default=100, show_default=True, help="Of each kind.")
@click.option(
    "--trials", type=click.IntRange(min=FEWEST_TRIALS), default=NUM_TRIALS, show_default=True, help="Worth of epochs."
)
@click.option(
    "--workers", type=click.IntRange(min=0), help="Processes; 0: none beside this one. By default, one a core."
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for what was simulated: when the command is repeated, it goes on from there.",
)
@json_option
def main(
    paths: tuple[Path, ...], searches: int, trials: int, workers: int | None, keep: Path | None, as_json: bool
) -> None:
    """Simulates searches with every sampler, pruner and rule of re-ranking; takes about an hour."""
    recorded = [read(Points, path) for path in paths]
    if len({(points.dataset, points.space, points.epochs) for points in recorded}) > 1:
        raise ExplainedError("The points are of different spaces, lengths or data sets: they do not compare.")
    cost = trials * recorded[0].epochs
    truths = [Truth(path=path, smoothness=smoothness) for path in paths for smoothness in (SMOOTH, ROUGH)]
    for truth in truths:
        surrogate_of(truth)  # what is wrong with a record is told at once
    measure_all = partial(_measure_all, truths, cost, searches, keep)
    if workers == 0:
        budgets = measure_all(map)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # of the workers, which are processes of their own: they share the cores
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            budgets = measure_all(pool.map)
    measured = Samplers(
        dataset=recorded[0].dataset,
        cost=cost,
        searches=searches,
        budgets=budgets,
        commit=code_commit(),
        versions=versions(),
    )
    finish(measured, report, as_json=as_json)


def _measure_all(
    truths: Sequence[Truth], cost: int, searches: int, keep: Path | None, run_all: Callable[..., Iterable[Simulated]]
) -> tuple[SampledBudget, ...]:
    return tuple(measure(truth, cost, searches, _simulate_in(keep, truth.path), run_all) for truth in truths)


def report(measured: Samplers) -> Group:
    return Group(*_tables(measured))


def _tables(measured: Samplers) -> Iterator[Table | str]:
    for budget in measured.budgets:
        table = Table(title=f"{_name(budget)}, {measured.searches} searches of {measured.cost} epochs each", box=None)
        for heading in ("Sampler", "Pruner", "Trials", "Earned", "Beyond the default"):
            table.add_column(heading, justify="left" if heading in ("Sampler", "Pruner") else "right")
        for row in budget.samplers:
            figures = describe(row.earned), describe(row.beyond_default)
            table.add_row(row.sampler, row.pruner, f"{row.trials:.0f}", *figures)
        yield table
        table = Table(title=f"{_name(budget)}: rules", box=None)
        for heading in ("Re-ranking", "Runs", "Earned", "Beyond the default"):
            table.add_column(heading, justify="left" if heading == "Re-ranking" else "right")
        for rule in budget.rules:
            table.add_row(rule.rule, str(rule.runs), describe(rule.earned), describe(rule.beyond_default))
        yield table
        fit = budget.surrogate
        yield (
            f"The surrogate of {fit.points} points, {fit.repeated} of them run again, explains {fit.explained:.0%} of "
            f"the variance of points that it was not given (rank correlation {fit.rank_correlation:.2f}); a run's "
            f"noise is {fit.noise:.1%} of the errors, the spread over points {fit.spread:.0%}."
        )
    yield (
        "Earned: points beyond the study's first trial, without noise. Intervals: 95 %, over searches, each by itself. "
        "Gaussian processes assume that the space is smooth, as half of the worlds are. A search has one worker; no "
        "tie is broken by size. "
        "All worlds are those of one surrogate a budget: how far that is from the truth is in no interval."
    )


def _name(budget: SampledBudget) -> str:
    return f"{budget.max_params:,} parameters, {'smooth' if budget.smoothness == SMOOTH else 'rough'}"


def describe(found: Mean) -> str:
    return f"{found.mean:+.3f} ± {found.margin:.3f}"


if __name__ == "__main__":
    main()
