"""The evidence of a verification and what it proves: the statistics, the verdict and its words."""

import math
from decimal import Decimal
from typing import Any

import optuna
from optuna.trial import FrozenTrial

CONFIDENCE = 0.95
MANY_SEEDS = 59  # the fewest that prove 95 % of all seeds


def make_record(
    verification: optuna.Study,
    trials: list[FrozenTrial],
    *,
    target: Decimal,
    earlier_attempts: list[dict[str, Any]],
    other_looks: list[dict[str, Any]],
) -> dict[str, Any]:
    """The evidence and the verdict in one JSON object (`verify-best --json`, `verify.json`).

    Args:
        earlier_attempts: All others on this data set (`search.attempts`). One at this configuration that missed the
            target is not undone by new seeds: then nothing is confirmed.
        other_looks: What else has shown test accuracies.
    """
    attributes = verification.user_attrs
    errors = [int(trial.user_attrs["errors"]) for trial in trials]
    num_images = int(trials[0].user_attrs["num_images"])
    accuracies = [100 * (num_images - count) / num_images for count in errors]
    allowed = max_errors(target, num_images)
    num_passed = sum(count <= allowed for count in errors)
    judged = attributes["dataset"] == "mnist"
    num_failed = sum(
        bool(row["same_configuration"]) and row["min"] is not None and round(Decimal(row["min"]), 6) < target
        for row in earlier_attempts
    )
    return {
        "study_name": attributes["search_study"],
        "trial": attributes["trial"],
        "chosen_by": attributes["rules"][str(trials[0].params["seed"])],
        "config": attributes["config"],
        "recipe": attributes["recipe"],
        "space": attributes["space"],
        "num_params": attributes["num_params"],
        "channels": attributes["channels"],
        "epochs": attributes["epochs"],
        "target": float(target),
        "dataset": attributes["dataset"],
        "num_images": num_images,
        "max_errors": allowed,
        "seeds": [
            {
                "seed": trial.params["seed"],
                "test_accuracy": accuracy,
                "errors": count,
                "errors_one_view": int(trial.user_attrs["errors_one_view"]),
            }
            for trial, accuracy, count in zip(trials, accuracies, errors, strict=True)
        ],
        "num_passed": num_passed,
        "num_planned": attributes["attempts"][str(trials[0].params["seed"])],
        **statistics(accuracies),
        "num_views": trials[0].user_attrs["num_views"],
        "one_view": statistics([100 - 100 * trial.user_attrs["errors_one_view"] / num_images for trial in trials]),
        "pass_share_lower95": pass_share_lower(num_passed, len(errors)),
        "attempts": len(earlier_attempts) + 1,
        "num_failed_attempts": num_failed,
        "earlier_attempts": earlier_attempts,
        "other_looks": other_looks,
        "confirmed": num_passed == len(errors) and not num_failed if judged else None,
        **made_with(trials),
    }


def made_with(trials: list[FrozenTrial]) -> dict[str, Any]:
    """The device, precision, code and libraries that these runs have recorded."""
    return {
        **{key: _distinct(trials, key) for key in ("device", "precision", "commit")},
        "versions": {package: _distinct(trials, "versions", package) for package in trials[0].user_attrs["versions"]},
    }


def describe_environment(facts: dict[str, Any]) -> str:
    """That in words, from a record."""
    packages = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"{facts['device']} in {facts['precision']}, {packages}, commit {facts['commit']}"


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
    return {
        "min": min(accuracies),
        "mean": mean,
        "std": std,
        "ci95": [max(0.0, mean - margin), min(100.0, mean + margin)],
    }


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
            f"NOT JUDGED: {target} % is a claim about MNIST's 10,000 test digits; "
            f"it cannot be judged on {facts['num_images']:,} digits of the bundled sample."
        )
    bar = f"{target} % on the {facts['num_images']:,} test digits (at most {facts['max_errors']} errors)"
    if facts["confirmed"]:
        return f"CONFIRMED: {f'every one of {n} fresh seeds' if n > 1 else 'the one fresh seed'} reaches {bar}."
    if passed == n:
        return f"NOT CONFIRMED: these {n} seeds reach {bar}, but an earlier attempt at this configuration did not."
    return f"NOT CONFIRMED: {n - passed} of {n} fresh seeds miss {bar}."


