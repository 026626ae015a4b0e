"""Proves a trial over fresh seeds: the only user of the test digits.

Each seed is a trial of a study of its own, in the same storage: so verification resumes, runs in parallel and
shows in the dashboard like a search does.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.config import TrialConfig
from search.data import Split, load_final_splits
from search.model import save_model
from search.objective import InterruptedTrial, SuggestConfig, record
from search.storage import exclusive
from search.study import StudyError, best_trial, code_commit, interrupt_trial, load_studies, record_use, versions
from search.train import Evaluation, Runtime, evaluate, train

DEFAULT_FIRST_SEED = 10_000  # the search derives its seeds far above (`search.config.derive_seed`)
LARGEST_SEED = 2**31 - 1
CONFIDENCE = 0.95


def choose_trial(study: optuna.Study, number: int | None) -> FrozenTrial:
    """The trial to prove: the best, or the one of that number.

    Raises:
        StudyError: If there is no complete trial, or that one is not complete.
    """
    if number is None:
        best = best_trial(study)
        if best is None:
            raise StudyError(f"Study {study.study_name!r} has no complete trial yet. Run 'python cli.py search' first.")
        return best
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise StudyError(f"Study {study.study_name!r} has no trial {number}; it has 0 to {len(trials) - 1}.")
    if trials[number].state != TrialState.COMPLETE:
        state = trials[number].state.name.lower()
        raise StudyError(f"Trial {number} is {state}; only a complete trial can be verified. Leave --trial out for the best.")
    return trials[number]


def rebuild_config(study: optuna.Study, trial: FrozenTrial, suggest_config: SuggestConfig, space: str) -> TrialConfig:
    """The configuration of a finished trial, by replaying its recorded draws through the space.

    Raises:
        StudyError: If the space was edited since: the replay would build something else.
    """
    if study.user_attrs["space"] != space:
        commits = ", ".join(commit[:12] for commit in study.user_attrs.get("commits", []))
        raise StudyError(
            f"space.py was edited since study {study.study_name!r} was made (at {commits}): its trials cannot be "
            f"rebuilt. Restore that version of the file, or search anew."
        )
    config = suggest_config(trial, study.user_attrs["max_params"])
    channels = [list(stage) for stage in config.model.channels]
    if (channels, config.model.num_params) != (trial.user_attrs["channels"], trial.user_attrs["num_params"]):
        raise StudyError(f"Trial {trial.number} rebuilt has channels {channels}, recorded {trial.user_attrs['channels']}.")
    return config


def open_verify_study(
    storage: RDBStorage, study: optuna.Study, trial: FrozenTrial, config: TrialConfig, first_seed: int
) -> optuna.Study:
    """The study whose trials are the seeds of one searched trial; `first_seed` is noted as an attempt."""
    name = f"{study.study_name}-verify-{trial.number}"
    attributes = {
        "kind": "verify",
        "search_study": study.study_name,
        "trial": trial.number,
        "dataset": study.user_attrs["dataset"],
        "epochs": study.user_attrs["epochs"],
        "num_params": config.model.num_params,
        "channels": [list(stage) for stage in config.model.channels],
        "config": json.loads(json.dumps(asdict(config))),  # as it comes back from the storage
    }
    with exclusive(storage):
        verification = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
        recorded = verification.user_attrs
        if recorded and any(recorded.get(key) != value for key, value in attributes.items()):
            raise StudyError(f"Study {name!r} verified another configuration. Delete it, or search under a new --study-name.")
        for key, value in attributes.items():
            verification.set_user_attr(key, value)
        first_seeds = recorded.get("first_seeds", [])
        if first_seed not in first_seeds:
            verification.set_user_attr("first_seeds", [*first_seeds, first_seed])
        record_use(verification)
    return verification


def count_attempts(storage: RDBStorage, search_study: str) -> int:
    """How often a trial of this search was put to the test: distinct pairs of a trial and a first seed."""
    attributes = [study.user_attrs for study in load_studies(storage)]
    return sum(len(each.get("first_seeds", [])) for each in attributes if each.get("search_study") == search_study)


@dataclass(frozen=True, kw_only=True)
class VerifyJob:
    """The seeds of a verification, as `search.workers` runs them."""

    storage_url: str
    study_name: str
    tickets: range
    config: TrialConfig
    epochs: int
    dataset: str
    data_dir: Path
    precision: str
    model_path: Path  # where the first seed's model is kept
    commit: str
    sampler: str = "random"
    seed: int = 0

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {seed: {"seed": seed} for seed in self.tickets}

    def expired(self) -> bool:
        return False

    def prepare(self, device: str) -> tuple[Split, Split, Runtime]:
        runtime = Runtime(device=torch.device(device), precision=self.precision)
        training, test = load_final_splits(self.dataset, self.data_dir)
        return training.to(runtime.device), test.to(runtime.device), runtime

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: tuple[Split, Split, Runtime],
        should_stop: Callable[[], bool],
    ) -> None:
        """Trains one seed on all training digits, and opens the test digits once, after the last epoch."""
        training, test, runtime = resources
        seed = trial.suggest_int("seed", 0, LARGEST_SEED)
        assert seed == trial.user_attrs["ticket"]
        record(trial, {"device": runtime.device.type, "precision": runtime.precision, "commit": self.commit})
        seconds = 0.0
        try:
            for result in train(self.config, training, epochs=self.epochs, seed=seed, runtime=runtime):
                seconds += result.seconds
                record(trial, {"epochs": result.epoch, "seconds": round(seconds, 2), "train_loss": result.train_loss})
                if result.epoch < self.epochs and should_stop():
                    raise InterruptedTrial
        except InterruptedTrial:
            interrupt_trial(study, trial)
            return
        evaluation = evaluate(result.model, test, runtime)
        record(trial, {"errors": evaluation.errors, "num_images": evaluation.num_images, "test_loss": evaluation.loss})
        if seed == self.tickets.start:
            self._save_model(trial, result.model, evaluation)
        study.tell(trial, evaluation.accuracy)

    def _save_model(self, trial: optuna.Trial, model: Any, evaluation: Evaluation) -> None:
        facts = {
            "study_name": self.study_name,
            "seed": trial.user_attrs["ticket"],
            "test_accuracy": evaluation.accuracy,
            "num_params": self.config.model.num_params,
            "epochs": self.epochs,
            "dataset": self.dataset,
            "precision": trial.user_attrs["precision"],
            "commit": self.commit,
            "config": asdict(self.config),
        }
        save_model(self.model_path, model, self.config.model, facts)


def make_record(
    verification: optuna.Study, trials: list[FrozenTrial], *, target: Decimal, attempts: int
) -> dict[str, Any]:
    """The evidence and the verdict in one JSON object (`verify-best --json`, `verify.json`)."""
    attributes = verification.user_attrs
    errors = [int(trial.user_attrs["errors"]) for trial in trials]
    num_images = int(trials[0].user_attrs["num_images"])
    accuracies = [100 * (num_images - count) / num_images for count in errors]
    allowed = max_errors(target, num_images)
    num_passed = sum(count <= allowed for count in errors)
    judged = attributes["dataset"] == "mnist"
    return {
        "study_name": attributes["search_study"],
        "trial": attributes["trial"],
        "num_params": attributes["num_params"],
        "channels": attributes["channels"],
        "epochs": attributes["epochs"],
        "target": float(target),
        "dataset": attributes["dataset"],
        "num_images": num_images,
        "max_errors": allowed,
        "seeds": [
            {"seed": trial.params["seed"], "test_accuracy": accuracy, "errors": count}
            for trial, accuracy, count in zip(trials, accuracies, errors, strict=True)
        ],
        "num_passed": num_passed,
        **statistics(accuracies),
        "pass_share_lower95": pass_share_lower(num_passed, len(errors)),
        "attempts": attempts,
        "confirmed": num_passed == len(errors) if judged else None,
        "device": _distinct(trials, "device"),
        "precision": _distinct(trials, "precision"),
        "commit": _distinct(trials, "commit"),
        "versions": versions(),
    }


def measured_seeds(verification: optuna.Study, first_seed: int) -> list[FrozenTrial]:
    """The complete trials of the seeds from the first on without a gap.

    Seeds measured by an earlier command with more --seeds count too: a verdict must not leave out what is known.
    """
    complete = verification.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    by_seed = {trial.params["seed"]: trial for trial in complete}
    run: list[FrozenTrial] = []
    while first_seed + len(run) in by_seed:
        run.append(by_seed[first_seed + len(run)])
    return run


def max_errors(target: Decimal, num_images: int) -> int:
    """The most errors with which the target, in percent, is still reached. Exact: 99.4 of 10,000 allows 60."""
    return math.floor((100 - target) * num_images / 100)


def statistics(accuracies: list[float]) -> dict[str, Any]:
    """Minimum, mean, standard deviation (n-1) and the 95 % t-interval of the mean; the last two need two values."""
    from scipy import stats

    n = len(accuracies)
    mean = math.fsum(accuracies) / n
    if n == 1:
        return {"min": accuracies[0], "mean": mean, "std": None, "ci95": None}
    std = math.sqrt(math.fsum((accuracy - mean) ** 2 for accuracy in accuracies) / (n - 1))
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n)
    return {"min": min(accuracies), "mean": mean, "std": std, "ci95": [mean - margin, mean + margin]}


def pass_share_lower(num_passed: int, n: int) -> float:
    """The exact one-sided (Clopper-Pearson) 95 % lower bound of the share of seeds that reach the target."""
    from scipy import stats

    test = stats.binomtest(num_passed, n, alternative="greater")
    return float(test.proportion_ci(confidence_level=CONFIDENCE, method="exact").low)


def verdict(facts: dict[str, Any]) -> str:
    """The verdict in one sentence."""
    n, passed, target = len(facts["seeds"]), facts["num_passed"], facts["target"]
    if facts["confirmed"] is None:
        return (
            f"NOT JUDGED: the {target:g} % claim is about MNIST's 10,000 test digits; "
            f"it cannot be judged on {facts['num_images']:,} digits of the bundled sample."
        )
    bar = f"{target:g} % on the {facts['num_images']:,} test digits (at most {facts['max_errors']} errors)"
    if facts["confirmed"]:
        return f"CONFIRMED: every one of {n} fresh seeds reaches {bar}."
    return f"NOT CONFIRMED: {n - passed} of {n} fresh seeds miss {bar}."


def evidence(facts: dict[str, Any]) -> list[str]:
    """What the verdict rests on, and how far it carries, one sentence each."""
    n = len(facts["seeds"])
    lines = [f"Minimum {facts['min']:.2f} %, mean {facts['mean']:.3f} %."]
    if facts["ci95"] is not None:
        low, high = facts["ci95"]
        set_error = 100 * 1.96 * math.sqrt(facts["mean"] / 100 * (1 - facts["mean"] / 100) / facts["num_images"])
        lines = [
            f"Minimum {facts['min']:.2f} %, mean {facts['mean']:.3f} %, standard deviation {facts['std']:.3f} points; "
            f"95 % interval of the mean {low:.3f} to {high:.3f} %.",
            f"The interval covers seeds on this test set; the set's own size adds about {set_error:.2f} points.",
        ]
    if facts["confirmed"] is not None:
        lines.append(
            f"{facts['num_passed']} of {n} proves, at 95 % confidence, that at least "
            f"{100 * facts['pass_share_lower95']:.0f} % of all seeds reach the target"
            + (" (14 of 14 would prove 81 %, 59 of 59 95 %)." if n < 59 else ".")
        )
    packages = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return [
        *lines,
        f"Attempt {facts['attempts']} at proving a trial of this study." if facts["attempts"] > 1 else "First attempt.",
        f"Rests on {n} seeds, trial {facts['trial']} of {facts['study_name']}: {facts['num_params']:,} parameters, "
        f"{facts['epochs']} epochs, data set {facts['dataset']}, {facts['device']} in {facts['precision']}; {packages}; "
        f"commit {facts['commit']}.",
    ]


def to_markdown(facts: dict[str, Any]) -> str:
    rows = [f"| {each['seed']} | {each['test_accuracy']:.2f} | {each['errors']} |" for each in facts["seeds"]]
    header = f"| Seed | Test accuracy (%) | Errors of {facts['num_images']:,} |"
    paragraphs = ["\n".join([header, "|---|---|---|", *rows]), *evidence(facts)]
    return f"# {verdict(facts)}\n\n" + "\n\n".join(paragraphs) + "\n"


def _distinct(trials: list[FrozenTrial], key: str) -> str:
    return ", ".join(sorted({str(trial.user_attrs[key]) for trial in trials}))
