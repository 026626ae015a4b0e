"""The figures of a page. Each is drawn from records alone; what it leaves out, its caption says."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from search.proof.answers import Answers
from search.proof.evidence import Ladder, Proof
from search.proof.frontier import Frontier
from search.proof.summaries import Reranking
from search.show.page.facts import ShownTrial
from search.show.page.layers import Layer
from search.show.page.svg import BAD, FAINT, GOOD, GRID, INK, MAIN, WARM, WIDTH, style, to_svg
from search.show.words import plural

# Nets whose makers have published them: parameters, test accuracy in percent, and whose they are. Of one run each,
# after its last epoch, but for the first, which is the best of many.
PUBLISHED = (
    (697, 99.03, "JoshWarn/Parameter-Efficient-MNIST"),
    (5_196, 99.40, "Madhur-1/ERA-v1"),
    (6_174, 99.47, "firekind/ERA4"),
    (7_918, 99.50, "snehanshu-raj/ERA"),
)
PUBLISHED_DATASET = "mnist"
LEAST_ERROR = 0.01  # percent: one digit of MNIST's 10,000, for a logarithmic axis
ERROR_TICKS = (  # in percent; the coarsest that give enough of them serve
    (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 90),
    (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 20, 50),
)
FEWEST_TICKS = 4
DARK, LIGHT = 0.9, 0.25  # opacities


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure with its words.

    Attributes:
        label: What it shows, for those who do not see it.
        caption: How it is to be read.
        tips: By identifier in the figure, what is told when it is pointed at.
    """

    name: str
    figure: Figure
    label: str
    caption: str
    tips: dict[str, str] = field(default_factory=dict)

    @property
    def svg(self) -> str:
        return to_svg(self.figure, self.name, self.label, self.tips)