def evidence(facts: dict[str, Any]) -> list[str]:
    """What the verdict rests on, and how far it carries, one sentence each."""
    n = len(facts["seeds"])
    words = f"Minimum {facts['min']:.2f} %, mean {facts['mean']:.3f} %"
    if facts["ci95"] is not None:
        low, high = facts["ci95"]
        words += f", standard deviation {facts['std']:.3f} points; 95 % interval of the mean {low:.3f} to {high:.3f} %"
    set_error = 100 * 1.96 * math.sqrt(facts["mean"] / 100 * (1 - facts["mean"] / 100) / facts["num_images"])
    lines = [f"{words}.", f"That covers seeds on this test set; the set's own size adds about ±{set_error:.2f} points."]
    if facts["confirmed"] is not None:
        lines.append(
            f"{facts['num_passed']} of {n} proves, at 95 % confidence, that at least "
            f"{math.floor(1000 * facts['pass_share_lower95']) / 10} % of all seeds reach the target"
            + (f"; {MANY_SEEDS} of {MANY_SEEDS} would prove 95 %." if n < MANY_SEEDS else ".")
        )
    if "num_views" in facts:  # not in older records
        lines.append(
            f"Each digit is classified by the mean of {facts['num_views']} views (three sizes, shifts of a pixel). "
            f"By one view alone: minimum {facts['one_view']['min']:.2f} %, mean {facts['one_view']['mean']:.3f} %."
        )
    attempt = "First attempt" if facts["attempts"] == 1 else f"Attempt {facts['attempts']}"
    chosen = f" The trial is {facts['chosen_by']}." if "chosen_by" in facts else ""  # older records do not say
    lines.append(f"{attempt} at a proof on this data set.{chosen}")
    if facts.get("earlier_attempts"):
        others = "; ".join(_describe_attempt(row) for row in facts["earlier_attempts"])
        lines.append(f"The other attempts: {others}.")
    if facts.get("other_looks"):
        looks = ", ".join(f"{look['study_name']} ({look['num_runs']} runs)" for look in facts["other_looks"])
        lines.append(f"Test accuracies were also shown by {looks}.")
    if facts.get("num_planned", n) > n:
        lines.append(f"{facts['num_planned']} seeds had been planned, and were not all measured.")
    return [*lines, _provenance(facts)]


def _describe_attempt(row: dict[str, Any]) -> str:
    seeds = range(row["first_seed"], row["first_seed"] + row["num_seeds"])
    words = f"trial {row['trial']}, {describe_seeds(list(seeds))}"
    if row["min"] is None:
        return f"{words}, nothing measured"
    unfinished = f", {row['num_measured']} measured" if row.get("num_measured", len(seeds)) < len(seeds) else ""
    return f"{words}{unfinished}: minimum {row['min']:.2f} %, mean {row['mean']:.3f} %"


def _provenance(facts: dict[str, Any]) -> str:
    """What a claim rests on, in one sentence."""
    return (
        f"Rests on: {describe_seeds([each['seed'] for each in facts['seeds']])}, "
        f"trial {facts['trial']} of {facts['study_name']}, {facts['num_params']:,} parameters, "
        f"epochs: {facts['epochs']}, data set {facts['dataset']}, {describe_environment(facts)}."
    )


def describe_seeds(seeds: list[int]) -> str:
    """For example "seeds 10000 to 10004 (n = 5)"."""
    return f"seeds {seeds[0]} to {seeds[-1]} (n = {len(seeds)})" if len(seeds) > 1 else f"seed {seeds[0]} (n = 1)"


def agreement(facts: dict[str, Any]) -> list[str]:
    """How far a reproduction (`search.reproduce`) agrees with its record, one sentence each."""
    lines = []
    if facts["model_errors"] is not None:
        agrees = "as recorded" if facts["model_agrees"] else f"not as recorded ({facts['recorded_model_errors']})"
        lines.append(f"The recorded model makes {facts['model_errors']} errors, {agrees}.")
    if facts["num_earlier"]:
        num_earlier = f"{facts['num_earlier']} of {len(facts['seeds'])}"
        lines.append(f"Trained by an earlier command with this storage, and not again: {num_earlier}.")
    if facts["identical"] is not None:
        lines.append(
            "IDENTICAL: every recorded seed that was repeated makes the recorded number of errors."
            if facts["identical"]
            else "Not identical, as is to be expected where the processor, the device or a library is another."
        )
    if facts["within_spread"] is not None:
        relation = "lies within" if facts["within_spread"] else "LIES OUTSIDE"
        judged = f"mean of {facts['num_judged']} seeds" if facts["num_judged"] > 1 else "accuracy of one seed"
        lines.append(
            f"The {judged}, {facts['mean']:.3f} %, {relation} the recorded "
            f"{facts['recorded_mean']:.3f} ± {facts['margin']:.3f} % (95 % prediction interval for so many)."
        )
    lines.append(f"Recorded: {describe_environment(facts['recorded_with'])}.")
    return [*lines, f"Repeated: {describe_environment(facts)}."]


def reproduction_verdict(facts: dict[str, Any]) -> str:
    """The same in one sentence."""
    sentences = {
        True: "REPRODUCED: what was repeated agrees with the record.",
        False: "NOT REPRODUCED: what was repeated does not agree with the record.",
        None: "NOT JUDGED: a record of one seed has no spread to compare other seeds with.",
    }
    return sentences[facts["reproduced"]]


def to_markdown(facts: dict[str, Any]) -> str:
    rows = [
        f"| {each['seed']} | {each['test_accuracy']:.2f} | {each['errors']} | {each['errors_one_view']} |"
        for each in facts["seeds"]
    ]
    header = f"| Seed | Test accuracy (%) | Errors of {facts['num_images']:,} | With one view |"
    paragraphs = ["\n".join([header, "|---|---|---|---|", *rows]), *evidence(facts)]
    return f"# {verdict(facts)}\n\n" + "\n\n".join(paragraphs) + "\n"


def _distinct(trials: list[FrozenTrial], key: str, part: str | None = None) -> str:
    """What the trials have recorded: one value, or several where they were trained at different times or places."""
    values = [trial.user_attrs[key] if part is None else trial.user_attrs[key][part] for trial in trials]
    return ", ".join(sorted(set(map(str, values))))
