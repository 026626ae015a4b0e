"""What a page shows beside the records: trials, what matters, images as they are trained on, a network to try."""

import warnings
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import torch
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from ..config import IMAGE_SIZE, TrialConfig
from ..net.augment import augment
from ..net.crops import ALL_CROPS
from ..net.data import Split, load_search_splits
from ..net.datasets import DataError, DataSet
from ..net.model_file import load_model
from ..net.program import program_of
from ..proof.evidence import Proof
from ..proof.parts import RecordError
from ..show.page.facts import FEWEST_FOR_IMPORTANCE, Digit, Program, ShownTrial, State
from ..studies.facts import TrialFacts
from ..studies.study import FINISHED, StoredStudy
from .models import kept_model, read_model_origin

SHOWN_LABELS = (2, 4, 5, 8)  # of the images that are shown with their distortions
NUM_DISTORTED = 7


def describe_trial(trial: FrozenTrial) -> ShownTrial:
    """A trial as the page shows it."""
    facts = TrialFacts.of(trial)
    owner = facts.owner
    return ShownTrial(
        number=trial.number,
        state=_state(trial, facts),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        curve=dict(sorted(trial.intermediate_values.items())),
        params=trial.params,
        num_params=facts.num_params,
        start=trial.datetime_start,
        end=_end(trial, facts),
        worker=f"{owner.host}, process {owner.pid}" if owner is not None else "unknown",
        reason=facts.reason,
    )


def _end(trial: FrozenTrial, facts: TrialFacts) -> datetime | None:
    """A trial that failed is told so whenever that is noticed; how long it trained says when it ended."""
    if trial.state in FINISHED or trial.datetime_start is None:
        return trial.datetime_complete
    return trial.datetime_start + timedelta(seconds=facts.seconds)


def _state(trial: FrozenTrial, facts: TrialFacts) -> State:
    if trial.state == TrialState.COMPLETE:
        return "complete"
    if trial.state == TrialState.PRUNED:
        return "pruned"
    if trial.state == TrialState.FAIL:
        return "interrupted" if facts.was_interrupted(trial.state) else "failed"
    return "running"


def estimate_importance(search: StoredStudy) -> dict[str, float]:
    """The share of each parameter in what tells good trials from others; empty where there are too few.

    By PED-ANOVA (Watanabe et al., 2023), which asks how far the best quarter of trials differs from all.
    """
    if len(search.complete_trials()) < FEWEST_FOR_IMPORTANCE:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
        try:
            return dict(get_param_importances(search.study, evaluator=evaluator))
        except (RuntimeError, ValueError):  # no parameter varies, say
            return {}


def show_images(
    dataset: DataSet, data_dir: Path, config: TrialConfig | None
) -> tuple[tuple[Digit, tuple[Digit, ...]], ...]:
    """Some training images, and how each may be trained on; none where they are not at hand."""
    if config is None:
        return ()
    try:
        split, _ = load_search_splits(dataset, data_dir)
    except (DataError, FileNotFoundError):
        return ()
    generator = torch.Generator().manual_seed(0)
    shown = []
    for label in _labels_to_show(split):
        place = int((split.labels == label).nonzero()[0])
        copies = split.select(torch.tensor([place] * NUM_DISTORTED))
        shown.append((_image(copies.images[0, 0], label), _distort(copies, config, generator)))
    return tuple(shown)


def _labels_to_show(split: Split) -> list[int]:
    there = split.labels.unique().tolist()
    return [label for label in SHOWN_LABELS if label in there] or there[: len(SHOWN_LABELS)]


def _distort(split: Split, config: TrialConfig, generator: torch.Generator) -> tuple[Digit, ...]:
    pixels = split.pixels
    images = augment(split.images, pixels, config.augment, generator)
    images = images.mul(255 * pixels.std).add(255 * pixels.mean).round().clamp(0, 255).to(torch.uint8)
    inner = slice(pixels.frame, images.shape[-1] - pixels.frame)
    return tuple(_image(image[0, inner, inner], int(label)) for image, label in zip(images, split.labels, strict=True))


def _image(image: torch.Tensor, label: int) -> Digit:
    return Digit(pixels=image.contiguous().numpy().tobytes(), label=label)


def program_to_try(folder: Path, proof: Proof | None, config: TrialConfig | None, dataset: DataSet) -> Program | None:
    """The model that was proved, or before there is one the searched winner's.

    None where neither is at hand, or where the data set holds nothing that a hand draws.
    """
    path = kept_model(folder, proof)
    if config is None or path is None or not dataset.centred:
        return None
    try:
        origin, model = read_model_origin(path), load_model(path)
    except (RecordError, ValueError):  # `status` tells of it
        return None
    if origin.config != config:
        return None
    steps, numbers = program_of(model)
    proved = proof is not None and proof.model is not None
    whose = f"The network of seed {origin.seed} of the proof" if proved else "The winner, as it was searched"
    pixels = dataset.pixels
    return Program(
        whose=whose,
        steps=tuple(steps),
        numbers=numbers,
        mean=pixels.mean,
        std=pixels.std,
        crops=tuple((IMAGE_SIZE + crop.larger, crop.down, crop.right) for crop in ALL_CROPS),
    )
