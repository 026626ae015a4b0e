"""Samplers, pruners and rules of re-ranking, compared on simulated searches.

python -m benchmarks.samplers --json > results/reference/samplers.json

Each simulated search is Optuna's own, in a world drawn from the surrogate (`benchmarks.surrogate`): a trial has a
learning curve and a run's noise, and every epoch costs one. What counts is the value *without noise* of what is chosen
in the end, at equal cost: a search that spends more on re-ranking has fewer trials. The same worlds serve all.
"""

import os
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
from rich.console import Console, Group
from rich.progress import track
from rich.table import Table

from benchmarks.command import Benchmark, finish
from benchmarks.records import Mean, Points, RuleRow, SampledBudget, SampledRow, Samplers, read
from benchmarks.surrogate import ROUGH, SMOOTH, Surrogate, World, log_error, to_accuracy
from search.commands.options import json_option
from search.config import ExplainedError, derive_seed
from search.proof.estimates import paired_margin
from search.provenance import code_commit, versions
from search.runs.standings import NUM_RUNS
from search.settings import SearchSettings
from search.studies.choices import PRUNERS, SAMPLERS, SEED_RANGE, make_pruner
from space import REFERENCE, suggest_config

REFERENCE_POINTS = ("results/reference/points-2000.json", "results/reference/points-7999.json")
NUM_TRIALS = 50  # whole trials that a search may cost, re-ranking included
SLOW = "gp"  # a fifth of a second a trial: fewer searches of it are simulated
MOST_SLOW_SEARCHES = 150


def _univariate_tpe(seed: int) -> BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, multivariate=False)


def _patient_tpe(seed: int) -> BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=20)


def _gp(seed: int) -> BaseSampler:
    return optuna.samplers.GPSampler(seed=seed)


def _cma_es(seed: int) -> BaseSampler:
    return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)


CANDIDATES: dict[str, Callable[[int], BaseSampler]] = {
    **SAMPLERS,
    "tpe, univariate": _univariate_tpe,
    "tpe, start-up 20": _patient_tpe,
    "gp": _gp,
    "cma-es": _cma_es,
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A simulated trial.

    Attributes:
        truth: Its log error without noise.
        value: The searched accuracy, in percent; None if it was pruned.
        cost: Epochs of the whole search up to its end.
    """

    truth: float
    value: float | None
    cost: int


class Lab:
    """Trains points in a world: with a run's noise, and a learning curve."""

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        self.surrogate = surrogate
        self.world = World(surrogate, seed)
        self.generator = np.random.default_rng(derive_seed(seed, "runs"))

    @property
    def epochs(self) -> int:
        return self.surrogate.recorded.epochs

    def curve(self, accuracy: float) -> tuple[float, ...]:
        """The learning curve of a run that comes to this in the end."""
        return self.surrogate.draw_curve(log_error(accuracy), self.generator)

    def run(self, truth: float) -> float:
        """The accuracy of a whole run."""
        return to_accuracy(truth + self.surrogate.noise * float(self.generator.standard_normal()))


def search(lab: Lab, sampler: str, pruner: BasePruner, cost: int, seed: int) -> list[Trial]:
    """Runs a study until it has cost so many epochs; every trial has a sampler of its own, as in the tool."""
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.enqueue_trial(REFERENCE)
    trials: list[Trial] = []
    spent = 0
    while spent + lab.epochs <= cost:  # a trial that cannot end within it is not begun
        study.sampler = CANDIDATES[sampler](derive_seed(seed, "sampler", len(trials)) % SEED_RANGE)
        trial = study.ask()
        suggest_config(trial, lab.surrogate.recorded.max_params)
        truth = lab.world.log_error(trial.params)
        value = lab.run(truth)
        trained = _report(study, trial, lab.curve(value), value)
        spent += trained
        trials.append(Trial(truth=truth, value=value if trained == lab.epochs else None, cost=spent))
    return trials


def _report(study: optuna.Study, trial: optuna.Trial, curve: Sequence[float], value: float) -> int:
    """Returns the number of epochs that were trained."""
    for epoch, accuracy in enumerate(curve, start=1):
        trial.report(accuracy, step=epoch)
        if epoch < len(curve) and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, value)
    return len(curve)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How the winner is chosen of a search's complete trials.

    Attributes:
        leading: How many are run again.
        runs: Of each.
        pooled: Whether the searched run counts as well.
        with_first: Whether the study's first trial is among them, whatever its value.
        adaptive: Whether, after one run of each, the others go to the two that lead at the time.
    """

    leading: int
    runs: int
    pooled: bool = False
    with_first: bool = True
    adaptive: bool = False

    @property
    def num_runs(self) -> int:
        return (self.leading + self.with_first) * self.runs if self.runs else 0

    @property
    def name(self) -> str:
        if not self.runs:
            return "none: the best searched value"
        first = " and the first" if self.with_first else ""
        how = "shared by the leading two" if self.adaptive else "each"
        pooled = ", the searched run counts" if self.pooled else ""
        return f"top {self.leading}{first}, {self.runs} runs {how}{pooled}"

    def choose(self, trials: Sequence[Trial], lab: Lab) -> Trial:
        complete = [trial for trial in trials if trial.value is not None]
        leading = sorted(complete, key=lambda trial: -(trial.value or 0.0))
        if not self.runs:
            return leading[0]
        again = leading[: self.leading]
        if self.with_first and trials[0].value is not None and trials[0] not in again:
            again.append(trials[0])
        runs = [[trial.value or 0.0] if self.pooled else [] for trial in again]
        for _ in range(1 if self.adaptive else self.runs):
            for trial, values in zip(again, runs, strict=True):
                values.append(lab.run(trial.truth))
        for turn in range((self.runs - 1) * len(again) if self.adaptive else 0):
            best = sorted(range(len(again)), key=lambda index: -statistics.mean(runs[index]))
            of_two = best[turn % 2] if len(best) > 1 else 0
            runs[of_two].append(lab.run(again[of_two].truth))
        return max(zip(again, runs, strict=True), key=lambda pair: statistics.mean(pair[1]))[0]


DEFAULT_RULE = Rule(leading=SearchSettings.rerank, runs=NUM_RUNS)
RULES = (
    DEFAULT_RULE,
    Rule(leading=0, runs=0),
    *(
        Rule(leading=leading, runs=runs, pooled=pooled)
        for leading, runs in ((3, 2), (5, 1), (5, 2), (5, 4), (8, 2), (10, 1), (10, 2))
        for pooled in (False, True)
        if (leading, runs, pooled) != (DEFAULT_RULE.leading, DEFAULT_RULE.runs, False)
    ),
    Rule(leading=5, runs=2, with_first=False),
    Rule(leading=5, runs=2, adaptive=True),
    Rule(leading=5, runs=2, adaptive=True, pooled=True),
    Rule(leading=10, runs=2, adaptive=True, pooled=True),
)


FEWEST_TRIALS = 1 + max(rule.num_runs for rule in RULES)  # the dearest rule leaves a trial


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What worlds are drawn from: recorded points, and how smooth the space is taken to be."""

    path: Path
    smoothness: float


