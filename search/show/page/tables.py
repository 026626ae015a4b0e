"""Tables behind the figures: the same numbers for who does not see them, or wants to read them off."""

from collections.abc import Sequence

from ...proof.answers import Answers
from ...proof.summaries import Reranking
from ..words import format_seconds, plural
from .blocks import Table
from .facts import PageFacts, ShownTrial, names_of

MOST_DRAWN = 400  # trials: a page stays below two megabytes, and a figure can be read


def drawn_trials(facts: PageFacts) -> tuple[ShownTrial, ...]:
    """The trials that figures and tables show: all, or where there are too many the ones that matter most."""
    if len(facts.trials) <= MOST_DRAWN:
        return facts.trials
    winner = facts.summary.winner.number if facts.summary.winner is not None else None
    led, best = [], float("-inf")
    for trial in facts.trials:
        if trial.value is not None and trial.value > best:
            best = trial.value
            led.append(trial)
    leading = _order(facts.trials)[: MOST_DRAWN // 2]
    chosen: set[int] = set()
    for trial in (*leading, *led[-MOST_DRAWN // 4 :], *reversed(facts.trials)):
        if len(chosen) < MOST_DRAWN - 1:
            chosen.add(trial.number)
    return tuple(trial for trial in facts.trials if trial.number in chosen or trial.number == winner)


def _order(trials: Sequence[ShownTrial]) -> list[ShownTrial]:
    """The leading first; those without a value last."""
    return sorted(trials, key=lambda trial: (trial.value is None, -(trial.value or 0.0), trial.number))


def _place(trials: Sequence[ShownTrial], number: int | None) -> int | None:
    return next((place for place, trial in enumerate(trials) if trial.number == number), None)


def trials_table(trials: Sequence[ShownTrial], winner: int | None) -> Table:
    order = _order(trials)
    rows = tuple(
        (
            str(trial.number),
            trial.state + (f" ({trial.reason})" if trial.reason else ""),
            f"{trial.value:.2f}" if trial.value is not None else "",
            f"{trial.num_params:,}" if trial.num_params is not None else "",
            str(max(trial.curve, default=0)),
            f"{(trial.end - trial.start).total_seconds():.0f}" if trial.start and trial.end else "",
        )
        for trial in order
    )
    headings = ("Trial", "State", "Validation (%)", "Parameters", "Epochs", "Seconds")
    caption = plural(len(rows), "trial")
    return Table(caption=caption, headings=headings, rows=rows, marked=_place(order, winner), folded=True)


def workers_table(trials: Sequence[ShownTrial]) -> Table:
    """Who has done how much."""
    seconds: dict[str, list[float]] = {}
    for trial in trials:
        if trial.start is not None and trial.end is not None:
            seconds.setdefault(trial.worker, []).append((trial.end - trial.start).total_seconds())
    rows = tuple((worker, str(len(spent)), format_seconds(sum(spent))) for worker, spent in seconds.items())
    return Table(caption=plural(len(rows), "worker"), headings=("Worker", "Trials", "At work"), rows=rows, folded=True)


def parameters_table(complete: Sequence[ShownTrial], winner: int | None) -> Table:
    """What the lines of the parallel coordinates stand for."""
    order = _order(complete)
    names = names_of(order)
    rows = tuple(
        (str(trial.number), f"{trial.value:.2f}", *(_cell(trial.params.get(name)) for name in names)) for trial in order
    )
    return Table(
        caption=f"The parameters of {plural(len(rows), 'complete trial')}",
        headings=("Trial", "Validation (%)", *names),
        rows=rows,
        marked=_place(order, winner),
        folded=True,
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value if value is not None else "")


def reranking_table(reranking: Reranking) -> Table:
    rows = tuple(
        (
            str(row.number),
            f"{row.searched_val_accuracy:.2f}",
            ", ".join(f"{each:.2f}" for each in row.val_accuracies),
            f"{row.mean:.3f}",
        )
        for row in reranking.standings
    )
    return Table(
        caption="The re-ranking",
        headings=("Trial", "As searched (%)", "Further runs (%)", "Their mean (%)"),
        rows=rows,
        marked=next((place for place, row in enumerate(reranking.standings) if row.number == reranking.winner), None),
        folded=True,
    )


def confusion_table(answers: Answers, classes: Sequence[str]) -> Table:
    wrong = [
        (count, label, answer)
        for label, row in enumerate(answers.confusion)
        for answer, count in enumerate(row)
        if label != answer and count
    ]
    rows = tuple((classes[label], classes[answer], str(count)) for count, label, answer in sorted(wrong, reverse=True))
    return Table(caption="Wrong answers", headings=("Label", "Taken for", "Times"), rows=rows, folded=True)


def calibration_table(answers: Answers) -> Table:
    rows = tuple(
        (f"{each.probability:.2%}", f"{each.num_right / each.num:.2%}", f"{each.num:,}")
        for each in answers.bins
        if each.num
    )
    headings = ("The answers' probability", "Are right", "Answers")
    return Table(caption="Calibration", headings=headings, rows=rows, folded=True)
