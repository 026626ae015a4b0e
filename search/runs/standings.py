"""How the leading trials of a search stand after their further runs, and which of them wins."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import mean

from optuna.trial import FrozenTrial

from search.proof import summaries
from search.studies.facts import TrialFacts
from search.studies.kinds import KINDS, Kind
from search.studies.process import Owner
from search.studies.study import StoredStudy, make_complaint_of_another_search, rank

NUM_RUNS = 2  # further runs of each leading trial


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A leading trial, as it was searched, and the accuracies of its further runs, in percent.

    Attributes:
        owner: Who trained the first of them, whose model is kept; None where that is not on record.
    """

    trial: FrozenTrial
    accuracies: tuple[float, ...]
    owner: Owner | None = None

    @property
    def mean(self) -> float:
        return mean(self.accuracies)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How far a re-ranking has come.

    Attributes:
        standings: The trials whose further runs are all there, the best first.
        finished: Whether these are all that were to be re-ranked, and no trial has come to lead since.
        leading: The searched trials in question, the best first.
    """

    standings: tuple[Standing, ...]
    finished: bool
    leading: tuple[FrozenTrial, ...]

    @property
    def winner(self) -> Standing | None:
        return self.standings[0] if self.finished else None

    def describe(self) -> summaries.Reranking:
        regression = None
        if self.finished:
            first = self.leading[0]
            [of_first] = [standing for standing in self.standings if standing.trial.number == first.number]
            regression = (first.value or 0.0) - of_first.mean
        return summaries.Reranking(
            finished=self.finished,
            winner=self.standings[0].trial.number if self.finished else None,
            regression=regression,
            standings=tuple(map(_describe, self.standings)),
        )


def _describe(standing: Standing) -> summaries.Standing:
    facts = TrialFacts.of_network(standing.trial)
    return summaries.Standing.model_validate(
        {
            "number": standing.trial.number,
            "searched_val_accuracy": standing.trial.value,
            "val_accuracies": standing.accuracies,
            "num_params": facts.num_params,
            "channels": facts.channels,
        }
    )


def leading_trials(search: StoredStudy, num_leading: int) -> tuple[FrozenTrial, ...]:
    """The complete trials of highest value, the best first; fewer where there are fewer."""
    return tuple(sorted(search.complete_trials(), key=rank, reverse=True)[:num_leading])


def read_ranking(search: StoredStudy) -> Ranking | None:
    """The re-ranking of a search; None if there was none.

    Raises:
        StudyError: If a run was of a trial that the search does not hold: it is another search of the same name.
    """
    reranking = search.sibling(KINDS[Kind.RERANK].name(search.name))
    if reranking is None or reranking.kind != Kind.RERANK:  # a search that is called so
        return None
    if reranking.binding != search.binding:
        raise make_complaint_of_another_search(reranking)
    standings = rank_again(search, reranking)
    planned = set(reranking.facts.planned_trials)
    leading = leading_trials(search, len(planned))
    done = {standing.trial.number for standing in standings}
    finished = bool(planned) and {trial.number for trial in leading} == planned and planned <= done
    return Ranking(standings=standings, finished=finished, leading=leading)


def rank_again(search: StoredStudy, reranking: StoredStudy) -> tuple[Standing, ...]:
    """The trials whose further runs are all there, the best first. Raises as `read_ranking` does."""
    trials = search.trials()
    accuracies = defaultdict(list)
    owners: dict[int, Owner | None] = {}
    for run in reranking.complete_trials():
        number = run.params["trial"]
        if number >= len(trials) or trials[number].params != TrialFacts.of(run).searched_params:
            raise make_complaint_of_another_search(reranking)
        assert run.value is not None
        accuracies[number].append(run.value)
        if run.params["run"] == 0:
            owners[number] = TrialFacts.of(run).owner
    complete = [
        Standing(trial=trials[number], accuracies=tuple(values), owner=owners[number])
        for number, values in accuracies.items()
        if len(values) == NUM_RUNS
    ]
    return tuple(sorted(complete, key=lambda standing: (standing.mean, *rank(standing.trial)), reverse=True))
