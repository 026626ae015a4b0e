"""The figure of who trained when."""

from collections.abc import Sequence
from datetime import datetime

from matplotlib.patches import Rectangle

from ..words import plural
from .facts import ShownTrial
from .sketch import Drawing, Sketch
from .svg import BAD, FAINT, GOOD, MAIN, WARM, style

STATE_COLOURS = {"complete": MAIN, "pruned": FAINT, "failed": BAD, "interrupted": WARM, "running": GOOD}
HATCHES = {"failed": "xxxx", "interrupted": "////", "running": "...."}  # not everybody tells their colours apart


def draw_timeline(trials: Sequence[ShownTrial], drawn: Sequence[ShownTrial]) -> Drawing:
    """When which worker trained which trial; pauses between commands are cut out.

    Args:
        drawn: Those of the trials that get a box.
    """
    spans = [(trial, trial.start, trial.end) for trial in drawn if trial.start is not None and trial.end is not None]
    with style():
        workers = list(dict.fromkeys(trial.worker for trial, _, _ in sorted(spans, key=lambda span: span[1])))
        sketch = Sketch(0.9 + 0.22 * max(1, min(len(workers), 20)))
        axes = sketch.axes
        clock = _WorkingTime([(trial.start, trial.end) for trial in trials if trial.start and trial.end])
        for trial, start, end in spans:
            left, right = clock(start), clock(end)
            box = Rectangle(
                (left, workers.index(trial.worker) - 0.4),
                max(right - left, 0.01),
                0.8,
                facecolor=STATE_COLOURS[trial.state],
                hatch=HATCHES.get(trial.state),
                alpha=0.75,
                linewidth=0,
            )
            sketch.tell(
                axes.add_patch(box),
                f"span-{trial.number}",
                f"trial {trial.number}, {trial.state}: {(end - start).total_seconds():.0f} s, {trial.worker}",
            )
        axes.set_xlim(0, max(clock.total, 0.1))
        axes.set_ylim(-0.6, max(len(workers), 1) - 0.4)
        axes.invert_yaxis()
        axes.set_yticks([])
        axes.set_ylabel(plural(len(workers), "worker"))
        axes.set_xlabel("minutes at work")
        for state in dict.fromkeys(trial.state for trial, _, _ in spans):
            hatch = HATCHES.get(state)
            axes.add_patch(Rectangle((0, 0), 0, 0, facecolor=STATE_COLOURS[state], hatch=hatch, lw=0, label=state))
        sketch.figure.legend(loc="outside upper right", ncols=5)
    return sketch.drawing(
        "timeline",
        label=f"When {plural(len(workers), 'worker')} trained {plural(len(spans), 'trial')}.",
        caption="A row is a process, a box a trial. Pauses between commands are cut out.",
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
