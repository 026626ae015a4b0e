"""Samplers, pruners and rules of re-ranking, compared on simulated searches.

python -m benchmarks.samplers --json > results/reference/samplers.json

Each simulated search is Optuna's own, in a world drawn from the surrogate (`benchmarks.surrogate`): a trial has a
learning curve and a run's noise, and every epoch costs one. What counts is the value *without noise* of what is chosen
in the end, at equal cost: a search that spends more on re-ranking has fewer trials. The same worlds serve all.
"""

import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click
from rich.console import Console, Group
from rich.progress import track
from rich.table import Table

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
from search.studies.choices import PRUNERS

REFERENCE_POINTS = ("results/reference/points-2000.json", "results/reference/points-7999.json")
NUM_TRIALS = 50  # whole trials that a search may cost, re-ranking included
# A fifth of a second a trial: fewer searches of these are simulated.
SLOW = ("gp", "gp, start-up 10", "gp, complete trials")
MOST_SLOW_SEARCHES = 150


Outcomes = list[Simulated]


def measure(truth: Truth, cost: int, num_searches: int, run_all: Callable[..., Iterable[Simulated]]) -> SampledBudget:
    """All samplers and pruners, and all rules with the default ones, at one budget."""
    surrogate = surrogate_of(truth)
    default = (SearchSettings.sampler, SearchSettings.pruner)
    arms = [default, *((each, pruner) for each in CANDIDATES for pruner in PRUNERS if (each, pruner) != default)]
    title = f"{surrogate.recorded.max_params:,} parameters, smoothness {truth.smoothness}"
    outcomes: dict[tuple[str, str], Outcomes] = {}
    for sampler, pruner in track(arms, title, console=Console(stderr=True), transient=True):
        n = min(num_searches, MOST_SLOW_SEARCHES) if sampler in SLOW else num_searches
        rules = RULES if (sampler, pruner) == default else (DEFAULT_RULE,)
        outcomes[sampler, pruner] = list(run_all(partial(simulate, truth, sampler, pruner, cost, rules), range(n)))
    return SampledBudget(
        max_params=surrogate.recorded.max_params,
        smoothness=truth.smoothness,
        surrogate=surrogate.describe(),
        samplers=tuple(_sampled_row(*arm, outcomes[arm], outcomes[default]) for arm in arms),
        rules=tuple(_rule_row(rule, outcomes[default]) for rule in RULES),
    )


def _sampled_row(sampler: str, pruner: str, outcomes: Outcomes, default: Outcomes) -> SampledRow:
    earned = [outcome.earned[DEFAULT_RULE.name] for outcome in outcomes]
    by_default = [outcome.earned[DEFAULT_RULE.name] for outcome in default]
    return SampledRow(
        sampler=sampler,
        pruner=pruner,
        searches=len(outcomes),
        trials=statistics.mean(outcome.trials for outcome in outcomes),
        earned=_mean(earned),
        beyond_default=_mean([ours - theirs for ours, theirs in zip(earned, by_default, strict=False)]),
    )


def _rule_row(rule: Rule, outcomes: Outcomes) -> RuleRow:
    earned = [outcome.earned[rule.name] for outcome in outcomes]
    return RuleRow(
        rule=rule.name,
        runs=rule.num_runs,
        searches=len(outcomes),
        earned=_mean(earned),
        beyond_default=_mean([each.earned[rule.name] - each.earned[DEFAULT_RULE.name] for each in outcomes]),
    )


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
@click.option("--searches", type=click.IntRange(min=2), default=500, show_default=True, help="Of each kind.")
@click.option(
    "--trials", type=click.IntRange(min=FEWEST_TRIALS), default=NUM_TRIALS, show_default=True, help="Worth of epochs."
)
@click.option(
    "--workers", type=click.IntRange(min=0), help="Processes; 0: none beside this one. By default, one a core."
)
@json_option
def main(paths: tuple[Path, ...], searches: int, trials: int, workers: int | None, as_json: bool) -> None:
    """Simulates searches with every sampler, pruner and rule of re-ranking; takes about an hour."""
    recorded = [read(Points, path) for path in paths]
    if len({(points.dataset, points.space, points.epochs) for points in recorded}) > 1:
        raise ExplainedError("The points are of different spaces, lengths or data sets: they do not compare.")
    cost = trials * recorded[0].epochs
    truths = [Truth(path=path, smoothness=smoothness) for path in paths for smoothness in (SMOOTH, ROUGH)]
    for truth in truths:
        surrogate_of(truth)  # what is wrong with a record is told at once
    if workers == 0:
        budgets = tuple(measure(truth, cost, searches, map) for truth in truths)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # of the workers, which are processes of their own: they share the cores
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            budgets = tuple(measure(truth, cost, searches, partial(pool.map, chunksize=5)) for truth in truths)
    measured = Samplers(
        dataset=recorded[0].dataset, cost=cost, budgets=budgets, commit=code_commit(), versions=versions()
    )
    finish(measured, report, as_json=as_json)


def report(measured: Samplers) -> Group:
    return Group(*_tables(measured))


def _tables(measured: Samplers) -> Iterator[Table | str]:
    for budget in measured.budgets:
        table = Table(title=f"{_name(budget)}, {measured.cost} epochs in all", box=None)
        for heading in ("Sampler", "Pruner", "Searches", "Trials", "Earned", "Beyond the default"):
            table.add_column(heading, justify="left" if heading in ("Sampler", "Pruner") else "right")
        for row in budget.samplers:
            figures = str(row.searches), f"{row.trials:.0f}", describe(row.earned), describe(row.beyond_default)
            table.add_row(row.sampler, row.pruner, *figures)
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
        "Gaussian processes have fewer searches: they are compared by what they have beyond the default, in the same "
        "worlds. They assume that the space is smooth, as half of the worlds are. A search has one worker; no tie is "
        "broken by size. "
        "All worlds are those of one surrogate a budget: how far that is from the truth is in no interval."
    )


def _name(budget: SampledBudget) -> str:
    return f"{budget.max_params:,} parameters, {'smooth' if budget.smoothness == SMOOTH else 'rough'}"


def describe(found: Mean) -> str:
    return f"{found.mean:+.3f} ± {found.margin:.3f}"


if __name__ == "__main__":
    main()
