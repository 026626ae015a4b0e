"""The record of a frontier: read, brought up to date with all that is known of the test images, and written."""

from collections.abc import Mapping
from pathlib import Path

from optuna.storages import RDBStorage

from ..config import RECIPE, ExplainedError
from ..files import write_atomically
from ..net.datasets import DataSet
from ..proof.frontier import Frontier, FrontierPoint
from ..proof.ledger import Ledger
from ..proof.parts import RecordError
from ..provenance import code_commit
from ..settings import frontier_record
from ..show import frontier as words
from ..studies.study import default_name
from ..studies.turns import DATABASE_ERRORS, exclusive, patient
from .history import read_ledger, without_committed
from .session import Session


def known_points(path: Path, dataset: DataSet, epochs: int, space: str) -> dict[int, FrontierPoint]:
    """What an earlier command has written, by budget.

    Args:
        space: The hash of the search space.

    Raises:
        RecordError: If that is damaged, or does not compare: no budget must be forgotten.
    """
    if not path.exists():
        return {}
    known = Frontier.read(path)
    for what, recorded, now in (
        ("data set", known.dataset, dataset.name),
        ("number of epochs", known.epochs, epochs),
        ("search space", known.space, space),
        ("recipe", known.recipe, RECIPE),
    ):
        if recorded != now:
            raise RecordError(f"{path} is of another {what} ({recorded}, now {now}). Name another --results-dir.")
    return {point.max_params: point for point in known.points}


def up_to_date(frontier: Frontier, ledger: Ledger) -> Frontier:
    """The same with every look at the test images that was put on record since, by whichever command."""
    searches = _searches(frontier, ledger)
    return frontier.with_points(_up_to_date(point, frontier.dataset, ledger, searches) for point in frontier.points)


def _searches(frontier: Frontier, ledger: Ledger) -> Ledger:
    """What is known of searches like those of a frontier, made here."""
    made = frontier.dataset, frontier.epochs, frontier.recipe
    return without_committed(
        ledger.only(lambda each: (each.subject.dataset, each.subject.epochs, each.subject.recipe) == made)
    )


def _up_to_date(point: FrontierPoint, dataset: str, ledger: Ledger, searches: Ledger) -> FrontierPoint:
    own = point.subject
    tested = ledger.tested(own) if own is not None else None
    of_others = searches.only(
        lambda each: each.study_name == point.study_name and (own is None or each.subject.key != own.key)
    )
    found = {
        "tested": tested or point.tested,
        "others": tuple(of_others.attempts(dataset)),
        # The rungs of the winner's ladder are no other trials. What is reproduced was proved before.
        "other_looks": tuple(
            look for look in of_others.other_looks(dataset) if look.command == "ablate" and look.trial != point.trial
        ),
    }
    return FrontierPoint.model_validate({**dict(point), **found})


@patient()
def write_frontier(
    storage: RDBStorage, path: Path, points: Mapping[int, FrontierPoint], dataset: DataSet, *, epochs: int, space: str,
    target: float,
) -> Frontier:  # fmt: skip
    """Puts points on record, beside those of other commands. Raises as `known_points` does.

    Args:
        points: Those that have changed: another command may be at the others.
    """
    with exclusive(storage):
        known, ledger = known_points(path, dataset, epochs, space), read_ledger(storage, path.parent.parent)

        def made_of(merged: Mapping[int, FrontierPoint]) -> Frontier:
            return Frontier(
                dataset=dataset.name,
                judged=dataset.judged,
                epochs=epochs,
                space=space,
                recipe=RECIPE,
                target=target,
                commit=code_commit(),
                points=tuple(merged[max_params] for max_params in sorted(merged)),
            )

        record = up_to_date(made_of({**known, **points}), ledger)
        tested = _tested_searches(record, ledger)
        before = {
            max_params: known[max_params].tested_before
            if max_params in known
            else len(tested - {default_name(dataset.name, max_params, epochs)})
            for max_params in points
        }
        record = record.with_points(
            point.model_copy(update={"tested_before": before.get(point.max_params, point.tested_before)})
            for point in record.points
        )
        record.write(path)
    _draw(path)
    return record


def _tested_searches(frontier: Frontier, ledger: Ledger) -> set[str]:
    """The searches like these that were put to the test, whether a frontier was asked for or not."""
    on_record = {point.study_name for point in frontier.points if point.was_tested and point.study_name is not None}
    return on_record | {entry.study_name for entry in _searches(frontier, ledger).entries}


def refresh_frontier(session: Session, dataset: str, epochs: int) -> None:
    """Brings a frontier up to date, where there is one, once a command has looked at the test images.

    Where that cannot be done it warns: what the command has measured stands.
    """
    try:
        _refresh(session.storage, session.settings.results_dir, dataset, epochs)
    except (ExplainedError, OSError, *DATABASE_ERRORS) as error:
        session.screen.warn(f"The frontier was not brought up to date: {error}")


@patient()
def _refresh(storage: RDBStorage, results_dir: Path, dataset: str, epochs: int) -> None:
    path = results_dir / frontier_record(dataset, epochs)
    with exclusive(storage):
        if not path.exists():
            return
        known = Frontier.read(path)
        record = up_to_date(known, read_ledger(storage, results_dir)) if known.dataset == dataset else known
        if record == known:
            return
        record.write(path)
    _draw(path)


def _draw(path: Path) -> None:
    """The page and the picture of what is on record by now: outside the lock, for drawing takes a while."""
    drawn = None
    while drawn != (record := Frontier.read(path)):  # another command may write and draw meanwhile
        write_atomically(path.with_suffix(".md"), words.to_markdown(record))
        write_atomically(path.with_suffix(".png"), words.plot(record))
        drawn = record
