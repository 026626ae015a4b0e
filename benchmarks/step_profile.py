"""Where the time of a training step goes, on one CPU thread, in fp32.

python -m benchmarks.step_profile --data-dir data
python -m benchmarks.step_profile --json > results/reference/step_profile.json

Trains the reference net, that of a quarter of its parameters, and a separable one of as many, as a worker does, each
in a process of its own. In every other epoch, a stopwatch around each of our kernels, the augmentation, the optimizer
and the average says how long they took; what is left of the step is Python between them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import torch
from optuna.trial import FixedTrial
from rich.table import Table

from benchmarks.command import Benchmark, data_options, finish, tell
from benchmarks.contest import Contestant, StartTogether, Work, first_digits, run
from benchmarks.records import StepProfile, StepProfileRow
from search.commands.options import json_option
from search.config import DEFAULT_MAX_PARAMS, NUM_STAGES, TrialConfig
from search.net import train as training
from search.net.augment import augmented_batches
from search.net.compiled import backwards, forwards
from search.net.compiled.weights import CompiledAdamW
from search.net.data import load_search_splits
from search.net.datasets import find_dataset
from search.net.device import Runtime
from search.provenance import code_commit, versions
from search.show.words import format_network
from search.studies.starting import WORKER_ENVIRONMENT
from space import REFERENCE, suggest_config

PRECISION = "fp32"  # in which our kernels compute
KERNELS = (
    (forwards, "forward", "forwards: convolutions, pooling, norm, ReLU"),
    (backwards, "backward", "backwards: convolutions, pooling, norm, ReLU"),
    (backwards, "head_gradient", "head, and loss"),
)
AUGMENTATION, OPTIMIZER, AVERAGE, BETWEEN = "augmentation", "AdamW", "weight average", "Python between"
NETWORKS = ((DEFAULT_MAX_PARAMS, False), (2_000, False), (2_000, True))  # budgets; whether all blocks are separable
NUM_PAIRS = 4  # of epochs, one without stopwatches and one with them: other work on the machine slows both


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """A step in milliseconds: without stopwatches, with them, and what they say."""

    step_ms: float
    timed_step_ms: float
    kinds_ms: dict[str, float]


def measure(work: Work, device: torch.device, _start_together: StartTogether) -> StepTimes:
    runtime = Runtime(device=device, precision=work.precision)
    num_pairs = (work.epochs - 1) // 2
    plain = timed = 0.0
    with stopwatches() as watches:
        epochs = training.train(work.config, work.split, epochs=work.epochs, seed=0, runtime=runtime)
        next(epochs)  # warms up
        for _ in range(num_pairs):
            plain += next(epochs).seconds
            watches.running = True
            timed += next(epochs).seconds
            watches.running = False
    found = watches.seconds
    found[BETWEEN] = timed - sum(found.values())
    per_step = 1e3 / (num_pairs * (len(work.split) // work.config.batch_size))
    return StepTimes(
        step_ms=plain * per_step,
        timed_step_ms=timed * per_step,
        kinds_ms={kind: found[kind] * per_step for kind in sorted(found, key=lambda kind: -found[kind])},
    )


@dataclass
class Stopwatches:
    """The seconds of each kind of work that was done while they ran."""

    running: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if not self.running:
                return function(*arguments, **options)
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - start
            return result

        return run


@contextmanager
def stopwatches() -> Iterator[Stopwatches]:
    """Stopwatches for a training that is begun meanwhile; it keeps the functions that it began with."""
    watches = Stopwatches()

    def timed_batches(*arguments: Any, **options: Any) -> Iterator[Any]:
        batches = augmented_batches(*arguments, **options)
        take = watches.timed(lambda: next(batches, None), AUGMENTATION)
        while (batch := take()) is not None:
            yield batch

    with ExitStack() as stack:
        stack.enter_context(patch.object(training, "augmented_batches", timed_batches))
        for owner, name, kind in (
            *KERNELS,
            (CompiledAdamW, "step", OPTIMIZER),
            (training.WeightAverage, "update", AVERAGE),
        ):
            stack.enter_context(patch.object(owner, name, watches.timed(getattr(owner, name), kind)))
        yield watches


WORKER = Contestant(name="a worker", measure=measure, devices=["cpu"], threads=1, environment=WORKER_ENVIRONMENT)


@click.command(cls=Benchmark)
@data_options
@click.option("--images", type=click.IntRange(min=TrialConfig.batch_size), default=12_800, show_default=True)
@json_option
def main(dataset: str, data_dir: Path, images: int, as_json: bool) -> None:
    """Measures where a training step's time goes; takes two minutes, and wants the machine for itself."""
    digits = find_dataset(dataset, data_dir, tell)
    digits_to_train, _ = load_search_splits(digits, data_dir)
    rows = []
    for max_params, separable in NETWORKS:
        drawn = REFERENCE | {f"separable_{stage}": separable for stage in range(1, NUM_STAGES + 1)}
        config = suggest_config(FixedTrial(drawn), max_params)
        work = Work(
            config=config, split=first_digits(digits_to_train, images), epochs=1 + 2 * NUM_PAIRS, precision=PRECISION
        )
        [times] = run(WORKER, work)
        rows.append(
            StepProfileRow(
                channels=config.model.channels,
                blocks=config.model.blocks,
                residual=config.model.residual,
                num_params=config.model.num_params,
                batch_size=config.batch_size,
                step_ms=round(times.step_ms, 2),
                timed_step_ms=round(times.timed_step_ms, 2),
                kinds_ms={kind: round(ms, 2) for kind, ms in times.kinds_ms.items()},
            )
        )
    measured = StepProfile(
        rows=rows, precision=PRECISION, dataset=digits.name, commit=code_commit(), versions=versions()
    )
    finish(measured, table, as_json=as_json)


def table(measured: StepProfile) -> Table:
    result = Table(title=f"A training step, {measured.precision}")
    result.add_column("ms")
    for row in measured.rows:
        result.add_column(f"{row.num_params:,} parameters: {format_network(row)}", justify="right")
    for kind in measured.rows[0].kinds_ms:
        result.add_row(kind, *(f"{row.kinds_ms[kind]:.2f}" for row in measured.rows))
    result.add_row("the step with stopwatches", *(f"{row.timed_step_ms:.2f}" for row in measured.rows), style="bold")
    result.add_row("the step without", *(f"{row.step_ms:.2f}" for row in measured.rows), style="bold")
    return result


if __name__ == "__main__":
    main()
