"""Repeats a proof from its record alone: without the study that it came from, on this machine, with any seeds."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna.storages import RDBStorage

from ..config import RECIPE, REPEATED_BY_PYTORCH
from ..net.crops import ALL_CROPS
from ..net.data import Split, load_final_splits
from ..net.datasets import dataset_row
from ..net.device import Runtime, compile_for, undisturbed
from ..net.model_file import load_model
from ..net.train import evaluate
from ..proof.evidence import Proof
from ..proof.parts import RecordError
from ..proof.reproduction import Repeated, Reproduction, compare, precision_to_repeat
from ..settings import AUTO, ReproduceSettings
from ..show.screen import Screen
from ..studies.facts import StudyFacts, config_facts
from ..studies.kinds import KINDS, Kind
from ..studies.opening import open_bound_study
from ..studies.space import Space
from ..studies.study import StoredStudy
from .frontiers import refresh_frontier
from .history import learn
from .models import check_proved_model
from .seeds import SeedTask, seeds_plan
from .session import Ended, Session
from .testing import FinalTest, made_with, measured_seeds


@dataclass(frozen=True, kw_only=True)
class RecordedProof:
    """What `verify-best` has written.

    Attributes:
        model_path: The model of the first seed, where it was kept.
    """

    proof: Proof
    path: Path
    model_path: Path | None


def read_proof(place: Path) -> RecordedProof:
    """Reads what `verify-best` has written.

    Args:
        place: A folder, whose `verify.json` is read, or the file itself.

    Raises:
        RecordError: If it is missing or damaged.
    """
    path = place if place.is_file() else place / "verify.json"
    try:
        proof = Proof.read(path)
    except FileNotFoundError:
        raise RecordError(
            f"{path} is missing. Name a folder that 'verify-best' has written to, like results/reference."
        ) from None
    model = proof.model
    return RecordedProof(proof=proof, path=path, model_path=path.parent / model.file if model is not None else None)


def refuse_other_recipe(recorded: RecordedProof, asked: str = AUTO) -> None:
    """Of the search space nothing is needed: the configuration is all in the record.

    Args:
        asked: The precision; AUTO for the recorded one.

    Raises:
        RecordError: If what was proved cannot be repeated by this version of the tool.
    """
    proof = recorded.proof
    if proof.recipe in REPEATED_BY_PYTORCH and proof.precision == "fp32":
        if asked not in (AUTO, "fp32"):
            raise RecordError(f"{recorded.path} can be repeated in fp32 alone. Leave --precision out.")
        return
    if proof.recipe != RECIPE:
        raise RecordError(
            f"{recorded.path} was made with another version of this tool (at {proof.commit[:12]}; recipe "
            f"{proof.recipe}, now {RECIPE}): what it proved cannot be repeated. Use that version."
        )


def run_reproduction(settings: ReproduceSettings, space: Space, screen: Screen) -> Ended[Reproduction]:
    """Trains a recorded winner anew, and compares. Raises as `run_search` does."""
    recorded = read_proof(settings.place)
    refuse_other_recipe(recorded, settings.precision)
    proof = recorded.proof
    dataset = dataset_row(proof.dataset)
    session = Session.open(settings, space, screen, create=True)
    if settings.precision == AUTO:
        session = session.with_precision(precision_to_repeat(proof, session.precision))
    session = replace(session, own_kernels=proof.recipe == RECIPE)
    screen.say(f"Repeating trial {proof.trial} of {proof.study_name}, from {settings.place}.")
    _, test_images = load_final_splits(dataset, settings.data_dir)
    session.compile()
    if recorded.model_path is not None:
        screen.say(f"First the recorded model answers all {len(test_images):,} test images, by {len(ALL_CROPS)} views.")
    model_errors = count_errors(recorded, test_images, screen)
    learn(session.storage, proof)
    repetition = open_reproduction_study(session.storage, proof)
    first_seed = proof.first_seed if settings.first_seed is None else settings.first_seed
    seeds = range(first_seed, first_seed + settings.seeds)
    num_earlier = sum(run.params["seed"] in seeds for run in repetition.complete_trials())
    test = FinalTest(
        dataset=dataset.name,
        data_dir=settings.data_dir,
        precision=session.precision,
        epochs=proof.epochs,
        own_kernels=session.own_kernels,
    )
    folder = settings.results_dir / repetition.name
    task = SeedTask(test=test, config=proof.config, study_name=repetition.name, folder=folder)
    interrupted = session.run(repetition, session.job(repetition, seeds_plan(seeds), task, epochs=proof.epochs))
    refresh_frontier(session, dataset.name, proof.epochs)
    if interrupted:
        return Ended(record=None, interrupted=True)
    repetition.record_use()
    runs = measured_seeds(repetition, seeds)
    record = compare(
        proof,
        [
            Repeated(
                seed=run.seed,
                test_accuracy=run.accuracy,
                errors=run.facts.errors,
                errors_one_view=run.facts.errors_one_view,
            )
            for run in runs
        ],
        made_with(runs),
        model_errors=model_errors,
        num_earlier=num_earlier,
    )
    path = folder / "reproduce.json"
    record.write(path)
    return Ended(record=record, files=(path,))


def count_errors(recorded: RecordedProof, test: Split, screen: Screen) -> int | None:
    """The errors that the recorded model makes on the test images, on the CPU; None without a model.

    Raises:
        RecordError: If its file is missing or damaged, or says that it is of another run.
    """
    if recorded.model_path is None:
        return None
    check_proved_model(recorded.model_path, recorded.proof)
    try:
        model = load_model(recorded.model_path)
    except ValueError as error:
        raise RecordError(f"{error} Restore it.") from error
    proof = recorded.proof
    precision = precision_to_repeat(proof, "fp32")
    runtime = Runtime(device=torch.device("cpu"), precision=precision, own_kernels=proof.recipe == RECIPE)
    with undisturbed():
        runtime.prepare()
        if runtime.compiled:
            compile_for(runtime.device.type, precision, screen.say)
        return evaluate(model, test, runtime, ALL_CROPS).errors


def open_reproduction_study(storage: RDBStorage, proof: Proof) -> StoredStudy:
    """The study whose trials are the seeds of a reproduction; each configuration has one of its own."""
    described: dict[str, Any] = config_facts(proof.config)
    identity = hashlib.sha256(json.dumps(described["config"], sort_keys=True).encode()).hexdigest()[:6]
    name = KINDS[Kind.REPRODUCE].name(proof.study_name, trial=proof.trial, identity=identity)
    facts = StudyFacts(
        reproduces=proof.study_name,
        trial=proof.trial,
        dataset=proof.dataset,
        epochs=proof.epochs,
        recipe=proof.recipe,
        space=proof.space,
        **described,
    )
    return open_bound_study(storage, name, Kind.REPRODUCE, facts)
