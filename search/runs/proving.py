"""Proves a trial over fresh seeds, on the test images.

Each seed is a trial of a study of its own, in the same storage: so verification resumes, runs in parallel and
shows in the dashboard like a search does.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from ..config import IMAGE_SIZE, NUM_CLASSES, TrialConfig
from ..files import write_atomically
from ..net.crops import ALL_CROPS, describe_crops
from ..net.data import Split, load_final_splits
from ..net.datasets import NO_TARGET, DataError, dataset_row
from ..proof.answers import EDGES, Answers, Bin, Miss, SeedAnswers
from ..proof.evidence import KeptModel, Proof
from ..proof.ledger import Ledger
from ..proof.parts import RecordError
from ..settings import ANSWERS, VerifySettings
from ..show import card
from ..show import proof as words
from ..show.page.pictures import MISSES, SHOWN_IMAGES, to_png
from ..show.screen import Screen
from ..studies.kinds import Kind
from ..studies.space import Space
from ..studies.study import StoredStudy
from ..studies.turns import exclusive, patient
from .following import FollowUp, open_follower
from .frontiers import refresh_frontier
from .history import plan_proof, read_ledger
from .looks import describe
from .models import read_model_origin
from .seeds import SeedTask, seeds_plan
from .session import Ended
from .testing import Measured, measured_seeds


def run_verification(settings: VerifySettings, space: Space, screen: Screen) -> Ended[Proof]:
    """Trains the trial anew with each seed, and judges it. Raises as `run_search` does."""
    follow_up = FollowUp.begin(settings, space, screen, trial=settings.trial)
    search, session, config, number = follow_up.search, follow_up.session, follow_up.config, follow_up.number
    dataset, rule = dataset_row(follow_up.test.dataset), follow_up.choice.rule
    target = settings.target if settings.target is not None else dataset.target
    if target is None:
        raise DataError(NO_TARGET.format(dataset=dataset.name))
    if target != dataset.target and not dataset.judged:
        screen.warn(f"A target of {target} % changes nothing: no claim can be judged on the {dataset.name}.")
    # A trial that is asked for has a record of its own, so that it does not replace the winner's.
    record_name = "verify.json" if settings.trial is None else f"verify-{number}.json"
    record_path = settings.results_dir / search.name / record_name
    verification = open_follower(search, Kind.VERIFY, follow_up.choice, config)
    seeds = plan_proof(
        verification,
        settings.results_dir,
        first_seed=settings.first_seed,
        num_seeds=settings.seeds,
        target=target,
        chosen_by=rule,
    )
    screen.say(f"Verifying trial {number} of {search.name}, {rule}.")
    if len(seeds) > settings.seeds:
        screen.warn(f"More was measured before: the first {len(seeds)} seeds count, not {settings.seeds}.")
    model_path = record_path.with_name(f"verify-{number}-seed-{seeds.start}.safetensors")
    task = SeedTask(
        test=follow_up.test,
        config=config,
        study_name=verification.name,
        folder=record_path.parent,
        kept_seed=seeds.start,
        model_path=model_path,
    )
    if session.run(verification, session.job(verification, seeds_plan(seeds), task, epochs=follow_up.test.epochs)):
        refresh_frontier(session, dataset.name, follow_up.test.epochs)  # what was measured counts
        return Ended(record=None, interrupted=True)
    verification.record_use()

    of_trial = "" if settings.trial is None else f"-{number}"
    answers_path, misses_path = (
        record_path.with_name(f"{Path(name).stem}{of_trial}{Path(name).suffix}") for name in (ANSWERS, MISSES)
    )
    _, test_images = load_final_splits(dataset, settings.data_dir)

    @patient()
    def prove(verification: StoredStudy) -> Proof:
        with exclusive(verification.storage):  # another command may have measured more meanwhile, or written a record
            ledger = read_ledger(verification.storage, settings.results_dir)
            record = make_proof(verification, seeds, config, ledger=ledger, model_path=model_path, warn=screen.warn)
            record.write(record_path)
            write_atomically(record_path.with_suffix(".md"), words.to_markdown(record))
            if record.model is not None:
                write_atomically(model_path.with_suffix(".md"), card.model_card(record))
            answers = make_answers(verification, record, test_images.labels)
            misses_path.unlink(missing_ok=True)  # whoever is killed here leaves none, rather than another proof's
            answers.write(answers_path)
            write_atomically(misses_path, draw_misses(answers, test_images))
        return record

    record = prove(verification)
    refresh_frontier(session, dataset.name, follow_up.test.epochs)
    model = (model_path,) if record.model is not None else ()
    from .pages import write_page  # loads matplotlib: not before there is something to draw

    page = write_page(search, settings, space, screen) if settings.trial is None else ()
    files = (record_path, record_path.with_suffix(".md"), answers_path, misses_path, *model, *page)
    return Ended(record=record, files=files)


def make_proof(
    verification: StoredStudy,
    seeds: range,
    config: TrialConfig,
    *,
    ledger: Ledger,
    model_path: Path,
    warn: Callable[[str], None] = lambda _message: None,
) -> Proof:
    """The evidence and the verdict: all that is known of the configuration.

    Args:
        seeds: Those of this command, all measured.
        warn: Told of a model's file that cannot be used.
    """
    facts = verification.facts
    runs = measured_seeds(verification, seeds)
    subject = describe(facts)["subject"]
    tested = ledger.tested(subject)
    assert tested is not None, subject
    dataset = dataset_row(str(facts.dataset))
    return Proof.model_validate(
        {
            "study_name": facts.search_study,
            "trial": facts.trial,
            "chosen_by": next(asked.chosen_by for asked in tested.asked if asked.first_seed == seeds.start),
            "config": config,
            "recipe": facts.recipe,
            "space": facts.space,
            "epochs": facts.epochs,
            "dataset": facts.dataset,
            "judged": dataset.judged,
            "num_images": tested.num_images,
            "asked": tested.asked,
            "seeds": tested.seeds,
            "num_views": len(ALL_CROPS),
            "views": describe_crops(ALL_CROPS),
            "earlier_attempts": tuple(other for other in ledger.attempts(subject.dataset) if other.subject != subject),
            "other_looks": ledger.other_looks(subject.dataset),
            **dict(tested.environment),
            "model": _describe_model(model_path, runs[0], config, warn),
        }
    )


def make_answers(verification: StoredStudy, record: Proof, labels: Int64[Tensor, " n"]) -> Answers:
    """What the networks of this study, which a proof rests on, have answered, one by one.

    Args:
        labels: Of the test images.
    """
    runs = sorted(map(Measured.of, verification.complete_trials()), key=lambda run: run.seed)
    return Answers(
        study_name=record.study_name,
        trial=record.trial,
        dataset=record.dataset,
        num_by_label=tuple(torch.bincount(labels, minlength=NUM_CLASSES).tolist()),
        edges=EDGES,
        seeds=tuple(_answers_of(run) for run in runs if run.facts.confidence is not None),
    )


def draw_misses(answers: Answers, test_images: Split) -> bytes:
    """The images that most networks miss, side by side, as PNG; a black one where none misses any."""
    places = [image.place for image in answers.hardest(SHOWN_IMAGES)]
    images = test_images.select(torch.tensor(places, dtype=torch.int64)).images
    return to_png(images.numpy().tobytes() or bytes(IMAGE_SIZE * IMAGE_SIZE))


def _answers_of(run: Measured) -> SeedAnswers:
    facts = run.facts
    return SeedAnswers(
        seed=run.seed,
        misses=tuple(Miss(**dict(zip(Miss.model_fields, miss, strict=True))) for miss in facts.misses or ()),
        bins=tuple(Bin(**dict(zip(Bin.model_fields, each, strict=True))) for each in facts.confidence or ()),
    )


def _describe_model(path: Path, run: Measured, config: TrialConfig, warn: Callable[[str], None]) -> KeptModel | None:
    """The kept model; None if its file is not here, or is told to be damaged or of another run."""
    try:
        origin = read_model_origin(path)
    except FileNotFoundError:
        return None
    except RecordError as error:
        warn(f"{error} The record then names it.")
        return None
    found = (origin.seed, origin.test_accuracy, origin.commit, origin.config)
    same = found == (run.seed, run.accuracy, run.facts.commit, config)
    if not same:
        warn(f"{path} is the model of another run: the record names none.")
        return None
    return KeptModel(file=path.name, seed=run.seed, errors=run.facts.errors, errors_one_view=run.facts.errors_one_view)
