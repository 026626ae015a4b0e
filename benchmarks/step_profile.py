"""Where the time of a training step goes, by kind of operation, on one CPU thread.

python -m benchmarks.step_profile --data-dir data
python -m benchmarks.step_profile --json > results/reference/step_profile.json

Trains the reference net as a worker does, in a process of its own. PyTorch's profiler says how long each operator
computed; what is left of the step is Python, autograd, dispatch, and the profiler itself, for which a step takes longer
than without it.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import torch
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.command import Benchmark, data_options, finish, tell
from benchmarks.contest import Contestant, StartTogether, Work, first_digits, run
from benchmarks.records import StepProfile
from search.commands.options import json_option
from search.config import DEFAULT_MAX_PARAMS, TrialConfig
from search.net.augment import augmented_batches
from search.net.data import load_search_splits
from search.net.datasets import find_dataset
from search.net.device import Runtime, choose_precision
from search.net.train import train
from search.provenance import code_commit, versions
from search.studies.pool import WORKER_ENVIRONMENT
from space import reference_config

# What an operator's name contains, and the kind of operation it counts as; the first that fits.
KINDS = {
    "batch_norm": "batch norm",
    "convolution": "convolutions",
    "max_pool2d": "max-pooling",
    "relu": "ReLU",
    "threshold_backward": "ReLU",
    "clamp_min": "ReLU",
    "adamw": "AdamW",
    "foreach_lerp": "weight average",
}
OTHER_OPERATORS = "other operators"
BETWEEN = "Python, autograd, dispatch, profiler"
NUM_EPOCHS = 3  # that are timed without the profiler
QUIET = {"KINETO_LOG_LEVEL": "5"}  # its error that there is no GPU


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """A step in milliseconds: without the profiler (the median of epochs), with it, and its operators with it."""

    step_ms: float
    profiled_step_ms: float
    operators_ms: dict[str, float]
    kinds_ms: dict[str, float]


def kind_of(operator: str) -> str:
    return next((kind for part, kind in KINDS.items() if part in operator), OTHER_OPERATORS)


def split_step(
    step_ms: float, operator_ms: Mapping[str, float], augmentation_ms: Mapping[str, float]
) -> dict[str, float]:
    """The milliseconds of each kind in a step, the largest first; they add up to the step.

    Args:
        step_ms: The whole step, augmentation included.
        operator_ms: Each operator in it.
        augmentation_ms: What of that is augmentation.
    """
    by_kind = {"augmentation": sum(augmentation_ms.values())}
    for operator, ms in operator_ms.items():
        kind = kind_of(operator)
        by_kind[kind] = by_kind.get(kind, 0.0) + ms - augmentation_ms.get(operator, 0.0)
    by_kind[BETWEEN] = step_ms - sum(by_kind.values())
    return dict(sorted(by_kind.items(), key=lambda item: -item[1]))


def measure(work: Work, device: torch.device, _start_together: StartTogether) -> StepTimes:
    config, split = work.config, work.split
    steps = len(split) // config.batch_size
    runtime = Runtime(device=device, precision=work.precision)
    epochs = train(config, split, epochs=work.epochs, seed=0, runtime=runtime)
    next(epochs)  # warms up
    timed = [next(epochs).seconds for _ in range(work.epochs - 2)]
    profiled_step_ms, operator_ms = profiled(lambda: next(epochs), steps)
    generator = torch.Generator(device).manual_seed(0)
    batches = partial(augmented_batches, split, config.batch_size, config.augment, generator)
    _, augmentation_ms = profiled(lambda: deque(batches(), maxlen=0), steps)
    return StepTimes(
        step_ms=1e3 * statistics.median(timed) / steps,
        profiled_step_ms=profiled_step_ms,
        operators_ms=operator_ms,
        kinds_ms=split_step(profiled_step_ms, operator_ms, augmentation_ms),
    )


def profiled(run: Callable[[], object], steps: int) -> tuple[float, dict[str, float]]:
    """The milliseconds per step of what is run under the profiler, and each operator's."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    operators = [event for event in profiler.key_averages() if event.key.startswith("aten::")]
    return 1e3 * seconds / steps, {event.key: event.self_cpu_time_total / 1e3 / steps for event in operators}


WORKER = Contestant(
    name="a worker", measure=measure, devices=["cpu"], threads=1, environment={**QUIET, **WORKER_ENVIRONMENT}
)


@click.command(cls=Benchmark)
@data_options
@click.option("--images", type=click.IntRange(min=TrialConfig.batch_size), default=12_800, show_default=True)
@json_option
def main(dataset: str, data_dir: Path, images: int, as_json: bool) -> None:
    """Measures where a training step's time goes; takes a minute, and wants the machine for itself."""
    config = reference_config(DEFAULT_MAX_PARAMS)
    digits = find_dataset(dataset, data_dir, tell)
    training, _ = load_search_splits(digits, data_dir)
    precision = choose_precision(torch.device("cpu"))
    work = Work(config=config, split=first_digits(training, images), epochs=NUM_EPOCHS + 2, precision=precision)
    [times] = run(WORKER, work)
    by_time = sorted(times.operators_ms.items(), key=lambda item: -item[1])
    measured = StepProfile(
        step_ms=round(times.step_ms, 2),
        profiled_step_ms=round(times.profiled_step_ms, 2),
        kinds_ms={kind: round(ms, 2) for kind, ms in times.kinds_ms.items()},
        operators_ms={name: round(ms, 3) for name, ms in by_time},
        channels=config.model.channels,
        batch_size=config.batch_size,
        precision=precision,
        dataset=digits.name,
        commit=code_commit(),
        versions=versions(),
    )
    finish(measured, table, as_json=as_json)


def table(measured: StepProfile) -> Table:
    result = Table(title=f"A step of {measured.batch_size} images, {measured.precision}")
    result.add_column("Operation")
    result.add_column("ms", justify="right")
    result.add_column("Share", justify="right")
    for kind, ms in measured.kinds_ms.items():
        result.add_row(kind, f"{ms:.2f}", f"{ms / measured.profiled_step_ms:.0%}")
    result.add_row("the step under the profiler", f"{measured.profiled_step_ms:.2f}", "", style="bold")
    result.add_row("the step without it", f"{measured.step_ms:.2f}", "", style="bold")
    return result


if __name__ == "__main__":
    main()
