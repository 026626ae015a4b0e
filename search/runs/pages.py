"""Gathers what a study's page shows, and writes it. Opens no test image: what those have shown is on record."""

from pathlib import Path
from typing import TypeVar, get_args

import optuna
from optuna.trial import FrozenTrial, TrialState

from ..config import IMAGE_SIZE, PROGRAM, ExplainedError, TrialConfig
from ..files import read_regular, write_atomically
from ..net.crops import crop_side
from ..net.datasets import OWN_FRAME, DataError, DataSet, dataset_row
from ..proof.answers import Answers
from ..proof.evidence import Proof
from ..proof.frontier import Frontier
from ..proof.ladder import Ladder
from ..proof.parts import Record
from ..proof.summaries import StudySummary
from ..settings import ANSWERS, DEFAULT_STORAGE, RunSettings, SearchSettings, frontier_record
from ..show.page.facts import PageFacts
from ..show.page.headline import command_line
from ..show.page.pictures import MISSES
from ..show.page.render import render, render_figures
from ..show.page.sketch import FigureName
from ..show.screen import Screen
from ..studies.facts import TrialFacts, network_facts
from ..studies.finding import find_search_study
from ..studies.space import Space, default_space
from ..studies.storage import open_storage
from ..studies.study import StoredStudy, StudyError, default_name
from ..studies.turns import DATABASE_ERRORS
from ..studies.urls import UNTOLD, holds_secret
from .boards import decorate
from .reporting import summarise
from .shown import describe_trial, estimate_importance, program_to_try, show_images
from .standings import read_ranking
from .winner import find_winner, rebuild_config

RecordType = TypeVar("RecordType", bound=Record)

PAGE = "report.html"
FIGURES = "figures"  # the folder of its figures as pictures
LARGEST_PICTURE = 2**20  # bytes


