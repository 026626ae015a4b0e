"""How far a study is: the live table, and a line per finished trial."""

import time
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..studies.facts import TrialFacts
from ..studies.kinds import KINDS, Kind
from ..studies.study import FINISHED
from .screen import Work
from .totals import count_epochs, count_trials, seconds_left
from .words import format_network, format_seconds, plural

LONGEST_BAR = 20  # columns


class StudyProgress:
    """Reads how far a study is."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._keys = set(work.plan.keys)
        self._kind = work.stored.kind or Kind.SEARCH
        self._start = time.monotonic()
        self._has_begun = False
        self._seen = {trial.number for trial in self._trials() if trial.state.is_finished()}

    def render(self) -> RenderableType:
        """The live table; fits 80 columns."""
        trials = self._trials()
        counts, epochs = count_trials(trials), count_epochs(trials, self._work.epochs)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        num_left = len(self._keys) - counts.total
        line = f"complete {counts.complete}   pruned {counts.pruned}   running {len(running)}"
        for word, count in (("interrupted", counts.interrupted), ("failed", counts.failed)):
            line += f"   {word} {count}" if count else ""
        self._has_begun |= bool(running)
        line += "   (workers are starting)" if num_left and not self._has_begun else ""
        left = self._seconds_left(trials)
        parts: list[RenderableType] = [self._bar(counts.total, left), Text(line)]
        notes = []
        if epochs.saved_by_pruning:
            saved = epochs.saved_by_pruning
            notes.append(f"epochs saved {saved} ({saved / (epochs.trained + saved):.0%})")
        if self._work.then is not None and left is not None:
            notes.append(f"the time left includes {self._work.then.name}")
        if running and num_left == len(running) and all(self._has_trained(trial) for trial in running):
            notes.append("measuring by all views")
        if notes:
            parts.append(Text("   ".join(notes)))
        if running:
            parts.append(self._table(running))
        best = self._work.stored.best_trial()
        if best is not None and self._kind == Kind.SEARCH:
            parts.append(Text(f"best {describe_trial(best, self._kind)}", style="green"))
        return Group(*parts)

    def finished_lines(self) -> list[str]:
        """A line for each trial that has ended since the last call; the last says how long the rest will take."""
        trials = self._trials()
        new = [trial for trial in trials if trial.state.is_finished() and trial.number not in self._seen]
        self._seen |= {trial.number for trial in new}
        num_done = sum(trial.state in FINISHED for trial in trials) - sum(trial.state in FINISHED for trial in new)
        lines = []
        for trial in new:
            num_done += trial.state in FINISHED
            lines.append(f"[{num_done}/{len(self._keys)}] {describe_trial(trial, self._kind)}")
        if lines and (left := self._seconds_left(trials)) is not None:
            lines[-1] += f" (about {format_seconds(left)} left)"
        return lines

    def _trials(self) -> list[FrozenTrial]:
        """The trials of the plan at hand."""
        plan = self._work.plan
        return [trial for trial in self._work.stored.trials() if plan.key_of(trial) in self._keys]

    def _bar(self, num_done: int, left: float | None) -> RenderableType:
        """The stage of the command, how much of it is done, and the time; `left` is that of the whole command."""
        clock = f"{format_seconds(time.monotonic() - self._start)} elapsed"
        clock += f", about {format_seconds(left)} left" if left is not None else ""
        grid = Table.grid(padding=(0, 1))
        for max_width in (None, LONGEST_BAR, None, None):  # the bar alone gives way in a narrow terminal
            grid.add_column(max_width=max_width, no_wrap=max_width is None)
        bar = ProgressBar(total=len(self._keys), completed=num_done)
        grid.add_row(KINDS[self._kind].stage, bar, f"{num_done}/{len(self._keys)} done", clock)
        return grid

    def _seconds_left(self, trials: Sequence[FrozenTrial]) -> float | None:
        """An estimate of what the whole command still takes; None where it is not known, or next to nothing."""
        work = self._work
        num_later_runs = work.then.num_runs if work.then is not None else 0
        left = seconds_left(trials, len(self._keys), work.epochs, len(work.devices), num_later_runs)
        return left if left is not None and left >= 1 else None

    def _has_trained(self, trial: FrozenTrial) -> bool:
        return TrialFacts.of(trial).epochs == self._work.epochs

    def _table(self, running: Sequence[FrozenTrial]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("", "epoch", "accuracy", "parameters"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("channels")  # alone gives way in a narrow terminal
        for trial in running:
            facts = TrialFacts.of(trial)
            latest = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
            table.add_row(
                KINDS[self._kind].label(trial),
                f"{facts.epochs}/{self._work.epochs}",
                f"{latest:.2f} %" if latest is not None else "",
                f"{facts.num_params:,}" if facts.num_params is not None else "",
                format_network(facts),
            )
        return table


def describe_trial(trial: FrozenTrial, kind: Kind) -> str:
    """A finished trial in one line."""
    facts = TrialFacts.of(trial)
    words = f"{KINDS[kind].label(trial)}:"
    if trial.state == TrialState.FAIL:
        return f"{words} {facts.fail_reason or 'interrupted, to be tried again'}"
    if trial.value is not None:
        words += f" {trial.value:.2f} %,"
    if facts.errors is not None:
        return f"{words} {plural(facts.errors, 'error')}"
    facts = TrialFacts.of_network(trial)
    words += f" {facts.num_params:,} parameters, {format_network(facts)}"
    if trial.state == TrialState.PRUNED:
        words += f", {facts.prune_reason or 'pruned'} (epoch {facts.epochs})"
    return words
