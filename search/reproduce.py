"""Repeats a proof from its record alone: without the study that it came from, on this machine, with any seeds."""

import hashlib
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

from search import verdict
from search.config import RECIPE, ExplainedError, TrialConfig, config_from_dict
from search.data import Split
from search.model import ALL_VIEWS, load_model
from search.study import open_bound_study
from search.train import Runtime, evaluate

CONFIDENCE = 0.95
DATASETS = ("mnist", "sample")
PRECISIONS = ("bf16", "fp32")


# What reading a record raises where a value is missing or of the wrong kind.
DAMAGE = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)


class RecordError(ExplainedError):
    """A record is missing, damaged, or of another version of the tool."""


def describe_damage(error: Exception) -> str:
    """What is wrong with a record, in words."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is not JSON"
    if isinstance(error, ValueError):
        return " ".join(str(error).split())
    return "a value is of the wrong kind"


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


def read_record(place: Path, space: str) -> Record:
    """Reads what `verify-best` has written.

    Args:
        place: A folder, whose `verify.json` is read, or the file itself.
        space: The hash of the search space at hand.

    Raises:
        RecordError: If it is missing, damaged, or of another version of the space or the recipe.
    """
    path = place if place.is_file() else place / "verify.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if (facts.get("recipe"), facts.get("space")) != (RECIPE, space):
            raise RecordError(
                f"{path} was made with another version of space.py or of this tool (at {str(facts['commit'])[:12]}): "
                f"what it proved cannot be repeated. Use that version."
            )
        record = Record(
            facts=facts, config=config_from_dict(facts["config"]), model_path=_model_path(path.parent, facts)
        )
        damage = _find_damage(record)
    except FileNotFoundError:
        raise RecordError(f"{path} is missing. --from takes a folder that holds one, like results/reference.") from None
    except DAMAGE as error:
        raise RecordError(f"{path} is damaged ({describe_damage(error)}). Restore it.") from error
    if damage is not None:
        raise RecordError(f"{path} is damaged ({damage}). Restore it.")
    return record


def _model_path(folder: Path, facts: dict[str, Any]) -> Path | None:
    return folder / Path(facts["model"]["file"]).name if facts["model"] is not None else None


def _find_damage(record: Record) -> str | None:
    """What in a record contradicts the rest; None if nothing does. Raises what a missing or mistyped value raises."""
    facts = record.facts
    seeds = [int(row["seed"]) for row in facts["seeds"]]
    mean = 100 - 100 * statistics.mean(int(row["errors"]) for row in facts["seeds"]) / int(facts["num_images"])
    verdict.describe_environment(facts)
    channels = [list(stage) for stage in record.config.model.channels]
    contradictions = {
        "channels": facts["channels"] != channels,
        f"study name {facts['study_name']!r}": Path(facts["study_name"]).name != facts["study_name"],
        f"data set {facts['dataset']!r}": facts["dataset"] not in DATASETS,
        "trial or epochs": facts["trial"] < 0 or facts["epochs"] < 1,
        "number of parameters": record.config.model.num_params != facts["num_params"],
        "seeds": seeds != list(range(seeds[0], seeds[0] + len(seeds))),
        "mean": not math.isclose(mean, facts["mean"], abs_tol=1e-6),
        "standard deviation": facts["std"] is not None if len(seeds) == 1 else not facts["std"] >= 0,
        "seed of the model": facts["model"] is not None and facts["model"]["seed"] not in seeds,
    }
    return next((name for name, found in contradictions.items() if found), None)


def count_errors(record: Record, test: Split) -> int | None:
    """The errors that the recorded model makes on the test digits, on the CPU; None without a model.

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
    precision = record.facts["precision"] if record.facts["precision"] in PRECISIONS else "fp32"
    return evaluate(model, test, Runtime(device=torch.device("cpu"), precision=precision), ALL_VIEWS).errors


def open_reproduction_study(storage: RDBStorage, record: Record) -> optuna.Study:
    """The study whose trials are the seeds of a reproduction; each configuration has one of its own."""
    facts = record.facts
    identity = hashlib.sha256(json.dumps(facts["config"], sort_keys=True).encode()).hexdigest()[:6]
    name = f"{facts['study_name']}-reproduce-{facts['trial']}-{identity}"
    kept = ("trial", "dataset", "epochs", "recipe", "space", "num_params", "channels", "config")
    attributes = {"kind": "reproduce", "reproduces": facts["study_name"], **{key: facts[key] for key in kept}}
    return open_bound_study(storage, name, attributes, "repeated")


def compare(
    record: Record, measured: list[FrozenTrial], model_errors: int | None, num_earlier: int = 0
) -> dict[str, Any]:
    """The reproduction in one JSON object.

    A recorded seed agrees if it makes the same number of errors. All others are judged by their mean: it agrees if it
    lies in the 95 % prediction interval for so many further runs, of the recorded mean and standard deviation, which
    one recorded seed does not have. `reproduced` is whether all that can be judged agrees; None if no run can, for
    that the recorded model makes the recorded errors proves the file only.

    Args:
        num_earlier: How many of the measured runs an earlier command has trained.
    """
    facts = record.facts
    recorded = {each["seed"]: each["errors"] for each in facts["seeds"]}
    rows = [
        {
            "seed": trial.params["seed"],
            "test_accuracy": trial.value,
            "errors": int(trial.user_attrs["errors"]),
            "recorded_errors": recorded.get(trial.params["seed"]),
        }
        for trial in measured
    ]
    repeated = [row for row in rows if row["recorded_errors"] is not None]
    identical = all(row["errors"] == row["recorded_errors"] for row in repeated) if repeated else None
    judged = [float(row["test_accuracy"] or 0.0) for row in rows if not (identical and row in repeated)]
    margin = _prediction_margin(facts["std"], len(recorded), len(judged)) if judged else None
    mean = statistics.mean(judged) if judged else None
    within_spread = abs(mean - facts["mean"]) <= margin if mean is not None and margin is not None else None
    recorded_model_errors = recorded[facts["model"]["seed"]] if facts["model"] is not None else None
    model_agrees = model_errors == recorded_model_errors if model_errors is not None else None
    # Rounding may differ by a digit on another device: then it is told, but decides nothing.
    model_answer = model_agrees if (facts["device"], facts["precision"]) == ("cpu", "fp32") else None
    # One recorded seed has no spread: that another machine does not repeat it to the digit proves nothing.
    spread_answer = within_spread if within_spread is not None else identical or None
    reproduced = False if model_answer is False else spread_answer
    return {
        **{key: facts[key] for key in ("study_name", "trial", "num_params", "epochs", "dataset")},
        "seeds": rows,
        "identical": identical,
        "num_judged": len(judged),
        "mean": mean,
        "recorded_mean": facts["mean"],
        "margin": margin,
        "within_spread": within_spread,
        "model_errors": model_errors,
        "recorded_model_errors": recorded_model_errors,
        "model_agrees": model_agrees,
        "reproduced": reproduced,
        "num_earlier": num_earlier,
        **verdict.made_with(measured),
        "recorded_with": {key: facts[key] for key in ("device", "precision", "commit", "versions")},
    }


def _prediction_margin(std: float | None, num_recorded: int, num_further: int) -> float | None:
    """How far the mean of further runs may lie from that of the recorded ones, at 95 % (Student's t)."""
    from scipy import stats

    if std is None:
        return None
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, num_recorded - 1))
    return quantile * std * math.sqrt(1 / num_recorded + 1 / num_further)
