"""Accuracy of the reference net on the validation digits, over several seeds: what a faster step must not cost.

python benchmarks/accuracy.py --data-dir data
python benchmarks/accuracy.py --json > results/reference/accuracy.json

Run it before and after a change to the network or the training step.
"""

import json
import multiprocessing
import signal
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from search.config import DEFAULT_MAX_PARAMS, MAX_EPOCHS, ExplainedError, TrialConfig  # noqa: E402
from search.data import find_dataset, load_search_splits  # noqa: E402
from search.model import ALL_VIEWS  # noqa: E402
from search.provenance import code_commit, versions  # noqa: E402
from search.runner import num_cores  # noqa: E402
from search.train import Runtime, choose_precision, evaluate, train  # noqa: E402
from search.workers import WORKER_ENVIRONMENT, environment  # noqa: E402
from space import reference_config  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every process trains; picklable."""

    config: TrialConfig
    dataset: str
    data_dir: Path
    epochs: int
    precision: str


def measure(seed: int, work: Work) -> dict[str, Any]:
    """Trains with one seed, on one thread of the CPU, and measures the state after the last epoch."""
    torch.set_num_threads(1)
    runtime = Runtime(device=torch.device("cpu"), precision=work.precision)
    training, validation = load_search_splits(work.dataset, work.data_dir)
    seconds = 0.0
    for result in train(work.config, training, epochs=work.epochs, seed=seed, runtime=runtime):
        seconds += result.seconds
    evaluation = evaluate(result.model, validation, runtime, ALL_VIEWS)
    return {
        "seed": seed,
        "accuracy": evaluation.accuracy,
        "accuracy_one_view": evaluate(result.model, validation, runtime).accuracy,
        "val_loss": evaluation.loss,
        "train_loss": result.train_loss,
        "seconds": round(seconds, 1),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    accuracies = [row["accuracy"] for row in rows]
    return {
        "mean": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "min": min(accuracies),
        "mean_one_view": statistics.mean(row["accuracy_one_view"] for row in rows),
        "val_loss": statistics.mean(row["val_loss"] for row in rows),
        "seconds": statistics.mean(row["seconds"] for row in rows),
    }


@click.command()
@click.option("--dataset", type=click.Choice(["auto", "mnist", "sample"]), default="auto", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path("data"), envvar="MNIST_DIR")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How many, from 1 up.")
@click.option("--epochs", type=click.IntRange(1, MAX_EPOCHS), default=MAX_EPOCHS, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def main(dataset: str, data_dir: Path, seeds: int, epochs: int, as_json: bool) -> None:
    """Measures the reference net over several seeds; takes a minute per seed, on two cores."""
    config = reference_config(DEFAULT_MAX_PARAMS)
    progress = Console(stderr=True)
    try:
        dataset = find_dataset(dataset, data_dir, progress.print)
    except ExplainedError as error:
        raise click.ClickException(str(error)) from error
    precision = choose_precision(torch.device("cpu"))
    work = Work(config=config, dataset=dataset, data_dir=data_dir, epochs=epochs, precision=precision)
    rows = []
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        num_cores(), mp_context=context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_DFL)
    )  # Ctrl-C ends its processes at once
    with environment(WORKER_ENVIRONMENT), pool:
        for row in pool.map(partial(measure, work=work), range(1, seeds + 1)):
            progress.print(f"seed {row['seed']}: {row['accuracy']:.2f} %, {row['seconds']:.0f} s")
            rows.append(row)
    facts = {
        **summarise(rows),
        "seeds": rows,
        "channels": config.model.channels,
        "num_params": config.model.num_params,
        "lr": config.lr,
        "batch_size": config.batch_size,
        "epochs": epochs,
        "precision": precision,
        "dataset": dataset,
        "commit": code_commit(),
        "versions": versions(),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        Console().print(table(facts))


def table(facts: dict[str, Any]) -> Table:
    result = Table(title=f"Reference net, {facts['num_params']:,} parameters, epochs: {facts['epochs']}")
    for heading in ("Seed", "Validation %", "One view %", "Validation loss", "Training loss", "Seconds"):
        result.add_column(heading, justify="right")
    for row in facts["seeds"]:
        losses = f"{row['val_loss']:.4f}", f"{row['train_loss']:.4f}"
        accuracies = f"{row['accuracy']:.2f}", f"{row['accuracy_one_view']:.2f}"
        result.add_row(str(row["seed"]), *accuracies, *losses, f"{row['seconds']:.0f}")
    spread = f", std {facts['std']:.3f}" if facts["std"] is not None else ""
    result.caption = f"mean {facts['mean']:.3f}{spread}, minimum {facts['min']:.2f}"
    return result


if __name__ == "__main__":
    main()
