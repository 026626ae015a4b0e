"""Where the time of a training step goes, by kind of operation, on one CPU thread.

python benchmarks/step_profile.py --data-dir data
python benchmarks/step_profile.py --json > results/reference/step_profile.json

Trains the reference net as a worker does. PyTorch's profiler says how long each operator computed; what is left of the
step's time, measured without the profiler, is Python, autograd and dispatch.
"""

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from search.workers import WORKER_ENVIRONMENT  # noqa: E402 (the path comes first)

QUIET = {"KINETO_LOG_LEVEL": "5"}  # its error that there is no GPU

if __name__ == "__main__" and any(name not in os.environ for name in WORKER_ENVIRONMENT):
    # A process reads them when it starts.
    os.execve(sys.executable, [sys.executable, *sys.argv], {**QUIET, **WORKER_ENVIRONMENT, **os.environ})

import click  # noqa: E402
import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

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
    "grid_sampler": "augmentation",
    "index_select": "augmentation",
}
OTHER_OPERATORS = "other operators"
BETWEEN = "Python, autograd, dispatch"


def kind_of(operator: str) -> str:
    return next((kind for part, kind in KINDS.items() if part in operator), OTHER_OPERATORS)


def split_step(step_ms: float, operator_ms: Mapping[str, float]) -> dict[str, float]:
    """The milliseconds of each kind in a step, the largest first; they add up to the step."""
    by_kind: dict[str, float] = defaultdict(float)
    for operator, ms in operator_ms.items():
        by_kind[kind_of(operator)] += ms
    by_kind[BETWEEN] = max(0.0, step_ms - sum(by_kind.values()))
    return dict(sorted(by_kind.items(), key=lambda item: -item[1]))


def measure(config: TrialConfig, split: Split, runtime: Runtime) -> tuple[float, dict[str, float]]:
    """Milliseconds of a step, and of each operator in it. Epoch 1 warms up, 2 is timed, 3 is profiled."""
    epochs = train(config, split, epochs=3, seed=0, runtime=runtime)
    next(epochs)
    steps = len(split) // config.batch_size
    start = time.perf_counter()
    next(epochs)
    step_ms = 1e3 * (time.perf_counter() - start) / steps
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        next(epochs)
    operators = [event for event in profiler.key_averages() if event.key.startswith(("aten::", "mkldnn", "onednn"))]
    return step_ms, {event.key: event.self_cpu_time_total / 1e3 / steps for event in operators}


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path("data"), envvar="MNIST_DIR")
@click.option("--images", type=click.IntRange(min=64), default=12_800, help="In an epoch.", show_default=True)
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
    step_ms, operator_ms = measure(config, subset, runtime)
    facts: dict[str, Any] = {
        "step_ms": round(step_ms, 2),
        "kinds_ms": {kind: round(ms, 2) for kind, ms in split_step(step_ms, operator_ms).items()},
        "operators_ms": {name: round(ms, 3) for name, ms in sorted(operator_ms.items(), key=lambda item: -item[1])},
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
    result = Table(title=f"A step of {facts['batch_size']} images, {facts['precision']}: {facts['step_ms']} ms")
    result.add_column("Operation")
    result.add_column("ms", justify="right")
    result.add_column("Share", justify="right")
    for kind, ms in facts["kinds_ms"].items():
        result.add_row(kind, f"{ms:.2f}", f"{ms / facts['step_ms']:.0%}")
    return result


if __name__ == "__main__":
    main()
