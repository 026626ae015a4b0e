"""The record of an ablation for people: a table, and a plot."""

import io
from typing import Any

from search.verdict import describe_environment

Spread = dict[str, Any]


def format_spread(spread: Spread) -> str:
    """For example "99.48 +- 0.03"; empty where every run diverged."""
    if spread["mean"] is None:
        return ""
    margin = f" ± {spread['std']:.2f}" if spread["std"] is not None else ""
    return f"{spread['mean']:.2f}{margin}"


HEADINGS = ("Rung", "Params", "Train, 1 view", "Test, 1 view", "Test", "By hand")


def rows(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rung, parameters, training and test accuracies, and those of the hand-made study."""
    return [
        (
            rung["rung"],
            f"{rung['num_params']:,}",
            *(format_spread(rung[part]) for part in ("train_one_view", "test_one_view", "test")),
            "{train:.2f} / {test:.2f}".format(**rung["hand_made"]) if rung["hand_made"] else "",
        )
        for rung in facts["rungs"]
    ]


def to_markdown(facts: dict[str, Any]) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|" + "---|" * (len(HEADINGS) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows(facts)]
    return "\n".join([*lines, "", *notes(facts)]) + "\n"


def notes(facts: dict[str, Any]) -> list[str]:
    """What the table rests on, one sentence each."""
    seeds = facts["seeds"]
    lines = [
        f"Trial {facts['trial']} of {facts['search_study']}, {facts['epochs']} epochs, data set {facts['dataset']}; "
        f"seeds {seeds[0]} to {seeds[-1]} (n = {len(seeds)}), mean ± standard deviation, after the last epoch.",
        "Accuracies in %. Test: by nine views, as in a proof; one view is the central one. Train: on the training "
        "digits as they are, without distortions. By hand: train / test of one run each, one view, the best epoch on "
        "the test digits, train accuracy as it was trained.",
    ]
    if not facts["winner_has_dropout"]:
        lines.append(
            f"The search chose no dropout: rungs with it use {facts['dropout']:g}, and the winner itself is 'full, no "
            "dropout'."
        )
    lines += [
        f"{rung['rung']}: {rung['diverged']} of {len(seeds)} runs diverged, and are left out."
        for rung in facts["rungs"]
        if rung["diverged"]
    ]
    return [*lines, "Nothing is picked by these figures.", f"{describe_environment(facts)}."]


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
    axes.set_xlabel("error on the test digits (blue: each seed; bar: mean; red: by hand, best epoch of one run)")
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _error(accuracy: float) -> float:
    """In percent; no less than one digit of MNIST's 10,000, for a logarithmic axis."""
    return max(100 - accuracy, 0.01)