@cache
def _surrogate(truth: Truth) -> Surrogate:
    return Surrogate(read(Points, truth.path), truth.smoothness)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What a search in one world came to: by rule, how many points were earned; and how many trials were begun."""

    earned: dict[str, float]
    trials: int


def simulate(truth: Truth, sampler: str, pruner: str, cost: int, rules: tuple[Rule, ...], seed: int) -> Simulated:
    """One search, and what each rule makes of as much of it as leaves enough for its own runs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    lab = Lab(_surrogate(truth), seed)
    trials = search(lab, sampler, make_pruner(pruner), cost - min(rule.num_runs for rule in rules) * lab.epochs, seed)
    earned, begun = {}, 0
    for rule in rules:
        affordable = [trial for trial in trials if trial.cost <= cost - rule.num_runs * lab.epochs]
        lab.generator = np.random.default_rng(derive_seed(seed, "re-ranking"))
        chosen = rule.choose(affordable, lab)
        earned[rule.name] = to_accuracy(chosen.truth) - to_accuracy(trials[0].truth)
        begun = len(affordable) if rule == rules[0] else begun
    return Simulated(earned=earned, trials=begun)


Outcomes = list[Simulated]


def measure(truth: Truth, cost: int, num_searches: int, run_all: Callable[..., Iterable[Simulated]]) -> SampledBudget:
    """All samplers and pruners, and all rules with the default ones, at one budget."""
    surrogate = _surrogate(truth)
    default = (SearchSettings.sampler, SearchSettings.pruner)
    arms = [default, *((each, pruner) for each in CANDIDATES for pruner in PRUNERS if (each, pruner) != default)]
    title = f"{surrogate.recorded.max_params:,} parameters, smoothness {truth.smoothness}"
    outcomes: dict[tuple[str, str], Outcomes] = {}
    for sampler, pruner in track(arms, title, console=Console(stderr=True), transient=True):
        n = min(num_searches, MOST_SLOW_SEARCHES) if sampler == SLOW else num_searches
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
    margin = paired_margin(values)
    assert margin is not None  # there are two searches or more
    return Mean(mean=statistics.mean(values), margin=margin)


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
    if len({(points.dataset, points.space, points.recipe, points.epochs) for points in recorded}) > 1:
        raise ExplainedError("The points are of different spaces, recipes or data sets: they do not compare.")
    cost = trials * recorded[0].epochs
    truths = [Truth(path=path, smoothness=smoothness) for path in paths for smoothness in (SMOOTH, ROUGH)]
    for truth in truths:
        _surrogate(truth)  # what is wrong with a record is told at once
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
        f"{SLOW} has fewer searches: it is compared by what it has beyond the default, in the same worlds. It assumes "
        "that the space is smooth, as half of the worlds are. A search has one worker; ties are not broken by size."
    )


def _name(budget: SampledBudget) -> str:
    return f"{budget.max_params:,} parameters, {'smooth' if budget.smoothness == SMOOTH else 'rough'}"


def describe(found: Mean) -> str:
    return f"{found.mean:+.3f} ± {found.margin:.3f}"


if __name__ == "__main__":
    main()
