"""Repeats a proof from its record alone: without the study that it came from, on this machine, with any seeds."""

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from search.config import RECIPE, ExplainedError, TrialConfig, config_from_dict
from search.data import Split
from search.model import NINE_VIEWS, load_model
from search.study import open_side_study
from search.train import Runtime, evaluate

CONFIDENCE = 0.95


class RecordError(ExplainedError):
    """A record is missing, damaged, or of another version of the tool."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What `verify-best` has written to a folder.

    Attributes:
        facts: `verify.json`.
        config: The configuration that was proved.
        model_path: The model of one of the seeds, where it was kept.
    """

    facts: dict[str, Any]
    config: TrialConfig
    model_path: Path | None


def read_record(folder: Path, space: str) -> Record:
    """Reads `verify.json`.

    Args:
        space: The hash of the search space at hand.

    Raises:
        RecordError: If it is missing, damaged, or of another version of the space or the recipe.
    """
    path = folder / "verify.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        config = config_from_dict(facts["config"])
        recipe, recorded_space, model = facts["recipe"], facts["space"], facts["model"]
        model_path = folder / model["file"] if model is not None else None
        damaged = config.model.num_params != facts["num_params"] or not facts["seeds"]
    except FileNotFoundError:
        raise RecordError(f"{path} is missing. --from takes a folder that holds one, like results/reference.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{path} is damaged ({' '.join(str(error).split())}). Restore it.") from error
    if damaged:
        raise RecordError(f"{path} is damaged: its numbers contradict one another. Restore it.")
    if (recipe, recorded_space) != (RECIPE, space):
        raise RecordError(
            f"{path} was made with another version of space.py or of this tool (at {facts['commit'][:12]}): what it "
            f"proved cannot be repeated. Use that version."
        )
    return Record(facts=facts, config=config, model_path=model_path)


def count_errors(record: Record, test: Split) -> int | None:
    """The errors that the recorded model makes on the test digits, on the CPU in fp32; None without a model.

    Raises:
        RecordError: If its file is missing or damaged.
    """
    if record.model_path is None:
        return None
    try:
        model = load_model(record.model_path)
    except FileNotFoundError:
        raise RecordError(f"{record.model_path} is missing. Restore it.") from None
    except ValueError as error:
        raise RecordError(f"{error} Restore it.") from error
    return evaluate(model, test, Runtime(device=torch.device("cpu"), precision="fp32"), NINE_VIEWS).errors


def open_reproduction_study(storage: RDBStorage, record: Record) -> optuna.Study:
    """The study whose trials are the seeds of a reproduction.

    Raises:
        StudyError: If a study of that name repeated another configuration.
    """
    name = f"{record.facts['study_name']}-reproduce-{record.facts['trial']}"
    kept = ("trial", "dataset", "epochs", "num_params", "channels", "config")
    attributes = {key: record.facts[key] for key in kept}
    attributes |= {"kind": "reproduce", "reproduces": record.facts["study_name"]}
    return open_side_study(storage, name, attributes, "repeated")


def compare(record: Record, measured: list[FrozenTrial], model_errors: int | None) -> dict[str, Any]:
    """The reproduction in one JSON object.

    A recorded seed agrees if it makes the same number of errors. The mean agrees if it lies in the 95 % prediction
    interval for so many further runs, of the recorded mean and standard deviation; one recorded seed has none.
    `reproduced` is whether all recorded seeds agree, or else the mean does; None if neither can be said.
    """
    recorded = {each["seed"]: each["errors"] for each in record.facts["seeds"]}
    rows = []
    for trial in measured:
        seed, errors = trial.params["seed"], int(trial.user_attrs["errors"])
        accuracies = {"test_accuracy": trial.value, "errors": errors, "recorded_errors": recorded.get(seed)}
        rows.append({"seed": seed, **accuracies})
    repeated = [row for row in rows if row["recorded_errors"] is not None]
    mean = statistics.mean(float(row["test_accuracy"] or 0.0) for row in rows)
    margin = _prediction_margin(record.facts["std"], len(recorded), len(rows))
    identical = all(row["errors"] == row["recorded_errors"] for row in repeated) if repeated else None
    within_spread = abs(mean - record.facts["mean"]) <= margin if margin is not None else None
    of_model = record.facts["model"]
    return {
        "study_name": record.facts["study_name"],
        "trial": record.facts["trial"],
        "seeds": rows,
        "identical": identical,
        "mean": mean,
        "recorded_mean": record.facts["mean"],
        "margin": margin,
        "within_spread": within_spread,
        "reproduced": identical or within_spread,
        "model_errors": model_errors,
        "recorded_model_errors": recorded[of_model["seed"]] if of_model is not None else None,
    }


def _prediction_margin(std: float | None, num_recorded: int, num_further: int) -> float | None:
    """How far the mean of further runs may lie from that of the recorded ones, at 95 % (Student's t)."""
    from scipy import stats

    if std is None:
        return None
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, num_recorded - 1))
    return quantile * std * math.sqrt(1 / num_recorded + 1 / num_further)
