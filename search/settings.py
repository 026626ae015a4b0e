"""What a command is asked to do: parsed once, frozen, and handed on whole. Named as at the command line."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from numbers import Integral
from pathlib import Path

from .config import (
    DEFAULT_MAX_PARAMS,
    LARGEST_FIRST_SEED,
    LARGEST_INTEGER,
    LARGEST_MAX_PARAMS,
    MAX_EPOCHS,
    MAX_SECONDS,
    MAX_SEEDS,
    MAX_TRIALS,
    MAX_WORKERS,
    SMALLEST_MAX_PARAMS,
    ExplainedError,
    short_name,
    shortened,
)

DEFAULT_STORAGE = "sqlite:///study.db"
AUTO = "auto"
DEVICES = ("cuda", "mps", "cpu")  # "auto" takes the first that is there
PRECISIONS = ("bf16", "fp32")
SAMPLERS = ("tpe", "gp", "random")  # made by `search.studies.choices`, as pruners are
PRUNERS = ("percentile", "none")
_RESULTS = Path(__file__).resolve().parent.parent / "results"
COMMITTED_NAMES = ("reference", "fashion-mnist", "frontier")  # in results: this project's own records
COMMITTED = (  # folders of a study each: on MNIST, on Fashion-MNIST, and one for each budget of the frontier
    *(_RESULTS / name for name in COMMITTED_NAMES[:2]),
    *sorted((_RESULTS / COMMITTED_NAMES[2]).glob("*/")),
)
FRONTIER_RECORD = "frontier.json"
ARTIFACTS = "artifacts"  # in the results folder: what the dashboard offers for download
ANSWERS = "answers.json"  # beside a proof
# Of names, whichever command they are for.
CHOICES: dict[str, tuple[str, ...]] = {
    "device": (AUTO, *DEVICES),
    "precision": (AUTO, *PRECISIONS),
    "sampler": SAMPLERS,
    "pruner": PRUNERS,
}
# Of numbers, whichever command they are for.
LIMITS: dict[str, tuple[int, int]] = {
    "trials": (1, MAX_TRIALS),
    "max_params": (SMALLEST_MAX_PARAMS, LARGEST_MAX_PARAMS),
    "epochs": (1, MAX_EPOCHS),
    "rerank": (0, MAX_TRIALS),
    "compare": (0, MAX_SEEDS),
    "patience": (1, MAX_TRIALS),
    "seed": (0, LARGEST_INTEGER),
    "seeds": (1, MAX_SEEDS),
    "first_seed": (0, LARGEST_FIRST_SEED),
    "trial": (0, LARGEST_INTEGER),
    "workers": (0, MAX_WORKERS),
    "target": (1, 100),
}
SUMMARY = "summary.json"  # in a search's results
BEST_MODEL = "best-single-run.safetensors"  # there, too


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What the commands that compute have in common.

    Attributes:
        storage: The database, as a URL.
        study_name: None for the default.
        device: "auto", "cuda", "mps" or "cpu".
        precision: "auto", "bf16" or "fp32".
        workers: Processes that train at once: None for one per core or several per GPU, 0 to train in this process.
    """

    storage: str = DEFAULT_STORAGE
    study_name: str | None = None
    data_dir: Path = Path("data")
    results_dir: Path = Path("results")
    device: str = AUTO
    precision: str = AUTO
    workers: int | None = None

    def __post_init__(self) -> None:
        """Takes what the command line takes, and raises ExplainedError for what that would refuse."""
        if isinstance(target := getattr(self, "target", None), str | int | float):
            object.__setattr__(self, "target", _exactly(target))
        if getattr(self, "workers", None) == AUTO:
            object.__setattr__(self, "workers", None)
        for name in ("data_dir", "results_dir", "place"):
            if isinstance(folder := getattr(self, name, None), str):
                object.__setattr__(self, name, Path(folder))
        for name, known in CHOICES.items():
            if getattr(self, name, known[0]) not in known:
                raise ExplainedError(f"{name} has to be one of {', '.join(known)}, not {getattr(self, name)!r}.")
        timeout = getattr(self, "timeout", None)
        if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout <= MAX_SECONDS):
            raise ExplainedError(f"timeout has to be more than 0 seconds, and no more than {MAX_SECONDS:,}.")
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name, None)
            is_number = isinstance(value, Integral | Decimal)  # also NumPy's
            if value is not None and not (is_number and least <= value <= most):
                raise ExplainedError(f"{name} has to be from {least:,} to {most:,}, not {shortened(value)}.")


