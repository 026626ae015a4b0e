"""What the long commands are given, and what they give back."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import optuna

from search.objective import SuggestConfig


@dataclass(frozen=True, kw_only=True)
class Space:
    """The search space, as `space.py` defines it."""

    suggest_config: SuggestConfig
    reference: dict[str, Any]
    path: Path


@dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """What the commands that compute have in common; named as at the command line.

    Attributes:
        device: "auto", "cuda", "mps" or "cpu".
        precision: "auto", "bf16" or "fp32".
        workers: None for one per core or GPU.
        study_name: None for the default.
    """

    storage: str
    study_name: str | None
    data_dir: Path
    results_dir: Path
    device: str
    precision: str
    workers: int | None


@dataclass(frozen=True, kw_only=True)
class SearchOptions(SharedOptions):
    """The options of `search`; the timeout is in seconds."""

    trials: int
    dataset: str
    max_params: int
    epochs: int
    sampler: str
    pruner: str
    rerank: int
    seed: int
    timeout: float | None


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(SharedOptions):
    """The options of `verify-best`; the target is in percent, and the first seed may be left to the tool."""

    seeds: int
    first_seed: int | None
    trial: int | None
    target: Decimal


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(SharedOptions):
    """The options of `verify-best --from`; without a first seed, the recorded one."""

    place: Path
    seeds: int
    first_seed: int | None


@dataclass(frozen=True, kw_only=True)
class AblateOptions(SharedOptions):
    """The options of `ablate`."""

    seeds: int
    trial: int | None


class View(Protocol):
    """What a person sees of a command at work."""

    def say(self, message: str) -> None:
        """Tells what is going on."""

    def warn(self, message: str) -> None:
        """Tells what must not be missed, also where little is to be told."""

    def watch(
        self, study: optuna.Study, *, tickets: Sequence[int], epochs: int, devices: list[str], precision: str
    ) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Follows a study; the function that it yields is called a few times a second."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended.

    Attributes:
        facts: Its record, as `--json` prints it; None if it was interrupted before there was one.
    """

    facts: dict[str, Any] | None
    interrupted: bool
