"""How the leading trials of a search stand after their further runs, which of them wins, and what that earned."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import mean

from optuna.trial import FrozenTrial, TrialState

from ..proof import summaries
from ..proof.estimates import ROUNDING, difference_margin
from ..studies.facts import TrialFacts
from ..studies.kinds import KINDS, Kind
from ..studies.process import Owner
from ..studies.study import StoredStudy, make_complaint_of_another_search, rank

NUM_RUNS = 2  # further runs of each leading trial
SMALLER = 0.05  # the share of parameters by which a network has to be smaller to be preferred to one that it ties with


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

    @property
    def diverged(self) -> bool:
        """Whether a run diverged: then its spread is not that of the others."""
        return min(self.accuracies) == 0.0

    @property
    def num_params(self) -> int:
        return TrialFacts.of(self.trial).num_params or 0


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How far a re-ranking has come.

    Attributes:
        standings: The trials whose further runs are all there, the best first.
        finished: Whether these are all that were to be re-ranked, and no trial has come to lead since.
        leading: The searched trials in question, the best first.
        compared: The accuracies of the runs that came after those, of any trial, by its number and theirs.
        first: The study's first trial, where it is complete.
    """

    standings: tuple[Standing, ...]
    finished: bool
    leading: tuple[FrozenTrial, ...]
    compared: dict[int, dict[int, float]]
    first: FrozenTrial | None

    @property
    def margin(self) -> float | None:
        """By how much two means may differ for nothing, in points (95 %); None where runs are too few to tell."""
        return difference_margin([standing.accuracies for standing in self.standings if not standing.diverged])

    @property
    def tied(self) -> tuple[Standing, ...]:
        """Those that cannot be told from the best, itself included; all where runs are too few to tell."""
        margin, best = self.margin, self.standings[0]
        trained = [each for each in self.standings if not each.diverged or each is best]
        return tuple(each for each in trained if margin is None or best.mean - each.mean <= margin + ROUNDING)

    @property
    def winner(self) -> Standing | None:
        """The best, or, where some that tie with it are clearly smaller, the smallest of these; None until finished."""
        if not self.finished:
            return None
        best = self.standings[0]
        smaller = [each for each in self.tied if each.num_params <= (1 - SMALLER) * best.num_params]
        return min(smaller, key=lambda each: each.num_params, default=best)

    @property
    def earned(self) -> summaries.Earned | None:
        """The winner beside the study's first trial, over the runs that both have and that chose neither.

        Where the first trial has won, these are its own runs twice: what it reaches is known without flattery.
        """
        winner, first = self.winner, self.first
        if winner is None or first is None:
            return None
        ours, firsts = self.compared.get(winner.trial.number, {}), self.compared.get(first.number, {})
        shared = sorted(ours.keys() & firsts.keys())
        if not shared:
            return None
        return summaries.Earned(
            first=first.number,
            winner_val_accuracies=tuple(ours[run] for run in shared),
            first_val_accuracies=tuple(firsts[run] for run in shared),
        )

    def describe(self) -> summaries.Reranking:
        regression = None
        if self.finished:
            first = self.leading[0]
            [of_first] = [standing for standing in self.standings if standing.trial.number == first.number]
            regression = (first.value or 0.0) - of_first.mean
        return summaries.Reranking(
            finished=self.finished,
            winner=self.winner.trial.number if self.winner is not None else None,
            tied=tuple(standing.trial.number for standing in self.tied) if self.finished else (),
            margin=self.margin if self.finished else None,
            regression=regression,
            standings=tuple(map(_describe, self.standings)),
            earned=self.earned,
            first=self.first.number if self.first is not None else None,
            num_leading=len(self.leading),
        )


def _describe(standing: Standing) -> summaries.Standing:
    facts = TrialFacts.of_network(standing.trial)
    return summaries.Standing.model_validate(
        {
            "number": standing.trial.number,
            "searched_val_accuracy": standing.trial.value,
            "val_accuracies": standing.accuracies,
            "num_params": facts.num_params,
            **facts.network,
        }
    )


def first_trial(search: StoredStudy) -> FrozenTrial | None:
    """The trial that every study tries first, where it is complete: the network to beat.

    Where that failed by itself, another was drawn in its place, which says nothing.
    """
    found = [trial for trial in search.trials() if trial.user_attrs.get("ticket") == 0]  # all facts take long
    if any(TrialFacts.of(trial).fail_reason is not None for trial in found):
        return None
    return next((trial for trial in found if trial.state == TrialState.COMPLETE), None)


def leading_trials(search: StoredStudy, num_leading: int) -> tuple[FrozenTrial, ...]:
    """The complete trials of highest value, the best first; fewer where there are fewer."""
    return tuple(sorted(search.complete_trials(), key=rank, reverse=True)[:num_leading])


def trials_to_rerank(search: StoredStudy, num_leading: int) -> tuple[FrozenTrial, ...]:
    """The leading trials, and the study's first: what it is beaten by is measured alike."""
    return _with_first(leading_trials(search, num_leading), first_trial(search))


def _with_first(leading: tuple[FrozenTrial, ...], first: FrozenTrial | None) -> tuple[FrozenTrial, ...]:
    is_among = first is None or first.number in [trial.number for trial in leading]
    return leading if first is None or is_among or not leading else (*leading, first)


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
    accuracies, owners = _read_runs(search, reranking)
    standings = _rank(search, accuracies, owners)
    facts = reranking.facts
    planned, num_leading = set(facts.planned_trials), facts.num_reranked
    done = {standing.trial.number for standing in standings}
    # Before the first trial was among them, there was no number: as many as were planned.
    leading, first = leading_trials(search, num_leading or len(planned)), first_trial(search)
    wanted = _with_first(leading, first) if num_leading else leading
    return Ranking(
        standings=standings,
        finished=bool(planned) and planned == {trial.number for trial in wanted} and planned <= done,
        leading=leading,
        compared={number: _later(runs) for number, runs in accuracies.items()},
        first=first,
    )


Runs = dict[int, dict[int, float]]  # accuracies by number of the trial and of the run
Owners = dict[int, Owner | None]


def _later(runs: dict[int, float]) -> dict[int, float]:
    return {run: value for run, value in runs.items() if run >= NUM_RUNS}


def _read_runs(search: StoredStudy, reranking: StoredStudy) -> tuple[Runs, Owners]:
    trials = search.trials()
    accuracies: Runs = defaultdict(dict)
    owners: Owners = {}
    for run in reranking.complete_trials():
        number = run.params["trial"]
        if number >= len(trials) or trials[number].params != TrialFacts.of(run).searched_params:
            raise make_complaint_of_another_search(reranking)
        assert run.value is not None
        accuracies[number][run.params["run"]] = run.value
        if run.params["run"] == 0:
            owners[number] = TrialFacts.of(run).owner
    return accuracies, owners


def _rank(search: StoredStudy, accuracies: Runs, owners: Owners) -> tuple[Standing, ...]:
    trials = search.trials()
    complete = [
        Standing(trial=trials[number], accuracies=tuple(runs[run] for run in range(NUM_RUNS)), owner=owners[number])
        for number, runs in accuracies.items()
        if runs.keys() >= set(range(NUM_RUNS))
    ]
    return tuple(sorted(complete, key=lambda standing: (standing.mean, *rank(standing.trial)), reverse=True))
