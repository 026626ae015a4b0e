"""Training throughput: the loop that a user would write against ours, whole machine against whole machine.

python -m benchmarks.throughput --data-dir data
python -m benchmarks.throughput --json > results/reference/throughput.json

Every contestant trains the reference net's widths, with the same augmentation and batch size, on the same digits,
each in processes of its own; they take turns, and the median of the rounds counts. An epoch before the measured one
warms up. Evaluation is not part of it, on either side. The loop trains the net as a user would write it
(`reference_loop.Net`: 28x28 pixels, padded, a norm after every convolution) and, in a row of its own, exactly ours.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from rich.table import Table
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.command import Benchmark, data_options, finish, tell
from benchmarks.contest import Contestant, StartTogether, Work, first_digits, images_per_second, run
from benchmarks.records import Throughput
from benchmarks.reference_loop import Net, train_reference
from search.commands.options import json_option
from search.config import DEFAULT_MAX_PARAMS, ModelConfig, TrialConfig
from search.net.data import load_search_splits
from search.net.datasets import find_dataset
from search.net.device import Runtime, choose_device, choose_precision, num_cores, worker_devices
from search.net.model import TinyCNN
from search.net.train import train
from search.provenance import code_commit, versions
from search.settings import AUTO, DEVICES
from search.studies.starting import WORKER_ENVIRONMENT
from space import reference_config

GEMM_SIZE = 1024
GEMM_SECONDS = 1.0


def measure_loop(
    work: Work,
    device: torch.device,
    start_together: StartTogether,
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


def measure_ours(work: Work, device: torch.device, start_together: StartTogether, *, own_kernels: bool = True) -> float:
    runtime = Runtime(device=device, precision=work.precision, own_kernels=own_kernels)
    split = work.split.to(device)
    epochs = train(work.config, split, epochs=work.epochs, seed=0, runtime=runtime)
    return images_per_second(epochs, work, device, start_together)


def measure_gemm(_work: Work, device: torch.device, start_together: StartTogether) -> float:
    """Floating-point operations per second of a large fp32 matrix product."""
    a, b = torch.rand(2, GEMM_SIZE, GEMM_SIZE, device=device)
    (a @ b).sum().item()
    start_together()
    start, num_products = time.perf_counter(), 0
    while time.perf_counter() - start < GEMM_SECONDS:
        (a @ b)[0, 0].item()
        num_products += 1
    return num_products * 2 * GEMM_SIZE**3 / (time.perf_counter() - start)


def flops_per_image(config: TrialConfig) -> float:
    """Floating-point operations of convolutions and the linear head, forward and backward."""
    images, labels = torch.zeros(config.batch_size, 1, 28, 28), torch.zeros(config.batch_size, dtype=torch.long)
    model = TinyCNN(config.model)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(images), labels).backward()
    return float(counter.get_total_flops() / config.batch_size)


def contestants(device: torch.device) -> dict[str, Contestant[float]]:
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
        "ours_pytorch": replace(
            ours, name="ours by PyTorch's kernels", measure=partial(measure_ours, own_kernels=False)
        ),
        "gemm": replace(ours, name="fp32 matrix product", measure=measure_gemm),
    }


def measure_rounds(entered: Mapping[str, Contestant[float]], work: Work, num_rounds: int) -> dict[str, list[float]]:
    """What each contestant has reached in each round, all its processes together."""
    rates: dict[str, list[float]] = {name: [] for name in entered}
    for round_ in range(1, num_rounds + 1):
        for name, contestant in entered.items():
            rate = sum(run(contestant, work))
            rates[name].append(rate)
            reached = f"{rate / 1e9:.1f} GFLOP/s" if name == "gemm" else f"{rate:,.0f} images/s"
            tell(f"round {round_}: {contestant.name}: {reached}")
    return rates


def summarise(rates: Mapping[str, Sequence[float]], flops: float) -> dict[str, Any]:
    """The medians of the rounds, and what follows from them: fields of a record."""
    median = {name: statistics.median(values) for name, values in rates.items()}
    reference = max(median["loop_0"], median["loop_2"])
    return {
        "reference_images_per_s": round(reference),
        "reference_no_loader_workers_images_per_s": round(median["loop_0"]),
        "reference_two_loader_workers_images_per_s": round(median["loop_2"]),
        "reference_process_per_core_images_per_s": round(median["loop_processes"]),
        "reference_our_net_images_per_s": round(median["loop_our_net"]),
        "ours_one_worker_images_per_s": round(median["ours_one"]),
        "ours_images_per_s": round(median["ours"]),
        "ours_by_pytorch_images_per_s": round(median["ours_pytorch"]),
        "ratio": round(median["ours"] / reference, 2),
        "ratio_to_process_per_core": round(median["ours"] / median["loop_processes"], 2),
        "ratio_to_our_net": round(median["ours"] / median["loop_our_net"], 2),
        "scaling": round(median["ours"] / median["ours_one"], 2),
        "gemm_fp32_gflops": round(median["gemm"] / 1e9, 1),
        "train_gflops": round(median["ours"] * flops / 1e9, 1),
        "share_of_fp32_peak": round(median["ours"] * flops / median["gemm"], 3),
    }


@click.command(cls=Benchmark)
@data_options
@click.option("--device", type=click.Choice([AUTO, *DEVICES]), default=AUTO)
@click.option("--images", type=click.IntRange(min=TrialConfig.batch_size), default=12_800, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@json_option
def main(dataset: str, data_dir: Path, device: str, images: int, rounds: int, as_json: bool) -> None:
    """Measures training throughput; takes some minutes, and wants the machine for itself."""
    config = reference_config(DEFAULT_MAX_PARAMS)
    chosen = choose_device(device)
    digits = find_dataset(dataset, data_dir, tell)
    training, _ = load_search_splits(digits, data_dir)
    precision = choose_precision(chosen)
    work = Work(config=config, split=first_digits(training, images), epochs=2, precision=precision)
    entered = contestants(chosen)
    rates = measure_rounds(entered, work, rounds)
    measured = Throughput(
        **summarise(rates, flops_per_image(config)),
        channels=config.model.channels,
        batch_size=config.batch_size,
        precision=precision,
        rounds={name: [round(rate, 1) for rate in values] for name, values in rates.items()},
        dataset=digits.name,
        device=str(chosen),
        num_workers=len(entered["ours"].devices),
        num_cores=num_cores(),
        commit=code_commit(),
        versions=versions(),
    )
    finish(measured, table, as_json=as_json)


def table(measured: Throughput) -> Table:
    rates = {
        "the loop, no loader workers": measured.reference_no_loader_workers_images_per_s,
        "the loop, 2 loader workers": measured.reference_two_loader_workers_images_per_s,
        "the loop, a process per core": measured.reference_process_per_core_images_per_s,
        "the loop, exactly our net": measured.reference_our_net_images_per_s,
        "ours, 1 worker": measured.ours_one_worker_images_per_s,
        f"ours, {measured.num_workers} workers (default)": measured.ours_images_per_s,
        "the same by PyTorch's kernels": measured.ours_by_pytorch_images_per_s,
    }
    result = Table(title=f"Training throughput, {measured.device}, {measured.precision}")
    result.add_column("Contestant")
    result.add_column("Images/s", justify="right")
    result.add_column("Ratio", justify="right")
    for name, rate in rates.items():
        result.add_row(name, f"{rate:,}", f"{rate / measured.reference_images_per_s:.2f}")
    result.caption = (
        f"{measured.train_gflops} of {measured.gemm_fp32_gflops} GFLOP/s in an fp32 matrix product "
        f"({measured.share_of_fp32_peak:.0%})"
    )
    return result


if __name__ == "__main__":
    main()
