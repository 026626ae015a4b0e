"""Gathers what a study's page shows, and writes it. Opens no test digit: what those have shown is on record."""

import shlex
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import optuna
import torch
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from search.config import ExplainedError, TrialConfig
from search.files import read_regular, write_atomically
from search.net.augment import augment
from search.net.crops import ALL_CROPS
from search.net.data import Split, load_search_splits
from search.net.datasets import DATASETS, DataError
from search.net.model_file import load_model
from search.net.program import program_of
from search.proof.answers import Answers
from search.proof.evidence import Ladder, Proof
from search.proof.frontier import Frontier
from search.proof.parts import Record, RecordError
from search.proof.summaries import StudySummary
from search.runs.boards import decorate
from search.runs.models import kept_model, read_model_origin
from search.runs.reporting import summarise
from search.runs.standings import read_ranking
from search.runs.winner import find_winner, rebuild_config
from search.settings import ANSWERS, DEFAULT_STORAGE, RunSettings, SearchSettings, frontier_record
from search.show.page.facts import Digit, PageFacts, Program, ShownTrial, State
from search.show.page.pictures import MISSES
from search.show.page.render import render, render_figures
from search.show.screen import Screen
from search.studies.facts import TrialFacts, network_facts
from search.studies.space import Space
from search.studies.storage import open_storage
from search.studies.study import FINISHED, StoredStudy, StudyError, default_name, find_search_study

RecordType = TypeVar("RecordType", bound=Record)

PAGE = "report.html"
FIGURES = "figures"  # the folder of its figures as pictures
SHOWN_LABELS = (2, 4, 5, 8)  # of the digits that are shown with their distortions
NUM_DISTORTED = 7
FEWEST_FOR_IMPORTANCE = 20  # complete trials: the best quarter of them are five
LARGEST_PICTURE = 2**20  # bytes


def write_report(settings: RunSettings, space: Space, *, with_figures: bool) -> tuple[Path, ...]:
    """What `report` does; returns the files that it wrote. Raises ExplainedError if there is no such study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = find_search_study(open_storage(settings.storage), settings.study_name)
    facts = gather(search, settings, space)
    folder = settings.results_dir / search.name
    files: dict[Path, str | bytes] = {folder / PAGE: render(facts)}
    if with_figures:
        files |= {folder / FIGURES / f"{name}.png": content for name, content in render_figures(facts).items()}
    for path, content in files.items():
        write_atomically(path, content)
    decorate(search, facts, settings.results_dir, folder / PAGE)
    return tuple(files)


def write_page(search: StoredStudy, settings: RunSettings, space: Space, screen: Screen) -> tuple[Path, ...]:
    """Writes the page of a study; none, and a warning, where that cannot be done: no result is lost by it."""
    path = settings.results_dir / search.name / PAGE
    try:
        facts = gather(search, settings, space)
        write_atomically(path, render(facts))
    except (ExplainedError, OSError) as error:
        screen.warn(f"{path} could not be written ({error}). Once that is mended: python cli.py report")
        return ()
    try:
        decorate(search, facts, settings.results_dir, path)
    except (ExplainedError, OSError) as error:
        screen.warn(f"The dashboard was not brought up to date ({error}). Once that is mended: python cli.py report")
    return (path,)


def gather(search: StoredStudy, settings: RunSettings, space: Space) -> PageFacts:
    """All that is on record of a study.

    Raises:
        ExplainedError: If the study, or a record of it, is damaged.
    """
    folder = settings.results_dir / search.name
    ranking = read_ranking(search)
    summary = summarise(search, ranking, folder)
    shown = find_winner(search, ranking) or search.best_trial()
    config = _config_of(search, shown, space)
    proof = _read(Proof, folder / "verify.json")
    if proof is not None and not _is_of(proof, search, shown):
        proof = None  # of an earlier winner, or of another study of this name
    if config is None and proof is not None:
        config = proof.config
    ladder = _read(Ladder, folder / "ablation.json")
    if ladder is not None and ladder.config != config:
        ladder = None
    binding = search.binding
    places = _places(search, settings, summary.storage)
    misses = folder / MISSES
    answers = _read(Answers, folder / ANSWERS) if proof is not None else None
    if answers is not None and proof is not None and not _fit(answers, proof):
        answers = None  # of another proof: its command was killed before it wrote its own
    return PageFacts(
        summary=summary,
        num_planned=search.facts.num_trials or summary.trials.total,
        trials=tuple(_describe_trial(trial) for trial in search.trials() if trial.state != TrialState.WAITING),
        importance=estimate_importance(search),
        config=config,
        proof=proof,
        answers=answers,
        hardest=read_regular(misses, limit=LARGEST_PICTURE) if answers is not None and misses.exists() else None,
        ladder=ladder,
        frontier=_read(Frontier, settings.results_dir / frontier_record(binding.dataset, binding.epochs)),
        digits=_show_digits(binding.dataset, settings.data_dir, config),
        program=_program(folder, proof, config, binding.dataset),
        places=places,
        commands=_commands(search, places, summary, proof, ladder),
    )


def _program(folder: Path, proof: Proof | None, config: TrialConfig | None, dataset: str) -> Program | None:
    """The model that was proved, or before there is one the searched winner's; None where neither is at hand."""
    path = kept_model(folder, proof)
    if config is None or path is None or dataset not in DATASETS:
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
    pixels = DATASETS[dataset].pixels
    return Program(
        whose=whose,
        steps=tuple(steps),
        numbers=numbers,
        mean=pixels.mean,
        std=pixels.std,
        crops=tuple((crop.side, crop.down, crop.right) for crop in ALL_CROPS),
    )


