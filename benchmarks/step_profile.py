"""Where the time of a training step goes, by kind of operation, on one CPU thread.

python benchmarks/step_profile.py --data-dir data
python benchmarks/step_profile.py --json > results/reference/step_profile.json

Trains the reference net as a worker does. PyTorch's profiler says how long each operator computed; what is left of the
step is Python, autograd, dispatch, and the profiler itself, for which a step takes longer than without it.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from search.workers import WORKER_ENVIRONMENT  # noqa: E402 (the path comes first)

QUIET = {"KINETO_LOG_LEVEL": "5"}  # its error that there is no GPU

if __name__ == "__main__" and any(name not in os.environ for name in WORKER_ENVIRONMENT):
    # A process reads them when it starts.
    environment = {**QUIET, **WORKER_ENVIRONMENT, **os.environ}
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)

import click  # noqa: E402
import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

from search.augment import augmented_batches  # noqa: E402
from search.config import DEFAULT_MAX_PARAMS, ExplainedError, TrialConfig  # noqa: E402
from search.data import Split, find_dataset, load_search_splits  # noqa: E402
from search.provenance import code_commit, versions  # noqa: E402
from search.train import Runtime, choose_precision, train  # noqa: E402
from space import reference_config  # noqa: E402

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


def measure(config: TrialConfig, split: Split, runtime: Runtime) -> dict[str, Any]:
    """A step's milliseconds without the profiler (the median of epochs) and with it, and its operators' with it."""
    steps = len(split) // config.batch_size
    epochs = train(config, split, epochs=NUM_EPOCHS + 2, seed=0, runtime=runtime)
    next(epochs)  # warms up
    timed = [next(epochs).seconds for _ in range(NUM_EPOCHS)]
    profiled_step_ms, operator_ms = profiled(lambda: next(epochs), steps)
    generator = torch.Generator(runtime.device).manual_seed(0)
    batches = partial(augmented_batches, split, config.batch_size, config.augment, generator)
    _, augmentation_ms = profiled(lambda: deque(batches(), maxlen=0), steps)
    return {
        "step_ms": 1e3 * statistics.median(timed) / steps,
        "profiled_step_ms": profiled_step_ms,
        "operators_ms": operator_ms,
        "kinds_ms": split_step(profiled_step_ms, operator_ms, augmentation_ms),
    }


def profiled(run: Callable[[], object], steps: int) -> tuple[float, dict[str, float]]:
    """The milliseconds per step of what is run under the profiler, and each operator's."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    operators = [event for event in profiler.key_averages() if event.key.startswith("aten::")]
    return 1e3 * seconds / steps, {event.key: event.self_cpu_time_total / 1e3 / steps for event in operators}


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path("data"), envvar="MNIST_DIR")
@click.option("--images", type=click.IntRange(min=TrialConfig.batch_size), default=12_800, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def main(data_dir: Path, images: int, as_json: bool) -> None:
    """Measures where a training step's time goes; takes a minute, and wants the machine for itself."""
    torch.set_num_threads(1)
    config = reference_config(DEFAULT_MAX_PARAMS)
    device = torch.device("cpu")
    try:
        dataset = find_dataset("auto", data_dir, Console(stderr=True).print)
    except ExplainedError as error:
        raise click.ClickException(str(error)) from error
    training, _ = load_search_splits(dataset, data_dir)
    subset = training.select(torch.arange(images) % len(training))
    runtime = Runtime(device=device, precision=choose_precision(device))
    measured = measure(config, subset, runtime)
    by_time = sorted(measured["operators_ms"].items(), key=lambda item: -item[1])
    facts: dict[str, Any] = {
        "step_ms": round(measured["step_ms"], 2),
        "profiled_step_ms": round(measured["profiled_step_ms"], 2),
        "kinds_ms": {kind: round(ms, 2) for kind, ms in measured["kinds_ms"].items()},
        "operators_ms": {name: round(ms, 3) for name, ms in by_time},
        "channels": config.model.channels,
        "batch_size": config.batch_size,
        "precision": runtime.precision,
        "dataset": dataset,
        "commit": code_commit(),
        "versions": versions(),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        Console().print(table(facts))


def table(facts: dict[str, Any]) -> Table:
    result = Table(title=f"A step of {facts['batch_size']} images, {facts['precision']}")
    result.add_column("Operation")
    result.add_column("ms", justify="right")
    result.add_column("Share", justify="right")
    for kind, ms in facts["kinds_ms"].items():
        result.add_row(kind, f"{ms:.2f}", f"{ms / facts['profiled_step_ms']:.0%}")
    result.add_row("the step under the profiler", f"{facts['profiled_step_ms']:.2f}", "", style="bold")
    result.add_row("the step without it", f"{facts['step_ms']:.2f}", "", style="bold")
    return result


if __name__ == "__main__":
    main()
