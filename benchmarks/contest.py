"""Contestants that train in processes of their own, all of one contestant's at the same time."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import click
import torch

from search.config import TrialConfig
from search.data import Split
from search.workers import environment

START_SECONDS = 300.0  # after which a process stops waiting for the others: one may have died


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a process measures; picklable."""

    config: TrialConfig
    split: Split
    epochs: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A way to train: a function that measures, and one device for each process that runs it at once."""

    name: str
    measure: Callable[[Work, torch.device, Callable[[], None]], float]
    devices: list[str]
    threads: int | None = None  # None for PyTorch's default
    environment: dict[str, str] = field(default_factory=dict)


def images_per_second(
    epochs: Iterator[Any], work: Work, device: torch.device, start_together: Callable[[], None]
) -> float:
    """Runs the epochs; the first, which warms up, is not measured."""
    next(epochs)
    start_together()
    start = time.perf_counter()
    for _ in epochs:
        pass
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    steps = len(work.split) // work.config.batch_size
    return float((work.epochs - 1) * steps * work.config.batch_size / (time.perf_counter() - start))


def _process(contestant: Contestant, work: Work, device: str, barrier: Any, results: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    if contestant.threads is not None:
        torch.set_num_threads(contestant.threads)
    torch.manual_seed(0)
    results.put(contestant.measure(work, torch.device(device), barrier.wait))


def _check(name: str, processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.exitcode not in (None, 0):
            raise click.ClickException(f"{name}: a process ended with exit code {process.exitcode}.")


def run(contestant: Contestant, work: Work) -> float:
    """The sum over the contestant's processes, which all measure at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(contestant.devices), timeout=START_SECONDS)
    results = context.SimpleQueue()
    with environment(contestant.environment):
        processes = [
            context.Process(target=_process, args=(contestant, work, device, barrier, results), daemon=False)
            for device in contestant.devices
        ]
        for process in processes:
            process.start()
    try:
        while running := [process.sentinel for process in processes if process.exitcode is None]:
            _check(contestant.name, processes)  # before waiting: one may have failed since the last look
            wait(running)
        _check(contestant.name, processes)
        return float(sum(results.get() for _ in processes))
    finally:
        for process in processes:
            process.kill()  # where one has died, or Ctrl-C was pressed, the others wait for it in vain
            process.join()
