"""Proves a trial over fresh seeds, on the test digits.

Each seed is a trial of a study of its own, in the same storage: so verification resumes, runs in parallel and
shows in the dashboard like a search does.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from search.config import TrialConfig
from search.files import write_atomically
from search.net.crops import ALL_CROPS, describe_crops
from search.net.datasets import dataset_row
from search.net.model_file import read_origin, save_model
from search.proof.attempts import Subject, attempts_of, earlier_attempts, plan_seeds, planned_in
from search.proof.records import Attempt, KeptModel, Look, MeasuredSeed, ModelOrigin, Proof
from search.runs.session import Ended, Session
from search.runs.testing import (
    LARGEST_SEED,
    FinalResources,
    FinalResult,
    FinalTest,
    Measured,
    made_with,
    measured_seeds,
)
from search.runs.winner import Choice, choose_trial, rebuild_config
from search.settings import REFERENCE_FOLDER, VerifySettings
from search.show import card
from search.show import proof as words
from search.show.screen import Screen
from search.studies.facts import StudyFacts, TrialFacts, config_facts
from search.studies.job import Result, ShouldStop
from search.studies.kinds import KINDS, Kind
from search.studies.plan import GivenPlan
from search.studies.space import Space
from search.studies.storage import exclusive
from search.studies.study import StoredStudy, find_search_study, load_studies, open_following_study


@dataclass(frozen=True, kw_only=True)
class SeedTask:
    """Computes a seed of a verification or a reproduction.

    Attributes:
        kept_seed: The seed whose model is kept, whatever it reaches; None for none.
        model_path: Where.
    """

    test: FinalTest
    config: TrialConfig
    study_name: str
    kept_seed: int | None = None
    model_path: Path | None = None

    def prepare(self, device: str) -> FinalResources:
        return self.test.prepare(device)

    def recover(self) -> None:
        self.test.recover()

    def run(self, trial: optuna.Trial, resources: FinalResources, should_stop: ShouldStop) -> Result:
        seed = trial.suggest_int("seed", 0, LARGEST_SEED)
        tested = self.test.run(trial, self.config, resources, seed=seed, should_stop=should_stop)
        value = tested.evaluation.accuracy
        if seed != self.kept_seed or tested.model is None:
            return Result(value=value)
        return Result(value=value, keep=lambda _: self._save(seed, tested, TrialFacts.of(trial)))

    def _save(self, seed: int, tested: FinalResult, facts: TrialFacts) -> None:
        assert self.model_path is not None
        assert tested.model is not None
        origin = ModelOrigin(
            study_name=self.study_name,
            trial=None,
            seed=seed,
            test_accuracy=tested.evaluation.accuracy,
            num_params=self.config.model.num_params,
            epochs=self.test.epochs,
            dataset=self.test.dataset,
            precision=self.test.precision,
            commit=facts.commit or "unknown",
            versions=facts.versions,
            config=self.config,
        )
        save_model(self.model_path, tested.model, self.config.model, origin.model_dump_json())


def runs_of(seeds: range) -> GivenPlan:
    return GivenPlan(runs=tuple({"seed": seed} for seed in seeds))


def run_verification(settings: VerifySettings, space: Space, screen: Screen) -> Ended[Proof]:
    """Trains the trial anew with each seed, and judges it. Raises as `run_search` does."""
    session = Session.open(settings, space, screen, create=False)
    search = find_search_study(session.storage, settings.study_name)
    choice = choose_trial(search, settings.trial)
    config = rebuild_config(search, choice.trial, space)
    binding = search.binding
    test = FinalTest(
        dataset=binding.dataset, data_dir=settings.data_dir, precision=session.precision, epochs=binding.epochs
    )
    test.check_data()
    number = choice.trial.number
    # A trial that is asked for has a record of its own, so that it does not replace the winner's.
    record_name = "verify.json" if settings.trial is None else f"verify-{number}.json"
    record_path = settings.results_dir / search.name / record_name
    history = read_history(settings.results_dir, binding.dataset)
    verification = open_verify_study(search, choice, config)
    seeds = plan_attempt(verification, settings.first_seed, settings.seeds, rule=choice.rule, history=history)
    screen.say(f"Verifying trial {number} of {search.name}, {choice.rule}.")
    if len(seeds) > settings.seeds:
        screen.warn(f"This attempt has measured more: its first {len(seeds)} seeds count, not {settings.seeds}.")
    model_path = record_path.with_name(f"verify-{number}-seed-{seeds.start}.safetensors")
    task = SeedTask(
        test=test, config=config, study_name=verification.name, kept_seed=seeds.start, model_path=model_path
    )
    if session.run(verification, session.job(verification, runs_of(seeds), task, epochs=binding.epochs)):
        return Ended(record=None, interrupted=True)
    verification.record_use()
    target = settings.target if settings.target is not None else dataset_row(binding.dataset).target
    with exclusive(session.storage):  # another command may have written a record meanwhile: it must not be lost
        history = read_history(settings.results_dir, binding.dataset)
        seeds = range(seeds.start, seeds.start + max(len(seeds), _num_measured(verification, seeds.start)))
        record = make_proof(verification, seeds, config, target=target, history=history, model_path=model_path)
        record.write(record_path)
        write_atomically(record_path.with_suffix(".md"), words.to_markdown(record))
        if record.model is not None:
            write_atomically(model_path.with_suffix(".md"), card.model_card(record))
    return Ended(record=record)


def open_verify_study(search: StoredStudy, choice: Choice, config: TrialConfig) -> StoredStudy:
    """The study whose trials are the seeds of one searched trial.

    Raises:
        StudyError: If a study of that name verified something else.
    """
    number = choice.trial.number
    facts = StudyFacts(trial=number, **config_facts(config))
    return open_following_study(search, Kind.VERIFY, facts, trial=number)


def read_history(results_dir: Path, dataset: str) -> list[Attempt]:
    """The attempts on this data set that the records at hand know of; the committed reference's are not this user's.

    Raises:
        RecordError: If one cannot be read: the attempts that it counts would be forgotten.
    """
    rows = []
    for path in sorted(results_dir.glob("*/verify*.json")):
        if path.parent.name != REFERENCE_FOLDER:
            proof = Proof.read(path)
            if proof.dataset == dataset:
                rows += attempts_of(proof)
    return rows


def plan_attempt(
    verification: StoredStudy, first_seed: int | None, num_seeds: int, *, rule: str, history: list[Attempt]
) -> range:
    """The seeds of an attempt (`search.proof.attempts.plan_seeds`), which is on record from here on.

    Args:
        rule: What chose the trial; that of the first command is kept.
        history: The attempts that records know of.

    Raises:
        SeedsError: If another attempt has used one of the seeds.
    """
    with exclusive(verification.storage):
        facts = verification.facts
        subject = subject_of(facts)
        recorded = planned_in(history, subject)
        own = {**recorded, **facts.planned_seeds}
        if facts.last_attempt in own:
            own[facts.last_attempt] = own.pop(facts.last_attempt)  # the last one last
        known = {first: max(recorded.get(first, 0), _num_measured(verification, first)) for first in own}
        others = [*stored_attempts(verification.storage, facts.dataset), *history]
        used = [row.seeds for row in others if not subject.is_of(row)]
        used += _reproduced_seeds(verification, recorded)
        seeds = plan_seeds(first_seed, num_seeds, own=own, known=known, used=used)
        planned = max(facts.planned_seeds.get(seeds.start, 0), len(seeds))
        StudyFacts(
            planned_seeds={**facts.planned_seeds, seeds.start: planned},
            last_attempt=seeds.start,
            rules={seeds.start: rule, **facts.rules},
        ).write(verification.study)
    return seeds


def subject_of(facts: StudyFacts) -> Subject:
    return Subject(
        dataset=facts.dataset,
        epochs=facts.epochs,
        recipe=facts.recipe,
        channels=facts.channels,
        config=facts.config,
    )


def _num_measured(verification: StoredStudy, first_seed: int) -> int:
    """How many seeds an attempt has come to, gaps included."""
    planned = verification.facts.planned_seeds.get(first_seed, 0)
    measured = {trial.params["seed"] for trial in verification.complete_trials()}
    return max((count for count in range(1, planned + 1) if first_seed + count - 1 in measured), default=0)


def stored_attempts(storage: RDBStorage, dataset: str | None) -> list[Attempt]:
    """The attempts on this data set that are on record in the storage, finished or not, in one row each."""
    return [
        row
        for stored in load_studies(storage)
        if stored.kind == Kind.VERIFY and stored.facts.dataset == dataset
        for row in _attempts_of_study(stored)
    ]


def _attempts_of_study(verification: StoredStudy) -> Iterable[Attempt]:
    """What is known of attempts that may have been given up."""
    facts = verification.facts
    complete = verification.complete_trials()
    for first_seed, count in facts.planned_seeds.items():
        seeds = range(first_seed, first_seed + count)
        accuracies = [trial.value or 0.0 for trial in complete if trial.params["seed"] in seeds]
        yield Attempt(
            attempt=subject_of(facts).attempt(first_seed),
            first_seed=first_seed,
            num_seeds=count,
            trial=facts.trial,
            num_params=facts.num_params,
            num_measured=len(accuracies),
            min=min(accuracies, default=None),
            mean=statistics.mean(accuracies) if accuracies else None,
        )


def _reproduced_seeds(verification: StoredStudy, recorded: dict[int, int]) -> list[range]:
    """Seeds on which a reproduction has shown this configuration, beyond those of its attempts."""
    config = verification.facts.config
    shown = {
        trial.params["seed"]
        for stored in load_studies(verification.storage)
        if stored.kind == Kind.REPRODUCE and stored.facts.config == config
        for trial in stored.complete_trials()
    }
    measured = {trial.params["seed"] for trial in verification.complete_trials()}
    of_records = {first + place for first, count in recorded.items() for place in range(count)}
    return [range(seed, seed + 1) for seed in sorted(shown - measured - of_records)]


def other_looks(storage: RDBStorage, dataset: str | None) -> tuple[Look, ...]:
    """The studies in the storage that show test accuracies without being an attempt: ablations and reproductions."""
    looks = [
        Look(study_name=stored.name, trial=stored.facts.trial or 0, num_runs=len(stored.complete_trials()))
        for stored in load_studies(storage)
        if stored.kind is not None
        and stored.kind != Kind.VERIFY
        and KINDS[stored.kind].shows_test
        and stored.facts.dataset == dataset
    ]
    return tuple(look for look in looks if look.num_runs)


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
