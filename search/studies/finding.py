"""Studies are found in their database, with those that followed them, and deleted."""

from collections.abc import Iterable

import optuna
from optuna.storages import RDBStorage

from ..config import PROGRAM, shortened
from .kinds import Kind, check_search_name, search_followed_by
from .study import StoredStudy, StudyError, study_names
from .turns import exclusive, patient


def find_search_study(storage: RDBStorage, name: str | None) -> StoredStudy:
    """The search study of that name; without one, the last active of those with a complete trial, or else of all.

    A search is active as long as its re-ranking, proof and ladder are.

    Raises:
        StudyError: If there is none.
        StudyNameError: If somebody has called it what no search can be called.
    """
    studies = load_studies(storage)
    searches = [stored for stored in studies if stored.kind == Kind.SEARCH]
    named = [stored for stored in searches if name in (None, stored.name)]
    if named:
        active: dict[str, str] = {}
        for stored in studies if len(named) > 1 else ():
            search = search_followed_by(stored.name) or stored.name
            active[search] = max(active.get(search, ""), stored.last_active())
        found = max(named, key=lambda stored: (bool(stored.complete_trials()), active.get(stored.name, "")))
        check_search_name(found.name)
        return found
    if searches:
        others = ", ".join(stored.name for stored in searches)
        raise StudyError(f"There is no search study {shortened(name)} in this storage, but: {others}.")
    wanted = f" {shortened(name)}" if name is not None else ""
    raise StudyError(f"There is no search study{wanted} in this storage (--storage) yet. Run '{PROGRAM} search' first.")


def load_studies(storage: RDBStorage) -> list[StoredStudy]:
    return [StoredStudy.load(storage, name) for name in study_names(storage)]


def followers_of(storage: RDBStorage, search: str) -> list[str]:
    """The names of the studies that followed a search of that name, which need not be there itself."""
    named = [name for name in study_names(storage) if search_followed_by(name) == search]
    return [name for name in named if StoredStudy.load(storage, name).kind not in (None, Kind.SEARCH)]


def studies_to_delete(storage: RDBStorage, name: str) -> list[str]:
    """The names of a study of this tool's, where it is there, and of those that followed it.

    Raises:
        StudyError: If there are none, or another tool made the study.
    """
    there = name in study_names(storage)
    if there and StoredStudy.load(storage, name).kind is None:
        raise StudyError(f"Study {name!r} was not made by this tool: it is left alone.")
    names = [*([name] if there else []), *followers_of(storage, name)]
    if not names:
        raise StudyError(f"There is no study {shortened(name)} in this storage, and none that followed it.")
    return names


@patient()
def delete_studies(storage: RDBStorage, names: Iterable[str]) -> None:
    with exclusive(storage):
        for name in set(names) & set(optuna.get_all_study_names(storage)):
            optuna.delete_study(study_name=name, storage=storage)
