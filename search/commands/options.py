"""Options that commands share, and the values that they take."""

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ..config import LARGEST_INTEGER, MAX_SECONDS, MAX_SEEDS, MAX_TRIALS, MAX_WORKERS, shortened
from ..net.datasets import DATASETS, is_folder_name
from ..settings import AUTO, DEFAULT_STORAGE, DEVICES, PRECISIONS, PRUNERS, SAMPLERS, RunSettings, SearchSettings

Command = TypeVar("Command", bound=Callable[..., Any])


class WholeNumber(click.IntRange):
    """An integer from a range. Says what is wrong with what is none, and how it is to be written."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?\d+\s*", value):
            plain = re.sub(r"(?<=\d)[,._' ](?=\d{3}(?!\d))", "", value)
            hint = f" Write {plain}." if plain.isascii() and plain.isdecimal() else ""
            self.fail(f"{shortened(value)} is not a whole number.{hint}", param, ctx)
        number: int = super().convert(value, param, ctx)
        return number


def percent(text: str) -> Decimal:
    """A percentage, kept as it was written, since it is compared exactly."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise click.BadParameter(f"{shortened(text)} is not a number.") from None
    if not value.is_finite() or not 1 < value <= 100:
        raise click.BadParameter(f"{shortened(text)} is not a percentage above 1 and up to 100: 99.4, not 0.994.")
    return value


def duration(text: str) -> float:
    """Seconds, written like 90, 90s, 30m or 2h."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        raise click.BadParameter(f"{shortened(text)} is not a duration. Write 90, 90s, 30m or 2h.") from None
    if not 0 < seconds <= MAX_SECONDS:
        raise click.BadParameter(f"{shortened(text)} is not a time above 0 and up to a year.")
    return seconds


def auto_or_count(text: str) -> int | None:
    """A number of processes, 0 for none but this one; None for "auto"."""
    if text == AUTO:
        return None
    if not text.isdecimal() or len(text) > len(str(MAX_WORKERS)) or int(text) > MAX_WORKERS:
        raise click.BadParameter(f"{shortened(text)} is neither 'auto' nor a number from 0 to {MAX_WORKERS:,}.")
    return int(text)


def storage_option(command: Command) -> Command:
    """The one option that all commands have."""
    return click.option(
        "--storage", default=DEFAULT_STORAGE, envvar="OPTUNA_STORAGE", show_envvar=True, help="The database, as a URL."
    )(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)


def trial_option(purpose: str) -> Callable[[Command], Command]:
    """For the commands that are about one trial of a search."""
    number = WholeNumber(0, LARGEST_INTEGER)
    return click.option("--trial", type=number, help=f"The trial to {purpose}. Default: the winner.")


def study_name_option(command: Command) -> Command:
    """For the commands that follow a search."""
    default = "The search. Default: of those with a complete trial, the one that was last active."
    return click.option("--study-name", help=default)(command)


def results_option(command: Command) -> Command:
    help_text = "The folder for records and models."
    folder = click.Path(path_type=Path)
    return click.option("--results-dir", type=folder, default=RunSettings.results_dir, help=help_text)(command)


class DataSetName(click.ParamType[str]):
    """A row of the table of data sets, or the path of a folder."""

    name = "data set"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join([AUTO, *DATASETS])}|FOLDER]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in (AUTO, *DATASETS):
            return value
        if is_folder_name(value):
            return str(Path(value).resolve())
        close = get_close_matches(value, [AUTO, *DATASETS], n=1)
        meant = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join([AUTO, *DATASETS])}."
        self.fail(f"{shortened(value)} is neither a data set nor a folder. {meant}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        known = [CompletionItem(name) for name in (AUTO, *DATASETS) if name.startswith(incomplete)]
        return [*known, CompletionItem(incomplete, type="dir")]


def dataset_option(help_text: str) -> Callable[[Command], Command]:
    return click.option("--dataset", type=DataSetName(), default=SearchSettings.dataset, help=help_text)


def space_option(command: Command) -> Command:
    """For the commands that draw configurations, or draw them again."""
    folder = click.Path(path_type=Path)
    help_text = "The file that defines the search space. Default: the space.py of this tool."
    return click.option("--space", type=folder, help=help_text)(command)


def search_options(command: Command, *, fewest_reranked: int = 0) -> Command:
    """How a search draws, prunes and decides."""
    percentile = (
        "percentile: ends a trial that, after a warm-up, is behind three quarters of the complete ones, those aside "
        "that a warm start has brought."
    )
    rerank = "How many leading trials are run twice more in the end, and with them the study's first."
    rerank += " 0: none, and no comparison." if not fewest_reranked else ""
    compare = "By how many runs the winner is then compared with the study's first trial. 0: not."
    seed = "Of all that is random. With one worker, it decides the whole search."
    default = SearchSettings
    for option in (
        click.option("--seed", type=WholeNumber(0, LARGEST_INTEGER), default=default.seed, help=seed),
        click.option("--compare", type=WholeNumber(0, MAX_SEEDS), default=default.compare, help=compare),
        click.option("--rerank", type=WholeNumber(fewest_reranked, MAX_TRIALS), default=default.rerank, help=rerank),
        click.option("--pruner", type=click.Choice(PRUNERS), default=default.pruner, help=percentile),
        click.option(
            "--sampler", type=click.Choice(SAMPLERS), default=default.sampler, help="What draws configurations."
        ),
    ):
        command = option(command)
    return command


def place_options(command: Command) -> Command:
    """Where things are."""
    folder = click.Path(path_type=Path)
    for option in (
        results_option,
        click.option(
            "--data-dir",
            type=folder,
            default=RunSettings.data_dir,
            envvar="MNIST_DIR",
            show_envvar=True,
            help="The folder with MNIST/raw/ (or another set's). Downloads go there.",
        ),
        storage_option,
    ):
        command = option(command)
    return command


def run_options(command: Command) -> Command:
    """What the commands that compute have in common (`search.settings.RunSettings`)."""
    device_help = f"auto: the first of {', '.join(DEVICES)} that is there."
    precision_help = "auto: bf16 on a GPU that has it and on a CPU with AMX, else fp32."
    workers_help = "Processes that train at once. auto: one per CPU core, several per GPU. 0: this process trains."
    for option in (
        json_option,
        click.option("--quiet", is_flag=True, help="No live view, no progress, no summary."),
        click.option("--workers", type=auto_or_count, metavar="auto|N", default=AUTO, help=workers_help),
        click.option("--precision", type=click.Choice([AUTO, *PRECISIONS]), default=AUTO, help=precision_help),
        click.option("--device", type=click.Choice([AUTO, *DEVICES]), default=AUTO, help=device_help),
        place_options,
    ):
        command = option(command)
    return command


def refuse_beside(option: str, *others: str) -> None:
    """Raises UsageError where one of the others was typed, which the option leaves nothing to do."""
    for name in _typed(others):
        raise click.UsageError(f"{name} does nothing beside {option}: leave one of them out.")


def refuse_without(what: str, *others: str) -> None:
    """Raises UsageError where one of the others was typed, which does nothing without something else."""
    for name in _typed(others):
        raise click.UsageError(f"{name} goes with {what}.")


def _typed(names: Iterable[str]) -> Iterator[str]:
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            yield next(each.opts[0] for each in context.command.params if each.name == name)
