"""Studies whose trials only sleep, by workers that load no PyTorch: dozens of them fit on a small machine."""

import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import Column, ColumnElement, Connection, MetaData, Table, Text, case, cast, insert, select

from search.config import MAX_EPOCHS
from search.net.memory import peak_memory_mb
from search.provenance import space_hash
from search.studies.facts import StudyFacts, TrialFacts, network_facts
from search.studies.job import Result, ShouldStop, TrialInterruptedError
from search.studies.kinds import Kind
from search.studies.opening import open_search_study
from search.studies.storage import open_storage
from search.studies.study import Binding, StoredStudy
from space import REFERENCE, suggest_config

STUDY_NAME = "sleep"
ACCURACY = 99.9  # above all that is recorded: no trial is pruned, and the first of a measurement has its model saved
LOSS = 0.1
DRAWN_TRIALS = 100  # of a study with more, the others are copies
SILENCE_TO_HEARTBEAT = 4  # as in search.studies.storage


@dataclass(frozen=True, kw_only=True)
class LightTask:
    """Does in a trial what `search.runs.tasks.SearchTask` does, but for the network: sleeps, and keeps no model.

    Attributes:
        epoch_seconds: How long each epoch sleeps.
        silence: Seconds after which another host counts as dead; None for the tool's own.
    """

    max_params: int
    epochs: int
    epoch_seconds: float
    silence: float | None = None

    def prepare(self, device: str) -> None:
        if self.silence is not None:
            shorten_silence(self.silence)

    def recover(self) -> None:
        """Nothing is held."""

    def run(self, trial: optuna.Trial, resources: None, should_stop: ShouldStop) -> Result:
        config = suggest_config(trial, self.max_params)
        TrialFacts(seed=trial.number, device="cpu", precision="fp32").write(trial)
        num_params = config.model.num_params
        TrialFacts(drawn=True, num_params=num_params, **network_facts(config.model)).write(trial)
        trial.set_constraint("num_params", num_params - self.max_params)
        sleep_epochs(trial, self.epochs, self.epoch_seconds, should_stop)
        return Result(value=ACCURACY)


def sleep_epochs(trial: optuna.Trial, epochs: int, epoch_seconds: float, should_stop: ShouldStop) -> None:
    """Tells Optuna what a trial that trains would tell it.

    Raises:
        optuna.TrialPruned: If the trial is not promising.
        TrialInterruptedError: After the epoch in which `should_stop` became true.
    """
    start = time.monotonic()
    for epoch in range(1, epochs + 1):
        time.sleep(epoch_seconds)
        trial.report(ACCURACY, step=epoch)
        TrialFacts(
            epochs=epoch,
            seconds=round(time.monotonic() - start, 2),
            train_loss=LOSS,
            val_loss=LOSS,
            worker_peak_memory_mb=peak_memory_mb(),
        ).write(trial)
        if epoch == epochs:
            break
        if should_stop():
            raise TrialInterruptedError
        if trial.should_prune():
            raise optuna.TrialPruned
    TrialFacts(val_loss=LOSS, seconds=round(time.monotonic() - start, 2)).write(trial)


def shorten_silence(seconds: float) -> None:
    """Makes another host count as dead sooner, and this one tell more often that it lives, in this process."""
    for name, module in list(sys.modules.items()):
        if name.startswith("search."):
            for constant, value in (
                ("GRACE_PERIOD", max(1, round(seconds))),
                ("HEARTBEAT_INTERVAL", max(1, round(seconds / SILENCE_TO_HEARTBEAT))),
            ):
                if hasattr(module, constant):
                    setattr(module, constant, value)


def open_study(storage: RDBStorage, max_params: int, epochs: int) -> StoredStudy:
    """Creates or joins the study."""
    return open_search_study(storage, STUDY_NAME, _binding(max_params, epochs), REFERENCE)


def build_study(url: str, num_trials: int, max_params: int) -> None:
    """A study with so many complete trials in a new SQLite file, made without running them."""
    storage = open_storage(url, create=True)
    study = optuna.create_study(storage=storage, study_name=STUDY_NAME, direction="maximize")
    generator = random.Random(0)
    template = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(min(num_trials, DRAWN_TRIALS)):
        drawn = template.ask()
        suggest_config(drawn, max_params)
        value = 99.0 + generator.random() / 2
        study.add_trial(
            optuna.trial.create_trial(
                params=drawn.params,
                distributions=drawn.distributions,
                value=value,
                intermediate_values={epoch: value - 0.5 / epoch for epoch in range(1, MAX_EPOCHS + 1)},
                user_attrs=TrialFacts(ticket=drawn.number).as_attributes(),
            )
        )
    StudyFacts(kind=Kind.SEARCH, **asdict(_binding(max_params, MAX_EPOCHS))).write(study)
    with storage.engine.begin() as connection:
        _copy_trials(connection, min(num_trials, DRAWN_TRIALS), num_trials)
    storage.engine.dispose()


def _binding(max_params: int, epochs: int) -> Binding:
    space = space_hash(Path(sys.modules["space"].__file__ or ""))
    return Binding(dataset="sample", split="none", max_params=max_params, epochs=epochs, space=space)


def _copy_trials(connection: Connection, num_drawn: int, num_trials: int) -> None:
    """Fills up a study that is alone in its file. Recording 10,000 trials through Optuna takes seven minutes."""
    tables = MetaData()
    tables.reflect(connection)
    with_trials = [table for table in tables.sorted_tables if "trial_id" in table.columns]
    for shift in range(num_drawn, num_trials, max(num_drawn, 1)):
        for table in with_trials:
            columns = [column for column in table.columns if not column.primary_key or column.name == "trial_id"]
            chosen = select(*(_shifted(column, table, shift) for column in columns))
            chosen = chosen.where(table.c.trial_id <= min(num_drawn, num_trials - shift))
            connection.execute(insert(table).from_select(columns, chosen))


def _shifted(column: Column[Any], table: Table, shift: int) -> ColumnElement[Any]:
    """What a copy has in a column; a trial's id is its number plus one, and its ticket is its number."""
    if column.name in ("trial_id", "number"):
        return column + shift
    if column.name == "value_json":
        return case((table.c.key == "ticket", cast(table.c.trial_id - 1 + shift, Text)), else_=column)
    return column
