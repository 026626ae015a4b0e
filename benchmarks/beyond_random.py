"""What a search has earned beyond a random one that cost no less: their winners' further runs, side by side.

python cli.py search --study-name random-2000 --max-params 2000 --sampler random --pruner none --trials 100
python -m benchmarks.beyond_random --pair mnist-2000p-15e random-2000 --json > results/reference/beyond_random.json

Both rank their leading trials again, the random one no fewer. The runs compared are those that came after, which have
chosen neither winner: those that `search --compare` makes. What a warm start rests on is searched at other budgets,
with networks of other sizes: it stands beside the search's own cost, and is not in it.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Group
from rich.table import Table
from scipy import stats

from benchmarks.command import Benchmark, finish
from benchmarks.records import BeyondRandom, RandomRival
from search.commands.options import json_option
from search.config import ExplainedError
from search.proof.estimates import CONFIDENCE
from search.proof.summaries import StudySummary
from search.provenance import code_commit, versions
from search.settings import SUMMARY, RunSettings

FLOOR = 100 / 10_000 / 2  # points: half of a validation image of MNIST


def compare(ours: StudySummary, rival: StudySummary, ancestors: Sequence[StudySummary] = ()) -> RandomRival:
    """Holds a search against a random one that was given as much or more.

    Args:
        ancestors: The searches that ours was begun with the leaders of, and theirs.

    Raises:
        ExplainedError: If the two are not of one kind, the random one was given less, or a winner has no runs to
            compare by.
    """
    for what, own, other in (
        ("data set", (ours.dataset, ours.settings.split), (rival.dataset, rival.settings.split)),
        ("budget", ours.settings.max_params, rival.settings.max_params),
        ("number of epochs", ours.settings.epochs, rival.settings.epochs),
        ("space or recipe", (ours.settings.space, ours.settings.recipe), (rival.settings.space, rival.settings.recipe)),
    ):
        if own != other:
            raise ExplainedError(f"{ours.study_name!r} and {rival.study_name!r} differ in {what}: they do not compare.")
    if rival.settings.sampler != "random":
        raise ExplainedError(f"{rival.study_name!r} is no random search: name one made with --sampler random.")
    if rival.settings.warm_start is not None or rival.settings.pruner != "none":
        raise ExplainedError(f"{rival.study_name!r} was warm-started, or pruned: search with --pruner none.")
    epochs = ours.epochs.trained
    length = rival.settings.epochs
    random_epochs = rival.trials.complete * length  # what was cut off, and tried again, served for nothing
    if random_epochs < epochs:
        raise ExplainedError(
            f"The trials of {rival.study_name!r} have trained {random_epochs:,} epochs, and {ours.study_name!r} "
            f"{epochs:,}: give the random one --trials {math.ceil(epochs / length) + rival.trials.pruned}."
        )
    if _num_leading(rival) < _num_leading(ours):
        raise ExplainedError(
            f"{rival.study_name!r} has re-ranked fewer trials than {ours.study_name!r}: give it --rerank "
            f"{_num_leading(ours)}."
        )
    winners, rivals = _runs(ours), _runs(rival)
    difference, margin = difference_of_means(winners, rivals)
    return RandomRival(
        max_params=ours.settings.max_params,
        study_name=ours.study_name,
        sampler=ours.settings.sampler or "unknown",
        pruner=ours.settings.pruner or "unknown",
        epochs=epochs,
        warm_start_epochs=sum(map(_cost_of_leaders, ancestors)),
        val_accuracies=tuple(winners),
        random_study_name=rival.study_name,
        random_epochs=random_epochs,
        random_val_accuracies=tuple(rivals),
        difference=difference,
        margin=margin,
    )


def _cost_of_leaders(ancestor: StudySummary) -> int:
    """Epochs of a search and of its re-ranking: that has chosen what another search was begun with."""
    reranking = ancestor.reranking
    runs = sum(len(each.val_accuracies) for each in reranking.standings) if reranking is not None else 0
    return ancestor.epochs.trained + runs * ancestor.settings.epochs


def _num_leading(summary: StudySummary) -> int:
    return (summary.reranking.num_leading or 0) if summary.reranking is not None else 0


def _runs(summary: StudySummary) -> list[float]:
    """Of the winner, those that did not choose it."""
    if summary.reranking is None or summary.reranking.earned is None:
        raise ExplainedError(
            f"The winner of {summary.study_name!r} was not run again after the re-ranking. Run its search again, with "
            f"--compare."
        )
    return list(summary.reranking.earned.winner_val_accuracies)


def read_ancestors(summary: StudySummary, results_dir: Path) -> tuple[StudySummary, ...]:
    """The searches that one was begun with, the nearest first. Raises as `Record.read` does."""
    name = summary.settings.warm_start
    if name is None:
        return ()
    nearest = StudySummary.read(results_dir / name / SUMMARY)
    return nearest, *read_ancestors(nearest, results_dir)


def difference_of_means(ours: Sequence[float], others: Sequence[float]) -> tuple[float, float | None]:
    """Of runs that are no pairs, with half of its 95 % interval (Welch's); None where there are too few."""
    difference = statistics.mean(ours) - statistics.mean(others)
    if min(len(ours), len(others)) < 2:
        return difference, None
    # Equal counts hide a spread of up to half an image (as in search.proof.estimates.prediction_margin).
    variances = [max(statistics.variance(runs), FLOOR**2) / len(runs) for runs in (ours, others)]
    total = sum(variances)
    sizes = (len(ours), len(others))
    freedom = total**2 / sum(part**2 / (size - 1) for part, size in zip(variances, sizes, strict=True))
    return difference, float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total)


@click.command(cls=Benchmark)
@click.option(
    "--pair",
    "pairs",
    nargs=2,
    multiple=True,
    required=True,
    help="A study, and the random one that it is held against.",
)
@click.option("--results-dir", type=click.Path(path_type=Path), default=RunSettings.results_dir, show_default=True)
@json_option
def main(pairs: tuple[tuple[str, str], ...], results_dir: Path, as_json: bool) -> None:
    """Compares the winners of searches with those of random ones."""
    rows = []
    for pair in pairs:
        ours, rival = (StudySummary.read(results_dir / name / SUMMARY) for name in pair)
        rows.append(compare(ours, rival, read_ancestors(ours, results_dir)))
    measured = BeyondRandom(rows=tuple(rows), commit=code_commit(), versions=versions())
    finish(measured, report, as_json=as_json)


def report(measured: BeyondRandom) -> Group:
    table = Table(box=None)
    for heading in ("Budget", "Search", "Epochs", "Before it", "Mean %", "Random", "Epochs", "Mean %", "Difference"):
        table.add_column(heading, justify="left" if heading in ("Search", "Random") else "right")
    for row in measured.rows:
        means = [sum(runs) / len(runs) for runs in (row.val_accuracies, row.random_val_accuracies)]
        table.add_row(
            f"{row.max_params:,}",
            row.study_name,
            f"{row.epochs:,}",
            f"{row.warm_start_epochs:,}",
            f"{means[0]:.3f}",
            row.random_study_name,
            f"{row.random_epochs:,}",
            f"{means[1]:.3f}",
            f"{row.difference:+.3f}" + (f" ± {row.margin:.3f}" if row.margin is not None else ""),
        )
    return Group(
        table,
        "Validation accuracy of the winners over runs that chose neither, with a 95 % interval. Before it: epochs of "
        "the searches, at other budgets, whose leaders the search was begun with.",
    )


if __name__ == "__main__":
    main()
