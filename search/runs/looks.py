"""Puts looks at the test images on record: in the database and beside the records, before they count."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from ..config import TrialConfig
from ..files import append_line
from ..proof.ledger import Entry, Look
from ..proof.parts import Environment
from ..proof.tested import Command, Outcome, Subject
from ..studies.facts import MeasuredFacts, StudyFacts, config_facts
from ..studies.kinds import Kind
from ..studies.lines import add_line
from ..studies.study import FIRST_RECIPE, StoredStudy

LEDGER_FILE = "attempts.jsonl"  # in a study's results
COMMANDS: dict[Kind, Command] = {Kind.VERIFY: "verify-best", Kind.ABLATE: "ablate", Kind.REPRODUCE: "reproduce"}


def append(storage: RDBStorage, folder: Path, entry: Entry) -> None:
    """Puts an entry on record. The caller holds the database's lock."""
    line = entry.model_dump_json()
    add_line(storage, entry.id, line)
    append_line(folder / LEDGER_FILE, line)


def record_look(stored: StoredStudy, trial: optuna.Trial, config: TrialConfig, folder: Path) -> None:
    """Puts on record what a run of a configuration has measured. The caller holds the database's lock."""
    facts = stored.facts
    assert stored.kind is not None
    described = facts.model_copy(update=config_facts(config))
    append(stored.storage, folder, look_of(trial, COMMANDS[stored.kind], described, datetime.now(UTC)))


def look_of(trial: optuna.Trial | FrozenTrial, command: Command, facts: StudyFacts, ended: datetime | None) -> Look:
    """What a run has measured.

    Args:
        facts: Of its study, with its own configuration.
    """
    # Before an image was looked at repeatedly, one view was all.
    attributes = {"errors_one_view": trial.user_attrs.get("errors"), "num_views": 1, **trial.user_attrs}
    measured = MeasuredFacts.read(attributes, trial.number)
    return Look(
        **describe(facts),
        seed=trial.params["seed"],
        outcome=Outcome(command=command, errors=measured.errors, errors_one_view=measured.errors_one_view),
        num_images=measured.num_images,
        environment=Environment(
            device=measured.device, precision=measured.precision, commit=measured.commit, versions=measured.versions
        ),
        time=ended.astimezone(UTC).isoformat(timespec="seconds") if ended is not None else "",
    )


def describe(facts: StudyFacts) -> dict[str, Any]:
    """What an entry says of a configuration, from what a study that is about it carries."""
    subject = {
        "dataset": facts.dataset,
        "epochs": facts.epochs,
        "recipe": facts.recipe or FIRST_RECIPE,
        "config": facts.config,
    }
    return {
        "subject": Subject.model_validate(subject),
        "study_name": facts.search_study or facts.reproduces or "unknown",
        "trial": facts.trial or 0,
        "num_params": facts.num_params or 0,
    }
