"""Contestants that train in processes of their own, all of one contestant's at the same time.

A search's workers (`search.studies.starting`) start one after the other, in an environment of their own. Here processes
begin to measure together, and each contestant says in which environment: the user's loop has none.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import click
import torch

from search.config import TrialConfig
from search.net.data import Split
from search.studies.starting import environment

START_SECONDS = 300.0  # after which a process stops waiting for the others: one may have died

StartTogether = Callable[[], object]
Measured = TypeVar("Measured")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a process measures; picklable."""

    config: TrialConfig
    split: Split
    epochs: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class Contestant(Generic[Measured]):
    """A way to train: a function that measures, and one device for each process that runs it at once.

    Attributes:
        threads: None for PyTorch's default.
        environment: Variables that a process reads when it starts.
    """

    name: str
    measure: Callable[[Work, torch.device, StartTogether], Measured]
    devices: Sequence[str]
    threads: int | None = None
    environment: dict[str, str] = field(default_factory=dict)


def first_digits(split: Split, num_images: int) -> Split:
    """A copy of the first digits, from the start again where there are too few; can be sent to another process."""
    chosen = split.select(torch.arange(num_images) % len(split))
    return Split.of(chosen.images, chosen.labels, chosen.pixels)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """What a process has done, and when; by the clock that all processes of a machine share."""

    amount: float
    start: float
    end: float


def rate(stretches: Sequence[Stretch]) -> float:
    """What processes have done together in a second, from the first one's start to the last one's end."""
    seconds = max(each.end for each in stretches) - min(each.start for each in stretches)
    return sum(each.amount for each in stretches) / seconds


def train_epochs(epochs: Iterator[Any], work: Work, device: torch.device, start_together: StartTogether) -> Stretch:
    """Runs the epochs, and counts images; the first, which warms up, is not measured."""
    next(epochs)
    start_together()
    start = time.monotonic()
    for _ in epochs:
        pass
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    steps = len(work.split) // work.config.batch_size
    return Stretch(amount=(work.epochs - 1) * steps * work.config.batch_size, start=start, end=time.monotonic())


def run(contestant: Contestant[Measured], work: Work) -> list[Measured]:
    """What each of the contestant's processes has measured; all measure at the same time.

    Raises:
        ClickException: If one of them fails.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(contestant.devices), timeout=START_SECONDS)
    processes = {}
    try:
        with environment(contestant.environment):
            for device in contestant.devices:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_process, args=(contestant, work, device, barrier.wait, sender))
                process.start()
                sender.close()  # now the process alone holds it: where it dies, the receiver comes to an end
                processes[receiver] = process
        measured, waiting = [], set(processes)
        while waiting:
            for receiver in waiting.intersection(wait(waiting)):
                waiting.remove(receiver)
                try:
                    measured.append(receiver.recv())
                except EOFError:
                    processes[receiver].join()
                    exit_code = processes[receiver].exitcode
                    message = f"{contestant.name}: a process ended with exit code {exit_code}."
                    raise click.ClickException(message) from None
        for process in processes.values():
            process.join()
        return measured
    finally:
        for process in processes.values():
            process.kill()  # where one has died, or Ctrl-C was pressed, the others wait for it in vain
            process.join()


def _process(
    contestant: Contestant[Measured], work: Work, device: str, start_together: StartTogether, sender: Connection
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    if contestant.threads is not None:
        torch.set_num_threads(contestant.threads)
    torch.manual_seed(0)
    sender.send(contestant.measure(work, torch.device(device), start_together))
