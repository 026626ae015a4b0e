"""Figures of a search: learning curves, history, what matters, and the re-ranking."""

import math
from collections.abc import Sequence
from statistics import mean
from typing import Any

from matplotlib.ticker import MaxNLocator

from ...proof.summaries import Reranking, Standing
from ..words import plural
from .facts import ShownTrial, names_of
from .sketch import Drawing, Sketch, error_axis, error_of
from .svg import FAINT, INK, MAIN, WARM, style


def draw_curves(trials: Sequence[ShownTrial], winner: int | None) -> Drawing:
    """The validation error of every trial by epoch."""
    with style():
        sketch = Sketch(3.2)
        axes = sketch.axes
        for trial in trials:
            if not trial.curve:
                continue
            epochs = sorted(trial.curve)
            errors = [error_of(trial.curve[epoch]) for epoch in epochs]
            chosen, complete = trial.number == winner, trial.state == "complete"
            [line] = axes.plot(
                epochs,
                errors,
                "-" if len(epochs) > 1 else ".",
                color=WARM if chosen else MAIN if complete else FAINT,
                alpha=1.0 if chosen else 0.5 if complete else 0.6,
                linewidth=2 if chosen else 0.9,
                zorder=4 if chosen else 3 if complete else 2,
            )
            sketch.tell(
                line,
                f"curve-{trial.number}",
                (f"trial {trial.number}, {trial.state}: {trial.curve[epochs[-1]]:.2f} % after epoch {epochs[-1]}"),
            )
        late = [error_of(value) for trial in trials for epoch, value in trial.curve.items() if epoch >= 3]
        early = [error_of(value) for trial in trials for value in trial.curve.values()]
        shown = sorted(late or early)
        error_axis(axes, "error on validation", shown[: max(1, math.ceil(0.97 * len(shown)))])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for colour, words in ((WARM, "the winner"), (MAIN, "complete"), (FAINT, "pruned or cut off")):
            axes.plot([], [], color=colour, label=words)
        axes.legend(loc="upper right")
    return sketch.drawing(
        "curves",
        label=f"Learning curves of {plural(len(sketch.tips), 'trial')}.",
        caption="After every epoch, by one view of each image. What trials are ranked by is the last one by all views.",
    )


def draw_history(trials: Sequence[ShownTrial], winner: int | None) -> Drawing:
    """The value of every trial in order, and the best so far."""
    with style():
        sketch = Sketch(2.8)
        axes = sketch.axes
        best, steps, ends = -math.inf, [], []
        for trial in trials:
            value = trial.value if trial.state == "complete" else None
            last = value if value is not None else trial.curve[max(trial.curve)] if trial.curve else None
            if last is None:
                continue
            ends.append(error_of(last))
            colour = WARM if trial.number == winner else MAIN if value is not None else FAINT
            [dot] = axes.plot([trial.number], [error_of(last)], "o", color=colour, alpha=0.8, markersize=4)
            sketch.tell(dot, f"value-{trial.number}", f"trial {trial.number}, {trial.state}: {last:.2f} %")
            if value is not None and value > best:
                best = value
                steps.append((trial.number, error_of(best)))
        if steps:
            numbers, errors = zip(*[*steps, (trials[-1].number, steps[-1][1])], strict=True)
            axes.plot(numbers, errors, drawstyle="steps-post", color=INK, linewidth=1, label="the best so far")
        shown = sorted(ends)
        error_axis(axes, "error on validation", shown[: max(1, math.ceil(0.97 * len(shown)))])
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for colour, words in ((WARM, "the winner"), (MAIN, "complete"), (FAINT, "ended early: where")):
            axes.plot([], [], "o", color=colour, markersize=4, label=words)
        sketch.figure.legend(loc="outside upper right", ncols=2)
    return sketch.drawing(
        "history",
        label="The error of every trial in the order in which they began.",
        caption="The best single run is partly luck: further runs decide who wins.",
    )


def draw_importance(importance: dict[str, float]) -> Drawing:
    """How much of what tells trials apart each parameter explains."""
    with style():
        items = sorted(importance.items(), key=lambda item: item[1])
        sketch = Sketch(0.7 + 0.19 * len(items))
        axes = sketch.axes
        bars = axes.barh([name for name, _ in items], [100 * share for _, share in items], color=MAIN, alpha=0.7)
        for (name, share), bar in zip(items, bars, strict=True):
            sketch.tell(bar, f"share-{name}", f"{name}: {share:.0%}")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share of what tells good trials from others (%)")
    return sketch.drawing(
        "importance",
        label="The importance of each parameter.",
        caption="PED-ANOVA: how far the values of good trials differ from those of all.",
    )


