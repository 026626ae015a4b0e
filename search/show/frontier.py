"""A frontier for people: the claim in one sentence, a table, and a plot of every seed."""

import math
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ..proof.estimates import paired_margin, set_error
from ..proof.frontier import Frontier, FrontierPoint
from ..proof.parts import describe_environment, join_environments
from .published import PUBLISHED
from .words import escape_markdown, format_network, plural, signed

HEADINGS = (
    "Budget", "Params", "Network", "Trials", "Winner", "Seeds", "Min", "Mean", "One view", "Proves", "Held", "Earned",
)  # fmt: skip
# What a terminal without room for all goes without, first to last: a number cut short would be another number.
RARER = ("Trials", "Winner", "One view", "Proves", "Budget", "Network", "Seeds", "Held", "Earned")
LARGEST_WIDTH = 1_000  # that a table is measured at


def claim(frontier: Frontier) -> str:
    """What it has shown, in one sentence."""
    if not frontier.judged:
        return (
            f"NOT JUDGED: {frontier.target:.15g} % is a claim about a complete set of test images, not about the "
            f"{frontier.dataset}."
        )
    if not any(point.was_tested for point in frontier.points):
        searched = sum(point.trial is not None for point in frontier.points)
        return f"No network was put to the test yet; {searched} of {plural(len(frontier.points), 'budget')} searched."
    if frontier.smallest_held is None:
        whole = all(point.errors and not point.num_unmeasured for point in frontier.points)
        return f"No network of which every seed reaches {frontier.target:.15g} % was found{'' if whole else ' so far'}."
    point = _smallest_held(frontier)
    late = ", at a budget that was added when others had been tested" if point.tested_before else ""
    others = {each.trial for each in point.others} | {look.trial for look in point.other_looks}
    again = f", after {plural(len(others), 'other trial')} of its search had been tested" if others else ""
    n = len(point.errors)
    seeds = f"every one of {n} seeds" if n > 1 else "the one seed"
    return (
        f"The smallest network of which {seeds} reaches {frontier.target:.15g} % has "
        f"{frontier.smallest_held:,} parameters{late}{again}."
    )


def _smallest_held(frontier: Frontier) -> FrontierPoint:
    """Of several of that size, the one of which the least is known."""
    held = [each for each in frontier.points if frontier.is_held(each) and each.num_params == frontier.smallest_held]
    return min(held, key=lambda point: len(point.errors))


def rows(frontier: Frontier) -> list[tuple[str, ...]]:
    """The headings, and a row per budget."""
    return [HEADINGS, *(_row(point, frontier) for point in frontier.points)]


def _row(point: FrontierPoint, frontier: Frontier) -> tuple[str, ...]:
    if point.num_params is None:
        state = "not begun" if point.study_name is None else f"not settled ({plural(point.num_trials, 'trial')})"
        return (f"{point.max_params:,}", "", state, *[""] * (len(HEADINGS) - 3))
    n = len(point.errors)
    measured = f"{n} of {n + point.num_unmeasured}" if point.num_unmeasured else str(n)
    share = frontier.pass_share_lower(point)
    return (
        f"{point.max_params:,}",
        f"{point.num_params:,}",
        format_network(point),
        str(point.num_trials),
        str(point.trial),
        measured if n else "",
        f"{point.min:.2f}" if point.min is not None else "",
        _mean(point),
        f"{point.mean_one_view:.3f}" if point.mean_one_view is not None else "",
        f"{math.floor(1000 * share) / 10} %" if share is not None else "",
        _held(point, frontier),
        _earned(point),
    )


def _held(point: FrontierPoint, frontier: Frontier) -> str:
    if not point.errors or not frontier.judged:
        return ""
    if frontier.is_held(point):
        return "yes"
    return "so far" if frontier.may_hold(point) else "no"


def _mean(point: FrontierPoint) -> str:
    if point.mean is None:
        return ""
    margin = paired_margin(point.test_accuracies)  # not cut off at 100 %, as the interval itself is
    return f"{point.mean:.3f}" + (f" ± {margin:.3f}" if margin is not None else "")


def _earned(point: FrontierPoint) -> str:
    if point.earned is None:
        return ""
    if point.earned.first == point.trial:
        return "first trial"
    margin = f" ± {point.earned.margin:.3f}" if point.earned.margin is not None else ""
    return f"{signed(point.earned.mean)}{margin}"


def earned(frontier: Frontier) -> str:
    """What the searches have earned, in one sentence; empty where that was not measured."""
    measured = [point for point in frontier.points if point.earned is not None]
    if all(point.earned is None or point.earned.first == point.trial for point in measured):
        return ""
    told = [
        f"{_earned(point)} points at {point.max_params:,}"
        if point.earned is not None and point.earned.first != point.trial
        else f"nothing at {point.max_params:,}, where that network has won"
        for point in measured
    ]
    return f"What the search earned over the network that it tries first, on validation: {', '.join(told)}."


