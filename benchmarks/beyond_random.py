"""What a search has earned beyond a random one of equal cost: their winners' further runs, side by side.

python cli.py search --study-name random-2000 --max-params 2000 --sampler random --pruner none --trials 40
python -m benchmarks.beyond_random --pair mnist-2000p-15e random-2000 --json > results/reference/beyond_random.json

Both searches rank their leading trials again by the same rule. The runs compared are those that came after, which
have chosen neither winner: those that `search --compare` makes.
"""

import math
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


def compare(ours: StudySummary, rival: StudySummary) -> RandomRival:
    """Raises ExplainedError if the two are not of one kind, or a winner has no runs to compare by."""
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
    winners, rivals = _runs(ours), _runs(rival)
    difference, margin = difference_of_means(winners, rivals)
    return RandomRival(
        max_params=ours.settings.max_params,
        study_name=ours.study_name,
        sampler=ours.settings.sampler or "unknown",
        pruner=ours.settings.pruner or "unknown",
        epochs=ours.epochs.trained,
        val_accuracies=tuple(winners),
        random_study_name=rival.study_name,
        random_pruner=rival.settings.pruner or "unknown",
        random_epochs=rival.epochs.trained,
        random_val_accuracies=tuple(rivals),
        difference=difference,
        margin=margin,
    )


def _runs(summary: StudySummary) -> list[float]:
    earned = summary.reranking.earned if summary.reranking is not None else None
    if earned is None:
        raise ExplainedError(
            f"The winner of {summary.study_name!r} has no further runs: it is the study's first trial, or they are "
            f"not finished. Run its search again, with --compare."
        )
    return list(earned.winner_val_accuracies)


def difference_of_means(ours: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Of runs that are no pairs, with half of its 95 % interval (Welch's); infinite where there are too few."""
    if min(len(ours), len(others)) < 2:
        return sum(ours) / len(ours) - sum(others) / len(others), math.inf
    found = stats.ttest_ind(ours, others, equal_var=False)
    interval = found.confidence_interval(CONFIDENCE)
    return float((interval.low + interval.high) / 2), float((interval.high - interval.low) / 2)


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
    rows = tuple(compare(*(StudySummary.read(results_dir / name / SUMMARY) for name in pair)) for pair in pairs)
    measured = BeyondRandom(rows=rows, commit=code_commit(), versions=versions())
    finish(measured, report, as_json=as_json)


def report(measured: BeyondRandom) -> Group:
    table = Table(box=None)
    for heading in ("Budget", "Search", "Epochs", "Mean %", "Random", "Epochs", "Mean %", "Difference"):
        table.add_column(heading, justify="left" if heading in ("Search", "Random") else "right")
    for row in measured.rows:
        means = [sum(runs) / len(runs) for runs in (row.val_accuracies, row.random_val_accuracies)]
        table.add_row(
            f"{row.max_params:,}",
            row.study_name,
            f"{row.epochs:,}",
            f"{means[0]:.3f}",
            row.random_study_name,
            f"{row.random_epochs:,}",
            f"{means[1]:.3f}",
            f"{row.difference:+.3f} ± {row.margin:.3f}",
        )
    return Group(table, "Validation accuracy of the winners over runs that chose neither, with a 95 % interval.")


if __name__ == "__main__":
    main()