def draw_parallel(trials: Sequence[ShownTrial], winner: int | None) -> Drawing:
    """Every complete trial as a line across its parameters."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    with style():
        sketch = Sketch(3.4)
        axes = sketch.axes
        names = names_of(complete)
        scales = {name: _Scale([trial.params[name] for trial in complete if name in trial.params]) for name in names}
        order = sorted(complete, key=lambda trial: trial.value or 0.0)
        for rank, trial in enumerate(order):
            places = [place for place, name in enumerate(names) if name in trial.params]
            heights = [scales[names[place]].height(trial.params[names[place]]) for place in places]
            chosen, good = trial.number == winner, rank >= 0.75 * len(order)
            [line] = axes.plot(
                places,
                heights,
                color=WARM if chosen else MAIN if good else FAINT,
                alpha=1.0 if chosen else 0.55 if good else 0.35,
                linewidth=2 if chosen else 0.9,
                zorder=4 if chosen else 3 if good else 2,
            )
            sketch.tell(line, f"line-{trial.number}", f"trial {trial.number}: {trial.value:.2f} %")
        labels = [f"{name}\n{scales[name].range}" for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=6.5)
        axes.set_yticks([0, 1], ["low", "high"])
        axes.grid(visible=False, axis="y")
        for colour, words in ((WARM, "the winner"), (MAIN, "best quarter"), (FAINT, "others")):
            axes.plot([], [], color=colour, label=words)
        sketch.figure.legend(loc="outside upper right", ncols=3)
    return sketch.drawing(
        "parallel",
        label=f"The parameters of {plural(len(complete), 'complete trial')}.",
        caption="A line is a complete trial. Where those of the best quarter of them meet, a parameter matters.",
    )


class _Scale:
    """Of a parameter, from 0 to 1: of words, in the order of the alphabet, each the same way from the next."""

    def __init__(self, values: Sequence[Any]) -> None:
        numeric = all(isinstance(value, int | float) for value in values)
        self._words = None if numeric else sorted(set(map(str, values)))
        numbers = [self._number(value) for value in values]
        self._low, self._high = min(numbers), max(numbers)
        self._is_log = numeric and self._low > 0 and self._high / self._low > 5

    def _number(self, value: Any) -> float:
        return float(value) if self._words is None else float(self._words.index(str(value)))

    def height(self, value: Any) -> float:
        """In the middle where all are alike."""
        if self._low == self._high:
            return 0.5
        number = self._number(value)
        if self._is_log:
            return math.log(number / self._low) / math.log(self._high / self._low)
        return (number - self._low) / (self._high - self._low)

    @property
    def range(self) -> str:
        if self._words is not None:
            return f"{self._words[0]} to {self._words[-1]}"
        return f"{self._low:.2g} to {self._high:.2g}"


def draw_sizes(trials: Sequence[ShownTrial], winner: int | None) -> Drawing:
    """Accuracy against parameters, of complete trials."""
    with style():
        sketch = Sketch(2.6)
        axes = sketch.axes
        found = []
        for trial in trials:
            if trial.state != "complete" or trial.value is None or trial.num_params is None:
                continue
            found.append(error_of(trial.value))
            colour = WARM if trial.number == winner else MAIN
            [dot] = axes.plot([trial.num_params], [error_of(trial.value)], "o", color=colour, alpha=0.7, markersize=4)
            sketch.tell(
                dot,
                f"size-{trial.number}",
                f"trial {trial.number}: {trial.num_params:,} parameters, {trial.value:.2f} %",
            )
        error_axis(axes, "error on validation", found)
        axes.set_xlabel("parameters")
    return sketch.drawing(
        "sizes",
        label="The error of complete trials against their parameters.",
        caption="Every network is the largest of its shape within the budget, so sizes differ little.",
    )


def draw_reranking(reranking: Reranking) -> Drawing:
    """The leading trials as they were searched, and their further runs."""
    with style():
        rows = reranking.standings[::-1]  # the first on top
        sketch = Sketch(0.9 + 0.24 * len(rows))
        axes = sketch.axes
        for place, row in enumerate(rows):
            colour = WARM if row.number == reranking.winner else MAIN
            [searched] = axes.plot([row.searched_val_accuracy], [place], "o", color=FAINT, fillstyle="none")
            runs = [accuracy for accuracy in row.val_accuracies if accuracy > 0]  # one that diverged has none
            axes.plot(runs, [place] * len(runs), "o", color=colour, alpha=0.6, markersize=4)
            if len(runs) == len(row.val_accuracies):
                axes.plot([row.mean], [place], "|", color=colour, markersize=14, mew=2)
            sketch.tell(
                searched,
                f"searched-{row.number}",
                f"trial {row.number} as it was searched: {row.searched_val_accuracy:.2f} %",
            )
        axes.set_yticks(range(len(rows)), [f"trial {row.number}{_diverged(row)}" for row in rows])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlabel("accuracy on validation (%)")
    return sketch.drawing(
        "reranking",
        label="The leading trials: their searched runs and further ones.",
        caption="Hollow: the run that made a trial lead. Filled: further runs, with their mean, which decide.",
    )


def _diverged(standing: Standing) -> str:
    return " (diverged)" if min(standing.val_accuracies) == 0 else ""


def mean_length(trials: Sequence[ShownTrial]) -> float | None:
    """After how many epochs pruned trials ended, on average."""
    ended = [max(trial.curve) for trial in trials if trial.state == "pruned" and trial.curve]
    return mean(ended) if ended else None