def notes(frontier: Frontier) -> list[str]:
    """What the table rests on, and how far it carries, one sentence each."""
    tested = [point.tested for point in frontier.points if point.tested is not None and point.tested.seeds]
    budgets = plural(sum(point.was_tested for point in frontier.points), "budget")
    if not any(point.trial is not None for point in frontier.points):
        return [
            *_late(frontier),
            *_others(frontier),
            f"Search space {frontier.space}, recipe {frontier.recipe}.",
            *_published(frontier),
        ]
    lines = [
        f"Accuracies in % on the test images of {frontier.dataset}, epochs: {frontier.epochs}. Trials: "
        "how many the search has completed or pruned. Winner: the number of its trial; interrupted ones have numbers, "
        "too.",
        *_measured(frontier, num_tested=len(tested)),
        f"{budgets} put to the test, of {len(frontier.points)} that were ever asked for; all are shown, whatever came "
        "of them.",
        *_late(frontier),
        *_others(frontier),
        "Earned: by how many points the winner is better than the study's first trial on validation, with the 95 % "
        'interval, over pairs of runs that chose neither; empty where that was not measured; "first trial" where that '
        "has won.",
    ]
    if tested:
        lines.append(f"Trained on {describe_environment(join_environments(each.environment for each in tested))}.")
    return [*lines, f"Search space {frontier.space}, recipe {frontier.recipe}.", *_published(frontier)]


def _measured(frontier: Frontier, *, num_tested: int) -> list[str]:
    """What the columns say that are empty until something is measured."""
    if not num_tested:
        return []
    return [
        "Seeds: of the winner, all that were measured, by whichever command.",
        "Mean: with its 95 % interval, which covers seeds on this test set; the set's own size adds up to "
        f"±{_set_error(frontier):.2f} points. One view: the mean by the central view alone.",
        f"Held: whether every planned seed reaches {frontier.target:.15g} %, or a higher target, if one was ever asked "
        "for. "
        "Proves: that, at 95 % confidence, at least so many of all seeds do.",
    ]


def _set_error(frontier: Frontier) -> float:
    """Of the accuracy for which it is largest, at 95 % confidence; in points."""
    found = [
        set_error(point.mean, point.tested.num_images)
        for point in frontier.points
        if point.tested is not None and point.mean is not None
    ]
    return max(found, default=0.0)


def _late(frontier: Frontier) -> list[str]:
    late = [
        f"{point.max_params:,} (after {plural(point.tested_before, 'other')})"
        for point in frontier.points
        if point.tested_before
    ]
    if not late:
        return []
    return [
        f"Asked for when other budgets had been put to the test: {', '.join(late)}. What those showed may have had a "
        "part in the choice."
    ]


def _others(frontier: Frontier) -> list[str]:
    """Other trials of the searches: each was an attempt."""
    told = [
        f"trial {each.trial} at {point.max_params:,} "
        + (f"(minimum {each.min:.2f} %, mean {each.mean:.3f} %)" if each.min is not None else "(nothing measured)")
        for point in frontier.points
        for each in point.others
    ]
    looks = [
        f"trial {look.trial} at {point.max_params:,} ({look.num_runs})"
        for point in frontier.points
        for look in point.other_looks
    ]
    return [
        *([f"Other trials of these searches were put to the test: {', '.join(told)}."] if told else []),
        *([f"Test accuracies of other trials were shown by ladders (so many): {', '.join(looks)}."] if looks else []),
    ]


def _published(frontier: Frontier) -> list[str]:
    nets = PUBLISHED.get(frontier.dataset, ())
    if not nets:
        return []
    named = "; ".join(
        f"{each.num_params:,} at {each.accuracy:.2f} % ({each.source}{f', {each.note}' if each.note else ''})"
        for each in nets
    )
    return [
        "Published networks are of one seed each, and were mostly chosen by their results on the test images: a single "
        f"one is no match for a minimum over seeds. They are: {named}."
    ]


def to_markdown(frontier: Frontier) -> str:
    headings, *points = ["| " + " | ".join(row) + " |" for row in rows(frontier)]
    table = [headings, "|---|" + "---|" * (len(HEADINGS) - 1), *points]
    parts = [f"# {escape_markdown(claim(frontier))}", "\n".join(table), *map(escape_markdown, notes(frontier))]
    return "\n\n".join(parts) + "\n"


def frontier_report(frontier: Frontier) -> RenderableType:
    """The table, what it rests on, and the claim."""
    style = "bold green" if frontier.smallest_held is not None else "bold yellow"
    return Group(FrontierTable(frontier), *map(Text, notes(frontier)), Text(claim(frontier), style=style))


class FrontierTable:
    """The table with as many columns as the terminal has room for."""

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        headings, *points = rows(self._frontier)
        told = [name for place, name in enumerate(headings) if any(point[place] for point in points)]
        unbounded, left_out = options.update(max_width=LARGEST_WIDTH), []
        for name in filter(told.__contains__, RARER):
            if console.measure(self._table(told), options=unbounded).minimum <= options.max_width:
                break
            told.remove(name)
            left_out.append(name)
        yield self._table(told)
        if left_out:
            yield Text(f"Also in frontier.md: {', '.join(left_out)}.")

    def _table(self, told: Sequence[str]) -> Table:
        table = Table(title=Text("Accuracy against parameters"), title_justify="left", box=None, padding=(0, 2, 0, 0))
        headings, *points = rows(self._frontier)
        columns = [[row[headings.index(heading)] for row in (headings, *points)] for heading in told]
        for heading, column in zip(told, columns, strict=True):
            if heading == "Network":
                table.add_column(heading, min_width=16)
            else:
                table.add_column(heading, justify="right", no_wrap=True, min_width=max(map(len, column)))
        for place, point in enumerate(self._frontier.points, start=1):
            style = "green" if self._frontier.is_held(point) else None
            table.add_row(*(Text(column[place]) for column in columns), style=style)
        return table


def plot(frontier: Frontier) -> bytes:
    """Accuracy against parameters as PNG: every seed a dot, the means, the target, and published nets beside them."""
    from .page.proof_figures import draw_frontier  # loads matplotlib
    from .page.svg import to_png

    return to_png(draw_frontier(frontier).figure, title=claim(frontier))
