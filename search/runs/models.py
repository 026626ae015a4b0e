"""The models that a search keeps: of the best single run, of each leading trial's first further run, of the winner."""

from pathlib import Path

from optuna.trial import FrozenTrial

from search.files import write_atomically
from search.net.model_origin import read_origin
from search.proof.records import ModelOrigin
from search.runs.standings import Ranking
from search.settings import BEST_MODEL
from search.studies.facts import TrialFacts

WINNER_MODEL = "winner.safetensors"
MODELS_FOLDER = "further-runs"  # in the study's results: the model of each leading trial's first further run


def model_path(folder: Path, number: int) -> Path:
    """The model of a leading trial's first further run, in the results of its search."""
    return folder / MODELS_FOLDER / f"trial-{number}.safetensors"


def keep_winner_model(folder: Path, winner: FrozenTrial | None, ranking: Ranking | None, epochs: int) -> str | None:
    """Puts the winner's model under its own name; None where it is not at hand (trained on another host, say)."""
    target = folder / WINNER_MODEL
    reranked = ranking.winner if ranking is not None else None
    source, accuracies = folder / BEST_MODEL, {winner.value} if winner is not None else set()
    if reranked is not None:
        source, accuracies = model_path(folder, reranked.trial.number), set(reranked.accuracies)
    if winner is None or not _is_model_of(source, winner, accuracies, epochs):
        target.unlink(missing_ok=True)  # an earlier winner's
        return None
    write_atomically(target, source.read_bytes())
    return target.name


def _is_model_of(path: Path, trial: FrozenTrial, accuracies: set[float | None], epochs: int) -> bool:
    """An earlier study of this name may have left a file; or a trial of another host have come to lead."""
    try:
        origin = ModelOrigin.model_validate_json(read_origin(path))
    except (FileNotFoundError, ValueError):
        return False
    same_run = (origin.trial, origin.epochs) == (trial.number, epochs) and origin.val_accuracy in accuracies
    return same_run and origin.config.model.channels == TrialFacts.of(trial).channels
