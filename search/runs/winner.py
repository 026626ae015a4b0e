"""Which trial is to be proved, and its configuration, rebuilt from what it has drawn."""

from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from ..config import RECIPE, TrialConfig
from ..studies.facts import TrialFacts, network_facts
from ..studies.space import Space
from ..studies.study import StoredStudy, StudyError, damage_told
from .standings import NUM_RUNS, Ranking, read_ranking


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The trial to prove, and the rule that chose it, as half a sentence."""

    trial: FrozenTrial
    rule: str


def find_winner(search: StoredStudy, ranking: Ranking | None) -> FrozenTrial | None:
    """The trial to prove: the re-ranking's first, or, where the last search has waived it, the best single run.

    None while re-ranking is not finished, and where no trial is complete.
    """
    if ranking is not None and ranking.winner is not None:
        return ranking.winner.trial
    return search.best_trial() if not search.facts.num_reranked else None


def choose_trial(search: StoredStudy, number: int | None) -> Choice:
    """The trial of that number; without one the winner: of the re-ranking, where there was one, else of the search.

    Raises:
        StudyError: If there is no complete trial, that one is not complete, or the re-ranking is not finished.
    """
    if number is not None:
        return Choice(trial=_complete_trial(search, number), rule="the one asked for (--trial)")
    if search.best_trial() is None:
        raise StudyError(f"Study {search.name!r} has no complete trial yet. Go on with its search first.")
    ranking = read_ranking(search)
    winner = find_winner(search, ranking)
    if winner is None:
        raise StudyError(
            f"The leading trials of {search.name!r} are not all re-ranked yet. Run the search again with the "
            f"same options, which finishes it, or name a trial with --trial."
        )
    if ranking is None or ranking.winner is None:
        count = len(search.complete_trials())
        return Choice(trial=winner, rule=f"the best of {count} single runs; not re-ranked")
    best = f"the best of {len(ranking.standings)} re-ranked trials"
    if ranking.winner is not ranking.standings[0]:
        best = f"the smallest of those that tie with {best}"
    return Choice(
        trial=winner, rule=f"{best} ({ranking.winner.mean:.3f} % on validation, the mean of {NUM_RUNS} further runs)"
    )


def _complete_trial(search: StoredStudy, number: int) -> FrozenTrial:
    trials = search.trials()
    if not 0 <= number < len(trials):
        raise StudyError(f"Study {search.name!r} has no trial {number}. Leave --trial out for the winner.")
    if trials[number].state != TrialState.COMPLETE:
        state = trials[number].state.name.lower()
        raise StudyError(
            f"Trial {number} is {state}; only a complete trial can be verified. Leave --trial out for the winner."
        )
    return trials[number]


def rebuild_config(search: StoredStudy, trial: FrozenTrial, space: Space) -> TrialConfig:
    """The configuration of a finished trial, by replaying its recorded draws through the space.

    Raises:
        StudyError: If the space, or the recipe, was changed since: the replay would build something else.
    """
    binding, commit = search.binding, str(search.facts.commit)[:12]
    if binding.space != space.hash:
        file = search.facts.space_file
        raise StudyError(
            f"{space.path} is not the search space that study {search.name!r} was made with "
            f"({f'{file}, ' if file is not None else ''}at {commit}): its trials cannot be rebuilt. Name that file "
            f"with --space, restore that version of it, or search anew."
        )
    if binding.recipe != RECIPE:
        raise StudyError(
            f"Study {search.name!r} was made with another version of this tool (at {commit}; recipe {binding.recipe}, "
            f"now {RECIPE}): its networks cannot be rebuilt. Use that version, or search anew."
        )
    with damage_told(f"Trial {trial.number} of study {search.name!r}"):
        config = space.suggest_config(trial, binding.max_params)
    facts = TrialFacts.of(trial)
    rebuilt = network_facts(config.model)
    if (rebuilt, config.model.num_params) != (facts.network, facts.num_params):
        raise StudyError(f"Trial {trial.number} rebuilt has {rebuilt}, recorded {facts.network}.")
    return config