def _is_of(proof: Proof, search: StoredStudy, trial: FrozenTrial | None) -> bool:
    if trial is None or (proof.study_name, proof.trial) != (search.name, trial.number):
        return False
    return network_facts(proof.config.model) == TrialFacts.of(trial).network and proof.space == search.binding.space


def _fit(answers: Answers, proof: Proof) -> bool:
    """Whether these answers are those of a proof's networks."""
    errors = {row.seed: {each.errors for each in row.outcomes} for row in proof.seeds}
    same = (answers.study_name, answers.trial, answers.dataset) == (proof.study_name, proof.trial, proof.dataset)
    return same and all(len(row.misses) in errors.get(row.seed, set()) for row in answers.seeds)


def _read(kind: type[RecordType], path: Path) -> RecordType | None:
    return kind.read(path) if path.exists() else None


def _config_of(search: StoredStudy, trial: FrozenTrial | None, space: Space) -> TrialConfig | None:
    """None where there is no trial yet, or it can no longer be rebuilt: then the page does without."""
    if trial is None:
        return None
    try:
        return rebuild_config(search, trial, space)
    except StudyError:
        return None


def _describe_trial(trial: FrozenTrial) -> ShownTrial:
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
        reason=facts.prune_reason or facts.fail_reason,
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


def _show_digits(
    dataset: str, data_dir: Path, config: TrialConfig | None
) -> tuple[tuple[Digit, tuple[Digit, ...]], ...]:
    """Some training digits, and how each may be trained on; none where they are not at hand."""
    if config is None or dataset not in DATASETS:
        return ()
    try:
        split, _ = load_search_splits(DATASETS[dataset], data_dir)
    except (DataError, FileNotFoundError):
        return ()
    generator = torch.Generator().manual_seed(0)
    shown = []
    for label in SHOWN_LABELS:
        if label not in split.labels:
            continue
        place = int((split.labels == label).nonzero()[0])
        digit = split.select(torch.tensor([place] * NUM_DISTORTED))
        shown.append((_digit(digit.images[0, 0], label), _distort(digit, config, generator)))
    return tuple(shown)


def _distort(split: Split, config: TrialConfig, generator: torch.Generator) -> tuple[Digit, ...]:
    pixels = split.pixels
    images = augment(split.images, pixels, config.augment, generator)
    images = images.mul(255 * pixels.std).add(255 * pixels.mean).round().clamp(0, 255).to(torch.uint8)
    return tuple(_digit(image[0], int(label)) for image, label in zip(images, split.labels, strict=True))


def _digit(image: torch.Tensor, label: int) -> Digit:
    return Digit(pixels=image.contiguous().numpy().tobytes(), label=label)


def _places(search: StoredStudy, settings: RunSettings, storage: str) -> tuple[str, ...]:
    """The options by which a command finds a study; a storage that holds a secret is told without it."""
    binding = search.binding
    name = default_name(binding.dataset, binding.max_params, binding.epochs)
    options = (
        ("--study-name", search.name, name),
        ("--storage", storage, DEFAULT_STORAGE),
        ("--results-dir", str(settings.results_dir), str(RunSettings.results_dir)),
    )
    return tuple(word for option, value, default in options if value != default for word in (option, value))


def _commands(
    search: StoredStudy, places: tuple[str, ...], summary: StudySummary, proof: Proof | None, ladder: Ladder | None
) -> tuple[str, ...]:
    """What leads to the same."""
    binding, facts = search.binding, search.facts
    line = ["search", "--trials", str(facts.num_trials or summary.trials.total)]
    line += ["--dataset", binding.dataset, "--max-params", str(binding.max_params), "--epochs", str(binding.epochs)]
    for option, value, default in (
        ("--sampler", facts.sampler, SearchSettings.sampler),
        ("--pruner", facts.pruner, SearchSettings.pruner),
        ("--seed", facts.seed, SearchSettings.seed),
        ("--rerank", facts.num_reranked, SearchSettings.rerank),
        ("--patience", facts.patience, SearchSettings.patience),
        ("--warm-start", facts.warm_start, SearchSettings.warm_start),
    ):
        if value is not None and value != default:
            line += [option, str(value)]
    lines = [line]
    if proof is not None:
        asked = proof.asked[-1]
        lines.append(["verify-best", "--seeds", str(asked.num_seeds), "--first-seed", str(asked.first_seed)])
        lines[-1] += ["--target", f"{proof.asked_target:.15g}"]
    if ladder is not None:
        lines.append(["ablate", "--seeds", str(ladder.num_seeds)])
    return tuple(shlex.join(["python", "cli.py", *words, *places]) for words in lines)
