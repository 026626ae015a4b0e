"""The live screen on stderr; where that is no terminal, lines."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..studies.kinds import KINDS, Kind
from .progress import StudyProgress
from .screen import Work
from .words import plural

REFRESHES_PER_SECOND = 2
SAME_SECONDS = 60  # for which a warning is not told again: a command and its workers may meet the same


class LiveScreen:
    """Follows a study in a terminal; without one, prints a line per finished trial (`search.show.screen.Screen`)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._warned: dict[str, float] = {}

    def say(self, message: str) -> None:
        if not self._quiet:
            self._print(Text(message))

    def warn(self, message: str) -> None:
        now = time.monotonic()
        if now - self._warned.get(message, -math.inf) > SAME_SECONDS:
            self._print(Text(message, style="yellow"))
        self._warned[message] = now

    @contextlib.contextmanager
    def watch(self, work: Work) -> Iterator[Callable[[], None]]:
        """Yields the function that brings the screen up to date."""
        if self._quiet:
            yield lambda: None
            return
        plan = plural(len(work.plan.keys), KINDS[work.stored.kind or Kind.SEARCH].unit)
        where = f"{plural(len(work.devices), 'worker')} on {work.devices[0].split(':')[0]} ({work.precision})"
        self._print(Text.assemble((work.stored.name, "bold"), f": {plan} of {plural(work.epochs, 'epoch')}, {where}"))
        progress = StudyProgress(work)
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield lambda: self._print_lines(progress.finished_lines())
            return
        with Live(console=self._console, refresh_per_second=REFRESHES_PER_SECOND, transient=True) as live:
            yield lambda: live.update(progress.render())

    def _print_lines(self, lines: list[str]) -> None:
        for line in lines:
            self._print(Text(line))

    def _print(self, text: Text) -> None:
        """A terminal's lines are wrapped between words; elsewhere a message is one line, and a log tells the time."""
        is_log = not self._console.is_terminal and not self._quiet
        when = Text(f"{time.strftime('%H:%M:%S')} " if is_log else "")
        self._console.print(when.append_text(text), soft_wrap=not self._console.is_terminal)
