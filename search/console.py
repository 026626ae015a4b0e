"""What a person sees of a command at work: the live view on stderr, or lines, where that is no terminal."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search import report
from search.study import FINISHED, best_trial
from search.summaries import format_seconds, plural
from search.tickets import was_interrupted

REFRESHES_PER_SECOND = 2
# What a study of each kind consists of.
PLANNED = {
    "search": "trial",
    "rerank": "run",
    "verify": "seed",
    "ablate": "run",
    "reproduce": "seed",
}


class LiveView:
    """Follows a study in a terminal; without one, prints a line per finished trial."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet

    def say(self, message: str) -> None:
        if not self._quiet:
            self._console.print(Text(message), soft_wrap=True)

    def warn(self, message: str) -> None:
        self._console.print(Text(message, style="yellow"), soft_wrap=True)

    @contextlib.contextmanager
    def watch(
        self, study: optuna.Study, *, tickets: Sequence[int], epochs: int, devices: list[str], precision: str
    ) -> Iterator[Callable[[], None]]:
        """Yields the function that brings the view up to date."""
        if self._quiet:
            yield lambda: None
            return
        plan = plural(len(tickets), PLANNED[study.user_attrs["kind"]])
        where = f"{plural(len(devices), 'worker')} on {devices[0].split(':')[0]} ({precision})"
        self._console.print(
            Text.assemble((study.study_name, "bold"), f": {plan} of {plural(epochs, 'epoch')}, {where}"),
            soft_wrap=True,
        )
        progress = StudyProgress(study, tickets, epochs, len(devices))
        if not self._console.is_terminal:
            yield lambda: self._print_lines(progress.finished_lines())
            return
        with Live(console=self._console, refresh_per_second=REFRESHES_PER_SECOND, transient=True) as live:
            yield lambda: live.update(progress.render())

    def _print_lines(self, lines: list[str]) -> None:
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)


class StudyProgress:
    """Reads how far a study is."""

    def __init__(self, study: optuna.Study, tickets: Sequence[int], epochs: int, num_workers: int) -> None:
        self._study = study
        self._tickets = tickets
        self._epochs = epochs
        self._num_workers = num_workers
        self._start = time.monotonic()
        self._seen = {trial.number for trial in self._trials() if trial.state.is_finished()}

    def render(self) -> RenderableType:
        """The live view; fits 80 columns."""
        trials = self._trials()
        counts = report.count_trials(trials)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        trained = sum(report.epochs_trained(trial) for trial in trials)
        saved = report.epochs_saved(trials, self._epochs)
        num_interrupted = sum(was_interrupted(trial) for trial in trials)
        line = f"done {counts['complete']}   pruned {counts['pruned']}   running {len(running)}"
        for word, count in (("interrupted", num_interrupted), ("failed", counts["failed"] - num_interrupted)):
            line += f"   {word} {count}" if count else ""
        line += f"   epochs saved {saved} ({saved / (trained + saved):.0%})" if saved else ""
        line += "   (workers are starting)" if not running else ""
        parts: list[RenderableType] = [self._bar(trials), Text(line)]
        if running:
            parts.append(self._table(running))
        best = best_trial(self._study)
        if best is not None and "num_params" in best.user_attrs:
            parts.append(Text(f"best {describe_trial(best)}", style="green"))
        return Group(*parts)

    def finished_lines(self) -> list[str]:
        """A line for each trial that has ended since the last call."""
        trials = self._trials()
        new = [trial for trial in trials if trial.state.is_finished() and trial.number not in self._seen]
        self._seen |= {trial.number for trial in new}
        num_done = sum(trial.state in FINISHED for trial in trials) - sum(trial.state in FINISHED for trial in new)
        lines = []
        for trial in new:
            num_done += trial.state in FINISHED
            lines.append(f"[{num_done}/{len(self._tickets)}] {describe_trial(trial)}")
        return lines

    def _trials(self) -> list[FrozenTrial]:
        """The trials of the plan at hand."""
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.user_attrs.get("ticket") in self._tickets]

    def _bar(self, trials: list[FrozenTrial]) -> RenderableType:
        num_done = sum(trial.state in FINISHED for trial in trials)
        left = report.seconds_left(trials, len(self._tickets), self._epochs, self._num_workers)
        clock = f"{format_seconds(time.monotonic() - self._start)} elapsed"
        clock += f", about {format_seconds(left)} left" if left is not None else ""
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=len(self._tickets), completed=num_done, width=30),
            f"{num_done}/{len(self._tickets)}",
            clock,
        )
        return grid

    def _table(self, running: list[FrozenTrial]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("", "epoch", "accuracy", "parameters"):
            table.add_column(heading, justify="right")
        table.add_column("channels", no_wrap=True)
        for trial in running:
            attributes = trial.user_attrs
            latest = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
            table.add_row(
                name_of(trial),
                f"{report.epochs_trained(trial)}/{self._epochs}",
                f"{latest:.2f} %" if latest is not None else "",
                f"{attributes['num_params']:,}" if "num_params" in attributes else "",
                report.format_channels(attributes.get("channels", [])),
            )
        return table


def name_of(trial: FrozenTrial) -> str:
    """What a trial is called: in a re-ranking by the trial that it runs again, in a verification by its seed."""
    if "rung" in trial.params:
        return f"{trial.params['rung']}, seed {trial.params['seed']}"
    if "seed" in trial.params:
        return f"seed {trial.params['seed']}"
    if "run" in trial.params:
        return f"trial {trial.params['trial']}, run {trial.params['run'] + 1}"
    return f"trial {trial.number}"


def describe_trial(trial: FrozenTrial) -> str:
    """A finished trial in one line."""
    attributes = trial.user_attrs
    is_seed = "seed" in trial.params
    words = f"{name_of(trial)}:"
    if trial.state == TrialState.FAIL:
        return f"{words} {attributes.get('fail_reason', 'interrupted, to be tried again')}"
    if trial.value is not None:
        words += f" {trial.value:.2f} %,"
    if is_seed:
        return f"{words} {plural(attributes['errors'], 'error')}"
    words += f" {attributes['num_params']:,} parameters, {report.format_channels(attributes['channels'])}"
    if trial.state == TrialState.PRUNED:
        words += f", {attributes.get('prune_reason', 'pruned')} (epoch {report.epochs_trained(trial)})"
    return words
