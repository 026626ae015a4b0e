"""What the errors of any point of the search space would be: drawn from a Gaussian process, given recorded points.

A simulated search needs an answer for points that nobody has trained. The logarithm of the errors is modelled, for a
run's noise is about the same share of them everywhere. Not the mean of the process serves, which is smoother than any
real space and so too easy for samplers, but draws from it, each a world that agrees with what is recorded ("Efficiently
Sampling Functions from Gaussian Process Posteriors", Wilson et al., 2020).
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
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.records import Point, Points, SurrogateFit
from space import suggest_config

NUM_IMAGES = 10_000  # of validation
WORST = 1.0  # the most, in log errors, that a point is worse than the median: bad is bad
NUM_FEATURES = 2_000  # random ones, of which a draw from the prior is made
FOLDS = 10
SMOOTHNESS = 2.5  # of the Matérn kernel: twice differentiable
NEIGHBOURS = 10  # recorded curves among which the shape of a simulated one is drawn

Params = dict[str, bool | int | float]
Vector = NDArray[np.float64]


def distributions(max_params: int) -> dict[str, BaseDistribution]:
    """What a trial at this budget draws."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest_config(trial, max_params)
    return trial.distributions


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


def log_errors(accuracy: float) -> float:
    """Of an accuracy in percent; half an error where there is none."""
    return math.log(max(0.5, (100 - accuracy) / 100 * NUM_IMAGES))


def to_accuracy(log_of_errors: float) -> float:
    """In percent."""
    return 100 - 100 * math.exp(log_of_errors) / NUM_IMAGES


class World:
    """One function of the search space: the logarithm of a point's errors, without a run's noise."""

    def __init__(self, surrogate: "Surrogate", seed: int) -> None:
        self._surrogate = surrogate
        generator = np.random.default_rng(seed)
        num_dimensions = surrogate.encoded.shape[1]
        # The spectral density of a Matérn kernel is a t-distribution: normal over the root of a chi-square.
        chi_square = generator.chisquare(2 * SMOOTHNESS, size=(NUM_FEATURES, 1)) / (2 * SMOOTHNESS)
        normal = generator.standard_normal((NUM_FEATURES, num_dimensions))
        self._frequencies = normal / np.sqrt(chi_square) / surrogate.length_scales
        self._phases = generator.uniform(0, 2 * math.pi, NUM_FEATURES)
        self._weights = generator.standard_normal(NUM_FEATURES) * surrogate.spread * math.sqrt(2 / NUM_FEATURES)
        noise = generator.standard_normal(len(surrogate.encoded)) * surrogate.noise_of_targets
        self._correction = surrogate.solve(surrogate.targets - noise - self._prior(surrogate.encoded))

    def _prior(self, encoded: Vector) -> Vector:
        drawn: Vector = np.cos(encoded @ self._frequencies.T + self._phases) @ self._weights
        return drawn

    def log_errors(self, params: Params) -> float:
        """Of a point, without noise."""
        surrogate = self._surrogate
        at = surrogate.encode(params)[None]
        found = self._prior(at) + surrogate.covariance(at) @ self._correction
        return float(found[0]) * surrogate.scale + surrogate.centre


class Surrogate:
    """A Gaussian process over the recorded points of one budget.

    Attributes:
        noise: The standard deviation of a run in log errors, from the points that were run again.
    """

    def __init__(self, recorded: Points) -> None:
        self.recorded = recorded
        self.distributions = distributions(recorded.max_params)
        self.encoded = np.stack([self.encode(point.params) for point in recorded.points])
        found = np.array([statistics.mean(map(log_errors, _values(point))) for point in recorded.points])
        found = np.minimum(found, np.median(found) + WORST)
        self.centre, self.scale = float(found.mean()), float(found.std())
        self.targets: Vector = (found - self.centre) / self.scale
        self.noise = _pooled_std([list(map(log_errors, _values(point))) for point in recorded.points])
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
        covariance = product(self.encoded) + np.diag(self.noise_of_targets**2 + self._process.kernel_.k2.noise_level)
        self._factor = np.linalg.cholesky(covariance)

    def _make_process(self) -> GaussianProcessRegressor:
        num_dimensions = self.encoded.shape[1]
        # The white kernel takes what is rougher than the process can be; a run's own noise is given.
        kernel = ConstantKernel(1.0, (0.1, 10.0)) * Matern(
            np.ones(num_dimensions), (0.3, 30.0), nu=SMOOTHNESS
        ) + WhiteKernel(0.05, (1e-4, 1.0))
        return GaussianProcessRegressor(kernel, alpha=self.noise_of_targets**2, n_restarts_optimizer=4, random_state=0)

    def encode(self, params: Params) -> Vector:
        return encode(params, self.distributions)

    def covariance(self, at: Vector) -> Vector:
        found: Vector = self._kernel(at, self.encoded)
        return found

    def solve(self, values: Vector) -> Vector:
        """The inverse of the covariance of the recorded points, noise included, times values."""
        found: Vector = np.linalg.solve(self._factor.T, np.linalg.solve(self._factor, values))
        return found

    @cached_property
    def _values(self) -> Vector:
        return np.array([log_errors(point.value) for point in self.recorded.points])

    def draw_curve(self, value: float, generator: np.random.Generator) -> tuple[float, ...]:
        """The learning curve of a run of so many log errors: that of a recorded one of about as many, moved."""
        nearest = np.argsort(np.abs(self._values - value), kind="stable")[:NEIGHBOURS]
        point = self.recorded.points[int(generator.choice(nearest))]
        moved = value - log_errors(point.value)
        return tuple(max(0.0, to_accuracy(log_errors(accuracy) + moved)) for accuracy in point.curve)

    def describe(self) -> SurrogateFit:
        """How well it foretells points that it was not given."""
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        process = GaussianProcessRegressor(self._process.kernel_, alpha=float(self.noise_of_targets.mean()) ** 2)
        process.optimizer = None  # with the lengths that were found: a tenth of the points is too few to find others
        foretold = cross_val_predict(process, self.encoded, self.targets, cv=folds)
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


def _pooled_std(rows: Sequence[Sequence[float]]) -> float:
    """Of repeated runs, over all points that were run again."""
    repeated = [row for row in rows if len(row) > 1]
    freedom = sum(len(row) - 1 for row in repeated)
    return math.sqrt(sum(statistics.variance(row) * (len(row) - 1) for row in repeated) / freedom)