def _axes(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def draw_seeds(proof: Proof) -> Drawing:
    """Every seed as a dot, stacked where they have as many errors, against the target."""
    with style():
        counts: Counter[int] = Counter()
        highest = max(Counter(row.errors for row in proof.seeds).values())
        figure, axes = _axes(1.5 + 0.16 * min(highest, 12))
        tips = {}
        for row in proof.seeds:
            counts[row.errors] += 1
            missed = row.errors > proof.max_errors
            colour = BAD if missed and proof.judged else MAIN
            [dot] = axes.plot([row.test_accuracy], [counts[row.errors]], "o", color=colour, alpha=DARK, markersize=6)
            dot.set_gid(f"seed-{row.seed}")
            tips[f"seed-{row.seed}"] = (
                f"seed {row.seed}: {row.test_accuracy:.2f} %, {plural(row.errors, 'error')}; {row.errors_one_view} by "
                f"one view"
            )
        axes.axvline(proof.mean, color=INK, linewidth=1, linestyle=":", zorder=1, label=f"mean {proof.mean:.3f} %")
        if proof.judged:
            axes.axvline(proof.target, color=GOOD, linewidth=1.5, zorder=1, label=f"target {proof.target:.15g} %")
        axes.set_ylim(0, highest + 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"accuracy on the {proof.num_images:,} test digits (%)")
        figure.legend(loc="outside upper right", ncols=2)
    return Drawing(
        name="seeds",
        figure=figure,
        label=f"{len(proof.seeds)} seeds: test accuracies from {proof.min:.2f} %, mean {proof.mean:.3f} %.",
        caption="Each dot is a network, trained anew from another seed. Dots of equal accuracy are stacked.",
        tips=tips,
    )


def draw_frontier(frontier: Frontier) -> Drawing:
    """Accuracy against parameters: every seed a dot, the means, the target, and published nets beside them."""
    with style():
        figure, axes = _axes(3.6)
        tips = {}
        for point in frontier.points:
            for index, accuracy in enumerate(point.test_accuracies):
                [dot] = axes.plot([point.num_params or 0], [accuracy], "o", color=MAIN, alpha=0.4, markersize=4, mew=0)
                gid = f"budget-{point.max_params}-{index}"
                dot.set_gid(gid)
                tips[gid] = f"{point.num_params:,} parameters: {accuracy:.2f} %"
        means = [(each.num_params, each.mean) for each in frontier.points if each.num_params and each.mean is not None]
        if means:
            axes.plot(*zip(*means, strict=True), "-", color=MAIN, zorder=1, label="mean over seeds (dots: each)")
        if frontier.judged:
            axes.axhline(frontier.target, color=GOOD, linewidth=1.5, zorder=1, label=f"target {frontier.target:.15g} %")
        if frontier.dataset == PUBLISHED_DATASET:
            sizes = [(size, value) for size, value, _ in PUBLISHED]
            axes.plot(*zip(*sizes, strict=True), "x", color=BAD, label="published, one run each")
            for size, value, name in PUBLISHED:
                left = size <= PUBLISHED[-1][0] / 2  # else its name goes to the left, into the picture
                axes.annotate(
                    name,
                    (size, value),
                    textcoords="offset points",
                    xytext=(4 if left else -4, -9),
                    ha="left" if left else "right",
                    fontsize=6.5,
                    color=BAD,
                )
        axes.set_xlabel("parameters")
        axes.set_ylabel("accuracy on the test digits (%)")
        axes.set_xlim(left=0)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right")
    return Drawing(
        name="frontier",
        figure=figure,
        label="Test accuracy against the number of parameters, for each budget.",
        caption="A search and a proof at each budget. Each dot is a network, trained anew from another seed.",
        tips=tips,
    )


def draw_network(layers: Sequence[Layer]) -> Drawing:
    """What every layer gives, as a box: as wide as it has channels, as high as its images are."""
    with style():
        figure, axes = _axes(2.2)
        place, tips, ticks = 0.0, {}, []
        for index, layer in enumerate(layers):
            width = max(2.0, layer.channels**0.5 * 2)
            box = Rectangle((place, -layer.side / 2), width, layer.side, facecolor=MAIN, alpha=0.35, edgecolor=MAIN)
            box.set_gid(f"layer-{index}")
            axes.add_patch(box)
            tips[f"layer-{index}"] = (
                f"{layer.name}: {layer.channels} channels of {layer.side} x {layer.side}, {layer.num_params:,} "
                f"parameters, {layer.multiply_adds:,} multiply-adds"
            )
            ticks.append((place + width / 2, str(layer.channels)))
            place += width + 3
        axes.set_xlim(-2, place)
        axes.set_ylim(-13, 13)
        axes.set_xticks(*zip(*ticks, strict=True))
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("channels that each layer gives")
    return Drawing(
        name="network",
        figure=figure,
        label=f"The network: {len(layers)} layers, {sum(layer.num_params for layer in layers):,} parameters.",
        caption="From left to right; a box is as high as its images, and the wider the more channels it has.",
        tips=tips,
    )


def _error(accuracy: float) -> float:
    return max(100 - accuracy, LEAST_ERROR)


def _error_axis(axes: Axes, what: str, values: Iterable[float]) -> None:
    """A logarithmic y-axis of errors in percent that covers these."""
    found = list(values)
    axes.set_yscale("log")
    if found:
        axes.set_ylim(0.85 * min(found), 1.2 * max(found))
    ticks = _error_ticks(*axes.get_ylim())
    axes.set_yticks(ticks, [f"{tick:g} %" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylabel(what)


def _error_ticks(low: float, high: float) -> list[float]:
    coarse, fine = ([tick for tick in ticks if low <= tick <= high] for ticks in ERROR_TICKS)
    found = coarse if len(coarse) >= FEWEST_TICKS else fine
    return found or [float(f"{(low * high) ** 0.5:.2g}")]  # in the middle of a logarithmic axis


def draw_curves(trials: Sequence[ShownTrial], winner: int | None) -> Drawing:
    """The validation error of every trial by epoch."""
    with style():
        figure, axes = _axes(3.2)
        tips = {}
        for trial in trials:
            if not trial.curve:
                continue
            epochs = sorted(trial.curve)
            errors = [_error(trial.curve[epoch]) for epoch in epochs]
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
            line.set_gid(f"curve-{trial.number}")
            tips[f"curve-{trial.number}"] = (
                f"trial {trial.number}, {trial.state}: {trial.curve[epochs[-1]]:.2f} % after epoch {epochs[-1]}"
            )
        late = [_error(value) for trial in trials for epoch, value in trial.curve.items() if epoch >= 3]
        early = [_error(value) for trial in trials for value in trial.curve.values()]
        shown = sorted(late or early)
        _error_axis(axes, "error on validation", shown[: max(1, math.ceil(0.97 * len(shown)))])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for colour, words in ((WARM, "the winner"), (MAIN, "complete"), (FAINT, "pruned or cut off")):
            axes.plot([], [], color=colour, label=words)
        axes.legend(loc="upper right")
    return Drawing(
        name="curves",
        figure=figure,
        label=f"Learning curves of {plural(len(tips), 'trial')}.",
        caption="After every epoch, by one view of each digit. What trials are ranked by is the last one by all views.",
        tips=tips,
    )


def draw_history(trials: Sequence[ShownTrial], winner: int | None) -> Drawing:
    """The value of every trial in order, and the best so far."""
    with style():
        figure, axes = _axes(2.8)
        tips, best, steps = {}, -math.inf, []
        for trial in trials:
            value = trial.value if trial.state == "complete" else None
            last = value if value is not None else trial.curve[max(trial.curve)] if trial.curve else None
            if last is None:
                continue
            colour = WARM if trial.number == winner else MAIN if value is not None else FAINT
            [dot] = axes.plot([trial.number], [_error(last)], "o", color=colour, alpha=0.8, markersize=4)
            dot.set_gid(f"value-{trial.number}")
            tips[f"value-{trial.number}"] = f"trial {trial.number}, {trial.state}: {last:.2f} %"
            if value is not None and value > best:
                best = value
                steps.append((trial.number, _error(best)))
        if steps:
            numbers, errors = zip(*[*steps, (trials[-1].number, steps[-1][1])], strict=True)
            axes.plot(numbers, errors, drawstyle="steps-post", color=INK, linewidth=1, label="the best so far")
        found = sorted(_error(each.value) for each in trials if each.value is not None and each.state == "complete")
        _error_axis(axes, "error on validation", found[: max(1, math.ceil(0.95 * len(found)))])
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for colour, words in ((WARM, "the winner"), (MAIN, "complete"), (FAINT, "pruned, where it ended")):
            axes.plot([], [], "o", color=colour, markersize=4, label=words)
        figure.legend(loc="outside upper right", ncols=2)
    return Drawing(
        name="history",
        figure=figure,
        label="The error of every trial in the order in which they began.",
        caption="The best single run is partly luck: further runs decide who wins.",
        tips=tips,
    )


def draw_importance(importance: dict[str, float]) -> Drawing:
    """How much of what tells trials apart each parameter explains."""
    with style():
        items = sorted(importance.items(), key=lambda item: item[1])
        figure, axes = _axes(0.7 + 0.19 * len(items))
        bars = axes.barh([name for name, _ in items], [100 * share for _, share in items], color=MAIN, alpha=0.7)
        tips = {}
        for (name, share), bar in zip(items, bars, strict=True):
            bar.set_gid(f"share-{name}")
            tips[f"share-{name}"] = f"{name}: {share:.0%}"
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share of what tells good trials from others (%)")
    return Drawing(
        name="importance",
        figure=figure,
        label="The importance of each parameter.",
        caption="PED-ANOVA: how far the values of good trials differ from those of all.",
        tips=tips,
    )


def draw_parallel(trials: Sequence[ShownTrial], winner: int | None) -> Drawing:
    """Every complete trial as a line across its parameters."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    with style():
        figure, axes = _axes(3.4)
        names = list(complete[0].params)
        spans = {name: _span([trial.params.get(name) for trial in complete]) for name in names}
        order = sorted(complete, key=lambda trial: trial.value or 0.0)
        tips = {}
        for rank, trial in enumerate(order):
            heights = [_height(trial.params.get(name), spans[name]) for name in names]
            chosen, good = trial.number == winner, rank >= 0.75 * len(order)
            [line] = axes.plot(
                range(len(names)),
                heights,
                color=WARM if chosen else MAIN if good else FAINT,
                alpha=1.0 if chosen else 0.55 if good else 0.35,
                linewidth=2 if chosen else 0.9,
                zorder=4 if chosen else 3 if good else 2,
            )
            line.set_gid(f"line-{trial.number}")
            tips[f"line-{trial.number}"] = f"trial {trial.number}: {trial.value:.2f} %"
        labels = [f"{name}\n{_format(spans[name][0])} to {_format(spans[name][1])}" for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=6.5)
        axes.set_yticks([0, 1], ["low", "high"])
        axes.grid(visible=False, axis="y")
        for colour, words in ((WARM, "the winner"), (MAIN, "best quarter"), (FAINT, "others")):
            axes.plot([], [], color=colour, label=words)
        figure.legend(loc="outside upper right", ncols=3)
    return Drawing(
        name="parallel",
        figure=figure,
        label="The parameters of every complete trial.",
        caption="A line is a complete trial. Where those of the best quarter meet, a parameter matters.",
        tips=tips,
    )


def _span(values: Sequence[Any]) -> tuple[float, float]:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return (min(numbers), max(numbers)) if numbers else (0.0, 0.0)


def _height(value: Any, span: tuple[float, float]) -> float:
    """From 0 to 1; on a logarithmic scale where a range spans more than a factor of five."""
    low, high = span
    if not isinstance(value, int | float) or low == high:
        return 0.5
    if low > 0 and high / low > 5:
        return math.log(float(value) / low) / math.log(high / low)
    return (float(value) - low) / (high - low)


def _format(value: float) -> str:
    return f"{value:.2g}"


def draw_sizes(trials: Sequence[ShownTrial], winner: int | None) -> Drawing:
    """Accuracy against parameters, of complete trials."""
    with style():
        figure, axes = _axes(2.6)
        tips, found = {}, []
        for trial in trials:
            if trial.state != "complete" or trial.value is None or trial.num_params is None:
                continue
            found.append(_error(trial.value))
            colour = WARM if trial.number == winner else MAIN
            [dot] = axes.plot([trial.num_params], [_error(trial.value)], "o", color=colour, alpha=0.7, markersize=4)
            dot.set_gid(f"size-{trial.number}")
            tips[f"size-{trial.number}"] = f"trial {trial.number}: {trial.num_params:,} parameters, {trial.value:.2f} %"
        _error_axis(axes, "error on validation", found)
        axes.set_xlabel("parameters")
    return Drawing(
        name="sizes",
        figure=figure,
        label="The error of complete trials against their parameters.",
        caption="Every network is the largest of its shape within the budget, so sizes differ little.",
        tips=tips,
    )


def draw_reranking(reranking: Reranking) -> Drawing:
    """The leading trials as they were searched, and their further runs."""
    with style():
        rows = reranking.standings[::-1]  # the first on top
        figure, axes = _axes(0.9 + 0.24 * len(rows))
        tips = {}
        for place, row in enumerate(rows):
            colour = WARM if row.number == reranking.winner else MAIN
            [searched] = axes.plot([row.searched_val_accuracy], [place], "o", color=FAINT, fillstyle="none")
            axes.plot(row.val_accuracies, [place] * len(row.val_accuracies), "o", color=colour, alpha=0.6, markersize=4)
            axes.plot([row.mean], [place], "|", color=colour, markersize=14, mew=2)
            searched.set_gid(f"searched-{row.number}")
            tips[f"searched-{row.number}"] = f"trial {row.number} as it was searched: {row.searched_val_accuracy:.2f} %"
        axes.set_yticks(range(len(rows)), [f"trial {row.number}" for row in rows])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlabel("accuracy on validation (%)")
    return Drawing(
        name="reranking",
        figure=figure,
        label="The leading trials: their searched runs and further ones.",
        caption="Hollow: the run that made a trial lead. Filled: further runs, with their mean, which decide.",
        tips=tips,
    )


def draw_ladder(ladder: Ladder) -> Drawing:
    """The test error of every rung, with a point per seed."""
    has_by_hand = any(rung.by_hand for rung in ladder.rungs)
    with style():
        rungs = ladder.rungs[::-1]  # the first on top
        figure, axes = _axes(0.9 + 0.28 * len(rungs))
        tips = {}
        for place, rung in enumerate(rungs):
            for index, accuracy in enumerate(rung.test.accuracies):
                [dot] = axes.plot([_error(accuracy)], [place], "o", color=MAIN, alpha=0.6, markersize=5)
                dot.set_gid(f"rung-{place}-{index}")
                tips[f"rung-{place}-{index}"] = f"{rung.rung}: {accuracy:.2f} %"
            if rung.test.mean is not None:
                axes.plot([_error(rung.test.mean)], [place], "|", color=INK, markersize=14)
            if rung.by_hand:
                axes.plot([_error(rung.by_hand.test)], [place], "x", color=BAD)
        axes.set_yticks(range(len(rungs)), [rung.rung for rung in rungs])
        axes.set_xscale("log")
        ticks = _error_ticks(*axes.get_xlim())
        axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
        axes.minorticks_off()
        by_hand = "; cross: by hand, best epoch of one run" if has_by_hand else ""
        axes.set_xlabel(f"error on the test digits (dot: each seed; bar: mean{by_hand})")
    return Drawing(
        name="ladder",
        figure=figure,
        label="The test error with some of the recipe's methods alone.",
        caption="One method added after the other, and each left out alone. Nothing is picked by these figures.",
        tips=tips,
    )


def draw_confusion(answers: Answers) -> Drawing:
    """Which digits are taken for which, over all seeds."""
    with style():
        figure, axes = _axes(4.0)
        confusion = answers.confusion
        wrong = {
            (label, answer): count
            for label, row in enumerate(confusion)
            for answer, count in enumerate(row)
            if label != answer and count
        }
        most = max(wrong.values(), default=1)
        for (label, answer), count in wrong.items():
            axes.add_patch(
                Rectangle(
                    (answer - 0.5, label - 0.5), 1, 1, facecolor=BAD, alpha=0.08 + 0.6 * count / most, linewidth=0
                )
            )
            axes.text(answer, label, str(count), ha="center", va="center", fontsize=7)
        for label in range(len(confusion)):
            axes.text(label, label, "·", ha="center", va="center", color=FAINT)
        axes.set_xlim(-0.5, 9.5)
        axes.set_ylim(9.5, -0.5)
        axes.set_xticks(range(10))
        axes.set_yticks(range(10))
        axes.set_xlabel("answer")
        axes.set_ylabel("label")
        axes.set_aspect("equal")
        axes.grid(color=GRID, linewidth=0.5)
    return Drawing(
        name="confusion",
        figure=figure,
        label="How often each digit was taken for each other one.",
        caption=f"Wrong answers of {plural(len(answers.seeds), 'network')} together; the right ones are left out.",
    )


def draw_calibration(answers: Answers) -> Drawing:
    """The share of wrong answers against the doubt that the networks had."""
    with style():
        figure, axes = _axes(3.2)
        tips = {}
        bins = [each for each in answers.bins if each.num]
        for index, each in enumerate(bins):
            doubt = max(1 - each.probability, 1e-4)
            wrong = 1 - each.num_right / each.num
            [dot] = axes.plot(
                [100 * doubt], [100 * max(wrong, 1e-4)], "o", color=MAIN, markersize=3 + 1.5 * math.log10(each.num)
            )
            dot.set_gid(f"bin-{index}")
            tips[f"bin-{index}"] = f"{each.num:,} answers: {doubt:.2%} doubt, {wrong:.2%} wrong"
        axes.plot([0.01, 100], [0.01, 100], color=FAINT, linewidth=1, label="as often wrong as doubted")
        axes.set_xscale("log")
        axes.set_yscale("log")
        for set_ticks in (axes.set_xticks, axes.set_yticks):
            set_ticks([0.01, 0.1, 1, 10, 100], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
        axes.minorticks_off()
        axes.set_xlabel("doubt: 100 % less the answer's probability")
        axes.set_ylabel("answers that are wrong")
        axes.legend(loc="upper left")
    error = answers.calibration_error
    return Drawing(
        name="calibration",
        figure=figure,
        label="How often answers are wrong, by how sure the networks were.",
        caption="A dot is a group of answers about as sure as each other. Above the line, networks are too sure. "
        + (f"Calibration error: {error:.2%}." if error is not None else ""),
        tips=tips,
    )


STATE_COLOURS = {"complete": MAIN, "pruned": FAINT, "failed": BAD, "interrupted": WARM, "running": GOOD}


def draw_timeline(trials: Sequence[ShownTrial]) -> Drawing:
    """When which worker trained which trial; pauses between commands are cut out."""
    spans = [(trial, trial.start, trial.end) for trial in trials if trial.start is not None and trial.end is not None]
    with style():
        workers = list(dict.fromkeys(trial.worker for trial, _, _ in sorted(spans, key=lambda span: span[1])))
        figure, axes = _axes(0.9 + 0.22 * max(1, min(len(workers), 20)))
        clock = _WorkingTime([(start, end) for _, start, end in spans])
        tips = {}
        for trial, start, end in spans:
            left, right = clock(start), clock(end)
            box = Rectangle(
                (left, workers.index(trial.worker) - 0.4),
                max(right - left, 0.01),
                0.8,
                facecolor=STATE_COLOURS[trial.state],
                alpha=0.75,
                linewidth=0,
            )
            box.set_gid(f"span-{trial.number}")
            axes.add_patch(box)
            tips[f"span-{trial.number}"] = f"trial {trial.number}, {trial.state}: {(end - start).total_seconds():.0f} s"
        axes.set_xlim(0, max(clock.total, 0.1))
        axes.set_ylim(-0.6, max(len(workers), 1) - 0.4)
        axes.invert_yaxis()
        axes.set_yticks([])
        axes.set_ylabel(plural(len(workers), "worker"))
        axes.set_xlabel("minutes at work")
        for state in dict.fromkeys(trial.state for trial, _, _ in spans):
            axes.plot([], [], "s", color=STATE_COLOURS[state], label=state)
        figure.legend(loc="outside upper right", ncols=5)
    return Drawing(
        name="timeline",
        figure=figure,
        label=f"When {plural(len(workers), 'worker')} trained {plural(len(spans), 'trial')}.",
        caption="A row is a process, a box a trial. Pauses between commands are cut out.",
        tips=tips,
    )


class _WorkingTime:
    """Minutes in which at least one trial was running, up to a moment."""

    def __init__(self, spans: Sequence[tuple[datetime, datetime]]) -> None:
        self._busy: list[tuple[datetime, datetime]] = []
        for start, end in sorted(spans):
            if self._busy and start <= self._busy[-1][1]:
                self._busy[-1] = (self._busy[-1][0], max(self._busy[-1][1], end))
            else:
                self._busy.append((start, end))

    def __call__(self, moment: datetime) -> float:
        seconds = sum((min(end, moment) - start).total_seconds() for start, end in self._busy if start <= moment)
        return seconds / 60

    @property
    def total(self) -> float:
        return self(self._busy[-1][1]) if self._busy else 0.0


def mean_length(trials: Sequence[ShownTrial]) -> float | None:
    """After how many epochs pruned trials ended, on average."""
    ended = [max(trial.curve) for trial in trials if trial.state == "pruned" and trial.curve]
    return mean(ended) if ended else None
