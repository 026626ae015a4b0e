"""The models that a search keeps: of the best single run, of each leading trial's first further run, of the winner."""

import math
import socket
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial
from pydantic import ValidationError

from ..net.model_origin import read_origin
from ..proof.estimates import accuracy
from ..proof.evidence import Proof
from ..proof.parts import RecordError, describe_damage
from ..proof.summaries import ModelOrigin
from ..settings import BEST_MODEL
from ..studies.facts import TrialFacts, network_facts
from .standings import Ranking

WINNER_MODEL = "winner.safetensors"
MODELS_FOLDER = "further-runs"  # in the study's results: the model of each leading trial's first further run


def model_path(folder: Path, number: int) -> Path:
    """The model of a leading trial's first further run, in the results of its search."""
    return folder / MODELS_FOLDER / f"trial-{number}.safetensors"


@dataclass(frozen=True, kw_only=True)
class WinnerModel:
    """The winner's model in a search's results: the file that it was saved to, or why there is none.

    Attributes:
        source, missing: None, both of them, while nobody has won.
        elsewhere: Whether another host has trained it: then it is there.
    """

    source: Path | None = None
    missing: str | None = None
    elsewhere: bool = False


def find_winner_model(folder: Path, winner: FrozenTrial | None, ranking: Ranking | None, epochs: int) -> WinnerModel:
    """Where the model lies that is to be had under the winner's name, too. Changes nothing."""
    if winner is None:
        return WinnerModel()
    reranked = ranking.winner if ranking is not None else None
    source, accuracies, owner = folder / BEST_MODEL, {winner.value}, TrialFacts.of(winner).owner
    if reranked is not None:
        source, accuracies, owner = model_path(folder, winner.number), set(reranked.accuracies), reranked.owner
    missing = _why_not_of(source, winner, accuracies, epochs)
    if missing is None:
        return WinnerModel(source=source)
    # The same words wherever and whenever the command is typed, a restart in between included: they are on record.
    elsewhere = owner is not None and owner.host != socket.gethostname()
    where = f" The run was trained on host {owner.host!r}." if owner is not None and elsewhere else ""
    return WinnerModel(missing=f"{source.relative_to(folder)} {missing}.{where}", elsewhere=elsewhere)


def _why_not_of(path: Path, trial: FrozenTrial, accuracies: set[float | None], epochs: int) -> str | None:
    """Why a file is not the model of a trial's run, as half a sentence; None if it is."""
    try:
        origin = read_model_origin(path)
    except FileNotFoundError:
        return "is not here"
    except RecordError:
        return "is damaged"
    same_run = (origin.trial, origin.epochs) == (trial.number, epochs) and origin.val_accuracy in accuracies
    same = same_run and network_facts(origin.config.model) == TrialFacts.of(trial).network
    return None if same else "is the model of another run"  # of an earlier study of this name, say


def read_model_origin(path: Path) -> ModelOrigin:
    """What a model's file says of itself.

    Raises:
        FileNotFoundError: If there is none.
        RecordError: If it is damaged.
    """
    try:
        return ModelOrigin.model_validate_json(read_origin(path))
    except ValidationError as error:
        raise RecordError(f"{path} is not a model of this tool ({describe_damage(error)}). Restore it.") from error
    except ValueError as error:
        raise RecordError(f"{error} Restore it.") from error


def check_proved_model(path: Path, proof: Proof) -> None:
    """Raises RecordError unless a file says of itself what a proof says of its kept model."""
    assert proof.model is not None
    try:
        origin = read_model_origin(path)
    except FileNotFoundError:
        raise RecordError(f"{path} is missing. Restore it.") from None
    recorded = accuracy(proof.model.errors, proof.num_images)
    if (origin.config, origin.seed, origin.epochs) != (proof.config, proof.model.seed, proof.epochs):
        found = f"of seed {origin.seed}, {origin.num_params:,} parameters"
        raise RecordError(
            f"{path} is the model of another run ({found}), and not that of seed {proof.model.seed}. Restore it."
        )
    if origin.test_accuracy is None or not math.isclose(origin.test_accuracy, recorded, abs_tol=1e-6):
        raise RecordError(f"{path} says that it reached {origin.test_accuracy} %, the record {recorded} %. Restore it.")


def kept_model(folder: Path, proof: Proof | None) -> Path | None:
    """The model in a search's results that stands for it: the proved one, or else the winner's as it was searched."""
    kept = proof.model if proof is not None else None
    path = folder / (kept.file if kept is not None else WINNER_MODEL)
    return path if path.is_file() else None