def write_report(settings: RunSettings, space: Space, screen: Screen, *, with_figures: bool) -> tuple[Path, ...]:
    """What `report` does; returns the files that it wrote. Raises ExplainedError if there is no such study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = find_search_study(open_storage(settings.storage), settings.study_name)
    facts = gather(search, settings, space)
    if facts.not_rebuilt is not None:
        screen.warn(f"The page does without the network: {facts.not_rebuilt}")
    folder = settings.results_dir / search.name
    files: dict[Path, str | bytes] = {folder / PAGE: render(facts)}
    figures = render_figures(facts) if with_figures else {}
    files |= {folder / FIGURES / f"{name}.png": content for name, content in figures.items()}
    for path, content in files.items():
        write_atomically(path, content)
    for name in set(get_args(FigureName) if with_figures else ()) - figures.keys():
        (folder / FIGURES / f"{name}.png").unlink(missing_ok=True)  # a figure that no longer holds
    decorate(search, facts, settings.results_dir, folder / PAGE)
    return tuple(files)


def write_page(search: StoredStudy, settings: RunSettings, space: Space, screen: Screen) -> tuple[Path, ...]:
    """Writes the page of a study; none, and a warning, where that cannot be done: no result is lost by it."""
    path = settings.results_dir / search.name / PAGE
    try:
        facts = gather(search, settings, space)
        write_atomically(path, render(facts))
    except (ExplainedError, OSError, *DATABASE_ERRORS) as error:
        screen.warn(f"{path} could not be written ({error}). Once that is mended: {PROGRAM} report")
        return ()
    try:
        decorate(search, facts, settings.results_dir, path)
    except (ExplainedError, OSError, *DATABASE_ERRORS) as error:
        screen.warn(f"The dashboard was not brought up to date ({error}). Once that is mended: {PROGRAM} report")
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
    config, not_rebuilt = _config_of(search, shown, space)
    proof = _read(Proof, folder / "verify.json")
    if proof is not None and not _is_of(proof, search, shown):
        proof = None  # of an earlier winner, or of another study of this name
    if config is None and proof is not None:
        config, not_rebuilt = proof.config, None
    ladder = _read(Ladder, folder / "ablation.json")
    if ladder is not None and ladder.config != config:
        ladder = None
    binding = search.binding
    dataset = dataset_row(binding.dataset)
    remark = UNTOLD if holds_secret(str(search.storage.url)) else None
    places = _places(search, settings, summary.storage if remark is None else DEFAULT_STORAGE, space)
    frontier = _read(Frontier, settings.results_dir / frontier_record(binding.dataset, binding.epochs))
    misses = folder / MISSES
    answers = _read(Answers, folder / ANSWERS) if proof is not None else None
    if answers is not None and proof is not None and not _fit(answers, proof):
        answers = None  # of another proof: its command was killed before it wrote its own
    return PageFacts(
        summary=summary,
        num_planned=search.facts.num_trials or summary.trials.total,
        trials=tuple(describe_trial(trial) for trial in search.trials() if trial.state != TrialState.WAITING),
        classes=dataset.classes,
        side=_looked_at(dataset),
        importance=estimate_importance(search),
        config=config,
        not_rebuilt=not_rebuilt,
        proof=proof,
        answers=answers,
        hardest=read_regular(misses, limit=LARGEST_PICTURE) if answers is not None and misses.exists() else None,
        ladder=ladder,
        frontier=frontier if frontier is not None and frontier.dataset == binding.dataset else None,
        images=show_images(dataset, settings.data_dir, config),
        program=program_to_try(folder, proof, config, dataset),
        places=places,
        remark=remark,
        commands=tuple(command_line(words, remark) for words in _commands(search, places, summary, proof, ladder)),
    )


def _looked_at(dataset: DataSet) -> int:
    """How many pixels a side of an image."""
    try:
        frame = dataset.pixels.frame
    except DataError:  # the files are not at hand
        frame = OWN_FRAME
    return crop_side(IMAGE_SIZE + 2 * frame)


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


def _config_of(search: StoredStudy, trial: FrozenTrial | None, space: Space) -> tuple[TrialConfig | None, str | None]:
    """Without a trial, nothing; of one that can no longer be rebuilt, why: then the page does without."""
    if trial is None:
        return None, None
    try:
        return rebuild_config(search, trial, space), None
    except StudyError as error:
        return None, str(error)


def _places(search: StoredStudy, settings: RunSettings, storage: str, space: Space) -> tuple[str, ...]:
    """The options by which a command finds a study and what it needs."""
    options = (
        ("--study-name", search.name, None),  # always: another study may have been searched since
        ("--storage", storage, DEFAULT_STORAGE),
        ("--space", _space_file(search, space), str(default_space())),
        ("--data-dir", str(settings.data_dir), str(RunSettings.data_dir)),
        ("--results-dir", str(settings.results_dir), str(RunSettings.results_dir)),
    )
    return tuple(word for option, value, default in options if value != default for word in (option, value))


def _space_file(search: StoredStudy, space: Space) -> str:
    """As the study's commands name it."""
    recorded = search.facts.space_file
    if search.binding.space == space.hash or recorded in (None, default_space().name):
        return str(space.path)
    return recorded


def _commands(
    search: StoredStudy, places: tuple[str, ...], summary: StudySummary, proof: Proof | None, ladder: Ladder | None
) -> tuple[list[str], ...]:
    """What leads to the same, each in words."""
    binding, facts = search.binding, search.facts
    line = ["search", "--trials", str(max(facts.num_trials or 0, summary.trials.total))]
    line += ["--dataset", binding.dataset, "--max-params", str(binding.max_params), "--epochs", str(binding.epochs)]
    for option, value, default in (
        ("--sampler", facts.sampler, SearchSettings.sampler),
        ("--pruner", facts.pruner, SearchSettings.pruner),
        ("--seed", facts.seed, SearchSettings.seed),
        ("--rerank", facts.num_reranked, SearchSettings.rerank),
        ("--compare", facts.num_compared, SearchSettings.compare),
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
    is_default = search.name == default_name(binding.dataset, binding.max_params, binding.epochs)
    first = places[2:] if is_default else places  # the name follows from what it is bound to
    return ([*lines[0], *first], *([*line, *places] for line in lines[1:]))
