"""What a storage holds, study by study: as a record, and as a table."""

from collections.abc import Iterable, Sequence

from optuna.storages import RDBStorage
from optuna.trial import TrialState
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..proof.summaries import HolderRow, SearchedTrial, StorageStatus, StudyRow
from ..studies.facts import FactsError
from ..studies.finding import followers_of
from ..studies.kinds import KINDS, Kind
from ..studies.storage import GRACE_PERIOD
from ..studies.study import StoredStudy, StudyError, damage_told, study_names
from ..studies.tickets import Holder, find_holders
from ..studies.urls import hide_password
from .totals import count_trials
from .words import describe_trials, format_network

HEADINGS = ("Study", "Kind", "Complete", "Pruned", "Running", "Interrupted", "Failed", "Best run %")
RARE = ("Pruned", "Running", "Interrupted", "Failed")  # shown where there are any


def describe_storage(storage: RDBStorage, search: str | None = None) -> StorageStatus:
    """Every study of a storage; or a search, and what followed it."""
    names = study_names(storage) if search is None else [search, *followers_of(storage, search)]
    return StorageStatus(
        storage=hide_password(str(storage.url)), studies=tuple(_describe(storage, name) for name in names)
    )


def _describe(storage: RDBStorage, name: str) -> StudyRow:
    """A study, be it damaged: then the others are told all the same."""
    try:
        with damage_told(f"Study {name!r}"):
            return _describe_study(StoredStudy.load(storage, name))
    except (StudyError, FactsError) as error:
        return StudyRow(
            study_name=name,
            kind=None,
            dataset=None,
            trials=count_trials([]),
            running=0,
            stale=(),
            best=None,
            best_trial=None,
            last_active=None,
            damage=str(error),
        )


def _describe_study(stored: StoredStudy) -> StudyRow:
    """Of another tool's study only what all studies have."""
    trials, kind = stored.trials(), stored.kind
    if kind is None and stored.study.user_attrs.get("kind") in list(KINDS):
        _ = stored.facts  # a damaged study of this tool's: raises
    holders = find_holders(stored) if kind is not None else []
    # The best of a verification's seeds says nothing, nor does the best of an ablation's rungs.
    best = stored.best_trial() if kind == Kind.SEARCH else None
    return StudyRow(
        study_name=stored.name,
        kind=kind,
        dataset=stored.facts.dataset if kind is not None else None,
        trials=count_trials(trials),
        running=sum(trial.state == TrialState.RUNNING for trial in trials),
        stale=tuple(holder.trial.number for holder in holders if holder.is_dead),
        holders=holder_rows(holders),
        best=best.value if best is not None else None,
        best_trial=best.number if best is not None else None,
        last_active=stored.last_active() or None,
    )


def holder_rows(holders: Iterable[Holder]) -> tuple[HolderRow, ...]:
    """Who holds running trials, and lives for all that is known."""
    return tuple(
        HolderRow(
            trial=holder.trial.number,
            host=holder.owner.host,
            silent_seconds=holder.silent or 0.0,
            released_in_seconds=None if holder.owner.is_here else GRACE_PERIOD - (holder.silent or 0.0),
        )
        for holder in holders
        if holder.owner is not None and not holder.is_dead
    )


def holder_lines(rows: Sequence[HolderRow]) -> list[str]:
    """A line per host: what it holds, since when it has been silent, and what comes of that."""
    lines = []
    for is_seen, host in sorted({(row.released_in_seconds is None, row.host) for row in rows}):
        held = [row for row in rows if (row.released_in_seconds is None, row.host) == (is_seen, host)]
        silent = max(row.silent_seconds for row in held)
        heard = f"last heard of {silent:.0f} s ago; released after {GRACE_PERIOD - silent:.0f} s more of silence"
        how = "by other processes of this machine" if is_seen else heard
        lines.append(f"{describe_trials(row.trial for row in held).capitalize()}: held by {host}, {how}.")
    return lines


def studies_table(status: StorageStatus) -> RenderableType:
    """All studies, which trials have lost their worker, and who holds the others that run."""
    rows = [_cells(row) for row in status.studies]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    told = [place for place, heading in enumerate(HEADINGS) if heading not in RARE or any(r[place] for r in rows)]
    for place in told:
        longest = max((len(cells[place]) for cells in rows), default=0)
        if HEADINGS[place] in ("Study", "Kind"):
            table.add_column(HEADINGS[place], no_wrap=True, min_width=longest)  # whole, to be copied
        else:  # in a narrow terminal the heading gives way: a number cut short would be another number
            table.add_column(HEADINGS[place], justify="right", overflow="ellipsis", min_width=longest)
    for cells in rows:
        table.add_row(*(Text(cells[place]) for place in told))
    stale = [
        f"{row.study_name}: {describe_trials(row.stale)} left by workers that have ended; the same command tries again."
        for row in status.studies
        if row.stale
    ]
    held = [f"{row.study_name}: {line}" for row in status.studies for line in holder_lines(row.holders)]
    damaged = [row.damage for row in status.studies if row.damage is not None]
    return Group(table, *map(Text, (*stale, *held, *damaged)))


def _cells(row: StudyRow) -> list[str]:
    counts = row.trials
    numbers = (counts.pruned, row.running, counts.interrupted, counts.failed)
    best = f"{row.best:.2f}" if row.best is not None else ""
    if row.damage is not None:
        return [row.study_name, "damaged", "", *[""] * len(numbers), ""]
    return [row.study_name, row.kind or "other", str(counts.complete), *(str(each or "") for each in numbers), best]


def leaders_table(leaders: Sequence[SearchedTrial]) -> RenderableType:
    """The leading trials of a search, as they were searched."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("Trial", "Validation %", "Parameters", "Network"):
        table.add_column(heading, justify="left" if heading == "Network" else "right")
    for row in leaders:
        table.add_row(str(row.number), f"{row.val_accuracy:.2f}", f"{row.num_params:,}", Text(format_network(row)))
    return table