def _exactly(number: str | float) -> Decimal | str:
    """As it is typed, for 99.4 is no binary fraction; what is no number is left to be refused."""
    try:
        exact = Decimal(str(number))
    except InvalidOperation:
        return str(number)
    return exact if exact.is_finite() else str(number)


@dataclass(frozen=True, kw_only=True)
class SearchSettings(RunSettings):
    """What `search` is asked.

    Attributes:
        trials: The study's total.
        dataset: A name in `search.net.datasets.DATASETS`, a folder's path, or "auto".
        rerank: How many leading trials are run again in the end.
        warm_start: A study whose leading trials are tried after the first; counts when a study is begun.
        patience: So many trials in a row that are no better end the search; None for any number.
        compare: By how many runs the winner is then compared with the study's first trial.
        timeout: Seconds after which no trial starts.
    """

    trials: int = 50
    dataset: str = AUTO
    max_params: int = DEFAULT_MAX_PARAMS
    epochs: int = MAX_EPOCHS
    sampler: str = "gp"
    pruner: str = "percentile"
    rerank: int = 5
    compare: int = 6
    seed: int = 0
    timeout: float | None = None
    patience: int | None = None
    warm_start: str | None = None


@dataclass(frozen=True, kw_only=True)
class VerifySettings(RunSettings):
    """What `verify-best` is asked.

    Attributes:
        first_seed: None to leave it to the tool.
        trial: None for the winner.
        target: The test accuracy that every seed has to reach, in percent; None for the data set's.
    """

    seeds: int = 5
    first_seed: int | None = None
    trial: int | None = None
    target: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class FrontierSettings(RunSettings):
    """What `frontier` is asked: at each budget what `search` and `verify-best` are asked.

    Attributes:
        budgets: Parameters, the fewest first.
    """

    budgets: tuple[int, ...] = (1_000, 1_500, 2_000, 3_000, 4_000, 5_500, 7_999)
    trials: int = SearchSettings.trials
    seeds: int = 20
    dataset: str = AUTO
    epochs: int = MAX_EPOCHS
    sampler: str = SearchSettings.sampler
    pruner: str = SearchSettings.pruner
    rerank: int = SearchSettings.rerank
    compare: int = SearchSettings.compare
    seed: int = SearchSettings.seed
    target: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = LIMITS["max_params"]
        if not self.budgets or list(self.budgets) != sorted({each for each in self.budgets if least <= each <= most}):
            raise ExplainedError(
                f"budgets have to be from {least:,} to {most:,}, each once, the smallest first, not {self.budgets}."
            )


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings(RunSettings):
    """What `reproduce` is asked.

    Attributes:
        place: The folder that holds a recorded proof, or the record itself.
        first_seed: None for the recorded one.
    """

    place: Path
    seeds: int = 5
    first_seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What `export` is asked.

    Attributes:
        place: The folder that holds a recorded proof, or the record itself.
        format: "safetensors" or "onnx".
        views: "all" or "1": what an ONNX file holds.
        output: The file; None to put it beside the model.
    """

    place: Path
    format: str
    views: str
    output: Path | None = None


@dataclass(frozen=True, kw_only=True)
class AblateSettings(RunSettings):
    """What `ablate` is asked; `trial` is None for the winner."""

    seeds: int = 3
    trial: int | None = None


def frontier_record(dataset: str, epochs: int) -> Path:
    """Where in the results folder the frontier of a data set is on record."""
    return Path(f"frontier-{short_name(dataset)}-{epochs}e") / FRONTIER_RECORD
