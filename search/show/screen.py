"""What a command needs of whatever shows a person that it is at work."""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..studies.plan import Plan
from ..studies.study import StoredStudy


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What follows in the same command: its name, and how many whole runs."""

    name: str
    num_runs: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is being done.

    Attributes:
        epochs: Of a run that trains to its end.
        devices: One for each worker.
        then: What follows, for the estimate of the time left.
    """

    stored: StoredStudy
    plan: Plan
    epochs: int
    devices: Sequence[str]
    precision: str
    then: Stage | None = None


class Screen(Protocol):
    """What a person sees of a command at work."""

    def say(self, message: str) -> None:
        """Tells what is going on."""

    def warn(self, message: str) -> None:
        """Tells what must not be missed, also where little is to be told."""

    def watch(self, work: Work) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Follows a study; the function that it yields is called a few times a second."""


class QuietScreen:
    """Says nothing; what must not be missed is a warning of Python's."""

    def say(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        warnings.warn(message, stacklevel=2)

    def watch(self, work: Work) -> contextlib.AbstractContextManager[Callable[[], None]]:
        return contextlib.nullcontext(lambda: None)
