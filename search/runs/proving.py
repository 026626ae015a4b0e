"""Proves a trial over fresh seeds, on the test digits.

Each seed is a trial of a study of its own, in the same storage: so verification resumes, runs in parallel and
shows in the dashboard like a search does.
"""

from decimal import Decimal
from pathlib import Path

from search.config import TrialConfig
from search.files import write_atomically
from search.net.crops import ALL_CROPS, describe_crops
from search.net.datasets import dataset_row
from search.net.model_file import read_origin
from search.proof.attempts import earlier_attempts
from search.proof.records import Attempt, KeptModel, MeasuredSeed, ModelOrigin, Proof
from search.runs.following import FollowUp, open_follower
from search.runs.history import num_measured, other_looks, plan_attempt, read_history, stored_attempts, subject_of
from search.runs.seeds import SeedTask, seeds_plan
from search.runs.session import Ended
from search.runs.testing import Measured, made_with, measured_seeds
from search.settings import VerifySettings
from search.show import card
from search.show import proof as words
from search.show.screen import Screen
from search.studies.kinds import Kind
from search.studies.space import Space
from search.studies.storage import exclusive
from search.studies.study import StoredStudy


def run_verification(settings: VerifySettings, space: Space, screen: Screen) -> Ended[Proof]:
    """Trains the trial anew with each seed, and judges it. Raises as `run_search` does."""
    follow_up = FollowUp.begin(settings, space, screen, trial=settings.trial)
    search, session, config, number = follow_up.search, follow_up.session, follow_up.config, follow_up.number
    dataset, rule = dataset_row(follow_up.test.dataset), follow_up.choice.rule
    # A trial that is asked for has a record of its own, so that it does not replace the winner's.
    record_name = "verify.json" if settings.trial is None else f"verify-{number}.json"
    record_path = settings.results_dir / search.name / record_name
    history = read_history(settings.results_dir, dataset.name)
    verification = open_follower(search, Kind.VERIFY, follow_up.choice, config)
    seeds = plan_attempt(verification, settings.first_seed, settings.seeds, rule=rule, history=history)
    screen.say(f"Verifying trial {number} of {search.name}, {rule}.")
    if len(seeds) > settings.seeds:
        screen.warn(f"This attempt has measured more: its first {len(seeds)} seeds count, not {settings.seeds}.")
    model_path = record_path.with_name(f"verify-{number}-seed-{seeds.start}.safetensors")
    task = SeedTask(
        test=follow_up.test, config=config, study_name=verification.name, kept_seed=seeds.start, model_path=model_path
    )
    if session.run(verification, session.job(verification, seeds_plan(seeds), task, epochs=follow_up.test.epochs)):
        return Ended(record=None, interrupted=True)
    verification.record_use()
    target = settings.target if settings.target is not None else dataset.target
    with exclusive(session.storage):  # another command may have written a record meanwhile: it must not be lost
        history = read_history(settings.results_dir, dataset.name)
        seeds = range(seeds.start, seeds.start + max(len(seeds), num_measured(verification, seeds.start)))
        record = make_proof(verification, seeds, config, target=target, history=history, model_path=model_path)
        record.write(record_path)
        write_atomically(record_path.with_suffix(".md"), words.to_markdown(record))
        if record.model is not None:
            write_atomically(model_path.with_suffix(".md"), card.model_card(record))
    return Ended(record=record)


def make_proof(
    verification: StoredStudy,
    seeds: range,
    config: TrialConfig,
    *,
    target: Decimal,
    history: list[Attempt],
    model_path: Path,
) -> Proof:
    """The evidence and the verdict.

    Args:
        history: The attempts that records know of. One at this configuration that missed the target is not undone by
            new seeds: then nothing is confirmed.
    """
    facts = verification.facts
    runs = measured_seeds(verification, seeds)
    stored = stored_attempts(verification.storage, facts.dataset)
    dataset = dataset_row(str(facts.dataset))
    return Proof.model_validate(
        {
            "study_name": facts.search_study,
            "trial": facts.trial,
            "chosen_by": facts.rules[seeds.start],
            "config": config,
            "recipe": facts.recipe,
            "space": facts.space,
            "epochs": facts.epochs,
            "target": float(target),
            "dataset": facts.dataset,
            "judged": dataset.judged,
            "num_images": runs[0].facts.num_images,
            "seeds": tuple(map(_describe_seed, runs)),
            "num_planned": facts.planned_seeds[seeds.start],
            "num_views": runs[0].facts.num_views,
            "views": describe_crops(ALL_CROPS),
            "earlier_attempts": earlier_attempts(
                subject_of(facts), seeds, [run.facts.errors for run in runs], history=history, stored=stored
            ),
            "other_looks": other_looks(verification.storage, facts.dataset),
            **dict(made_with(runs)),
            "model": _describe_model(model_path, runs[0], config),
        }
    )


def _describe_seed(run: Measured) -> MeasuredSeed:
    return MeasuredSeed(
        seed=run.seed,
        test_accuracy=100 * (run.facts.num_images - run.facts.errors) / run.facts.num_images,
        errors=run.facts.errors,
        errors_one_view=run.facts.errors_one_view,
    )


def _describe_model(path: Path, run: Measured, config: TrialConfig) -> KeptModel | None:
    """The file and the seed of the kept model; None if the file is missing, or is of another run of that name."""
    try:
        origin = ModelOrigin.model_validate_json(read_origin(path))
    except (FileNotFoundError, ValueError):
        return None
    found = (origin.seed, origin.test_accuracy, origin.commit, origin.config)
    same = found == (run.seed, run.accuracy, run.facts.commit, config)
    return KeptModel(file=path.name, seed=run.seed) if same else None
