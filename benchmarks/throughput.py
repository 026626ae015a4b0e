"""Training throughput: the loop that a user would write against ours, whole machine against whole machine.

python -m benchmarks.throughput --data-dir data
python -m benchmarks.throughput --json > results/reference/throughput.json

Every contestant trains the reference net's widths, with the same augmentation and batch size, on the same digits,
each in processes of its own; they take turns, and the ratios are of the same round. An epoch before the measured one
warms up. Evaluation is not part of it, on either side. The loop trains the net as a user would write it, in fp32
(`reference_loop.Net`: 28x28 pixels, padded, a norm after every convolution) and, in a row of its own, exactly ours.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import torch
from rich.table import Table
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.command import Benchmark, data_options, finish, tell
from benchmarks.contest import Contestant, StartTogether, Stretch, Work, first_digits, rate, run, train_epochs
from benchmarks.records import Throughput, ThroughputRow
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

LOOPS = ("the loop, no loader workers", "the loop, 2 loader workers")
ONE, ALL, GEMM = "ours, 1 worker", "ours, the default workers", "fp32 matrix product"
LOOP_PRECISION = "fp32"
GEMM_SIZE = 1024
GEMM_SECONDS = 1.0


def measure_loop(
    work: Work,
    device: torch.device,
    start_together: StartTogether,
    *,
    net: Callable[[ModelConfig], nn.Module] = Net,
    loader_workers: int = 0,
) -> Stretch:
    """Images of the loop that a user would write."""
    epochs = train_reference(
        net(work.config.model),
        work.config,
        work.split,
        epochs=work.epochs,
        loader_workers=loader_workers,
        device=device,
    )
    return train_epochs(epochs, work, device, start_together)


def measure_ours(
    work: Work, device: torch.device, start_together: StartTogether, *, own_kernels: bool = True
) -> Stretch:
    """Images of a search's worker."""
    runtime = Runtime(device=device, precision=work.precision, own_kernels=own_kernels)
    split = work.split.to(device)
    epochs = train(work.config, split, epochs=work.epochs, seed=0, runtime=runtime)
    return train_epochs(epochs, work, device, start_together)


def measure_gemm(_work: Work, device: torch.device, start_together: StartTogether) -> Stretch:
    """Floating-point operations of a large fp32 matrix product."""
    a, b = torch.rand(2, GEMM_SIZE, GEMM_SIZE, device=device)
    (a @ b).sum().item()
    start_together()
    start, num_products = time.monotonic(), 0
    while time.monotonic() - start < GEMM_SECONDS:
        (a @ b)[0, 0].item()
        num_products += 1
    return Stretch(amount=num_products * 2 * GEMM_SIZE**3, start=start, end=time.monotonic())


def flops_per_image(config: TrialConfig) -> float:
    """Floating-point operations of convolutions and the linear head, forward and backward."""
    images, labels = torch.zeros(config.batch_size, 1, 28, 28), torch.zeros(config.batch_size, dtype=torch.long)
    model = TinyCNN(config.model)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(images), labels).backward()
    return float(counter.get_total_flops() / config.batch_size)


def contestants(device: torch.device) -> list[Contestant[Stretch]]:
    loop = Contestant(name=LOOPS[0], measure=measure_loop, devices=[str(device)])
    ours = Contestant(
        name=ALL,
        measure=measure_ours,
        devices=worker_devices(device, None),
        threads=1 if device.type == "cpu" else None,
        environment=WORKER_ENVIRONMENT,
    )
    per_core = [str(device)] * num_cores()
    return [
        loop,
        replace(loop, name=LOOPS[1], measure=partial(measure_loop, loader_workers=2)),
        replace(loop, name="the loop, a process per core", devices=per_core, threads=1),
        replace(loop, name="the loop, exactly our net", measure=partial(measure_loop, net=TinyCNN)),
        replace(ours, name=ONE, devices=ours.devices[:1]),
        ours,
        replace(ours, name=f"{ALL}, PyTorch's kernels", measure=partial(measure_ours, own_kernels=False)),
        replace(ours, name=GEMM, measure=measure_gemm),
    ]


def measure_rounds(entered: Sequence[Contestant[Stretch]], work: Work, num_rounds: int) -> dict[str, list[float]]:
    """What each contestant has reached in each round, all its processes together."""
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in entered}
    for round_ in range(1, num_rounds + 1):
        for contestant in entered:
            reached = rate(run(contestant, work))
            rates[contestant.name].append(reached)
            told = f"{reached / 1e9:.1f} GFLOP/s" if contestant.name == GEMM else f"{reached:,.0f} images/s"
            tell(f"round {round_}: {contestant.name}: {told}")
    return rates


def better_loop(rates: Mapping[str, Sequence[float]]) -> str:
    """Which of the loops with and without loader workers all are compared with."""
    return max(LOOPS, key=lambda name: statistics.median(rates[name]))


def describe(name: str, rates: Mapping[str, Sequence[float]], precision: str) -> ThroughputRow:
    ratios = per_round(rates[name], rates[better_loop(rates)])
    return ThroughputRow(
        name=name,
        precision=precision,
        rounds=tuple(round(each) for each in rates[name]),
        images_per_s=round(statistics.median(rates[name])),
        ratios=tuple(round(ratio, 2) for ratio in ratios),
        ratio=round(statistics.median(ratios), 2),
    )


def per_round(rates: Sequence[float], others: Sequence[float]) -> list[float]:
    """Ratios within rounds: what slows a whole round down is in both."""
    return [rate / other for rate, other in zip(rates, others, strict=True)]


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
    flops = flops_per_image(config)
    measured = Throughput(
        rows=tuple(
            describe(name, rates, precision if name.startswith("ours") else LOOP_PRECISION)
            for name in rates
            if name != GEMM
        ),
        loop=better_loop(rates),
        scaling=round(statistics.median(per_round(rates[ALL], rates[ONE])), 2),
        gemm_fp32_gflops=round(statistics.median(rates[GEMM]) / 1e9, 1),
        train_gflops=round(statistics.median(rates[ALL]) * flops / 1e9, 1),
        share_of_fp32_peak=round(flops * statistics.median(per_round(rates[ALL], rates[GEMM])), 3),
        channels=config.model.channels,
        batch_size=config.batch_size,
        dataset=digits.name,
        device=str(chosen),
        num_workers=len(worker_devices(chosen, None)),
        num_cores=num_cores(),
        commit=code_commit(),
        versions=versions(),
    )
    finish(measured, table, as_json=as_json)


def table(measured: Throughput) -> Table:
    result = Table(title=f"Training throughput, {measured.device}, {measured.num_workers} workers")
    result.add_column("Contestant")
    result.add_column("Precision")
    result.add_column("Images/s", justify="right")
    result.add_column("Ratio", justify="right")
    result.add_column("of rounds", justify="right")
    for row in measured.rows:
        spread = f"{min(row.ratios):.2f} to {max(row.ratios):.2f}"
        result.add_row(row.name, row.precision, f"{row.images_per_s:,}", f"{row.ratio:.2f}", spread)
    result.caption = (
        f"{measured.train_gflops} of {measured.gemm_fp32_gflops} GFLOP/s in an fp32 matrix product "
        f"({measured.share_of_fp32_peak:.0%})"
    )
    return result


if __name__ == "__main__":
    main()
