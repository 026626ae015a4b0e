"""A frontier for people: the claim in one sentence, a table, and a plot of every seed."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..proof.frontier import Frontier, FrontierPoint
from .words import escape_markdown, format_network

HEADINGS = ("Budget", "Params", "Network", "Trials", "Seeds", "Min", "Mean", "Std", "Held", "Earned")


def claim(frontier: Frontier) -> str:
    """What it has shown, in one sentence."""
    if not frontier.judged:
        return (
            f"NOT JUDGED: {frontier.target:.15g} % is a claim about a complete set of test images, not about the "
            f"{frontier.dataset}."
        )
    if frontier.smallest_held is None:
        return f"No network of which every seed reaches {frontier.target:.15g} % was found."
    sizes = [
        len(each.errors)
        for each in frontier.points
        if frontier.is_held(each) and each.num_params == frontier.smallest_held
    ]
    return (
        f"The smallest network of which every one of {min(sizes)} seeds reaches {frontier.target:.15g} % has "
        f"{frontier.smallest_held:,} parameters."
    )


def rows(frontier: Frontier) -> list[tuple[str, ...]]:
    """The headings, and a row per budget."""
    return [HEADINGS, *(_row(point, frontier) for point in frontier.points)]


def _row(point: FrontierPoint, frontier: Frontier) -> tuple[str, ...]:
    if point.num_params is None:
        state = "not begun" if point.study_name is None else "not settled"
        num_trials = str(point.num_trials) if point.study_name is not None else ""
        return (f"{point.max_params:,}", "", state, num_trials, *[""] * (len(HEADINGS) - 4))
    n = len(point.errors)
    measured = f"{n} of {point.num_planned}" if n < point.num_planned else str(n)
    accuracies = [f"{each:.{digits}f}" if each is not None else "" for each, digits in _figures(point)]
    held = ("yes" if frontier.is_held(point) else "no") if n and frontier.judged else ""
    return (
        f"{point.max_params:,}",
        f"{point.num_params:,}",
        format_network(point),
        str(point.num_trials),
        measured if n else "",
        *accuracies,
        held,
        _earned(point),
    )


def _figures(point: FrontierPoint) -> list[tuple[float | None, int]]:
    return [(point.min, 2), (point.mean, 3), (point.std, 3)]


def _earned(point: FrontierPoint) -> str:
    if point.earned is None:
        return ""
    margin = f" ± {point.earned.margin:.3f}" if point.earned.margin is not None else ""
    return f"{point.earned.mean:+.3f}{margin}"


def notes(frontier: Frontier) -> list[str]:
    """What the table rests on, one sentence each."""
    again = [f"{point.max_params:,} ({point.num_attempts})" for point in frontier.points if point.num_attempts > 1]
    return [
        f"Accuracies in % on the test images of {frontier.dataset}, epochs: {frontier.epochs}. Trials: of the search; "
        "Seeds: of its winner, all that were measured.",
        f"Held: whether every seed reaches {frontier.target:.15g} %, or what else a proof of it was asked for. All "
        "budgets that were ever asked for are shown.",
        f"More than one winner was put to the test at: {', '.join(again)}."
        if again
        else "At each budget one network was put to the test.",
        "Earned: by how many points the winner is better than the study's first trial on validation, with the 95 % "
        "interval, over pairs of runs that chose neither; empty where that was not measured, or the first trial won.",
        f"Made with commit {frontier.commit}.",
    ]


def to_markdown(frontier: Frontier) -> str:
    headings, *points = ["| " + " | ".join(row) + " |" for row in rows(frontier)]
    table = [headings, "|---|" + "---|" * (len(HEADINGS) - 1), *points]
    parts = [f"# {escape_markdown(claim(frontier))}", "\n".join(table), *map(escape_markdown, notes(frontier))]
    return "\n\n".join(parts) + "\n"


def frontier_report(frontier: Frontier) -> RenderableType:
    """The table, what it rests on, and the claim."""
    table = Table(title=Text("Accuracy against parameters"), title_justify="left", box=None, padding=(0, 2, 0, 0))
    headings, *points = rows(frontier)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "Network" else "right")
    for row, point in zip(points, frontier.points, strict=True):
        table.add_row(*row, style="green" if frontier.is_held(point) else None)
    style = "bold green" if frontier.smallest_held is not None else "bold yellow"
    return Group(table, *map(Text, notes(frontier)), Text(claim(frontier), style=style))


def plot(frontier: Frontier) -> bytes:
    """Accuracy against parameters as PNG: every seed a dot, the means, the target, and published nets beside them."""
    from .page.proof_figures import draw_frontier  # loads matplotlib
    from .page.svg import to_png

    return to_png(draw_frontier(frontier).figure, title=claim(frontier))
