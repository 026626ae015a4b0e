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
from ..studies.turns import DATABASE_ERRORS, exclusive, patient
from .history import read_ledger
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
    if (known.dataset, known.epochs) != (dataset.name, epochs):
        raise RecordError(f"{path} is of data set {known.dataset}, not {dataset.name}. Name another --results-dir.")
    for what, recorded, now in (("search space", known.space, space), ("recipe", known.recipe, RECIPE)):
        if recorded != now:
            raise RecordError(f"{path} is of another {what} ({recorded}, now {now}). Name another --results-dir.")
    return {point.max_params: point for point in known.points}


def up_to_date(frontier: Frontier, ledger: Ledger) -> Frontier:
    """The same with every look at the test images that was put on record since, by whichever command."""
    points = tuple(_up_to_date(point, ledger, frontier) for point in frontier.points)
    return Frontier.model_validate({**dict(frontier), "points": points})


def _up_to_date(point: FrontierPoint, ledger: Ledger, frontier: Frontier) -> FrontierPoint:
    own = point.subject
    others = tuple(
        each
        for each in ledger.attempts(frontier.dataset)
        if each.study_name == point.study_name
        and (each.subject.epochs, each.subject.recipe) == (frontier.epochs, frontier.recipe)
        and (own is None or each.subject.key != own.key)
    )
    tested = ledger.tested(own) if own is not None else None
    return FrontierPoint.model_validate({**dict(point), "tested": tested or point.tested, "others": others})


@patient()
def write_frontier(
    storage: RDBStorage, path: Path, points: Mapping[int, FrontierPoint], dataset: DataSet, *, epochs: int, space: str,
    target: float,
) -> Frontier:  # fmt: skip
    """Puts points on record, beside those of other commands. Raises as `known_points` does."""
    with exclusive(storage):  # another command may be at other budgets
        known, ledger = known_points(path, dataset, epochs, space), read_ledger(storage, path.parent.parent)

        def made_of(merged: Mapping[int, FrontierPoint]) -> Frontier:
            record = Frontier(
                dataset=dataset.name,
                judged=dataset.judged,
                epochs=epochs,
                space=space,
                recipe=RECIPE,
                target=target,
                commit=code_commit(),
                points=tuple(merged[max_params] for max_params in sorted(merged)),
            )
            return up_to_date(record, ledger)

        num_tested = sum(bool(point.errors or point.others) for point in made_of(known).points) if known else 0
        merged = dict(known)
        for max_params, point in points.items():
            before = known[max_params].tested_before if max_params in known else num_tested
            merged[max_params] = point.model_copy(update={"tested_before": before})
        record = made_of(merged)
        record.write(path)
    _draw(path)
    return record


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
