"""A simulated search: Optuna's own, in a world drawn from the surrogate, and how its winner is chosen."""

import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from benchmarks.curves import tell_curve
from benchmarks.records import Points, read
from benchmarks.surrogate import Surrogate, World, log_error, to_accuracy
from search.config import derive_seed
from search.runs.standings import NUM_RUNS
from search.settings import SearchSettings
from search.studies.choices import SAMPLERS, SEED_RANGE, make_pruner
from space import REFERENCE, suggest_config


def _univariate_tpe(seed: int) -> BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, multivariate=False)


def _patient_tpe(seed: int) -> BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=20)


def _optunas_gp(seed: int) -> BaseSampler:
    return optuna.samplers.GPSampler(seed=seed)  # of accuracies as they are, and of complete trials


def _cma_es(seed: int) -> BaseSampler:
    return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)


CANDIDATES: dict[str, Callable[[int], BaseSampler]] = {
    **SAMPLERS,
    "tpe, univariate": _univariate_tpe,
    "tpe, start-up 20": _patient_tpe,
    "gp, Optuna's own": _optunas_gp,
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
        self._shared: dict[int, float] = {}  # what runs of a number have in common

    def begin_reranking(self, seed: int) -> None:
        """From here on, all rules have the same luck."""
        self.generator, self._shared = np.random.default_rng(seed), {}

    @property
    def epochs(self) -> int:
        return self.surrogate.recorded.epochs

    def curve(self, accuracy: float) -> tuple[float, ...]:
        """The learning curve of a run that comes to this in the end."""
        return self.surrogate.draw_curve(log_error(accuracy), self.generator)

    def run(self, truth: float, number: int | None = None) -> float:
        """The accuracy of a whole run.

        Args:
            number: Of a run of re-ranking: those of the same number have the same seed. A searched one has its own.
        """
        shared, drawn = self.surrogate.noise_of_number, float(self.generator.standard_normal())
        if number is None:
            return to_accuracy(truth + self.surrogate.noise * drawn)
        if number not in self._shared:
            self._shared[number] = shared * float(self.generator.standard_normal())
        own = math.sqrt(max(0.0, self.surrogate.noise**2 - shared**2))
        return to_accuracy(truth + self._shared[number] + own * drawn)


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
        trained = tell_curve(study, trial, lab.curve(value), value)
        spent += trained
        trials.append(Trial(truth=truth, value=value if trained == lab.epochs else None, cost=spent))
    return trials


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
        for number in range(1 if self.adaptive else self.runs):
            for trial, values in zip(again, runs, strict=True):
                values.append(lab.run(trial.truth, number))
        for turn in range((self.runs - 1) * len(again) if self.adaptive else 0):
            best = sorted(range(len(again)), key=lambda index: -statistics.mean(runs[index]))
            of_two = best[turn % 2] if len(best) > 1 else 0
            runs[of_two].append(lab.run(again[of_two].truth, len(runs[of_two]) - self.pooled))
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
def surrogate_of(truth: Truth) -> Surrogate:
    """Made once in a process. Raises ExplainedError as `Surrogate` does."""
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
    lab = Lab(surrogate_of(truth), seed)
    trials = search(lab, sampler, make_pruner(pruner), cost - min(rule.num_runs for rule in rules) * lab.epochs, seed)
    earned, begun = {}, 0
    for rule in rules:
        affordable = [trial for trial in trials if trial.cost <= cost - rule.num_runs * lab.epochs]
        lab.begin_reranking(derive_seed(seed, "re-ranking"))
        chosen = rule.choose(affordable, lab)
        earned[rule.name] = to_accuracy(chosen.truth) - to_accuracy(trials[0].truth)
        begun = len(affordable) if rule == rules[0] else begun
    return Simulated(earned=earned, trials=begun)
