"""Statistics of a proof: what so many runs say, and what they do not."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

CONFIDENCE = 0.95
ROUNDING = 1e-9  # points
MANY_SEEDS = math.ceil(math.log(1 - CONFIDENCE) / math.log(CONFIDENCE))  # the fewest that prove 95 % of all seeds


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What runs have come to, in percent.

    Attributes:
        std: With n - 1; needs two runs.
        ci95: The 95 % t-interval of the mean; None for one run, and where all are equal (`paired_margin`).
    """

    min: float
    mean: float
    std: float | None
    ci95: tuple[float, float] | None


def estimate(accuracies: Sequence[float]) -> Estimate:
    """Minimum, mean, standard deviation and the interval of the mean."""
    n = len(accuracies)
    mean = math.fsum(accuracies) / n
    if n == 1:
        return Estimate(min=accuracies[0], mean=mean, std=None, ci95=None)
    std = math.sqrt(math.fsum((accuracy - mean) ** 2 for accuracy in accuracies) / (n - 1))
    margin = paired_margin(accuracies)
    interval = (max(0.0, mean - margin), min(100.0, mean + margin)) if margin is not None else None
    return Estimate(min=min(accuracies), mean=mean, std=std, ci95=interval)


def accuracy(errors: int, num_images: int) -> float:
    """In percent."""
    return 100 * (num_images - errors) / num_images


def set_error(accuracy: float, num_images: int) -> float:
    """By how much, in points, an accuracy may be off as the set of images is finite: half of its 95 % interval.

    Wilson's, which holds near 100 %, too ("Interval Estimation for a Binomial Proportion", Brown et al., 2001).
    """
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = accuracy / 100
    spread = math.sqrt(share * (1 - share) / num_images + (z / (2 * num_images)) ** 2)
    return 100 * z * spread / (1 + z**2 / num_images)


def max_errors(target: Decimal, num_images: int) -> int:
    """The most errors with which the target, in percent, is still reached. Exact: 99.4 of 10,000 allows 60."""
    return math.floor((100 - target) * num_images / 100)


def pass_share_lower(num_passed: int, n: int) -> float:
    """The exact one-sided (Clopper-Pearson) 95 % lower bound of the share of seeds that reach the target."""
    from scipy import stats

    test = stats.binomtest(num_passed, n, alternative="greater")
    return float(test.proportion_ci(confidence_level=CONFIDENCE, method="exact").low)


def prediction_margin(std: float | None, num_recorded: int, num_further: int, *, num_images: int) -> float | None:
    """How far the mean of further runs may lie from that of the recorded ones, in percent, at 95 % (Student's t).

    None where one run is recorded: it has no spread.

    Args:
        num_images: That each run was measured on.
    """
    from scipy import stats

    if std is None:
        return None
    # Errors are whole: equal ones hide a spread of up to half an image, and do not show that there is none. More than
    # that they do not hide. (What counting would scatter by, its square root, is no floor: on a fixed test set, whose
    # hard images are missed by every run, the seeds scatter by less.)
    std = max(std, 100 / num_images / 2)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, num_recorded - 1))
    return quantile * std * math.sqrt(1 / num_recorded + 1 / num_further)


def paired_margin(differences: Sequence[float]) -> float | None:
    """Half of the 95 % t-interval of the mean of numbers, such as paired differences.

    None for a single one, and where all are equal: errors are whole, so that hides their spread, and proves nothing.
    """
    from scipy import stats

    n = len(differences)
    if n < 2 or max(differences) - min(differences) <= ROUNDING:
        return None
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * statistics.stdev(differences) / math.sqrt(n)


def difference_margin(rows: Sequence[Sequence[float]]) -> float | None:
    """Half of the 95 % interval of the difference of two rows' means, of several rows of runs that share their seeds.

    What scatters is pooled over all rows, with the effects of row and seed taken out (a two-way layout without
    repetition), so that few runs of each suffice. The interval is that of one pair, not adjusted for how many there
    are. None where there are not two rows of two runs, and where nothing scatters (see `paired_margin`).
    """
    from scipy import stats

    num_rows, num_runs = len(rows), min(map(len, rows), default=0)
    if num_rows < 2 or num_runs < 2:
        return None
    row_means = [math.fsum(row) / num_runs for row in rows]
    run_means = [math.fsum(run) / num_rows for run in zip(*rows, strict=True)]
    grand_mean = math.fsum(row_means) / num_rows
    residuals = [
        value - row_mean - run_mean + grand_mean
        for row, row_mean in zip(rows, row_means, strict=True)
        for value, run_mean in zip(row, run_means, strict=True)
    ]
    if max(map(abs, residuals)) <= ROUNDING:
        return None
    freedom = (num_rows - 1) * (num_runs - 1)
    variance = math.fsum(residual**2 for residual in residuals) / freedom
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(2 * variance / num_runs)


def mean_of(values: Sequence[float]) -> float | None:
    return statistics.mean(values) if values else None


def std_of(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
