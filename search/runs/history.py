"""What databases and records know of earlier looks at the test digits, and which seeds are still fresh."""

import statistics
from collections.abc import Iterable
from pathlib import Path

from optuna.storages import RDBStorage

from search.proof.attempts import Subject, attempts_of, plan_seeds, planned_in
from search.proof.records import Attempt, Look, Proof
from search.settings import REFERENCE_FOLDER
from search.studies.facts import StudyFacts
from search.studies.kinds import KINDS, Kind
from search.studies.storage import exclusive
from search.studies.study import StoredStudy, load_studies


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
        known = {first: max(recorded.get(first, 0), num_measured(verification, first)) for first in own}
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


def num_measured(verification: StoredStudy, first_seed: int) -> int:
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
