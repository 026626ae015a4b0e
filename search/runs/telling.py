"""Tells a program of each trial that ends."""

from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial, TrialState

from ..studies.study import StoredStudy

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)  # the last also where it is to be tried again
OnTrial = Callable[[optuna.Study, FrozenTrial], None]  # as Optuna's own callbacks are


class TrialTeller:
    """Calls `on_trial` once for each trial of a study that has ended since this was made."""

    def __init__(self, search: StoredStudy, on_trial: OnTrial | None) -> None:
        self._search, self._on_trial = search, on_trial
        self._told = {trial.number for trial in search.trials(ENDED)} if on_trial is not None else set()

    def update(self) -> None:
        if self._on_trial is None:
            return
        for trial in self._search.trials(ENDED):
            if trial.number not in self._told and self._on_trial is not None:
                self._told.add(trial.number)  # before the call: whatever it does, it is called once
                try:
                    self._on_trial(self._search.study, trial)
                except BaseException:
                    self._on_trial = None  # a callback that fails ends the search, and is not called on the way out
                    raise
