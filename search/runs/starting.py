"""A warm start: what another study has found, to be tried first in a new one."""

from optuna.storages import RDBStorage

from ..studies.facts import TrialFacts
from ..studies.finding import find_search_study
from ..studies.study import Binding, StoredStudy, StudyError, WarmStart, study_names
from .standings import leading_trials, read_ranking

NUM_LEADING = 5  # trials of another study that are tried


def find_warm_start(storage: RDBStorage, source_name: str, name: str, binding: Binding) -> WarmStart | None:
    """What another study's leading trials have drawn, the best first; its first trial is tried in any study.

    None where the new study is there already: what it was begun with stands.

    Its budget may be another, for a trial draws the shape of a network, which is fitted to any budget.

    Args:
        name: That of the new study.
        binding: The new study's.

    Raises:
        StudyError: If there is no such study with a complete trial, it is the new one itself, its trials mean
            something else, for it has another data set, search space or recipe, or the study there is was begun
            without it.
    """
    if source_name == name:
        raise StudyError(f"--warm-start {name} is this study itself. Name another, or leave it out.")
    if name in study_names(storage):
        begun_with = StoredStudy.load(storage, name).facts.warm_start
        if begun_with != source_name:
            raise StudyError(
                f"Study {name!r} was begun without a warm start from {source_name!r}. Leave --warm-start out to go on "
                f"with it, or choose another --study-name."
            )
        return None
    source = find_search_study(storage, source_name)
    theirs = source.binding
    for what, other, own in (
        ("data set", (theirs.dataset, theirs.split), (binding.dataset, binding.split)),
        ("search space (--space, or space.py)", theirs.space, binding.space),
        ("network or training recipe of this tool", theirs.recipe, binding.recipe),
    ):
        if other != own:
            raise StudyError(
                f"Study {source_name!r} has another {what} than this one: its trials would mean something else here. "
                f"Leave --warm-start out."
            )
    ranking = read_ranking(source)
    ranked = [standing.trial for standing in ranking.standings] if ranking is not None and ranking.finished else []
    numbers = {trial.number for trial in ranked}
    leading = [*ranked, *(each for each in leading_trials(source, NUM_LEADING + 1) if each.number not in numbers)]
    others = [trial for trial in leading if TrialFacts.of(trial).ticket != 0]
    if not leading:
        raise StudyError(f"Study {source_name!r} has no complete trial yet. Go on with its search first.")
    return WarmStart(study_name=source_name, params=tuple(trial.params for trial in others[:NUM_LEADING]))
