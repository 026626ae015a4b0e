"""Figures of what was proved: seeds, the frontier, the network, the ladder, and single answers."""

import math
from collections import Counter
from collections.abc import Sequence

from matplotlib.patches import Rectangle

from ...proof.answers import Answers
from ...proof.evidence import Proof
from ...proof.frontier import Frontier
from ...proof.ladder import Ladder
from ..published import PUBLISHED
from ..words import describe_seeds, plural
from .layers import Layer
from .sketch import Drawing, Sketch, error_of, error_ticks
from .svg import BAD, FAINT, GOOD, GRID, INK, MAIN, style

ONE_SEED = "published, one seed each, mostly the best of several"


def draw_seeds(proof: Proof) -> Drawing:
    """Every seed as a dot, stacked where they have as many errors, against the target."""
    with style():
        counts: Counter[int] = Counter()
        highest = max(Counter(row.errors for row in proof.seeds).values())
        sketch = Sketch(1.5 + 0.16 * min(highest, 12))
        axes = sketch.axes
        for row in proof.seeds:
            counts[row.errors] += 1
            missed = row.errors > proof.max_errors
            colour = BAD if missed and proof.judged else MAIN
            [dot] = axes.plot([row.test_accuracy], [counts[row.errors]], "o", color=colour, alpha=0.9, markersize=6)
            words = f"{row.test_accuracy:.2f} %, {plural(row.errors, 'error')}; {row.errors_one_view} by one view"
            sketch.tell(dot, f"seed-{row.seed}", f"seed {row.seed}: {words}")
        axes.axvline(proof.mean, color=INK, linewidth=1, linestyle=":", zorder=1, label=f"mean {proof.mean:.3f} %")
        if proof.judged:
            axes.axvline(proof.target, color=GOOD, linewidth=1.5, zorder=1, label=f"target {proof.target:.15g} %")
        lost = [row for row in proof.seeds if row.errors == proof.num_images]  # as a run that diverges is
        lost = lost if len(lost) < len(proof.seeds) else []
        if lost:  # the others would be a single spot
            others = [row.test_accuracy for row in proof.seeds if row not in lost]
            axes.set_xlim(*_around([*others, proof.target] if proof.judged else others))
        axes.set_ylim(0, highest + 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"accuracy on the {proof.num_images:,} test images (%)")
        sketch.figure.legend(loc="outside upper right", ncols=2)
    return sketch.drawing(
        "seeds",
        label=f"{len(proof.seeds)} seeds: test accuracies from {proof.min:.2f} %, mean {proof.mean:.3f} %.",
        caption="Each dot is a network, trained anew from another seed. Dots of equal accuracy are stacked."
        + (f" Not in the picture: {describe_seeds(row.seed for row in lost)}, wrong on every image." if lost else ""),
    )


def _around(accuracies: Sequence[float]) -> tuple[float, float]:
    """A range that shows these, in percent."""
    low, high = min(accuracies), max(accuracies)
    margin = max(0.02, 0.1 * (high - low))
    return low - margin, high + margin


def draw_frontier(frontier: Frontier) -> Drawing:
    """Accuracy against parameters: every seed a dot, the means, the target, and published nets beside them."""
    with style():
        sketch = Sketch(3.6)
        axes = sketch.axes
        found = [accuracy for point in frontier.points for accuracy in point.test_accuracies]
        lost = found.count(0.0) if any(found) else 0  # of runs that diverged
        for point in frontier.points:
            for index, accuracy in enumerate(point.test_accuracies):
                [dot] = axes.plot([point.num_params or 0], [accuracy], "o", color=MAIN, alpha=0.4, markersize=4, mew=0)
                gid = f"budget-{point.max_params}-{index}"
                sketch.tell(dot, gid, f"{point.num_params:,} parameters: {accuracy:.2f} %")
        means = [(each.num_params, each.mean) for each in frontier.points if each.num_params and each.mean is not None]
        if means:
            axes.plot(*zip(*means, strict=True), "-", color=MAIN, zorder=1, label="mean over seeds (dots: each)")
        if frontier.judged:
            axes.axhline(frontier.target, color=GOOD, linewidth=1.5, zorder=1, label=f"target {frontier.target:.15g} %")
        for place, each in enumerate(PUBLISHED.get(frontier.dataset, ())):
            [cross] = axes.plot([each.num_params], [each.accuracy], "x", color=BAD, label="" if place else ONE_SEED)
            told = f"{each.name}: {each.num_params:,} parameters, {each.accuracy:.2f} %, one seed"
            sketch.tell(cross, f"published-{place}", told)
        if lost:
            published = [each.accuracy for each in PUBLISHED.get(frontier.dataset, ())]
            axes.set_ylim(*_around([*filter(None, found), *published, frontier.target]))
        axes.set_xlabel("parameters")
        axes.set_ylabel("accuracy on the test images (%)")
        axes.set_xlim(left=0)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right")
    return sketch.drawing(
        "frontier",
        label="Test accuracy against the number of parameters, for each budget.",
        caption="A search and a proof at each budget. Each dot is a network, trained anew from another seed."
        + (f" Not in the picture: {plural(lost, 'seed')} wrong on every image." if lost else ""),
    )


