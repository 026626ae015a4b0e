"""What the errors of any point of the search space would be: drawn from a Gaussian process, given recorded points.

A simulated search needs an answer for points that nobody has trained. The logarithm of the errors is modelled, for a
run's noise is about the same share of them everywhere. Not the mean of the process serves, which is smoother than any
real space and so too easy for samplers, but draws from it, each a world that agrees with what is recorded ("Efficiently
Sampling Functions from Gaussian Process Posteriors", Wilson et al., 2020).

Optuna's GP sampler assumes the smooth kind of process: so there is a rough kind as well, which no sampler assumes.
"""

import math
import statistics
import warnings
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold

from benchmarks.records import Point, Points, SurrogateFit
from search.config import SAME_BUT_FOR_ROUNDING, ExplainedError, derive_seed
from search.studies.lessons import WORST, goodness
from search.studies.space import load_space
from space import suggest_config

NUM_FEATURES = 2_000  # random ones, of which a draw from the prior is made
FOLDS = 10
SMOOTH, ROUGH = 2.5, 0.5  # Matérn kernels: twice differentiable, and not even once
NEIGHBOURS = 10  # recorded curves among which the shape of a simulated one is drawn

Params = dict[str, bool | int | float]
Vector = NDArray[np.float64]


def distributions(max_params: int) -> dict[str, BaseDistribution]:
    """What a trial at this budget draws."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest_config(trial, max_params)
    return trial.distributions


def canonical(params: Params, max_params: int) -> Params:
    """What a network is drawn by, and nothing that has no part in it: one network is one point."""
    model = suggest_config(FixedTrial(params), max_params).model
    found = params | {"separable_1": model.blocks[0] == "separable", "residual": model.residual}
    return found | {"growth": 1.0} if max(map(len, model.channels)) == 1 else found


def encode(params: Params, drawn: dict[str, BaseDistribution]) -> Vector:
    """Every parameter from 0 to 1; rates on a logarithmic scale."""
    return np.array([_place(float(params[name]), distribution) for name, distribution in drawn.items()])


def _place(value: float, distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):  # of two choices, False and True
        return value
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def log_error(accuracy: float) -> float:
    """The logarithm of the error that an accuracy leaves; both in percent."""
    return -goodness(accuracy)


def to_accuracy(log_of_error: float) -> float:
    """In percent."""
    return 100 - math.exp(log_of_error)


class World:
    """One function of the search space: the logarithm of a point's errors, without a run's noise."""

    def __init__(self, surrogate: "Surrogate", seed: int) -> None:
        self._surrogate, self._seed = surrogate, seed
        generator = np.random.default_rng(seed)
        num_dimensions = surrogate.encoded.shape[1]
        # The spectral density of a Matérn kernel is a t-distribution: normal over the root of a chi-square.
        freedom = 2 * surrogate.smoothness
        chi_square = generator.chisquare(freedom, size=(NUM_FEATURES, 1)) / freedom
        normal = generator.standard_normal((NUM_FEATURES, num_dimensions))
        self._frequencies = normal / np.sqrt(chi_square) / surrogate.length_scales
        self._phases = generator.uniform(0, 2 * math.pi, NUM_FEATURES)
        self._weights = generator.standard_normal(NUM_FEATURES) * surrogate.spread * math.sqrt(2 / NUM_FEATURES)
        # Matheron's rule: what is drawn from the prior is corrected by what the recorded points say, each part by its
        # covariance with them. So the rough part of a recorded point agrees with its runs, too: above all that of the
        # first trial, which every search is held against.
        num_points = len(surrogate.encoded)
        noise = generator.standard_normal(num_points) * surrogate.noise_of_targets
        rough = generator.standard_normal(num_points) * surrogate.roughness
        self._correction = surrogate.solve(surrogate.targets - noise - rough - self._prior(surrogate.encoded))
        rough += surrogate.roughness**2 * self._correction
        points = surrogate.recorded.points
        keys = [surrogate.key(point.params) for point in points]
        self._rough = {key: float(each) for key, each in zip(keys, rough, strict=True)}

    def _prior(self, encoded: Vector) -> Vector:
        drawn: Vector = np.cos(encoded @ self._frequencies.T + self._phases) @ self._weights
        return drawn

    def log_error(self, params: Params) -> float:
        """Of a point, without noise."""
        surrogate = self._surrogate
        at = surrogate.encode(params)[None]
        smooth = float((self._prior(at) + surrogate.covariance(at) @ self._correction)[0])
        # What is rougher than the process can be is a fixed part of each point.
        key = surrogate.key(params)
        rough = self._rough.get(key)
        if rough is None:
            generator = np.random.default_rng(derive_seed(self._seed, key))
            rough = surrogate.roughness * float(generator.standard_normal())
        return (smooth + rough) * surrogate.scale + surrogate.centre


class Surrogate:
    """A Gaussian process over the recorded points of one budget.

    Attributes:
        smoothness: Of its Matérn kernel: 2.5 for twice differentiable, 0.5 for rough.
        noise: The standard deviation of a run in log error, from the points that were run again.
        noise_of_number: That part of it that runs of the same number share, whose seeds are the same.
        roughness: That of what is rougher than the process, in units of `scale`.
        deviations: Of the targets: a run's noise, and roughness.

    Raises:
        ExplainedError: If the points are of another space or recipe than the code's, or none was run again.
    """

    def __init__(self, recorded: Points, smoothness: float = SMOOTH) -> None:
        if recorded.space != load_space().hash or recorded.recipe not in SAME_BUT_FOR_ROUNDING:
            raise ExplainedError(
                f"The points of {recorded.study_name!r} are of another space or recipe than this code's: search anew, "
                "and record them with benchmarks.points."
            )
        if len(recorded.points) < FOLDS:
            raise ExplainedError(
                f"{recorded.study_name!r} has fewer than {FOLDS} points: search on, with more --trials."
            )
        if not any(len(point.further) > 1 for point in recorded.points):
            raise ExplainedError(f"No point of {recorded.study_name!r} was run again: search on, with --rerank 10.")
        self.recorded, self.smoothness = recorded, smoothness
        self.distributions = distributions(recorded.max_params)
        self.encoded = np.stack([self.encode(point.params) for point in recorded.points])
        found = np.array([statistics.mean(map(log_error, _values(point))) for point in recorded.points])
        found = np.minimum(found, np.median(found) + WORST)
        self.centre, self.scale = float(found.mean()), float(found.std())
        self.targets: Vector = (found - self.centre) / self.scale
        self.noise, self.noise_of_number = _scatter([list(map(log_error, point.further)) for point in recorded.points])
        num_runs = np.array([len(_values(point)) for point in recorded.points])
        self.noise_of_targets: Vector = self.noise / self.scale / np.sqrt(num_runs)
        self._process = self._make_process()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a length scale at its bound: a parameter that does not matter
            self._process.fit(self.encoded, self.targets)
        product = self._process.kernel_.k1
        self.spread = math.sqrt(product.k1.constant_value)
        self.length_scales: Vector = product.k2.length_scale
        self._kernel = product
        self.roughness = math.sqrt(self._process.kernel_.k2.noise_level)
        self.deviations: Vector = np.sqrt(self.noise_of_targets**2 + self.roughness**2)
        covariance = product(self.encoded) + np.diag(self.deviations**2)
        self._factor = np.linalg.cholesky(covariance)

    def _make_process(self, num_restarts: int = 4) -> GaussianProcessRegressor:
        num_dimensions = self.encoded.shape[1]
        # The white kernel takes what is rougher than the process can be; a run's own noise is given.
        kernel = ConstantKernel(1.0, (0.1, 10.0)) * Matern(
            np.ones(num_dimensions), (0.3, 30.0), nu=self.smoothness
        ) + WhiteKernel(0.05, (1e-4, 1.0))
        return GaussianProcessRegressor(
            kernel, alpha=self.noise_of_targets**2, n_restarts_optimizer=num_restarts, random_state=0
        )

    def encode(self, params: Params) -> Vector:
        return encode(canonical(params, self.recorded.max_params), self.distributions)

    def key(self, params: Params) -> str:
        """Equal for equal networks."""
        return repr(sorted(canonical(params, self.recorded.max_params).items()))

    def covariance(self, at: Vector) -> Vector:
        found: Vector = self._kernel(at, self.encoded)
        return found

    def solve(self, values: Vector) -> Vector:
        """The inverse of the covariance of the recorded points, noise included, times values."""
        found: Vector = np.linalg.solve(self._factor.T, np.linalg.solve(self._factor, values))
        return found

    @cached_property
    def _values(self) -> Vector:
        return np.array([log_error(point.value) for point in self.recorded.points])

    def draw_curve(self, value: float, generator: np.random.Generator) -> tuple[float, ...]:
        """The learning curve of a run of so many log error: that of a recorded one of about as many, moved."""
        nearest = np.argsort(np.abs(self._values - value), kind="stable")[:NEIGHBOURS]
        point = self.recorded.points[int(generator.choice(nearest))]
        moved = value - log_error(point.value)
        return tuple(max(0.0, to_accuracy(log_error(accuracy) + moved)) for accuracy in point.curve)

    def describe(self) -> SurrogateFit:
        """How well it foretells points that it was not given."""
        foretold = np.empty_like(self.targets)
        for kept, left_out in KFold(FOLDS, shuffle=True, random_state=0).split(self.encoded):
            process = self._make_process(num_restarts=0)
            process.alpha = self.noise_of_targets[kept] ** 2
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as above
                process.fit(self.encoded[kept], self.targets[kept])
            foretold[left_out] = process.predict(self.encoded[left_out])
        names = list(self.distributions)
        order = np.argsort(self.length_scales)
        return SurrogateFit(
            points=len(self.recorded.points),
            repeated=sum(len(point.further) > 0 for point in self.recorded.points),
            noise=self.noise,
            spread=self.scale,
            explained=float(1 - np.mean((foretold - self.targets) ** 2) / np.var(self.targets)),
            rank_correlation=float(spearmanr(foretold, self.targets).statistic),
            length_scales={names[index]: float(self.length_scales[index]) for index in order},
        )


def _values(point: Point) -> tuple[float, ...]:
    """Of its further runs, where there are some: by its first it was chosen for them, and that flatters."""
    return point.further or (point.value,)


def _scatter(rows: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The standard deviation of repeated runs, and that of what runs of the same number have in common.

    The first two runs of all points that were run again are a two-way layout without repetition. What a number adds is
    known from two of them only: roughly.
    """
    runs = np.array([row[:2] for row in rows if len(row) > 1])
    of_points, of_numbers = runs.mean(axis=1, keepdims=True), runs.mean(axis=0)
    rest = runs - of_points - of_numbers + runs.mean()
    variance = float((rest**2).sum()) / max(1, len(runs) - 1)
    shared = max(0.0, float(of_numbers.var(ddof=1)) - variance / len(runs))
    return math.sqrt(variance + shared), math.sqrt(shared)
