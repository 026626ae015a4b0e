"""Training throughput: the loop that a user would write against ours, whole machine against whole machine.

python benchmarks/throughput.py --data-dir data
python benchmarks/throughput.py --json > results/reference/throughput.json

Every contestant trains the reference net's widths, with the same augmentation and batch size, on the same digits,
each in processes of its own; they take turns, and the median of the rounds counts. An epoch before the measured one
warms up. Evaluation is not part of it, on either side. The loop trains the net as a user would write it
(`reference_loop.Net`: 28x28 pixels, padded, a norm after every convolution) and, in a row of its own, exactly ours.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from contest import Contestant, Work, images_per_second, run  # noqa: E402 (the path comes first)
from reference_loop import Net, train_reference  # noqa: E402

from search.config import DEFAULT_MAX_PARAMS, ExplainedError, ModelConfig, TrialConfig  # noqa: E402
from search.data import Split, find_dataset, load_search_splits  # noqa: E402
from search.model import TinyCNN  # noqa: E402
from search.provenance import code_commit, versions  # noqa: E402
from search.runner import num_cores, worker_devices  # noqa: E402
from search.train import Runtime, choose_device, choose_precision, train  # noqa: E402
from search.workers import WORKER_ENVIRONMENT  # noqa: E402
from space import reference_config  # noqa: E402

GEMM_SIZE = 1024
GEMM_SECONDS = 1.0


def measure_loop(
    work: Work,
    device: torch.device,
    start_together: Callable[[], None],
    *,
    net: Callable[[ModelConfig], nn.Module] = Net,
    loader_workers: int = 0,
) -> float:
    """Images per second of the reference loop."""
    epochs = train_reference(
        net(work.config.model),
        work.config,
        work.split,
        epochs=work.epochs,
        loader_workers=loader_workers,
        device=device,
    )
    return images_per_second(epochs, work, device, start_together)


def measure_ours(work: Work, device: torch.device, start_together: Callable[[], None]) -> float:
    runtime = Runtime(device=device, precision=work.precision)
    split = work.split.to(device)
    epochs = train(work.config, split, epochs=work.epochs, seed=0, runtime=runtime)
    return images_per_second(epochs, work, device, start_together)


def measure_gemm(_work: Work, device: torch.device, start_together: Callable[[], None]) -> float:
    """Floating-point operations per second of a large fp32 matrix product."""
    a, b = torch.rand(2, GEMM_SIZE, GEMM_SIZE, device=device)
    (a @ b).sum().item()
    start_together()
    start, num_products = time.perf_counter(), 0
    while time.perf_counter() - start < GEMM_SECONDS:
        (a @ b)[0, 0].item()
        num_products += 1
    return float(num_products * 2 * GEMM_SIZE**3 / (time.perf_counter() - start))


def flops_per_image(config: TrialConfig) -> float:
    """Floating-point operations of convolutions and the linear head, forward and backward."""
    images, labels = torch.zeros(config.batch_size, 1, 28, 28), torch.zeros(config.batch_size, dtype=torch.long)
    model = TinyCNN(config.model)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops() / config.batch_size)


def first_digits(split: Split, num_images: int) -> Split:
    """A copy of the first digits, from the start again where there are too few; can be sent to another process."""
    chosen = split.select(torch.arange(num_images) % len(split))
    return Split.of(chosen.images, chosen.labels)


def contestants(device: torch.device) -> dict[str, Contestant]:
    loop = Contestant(name="the loop, no loader workers", measure=measure_loop, devices=[str(device)])
    ours = Contestant(
        name="ours, the default workers",
        measure=measure_ours,
        devices=worker_devices(device, None),
        threads=1 if device.type == "cpu" else None,
        environment=WORKER_ENVIRONMENT,
    )
    per_core = [str(device)] * num_cores()
    return {
        "loop_0": loop,
        "loop_2": replace(loop, name="the loop, 2 loader workers", measure=partial(measure_loop, loader_workers=2)),
        "loop_our_net": replace(loop, name="the loop, exactly our net", measure=partial(measure_loop, net=TinyCNN)),
        "loop_processes": replace(loop, name="the loop, a process per core", devices=per_core, threads=1),
        "ours_one": replace(ours, name="ours, 1 worker", devices=ours.devices[:1]),
        "ours": ours,
        "gemm": replace(ours, name="fp32 matrix product", measure=measure_gemm),
    }


def summarise(rates: dict[str, list[float]], flops: float) -> dict[str, Any]:
    """The medians of the rounds, and what follows from them."""
    median = {name: statistics.median(values) for name, values in rates.items()}
    reference = max(median["loop_0"], median["loop_2"])
    return {
        "reference_images_per_s": round(reference),
        "reference_no_loader_workers_images_per_s": round(median["loop_0"]),
        "reference_two_loader_workers_images_per_s": round(median["loop_2"]),
        "reference_two_processes_images_per_s": round(median["loop_processes"]),
        "reference_our_net_images_per_s": round(median["loop_our_net"]),
        "ours_one_worker_images_per_s": round(median["ours_one"]),
        "ours_images_per_s": round(median["ours"]),
        "ratio": round(median["ours"] / reference, 2),
        "ratio_to_process_per_core": round(median["ours"] / median["loop_processes"], 2),
        "ratio_to_our_net": round(median["ours"] / median["loop_our_net"], 2),
        "scaling": round(median["ours"] / median["ours_one"], 2),
        "gemm_fp32_gflops": round(median["gemm"] / 1e9, 1),
        "train_gflops": round(median["ours"] * flops / 1e9, 1),
        "share_of_fp32_peak": round(median["ours"] * flops / median["gemm"], 3),
    }


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path("data"), envvar="MNIST_DIR")
@click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]), default="auto")
@click.option("--images", type=click.IntRange(min=TrialConfig.batch_size), default=12_800, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def main(data_dir: Path, device: str, images: int, rounds: int, as_json: bool) -> None:
    """Measures training throughput; takes some minutes, and wants the machine for itself."""
    console = Console(stderr=True)
    config = reference_config(DEFAULT_MAX_PARAMS)
    try:
        chosen = choose_device(device)
        dataset = find_dataset("auto", data_dir, console.print)
    except ExplainedError as error:
        raise click.ClickException(str(error)) from error
    training, _ = load_search_splits(dataset, data_dir)
    subset = first_digits(training, images)
    work = Work(config=config, split=subset, epochs=2, precision=choose_precision(chosen))
    field_ = contestants(chosen)
    rates: dict[str, list[float]] = {name: [] for name in field_}
    for round_ in range(rounds):
        for name, contestant in field_.items():
            rates[name].append(run(contestant, work))
            unit = f"{rates[name][-1] / 1e9:.1f} GFLOP/s" if name == "gemm" else f"{rates[name][-1]:,.0f} images/s"
            console.print(f"round {round_ + 1}: {contestant.name}: {unit}")
    facts = summarise(rates, flops_per_image(config)) | {
        "channels": config.model.channels,
        "batch_size": config.batch_size,
        "precision": work.precision,
        "rounds": {name: [round(rate, 1) for rate in values] for name, values in rates.items()},
        "dataset": dataset,
        "device": str(chosen),
        "num_workers": len(field_["ours"].devices),
        "num_cores": num_cores(),
        "commit": code_commit(),
        "versions": versions(),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        Console().print(table(facts))


def table(facts: dict[str, Any]) -> Table:
    rows = {
        "the loop, no loader workers": "reference_no_loader_workers_images_per_s",
        "the loop, 2 loader workers": "reference_two_loader_workers_images_per_s",
        "the loop, a process per core": "reference_two_processes_images_per_s",
        "the loop, exactly our net": "reference_our_net_images_per_s",
        "ours, 1 worker": "ours_one_worker_images_per_s",
        f"ours, {facts['num_workers']} workers (default)": "ours_images_per_s",
    }
    result = Table(title=f"Training throughput, {facts['device']}, {facts['precision']}")
    result.add_column("Contestant")
    result.add_column("Images/s", justify="right")
    result.add_column("Ratio", justify="right")
    for name, key in rows.items():
        result.add_row(name, f"{facts[key]:,}", f"{facts[key] / facts['reference_images_per_s']:.2f}")
    result.caption = (
        f"{facts['train_gflops']} of {facts['gemm_fp32_gflops']} GFLOP/s in an fp32 matrix product "
        f"({facts['share_of_fp32_peak']:.0%})"
    )
    return result


if __name__ == "__main__":
    main()