def draw_network(layers: Sequence[Layer]) -> Drawing:
    """What every layer gives, as a box: as wide as it has channels, as high as its images are."""
    with style():
        sketch = Sketch(2.2)
        axes = sketch.axes
        place, ticks = 0.0, []
        for index, layer in enumerate(layers):
            width = max(2.0, layer.channels**0.5 * 2)
            box = Rectangle((place, -layer.side / 2), width, layer.side, facecolor=MAIN, alpha=0.35, edgecolor=MAIN)
            sketch.tell(
                axes.add_patch(box),
                f"layer-{index}",
                (
                    f"{layer.name}: {layer.channels} channels of {layer.side} x {layer.side}, {layer.num_params:,} "
                    f"parameters, {layer.multiply_adds:,} multiply-adds"
                ),
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
    return sketch.drawing(
        "network",
        label=f"The network: {len(layers)} layers, {sum(layer.num_params for layer in layers):,} parameters.",
        caption="From left to right; a box is as high as its images, and the wider the more channels it has.",
    )


def draw_ladder(ladder: Ladder) -> Drawing:
    """The test error of every rung, with a point per seed."""
    has_by_hand = any(rung.by_hand for rung in ladder.rungs)
    with style():
        rungs = ladder.rungs[::-1]  # the first on top
        sketch = Sketch(0.9 + 0.28 * len(rungs))
        axes = sketch.axes
        for place, rung in enumerate(rungs):
            for index, accuracy in enumerate(rung.test.accuracies):
                [dot] = axes.plot([error_of(accuracy)], [place], "o", color=MAIN, alpha=0.6, markersize=5)
                sketch.tell(dot, f"rung-{place}-{index}", f"{rung.rung}: {accuracy:.2f} %")
            if rung.test.mean is not None:
                axes.plot([error_of(rung.test.mean)], [place], "|", color=INK, markersize=14)
            if rung.by_hand:
                axes.plot([error_of(rung.by_hand.test)], [place], "x", color=BAD)
        axes.set_yticks(range(len(rungs)), [rung.rung for rung in rungs])
        axes.set_ylim(-0.5, len(rungs) - 0.5)
        axes.set_xscale("log")
        ticks = error_ticks(*axes.get_xlim())
        axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
        axes.minorticks_off()
        by_hand = "; cross: by hand, best epoch of one run" if has_by_hand else ""
        axes.set_xlabel(f"error on the test images (dot: each seed; bar: mean{by_hand})")
    return sketch.drawing(
        "ladder",
        label="The test error with some of the recipe's methods alone.",
        caption="One method added after the other, and each left out alone. Nothing is picked by these figures.",
    )


def draw_confusion(answers: Answers, classes: Sequence[str]) -> Drawing:
    """Which images are taken for which, over all seeds."""
    with style():
        sketch = Sketch(4.0)
        axes = sketch.axes
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
        axes.set_xticks(range(10), classes, rotation=0 if max(map(len, classes)) < 3 else 45)
        axes.set_yticks(range(10), classes)
        axes.set_xlabel("answer")
        axes.set_ylabel("label")
        axes.set_aspect("equal")
        axes.grid(color=GRID, linewidth=0.5)
    return sketch.drawing(
        "confusion",
        label="How often each class was taken for each other one.",
        caption=f"Wrong answers of {plural(len(answers.seeds), 'network')} together; the right ones are left out.",
    )


def draw_calibration(answers: Answers) -> Drawing:
    """The share of wrong answers against the doubt that the networks had."""
    with style():
        sketch = Sketch(3.2)
        axes = sketch.axes
        bins = [each for each in answers.bins if each.num]
        for index, each in enumerate(bins):
            doubt, wrong = 1 - each.probability, 1 - each.num_right / each.num
            [dot] = axes.plot(
                [100 * max(doubt, 1e-4)],
                [100 * max(wrong, 1e-4)],
                "o",
                color=MAIN,
                fillstyle="full" if wrong else "none",
                markersize=3 + 1.5 * math.log10(each.num),
            )
            sketch.tell(dot, f"bin-{index}", f"{each.num:,} answers: {doubt:.2%} doubt, {wrong:.2%} wrong")
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
    return sketch.drawing(
        "calibration",
        label="How often answers are wrong, by how sure the networks were.",
        caption=(
            "A dot is a group of answers about as sure as each other. Above the line, networks are too sure; where it "
            "is hollow, no answer is wrong." + (f" Calibration error: {error:.2%}." if error is not None else "")
        ),
    )
