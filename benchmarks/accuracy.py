"""Accuracy of the reference net on the validation images, over several seeds: what a faster step must not cost.

python -m benchmarks.accuracy --data-dir data
python -m benchmarks.accuracy --json > results/reference/accuracy.json

Run it before and after a change to the network or the training step. Each seed is a run as a search's trials are, by
the workers that a search has, in a database that is thrown away.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import optuna
from optuna.trial import FrozenTrial
from rich.table import Table

from benchmarks.command import Benchmark, data_options, finish, tell
from benchmarks.records import Accuracy, SeedAccuracy
from search.commands.options import auto_or_count, json_option
from search.config import DEFAULT_MAX_PARAMS, MAX_EPOCHS, ExplainedError, TrialConfig
from search.net.datasets import find_dataset
from search.provenance import code_commit, versions
from search.runs.session import Session
from search.runs.testing import LARGEST_SEED
from search.runs.validating import Validation, ValidationResources
from search.settings import AUTO, RunSettings
from search.show.live import LiveScreen
from search.studies.facts import TrialFacts
from search.studies.job import Result, ShouldStop
from search.studies.plan import GivenPlan
from search.studies.space import load_space
from search.studies.study import StoredStudy
from space import reference_config


@dataclass(frozen=True, kw_only=True)
class AccuracyTask:
    """Trains one configuration with the seed that a trial is given."""

    config: TrialConfig
    validation: Validation

    def prepare(self, device: str) -> ValidationResources:
        return self.validation.prepare(device)

    def recover(self) -> None:
        self.validation.recover()

    def run(self, trial: optuna.Trial, resources: ValidationResources, should_stop: ShouldStop) -> Result:
        seed = trial.suggest_int("seed", 0, LARGEST_SEED)
        validated = self.validation.run(trial, self.config, resources, seed=seed, should_stop=should_stop)
        return Result(value=validated.accuracy)


def measure(session: Session, config: TrialConfig, validation: Validation, num_seeds: int) -> list[SeedAccuracy]:
    """The configuration's accuracy with seeds from 1 up.

    Raises:
        KeyboardInterrupt: After Ctrl-C, once the running epochs have ended.
        ExplainedError: If a run diverged.
    """
    study = optuna.create_study(storage=session.storage, study_name="accuracy", direction="maximize")
    stored = StoredStudy(study, session.storage)
    plan = GivenPlan(runs=tuple({"seed": seed} for seed in range(1, num_seeds + 1)))
    task = AccuracyTask(config=config, validation=validation)
    if session.run(stored, session.job(stored, plan, task, epochs=validation.epochs)):
        raise KeyboardInterrupt
    rows = sorted((_describe(trial) for trial in stored.complete_trials()), key=lambda row: row.seed)
    if len(rows) < num_seeds:
        raise ExplainedError(f"{num_seeds - len(rows)} of {num_seeds} seeds diverged.")
    return rows


def _describe(trial: FrozenTrial) -> SeedAccuracy:
    facts = TrialFacts.of(trial)
    assert trial.value is not None, trial
    assert facts.val_loss is not None, trial
    assert facts.train_loss is not None, trial
    return SeedAccuracy(
        seed=trial.params["seed"],
        accuracy=trial.value,
        accuracy_one_view=trial.intermediate_values[facts.epochs],
        val_loss=facts.val_loss,
        train_loss=facts.train_loss,
        seconds=round(facts.seconds, 1),
    )


@click.command(cls=Benchmark)
@data_options
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How many, from 1 up.")
@click.option("--epochs", type=click.IntRange(1, MAX_EPOCHS), default=MAX_EPOCHS, show_default=True)
@click.option("--workers", type=auto_or_count, metavar="auto|N", default=AUTO, help="As those of a search.")
@json_option
def main(dataset: str, data_dir: Path, seeds: int, epochs: int, workers: int | None, as_json: bool) -> None:
    """Measures the reference net over several seeds; takes a minute per seed, on two cores."""
    config = reference_config(DEFAULT_MAX_PARAMS)
    digits = find_dataset(dataset, data_dir, tell)
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/accuracy.db"
        settings = RunSettings(storage=url, results_dir=Path(folder), data_dir=data_dir, device="cpu", workers=workers)
        session = Session.open(settings, load_space(), LiveScreen(quiet=False), create=True)
        validation = Validation(
            dataset=digits.name,
            data_dir=data_dir,
            precision=session.precision,
            max_params=DEFAULT_MAX_PARAMS,
            epochs=epochs,
        )
        rows = measure(session, config, validation, seeds)
        session.storage.engine.dispose()
    finish(_summarise(rows, config, validation), table, as_json=as_json)


def _summarise(rows: list[SeedAccuracy], config: TrialConfig, validation: Validation) -> Accuracy:
    accuracies = [row.accuracy for row in rows]
    return Accuracy(
        mean=statistics.mean(accuracies),
        std=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        min=min(accuracies),
        mean_one_view=statistics.mean(row.accuracy_one_view for row in rows),
        val_loss=statistics.mean(row.val_loss for row in rows),
        seconds=statistics.mean(row.seconds for row in rows),
        seeds=tuple(rows),
        channels=config.model.channels,
        num_params=config.model.num_params,
        lr=config.lr,
        batch_size=config.batch_size,
        epochs=validation.epochs,
        precision=validation.precision,
        dataset=validation.dataset,
        commit=code_commit(),
        versions=versions(),
    )


def table(measured: Accuracy) -> Table:
    result = Table(title=f"Reference net, {measured.num_params:,} parameters, epochs: {measured.epochs}")
    for heading in ("Seed", "Validation %", "One view %", "Validation loss", "Training loss", "Seconds"):
        result.add_column(heading, justify="right")
    for row in measured.seeds:
        losses = f"{row.val_loss:.4f}", f"{row.train_loss:.4f}"
        accuracies = f"{row.accuracy:.2f}", f"{row.accuracy_one_view:.2f}"
        result.add_row(str(row.seed), *accuracies, *losses, f"{row.seconds:.0f}")
    spread = f", std {measured.std:.3f}" if measured.std is not None else ""
    result.caption = f"mean {measured.mean:.3f}{spread}, minimum {measured.min:.2f}"
    return result


if __name__ == "__main__":
    main()
