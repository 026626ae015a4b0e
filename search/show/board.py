"""What the dashboard tells of a study beside its own pages: notes, and figures that can be pointed at."""

import re
from typing import Any

from ..proof.evidence import Proof
from ..proof.frontier import Frontier
from .notes import describe_objective
from .page.facts import PageFacts, ShownTrial
from .page.headline import headline, next_steps, to_search
from .study import describe_leader
from .words import escape_markdown

MAIN, GOOD, BAD, WARM = "#2a66c8", "#1c7c45", "#c0392b", "#c96f12"  # legible by day and by night

PLOTS = ("accuracy-against-parameters", "seeds-against-target", "frontier")  # their identifiers in the dashboard


def tell_story(facts: PageFacts, page: str) -> str:
    """The note that a search opens with: what it is, where it stands, who has won, and what to do next.

    Args:
        page: Where the report is.
    """
    settings = facts.summary.settings
    winner, best = facts.summary.winner, facts.summary.best
    paragraphs = [
        f"**{escape_markdown(headline(facts))}**",
        describe_objective(facts.summary.dataset, settings.max_params, settings.epochs),
        *map(escape_markdown, describe_leader(facts.summary)),
    ]
    if winner is not None and best is not None and winner.number != best.number and not to_search(facts):
        tied = facts.summary.reranking.tied if facts.summary.reranking is not None else ()
        why = "only ties with it" if best.number in tied else "owes more to luck"
        paragraphs.append(
            f"So the winner is trial {winner.number}, and **not** trial {best.number}, the *best trial* of this page, "
            f"which {why}."
        )
    paragraphs += [f"{words}: {_code(command)}" for words, command in next_steps(facts)]
    paragraphs.append(f"The whole report: {_code(page)}.")
    return "\n\n".join(paragraphs)


def _code(text: str) -> str:
    """As it is, whatever it holds: fenced by more backticks than it has in a row."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"


def plots(facts: PageFacts) -> dict[str, Any]:
    """Plotly's figures, by the identifier that they have in the dashboard."""
    winner = facts.summary.winner.number if facts.summary.winner is not None else None
    found = {}
    complete = [each for each in facts.trials if each.value is not None and each.num_params is not None]
    if complete:
        found[PLOTS[0]] = _plot_sizes(complete, winner)
    if facts.proof is not None:
        found[PLOTS[1]] = _plot_seeds(facts.proof)
    if facts.frontier is not None and any(point.errors for point in facts.frontier.points):
        found[PLOTS[2]] = _plot_frontier(facts.frontier)
    return found


def no_longer() -> Any:
    """In place of a figure that was true of an earlier winner."""
    return _figure("No longer holds: another trial has won since", "", "")


def _figure(title: str, x: str, y: str) -> Any:
    from plotly import graph_objects

    figure = graph_objects.Figure()
    figure.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="none")
    return figure


def _plot_sizes(trials: list[ShownTrial], winner: int | None) -> Any:
    figure = _figure("Accuracy against parameters", "parameters", "accuracy on validation (%)")
    for name, colour, chosen in (("complete trials", MAIN, False), ("the winner", WARM, True)):
        shown = [each for each in trials if (each.number == winner) == chosen]
        figure.add_scatter(
            x=[each.num_params for each in shown],
            y=[each.value for each in shown],
            text=[f"trial {each.number}" for each in shown],
            mode="markers",
            name=name,
            marker={"color": colour, "size": 12 if chosen else 7},
        )
    return figure


def _plot_seeds(proof: Proof) -> Any:
    figure = _figure(f"Every seed of trial {proof.trial}", "seed, in order", "accuracy on the test images (%)")
    figure.add_scatter(
        x=list(range(1, len(proof.seeds) + 1)),
        y=[row.test_accuracy for row in proof.seeds],
        text=[f"seed {row.seed}: {row.errors} errors" for row in proof.seeds],
        mode="markers",
        name="seeds",
        marker={"color": [BAD if proof.judged and row.errors > proof.max_errors else MAIN for row in proof.seeds]},
    )
    if proof.judged:
        figure.add_hline(y=proof.target, line_color=GOOD, annotation_text=f"target {proof.target:.15g} %")
    return figure


def _plot_frontier(frontier: Frontier) -> Any:
    figure = _figure("Accuracy against parameters, every seed", "parameters", "accuracy on the test images (%)")
    dots = [(point.num_params, each) for point in frontier.points for each in point.test_accuracies]
    figure.add_scatter(
        x=[size for size, _ in dots], y=[each for _, each in dots], mode="markers", name="seeds", marker={"color": MAIN}
    )
    means = [(point.num_params, point.mean) for point in frontier.points if point.mean is not None]
    figure.add_scatter(
        x=[size for size, _ in means], y=[each for _, each in means], mode="lines", name="mean", line={"color": MAIN}
    )
    if frontier.judged:
        figure.add_hline(y=frontier.target, line_color=GOOD, annotation_text=f"target {frontier.target:.15g} %")
    return figure
