"""What a kill, a full disk or manual changes have left of studies and their results, and how it is mended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from optuna.storages import RDBStorage

from ..config import ExplainedError
from ..files import find_leftovers
from ..proof.evidence import Proof
from ..proof.parts import RecordError
from ..proof.summaries import Mend
from ..show.words import describe_trials
from ..studies.kinds import KINDS, Kind, check_search_name
from ..studies.study import StoredStudy, damage_told, study_names
from ..studies.tickets import find_holders, release_dead_trials
from .models import WINNER_MODEL, check_proved_model, find_winner_model
from .reporting import files_of, recorded_summary, summarise, write_search_records
from .standings import read_ranking
from .winner import find_winner


@dataclass(frozen=True, kw_only=True)
class Repair:
    """Something that is not as it should be, and what mends it; `do` is None where no command can (see `Mend`)."""

    what: str
    why: str
    how: str | None = None
    do: Callable[[], object] | None = None

    def describe(self, *, done: bool = False) -> Mend:
        return Mend(what=self.what, why=self.why, how=self.how, done=done)


def find_repairs(storage: RDBStorage, results_dir: Path) -> list[Repair]:
    """What is not as it should be. Changes nothing. Whatever a living command is at work on is as it should be."""
    found = [
        Repair(what=str(path), why="a killed command left it half written", how="deletes it", do=path.unlink)
        for path in find_leftovers(results_dir)
    ]
    for name in study_names(storage):
        try:
            with damage_told(f"Study {name!r}"):
                found += _repairs_of_study(StoredStudy.load(storage, name), results_dir / name)
        except (ExplainedError, OSError) as error:
            found.append(Repair(what=f"study {name!r}", why=str(error)))
    return found


def find_damaged_proofs(results_dir: Path) -> list[Repair]:
    """The proofs that cannot be read, or whose model is not theirs: only a copy brings them back."""
    found = []
    for path in sorted(results_dir.glob("*/verify*.json")):
        try:
            proof = Proof.read(path)
            if proof.model is not None:
                check_proved_model(path.parent / Path(proof.model.file).name, proof)
        except (RecordError, OSError) as error:
            found.append(Repair(what=str(path), why=str(error)))
    return found


def _repairs_of_study(stored: StoredStudy, folder: Path) -> Iterator[Repair]:
    if stored.kind is None:
        if "split" in stored.study.user_attrs and "kind" not in stored.study.user_attrs:
            yield Repair(what=f"study {stored.name!r}", why="its set-up was cut off; the same command sets it up")
        return
    holders = find_holders(stored)
    dead = [holder.trial.number for holder in holders if holder.is_dead]
    if dead:
        what, how = f"{describe_trials(dead)} of study {stored.name!r}", "lets the same command try again"
        yield Repair(what=what, why="left by workers that have ended", how=how, do=partial(release_dead_trials, stored))
    if stored.kind == Kind.SEARCH:
        check_search_name(stored.name)  # it may come from anybody's database, and names a folder
    if stored.kind == Kind.SEARCH and folder.is_dir():  # else its results are elsewhere
        reranking = stored.sibling(KINDS[Kind.RERANK].name(stored.name))
        holders += find_holders(reranking) if reranking is not None else []
        if all(holder.is_dead for holder in holders):
            yield from _repairs_of_results(stored, folder, at_least=["summary.json", "trials.csv"] if dead else [])


def _repairs_of_results(search: StoredStudy, folder: Path, at_least: list[str]) -> Iterator[Repair]:
    """Args: at_least: The records that will be old when trials are released."""
    ranking = read_ranking(search)
    summary = summarise(search, ranking, folder)
    recorded = recorded_summary(folder)
    if recorded is not None and recorded.storage != summary.storage:
        return  # another's results are left alone
    files = files_of(search, ranking, summary, folder)
    old = sorted({*at_least, *(path.name for path, content in files.items() if _content(path) != content)})
    if old:
        why, how = f"not what the study comes to: {', '.join(old)}", "writes them anew"
        yield Repair(what=str(folder), why=why, how=how, do=partial(_write_again, search, folder))
    model = find_winner_model(folder, find_winner(search, ranking), ranking, search.binding.epochs)
    if model.missing is not None and not model.elsewhere:
        yield Repair(what=str(folder / WINNER_MODEL), why=f"cannot be had: {model.missing} verify-best trains another")


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _write_again(search: StoredStudy, folder: Path) -> None:
    write_search_records(search, read_ranking(search), folder)
