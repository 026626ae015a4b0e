"""The record of an ablation for people: a table, and a plot."""

import io
from typing import Any

from search.verdict import describe_environment, describe_seeds

Spread = dict[str, Any]


def format_spread(spread: Spread) -> str:
    """For example "99.48 +- 0.03"; empty where every run diverged."""
    if spread["mean"] is None:
        return ""
    margin = f" ± {spread['std']:.2f}" if spread["std"] is not None else ""
    return f"{spread['mean']:.2f}{margin}"


HEADINGS = ("Rung", "Params", "Train, 1 view", "Test, 1 view", "Test")
HAND_MADE_HEADING = "By hand"


def rows(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    """The headings, and a row per rung: parameters, accuracies and, for MNIST, those of the hand-made study."""
    hand_made = _has_hand_made(facts)
    table: list[tuple[str, ...]] = [(*HEADINGS, HAND_MADE_HEADING) if hand_made else HEADINGS]
    for rung in facts["rungs"]:
        accuracies = [format_spread(rung[part]) for part in ("train_one_view", "test_one_view", "test")]
        if hand_made:
            accuracies.append("{train:.2f} / {test:.2f}".format(**rung["hand_made"]) if rung["hand_made"] else "")
        table.append((rung["rung"], f"{rung['num_params']:,}", *accuracies))
    return table


def _has_hand_made(facts: dict[str, Any]) -> bool:
    return any(rung["hand_made"] for rung in facts["rungs"])


def to_markdown(facts: dict[str, Any]) -> str:
    headings, *rungs = ["| " + " | ".join(row) + " |" for row in rows(facts)]
    lines = [headings, "|---|" + "---|" * (headings.count("|") - 2), *rungs]
    return "\n".join([*lines, "", *notes(facts)]) + "\n"


def notes(facts: dict[str, Any]) -> list[str]:
    """What the table rests on, one sentence each."""
    seeds = facts["seeds"]
    spread = "mean ± standard deviation" if len(seeds) > 1 else "one run each"
    lines = [
        f"{_origin(facts)}; {spread}, after the last epoch.",
        "Accuracies in %. Test: by the mean of several views, as in a proof; one view is the central one. Train: on "
        "the training digits as they are, without distortions.",
    ]
    if _has_hand_made(facts):
        lines.append(
            "By hand: train / test of the hand-made study that this tool replaces: one run each, of another network "
            "of under 8,000 parameters, one view, the best epoch on the test digits, train accuracy as it was trained."
        )
    lines.append(
        "'all' is the trial as it was found."
        if facts["winner_has_dropout"]
        else f"The search chose no dropout: rungs with it use {facts['dropout']:g}, and the trial as it was found is "
        "'all but dropout'."
    )
    lines.append("All but augmentation is '+ dropout'.")
    lines += [
        f"{rung['rung']}: {rung['diverged']} of {len(seeds)} runs diverged, and are left out."
        for rung in facts["rungs"]
        if rung["diverged"]
    ]
    return [*lines, "Nothing is picked by these figures.", f"{describe_environment(facts)}."]


def _origin(facts: dict[str, Any]) -> str:
    return (
        f"Trial {facts['trial']} of {facts['search_study']}, epochs: {facts['epochs']}, data set {facts['dataset']}, "
        f"{describe_seeds(facts['seeds'])}"
    )


def plot(facts: dict[str, Any]) -> bytes:
    """The test error of every rung, with a point per seed, as PNG. Logarithmic: it runs from 20 % to a half."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rungs = facts["rungs"][::-1]  # the first on top
    figure = Figure(figsize=(8, 0.5 * len(rungs) + 1.3), layout="constrained")
    axes = figure.subplots()
    for place, rung in enumerate(rungs):
        accuracies = rung["test"]["accuracies"]
        axes.plot([_error(each) for each in accuracies], [place] * len(accuracies), "o", color="tab:blue", alpha=0.6)
        if accuracies:
            axes.plot([_error(rung["test"]["mean"])], [place], "|", color="black", markersize=16)
        if rung["hand_made"]:
            axes.plot([_error(rung["hand_made"]["test"])], [place], "x", color="tab:red")
    axes.set_yticks(range(len(rungs)), [rung["rung"] for rung in rungs])
    axes.set_xscale("log")
    ticks = (0.3, 0.5, 1, 2, 5, 10, 20, 50, 90)
    axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", color="0.9")
    title = f"Trial {facts['trial']} of {facts['search_study']}, data set {facts['dataset']}"
    figure.suptitle(f"{title}\nepochs: {facts['epochs']}, {describe_seeds(facts['seeds'])}", fontsize="medium")
    hand_made = "; red: by hand, best epoch of one run" if _has_hand_made(facts) else ""
    axes.set_xlabel(f"error on the test digits (blue: each seed; bar: mean{hand_made})")
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _error(accuracy: float) -> float:
    """In percent; no less than one digit of MNIST's 10,000, for a logarithmic axis."""
    return max(100 - accuracy, 0.01)
