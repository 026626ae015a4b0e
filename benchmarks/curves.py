"""A trial whose learning curve is known: told to a study epoch by epoch, as a worker tells it, until it is pruned."""

from collections.abc import Sequence

import optuna
from optuna.trial import TrialState


def tell_curve(study: optuna.Study, trial: optuna.Trial, curve: Sequence[float], value: float) -> int:
    """Returns the number of epochs that were trained."""
    for epoch, accuracy in enumerate(curve, start=1):
        trial.report(accuracy, step=epoch)
        if epoch < len(curve) and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, value)
    return len(curve)
