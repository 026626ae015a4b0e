"""The ladder for people: a table, and a plot."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..proof.ladder import Ladder
from ..proof.parts import Spread, describe_environment
from .words import describe_seeds, escape_markdown

HEADINGS = ("Rung", "Params", "Train, 1 view", "Test, 1 view", "Test")
BY_HAND_HEADING = "By hand"


def format_spread(spread: Spread) -> str:
    """For example "99.48 +- 0.03"; empty where every run diverged."""
    if spread.mean is None:
        return ""
    margin = f" ± {spread.std:.2f}" if spread.std is not None else ""
    return f"{spread.mean:.2f}{margin}"


def rows(ladder: Ladder) -> list[tuple[str, ...]]:
    """The headings, and a row per rung: parameters, accuracies and, where it compares, those of the hand-made study."""
    by_hand = _has_by_hand(ladder)
    table: list[tuple[str, ...]] = [(*HEADINGS, BY_HAND_HEADING) if by_hand else HEADINGS]
    for rung in ladder.rungs:
        accuracies = [format_spread(part) for part in (rung.train_one_view, rung.test_one_view, rung.test)]
        if by_hand:
            accuracies.append(f"{rung.by_hand.train:.2f} / {rung.by_hand.test:.2f}" if rung.by_hand else "")
        table.append((rung.rung, f"{rung.num_params:,}", *accuracies))
    return table


def _has_by_hand(ladder: Ladder) -> bool:
    return any(rung.by_hand for rung in ladder.rungs)


def to_markdown(ladder: Ladder) -> str:
    headings, *rungs = ["| " + " | ".join(row) + " |" for row in rows(ladder)]
    lines = [headings, "|---|" + "---|" * (headings.count("|") - 2), *rungs]
    return "\n".join([*lines, "", *map(escape_markdown, notes(ladder))]) + "\n"


def notes(ladder: Ladder) -> list[str]:
    """What the table rests on, one sentence each."""
    seeds = ladder.seeds
    spread = "mean ± standard deviation" if len(seeds) > 1 else "one run each"
    lines = [
        f"{_origin(ladder)}, {describe_seeds(seeds)}; {spread}, after the last epoch.",
        "Accuracies in %. Test: by the mean of several views, as in a proof; one view is the central one. Train: on "
        "the training images as they are, without distortions.",
    ]
    if _has_by_hand(ladder):
        lines.append(
            "By hand: train / test of the hand-made study that this tool replaces: one run each, of another network "
            "of under 8,000 parameters, one view, the best epoch on the test images, train accuracy as it was trained."
        )
    lines.append(
        "'all' is the trial as it was found."
        if ladder.winner_has_dropout
        else f"The search chose no dropout: rungs with it use {ladder.dropout:g}, and the trial as it was found is "
        "'all but dropout'."
    )
    lines.append("All but augmentation is '+ dropout'.")
    lines += [
        f"{rung.rung}: {rung.diverged} of {len(seeds)} runs diverged, and are left out."
        for rung in ladder.rungs
        if rung.diverged
    ]
    return [*lines, "Nothing is picked by these figures.", f"{describe_environment(ladder.environment)}."]


def _origin(ladder: Ladder) -> str:
    return f"Trial {ladder.trial} of {ladder.study_name}, epochs: {ladder.epochs}, data set {ladder.dataset}"


def ladder_table(ladder: Ladder) -> RenderableType:
    """What each method earned; fits 80 columns, for which it leaves the parameters out."""
    title = Text(f"Trial {ladder.trial} of {ladder.study_name}, taken apart")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    headings, *rungs = ((name, *accuracies) for name, _, *accuracies in rows(ladder))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right", no_wrap=True)
    for rung in rungs:
        table.add_row(*rung)
    return Group(table, *map(Text, notes(ladder)))


def plot(ladder: Ladder) -> bytes:
    """The test error of every rung, with a point per seed, as PNG."""
    from .page.proof_figures import draw_ladder  # loads matplotlib
    from .page.svg import to_png

    return to_png(draw_ladder(ladder).figure, title=f"{_origin(ladder)}, {describe_seeds(ladder.seeds)}")
