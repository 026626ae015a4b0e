"""A search in words: what was done, the winner, its parameters, and where everything lies."""

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..proof.summaries import Reranking, SearchedTrial, StudySummary
from ..settings import BEST_MODEL
from .words import format_network, format_seconds, plural, signed


def search_report(summary: StudySummary, num_planned: int, folder: Path) -> RenderableType:
    """The end of a search, for people: what was done, the winner, its parameters, and where everything lies."""
    shown = summary.winner or summary.best
    parts: list[RenderableType] = [Text(line) for line in describe_work(summary, num_planned)]
    parts += [Text(line, style="green") for line in describe_leader(summary)]
    if shown is not None:
        parts += [Text(f"Parameters of trial {shown.number}:"), _parameters(shown)]
    parts += [Text(line) for line in _where(summary, folder)]
    if not summary.judged and summary.target is not None and summary.trials.total >= num_planned:
        parts.append(Text(f"The {summary.target:g} % claim cannot be judged on the {summary.dataset}."))
    return Group(*parts)


def describe_work(summary: StudySummary, num_planned: int) -> list[str]:
    """What was done, a sentence each."""
    trials, epochs = summary.trials, summary.epochs
    interrupted = "interrupted" if trials.total < num_planned else "interrupted and tried again"
    again = "".join(
        f"; {plural(count, 'trial')} {word}"
        for count, word in ((trials.interrupted, interrupted), (trials.failed, "failed"))
        if count
    )
    peak = summary.peak_memory_mb
    memory = f"; a worker took at most {peak / 1000:.1f} GB of main memory" if peak is not None else ""
    share = epochs.saved_by_pruning / max(1, epochs.trained + epochs.saved_by_pruning)
    return [
        f"{summary.study_name}: {_done(trials.total, num_planned)} done ({trials.complete} complete, {trials.pruned} "
        f"pruned{again}), which ran for {format_seconds(summary.seconds)}.",
        f"{plural(epochs.trained, 'epoch')} trained, {epochs.saved_by_pruning} ({share:.0%}) saved by pruning{memory}.",
    ]


def _done(total: int, num_planned: int) -> str:
    return f"{total} of {plural(num_planned, 'trial')}" if total < num_planned else plural(total, "trial")


def describe_leader(summary: StudySummary) -> list[str]:
    """Who has won, or leads, and what that has earned, a sentence each."""
    best, winner, reranking = summary.best, summary.winner, summary.reranking
    if best is None:
        return []
    if reranking is not None and reranking.finished and winner is not None:
        return _winner_of_reranking(winner, best, reranking)
    lines = [f"Best: trial {best.number}, {best.val_accuracy:.2f} % on validation, {_network(best)}."]
    if reranking is not None:
        lines.append(f"Re-ranking is not finished: {plural(len(reranking.standings), 'trial')} so far.")
    return lines


def _winner_of_reranking(winner: SearchedTrial, best: SearchedTrial, reranking: Reranking) -> list[str]:
    """The winner, and how much the best single run owed to luck."""
    means = {each.number: each.mean for each in reranking.standings}
    num_runs = len(reranking.standings[0].val_accuracies)
    regression = reranking.regression or 0.0
    others = [f"{number}" for number in reranking.tied if number != winner.number]
    tie = f" It ties with trial{'s' * (len(others) > 1)} {', '.join(others)}" if others else ""
    margin = f" (95 %: ±{reranking.margin:.3f} points)" if reranking.margin else ""
    smaller = ", and wins as the smallest of them" if winner.number != reranking.standings[0].number else ""
    return [
        f"Winner: trial {winner.number}, {means[winner.number]:.3f} % on validation on average over "
        f"{plural(num_runs, 'further run')}, {_network(winner)}." + (f"{tie}{margin}{smaller}." if tie else ""),
        f"Best single run: trial {best.number}, {best.val_accuracy:.2f} %; its further runs reach "
        f"{means[best.number]:.3f} % on average ({signed(-regression)} points).",
        *_earned(winner, reranking),
    ]


def _earned(winner: SearchedTrial, reranking: Reranking) -> list[str]:
    """What the search has found that its user did not have."""
    earned = reranking.earned
    n = len(earned.first_val_accuracies) if earned is not None else 0
    if winner.number == reranking.first:
        lines = ["The winner is the study's first trial: the search earned nothing over it."]
        if earned is not None:
            reached = sum(earned.first_val_accuracies) / n
            lines.append(f"It reaches {reached:.3f} % on average over {plural(n, 'run')} that did not choose it.")
        return lines
    if earned is None:
        return []
    margin, sure = (f" ± {earned.margin:.3f}", "95 %, ") if earned.margin is not None else ("", "")
    lines = [
        f"Earned over the study's first trial ({earned.first}): {signed(earned.mean)}{margin} points on validation "
        f"({sure}{plural(n, 'pair')} of further runs)."
    ]
    if earned.margin is not None and earned.mean + earned.margin < 0:
        lines.append(
            f"So the first trial is the better one: search on, or prove it by verify-best --trial {earned.first}."
        )
    return lines


def _network(trial: SearchedTrial) -> str:
    return f"{trial.num_params:,} parameters, channels {format_network(trial)}"


def _parameters(trial: SearchedTrial) -> Table:
    """What the trial has drawn, in two columns of names and values."""
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, show_header=False)
    for _ in range(2):
        table.add_column(style="dim")
        table.add_column(justify="right")
    cells = [(name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in trial.params.items()]
    half = (len(cells) + 1) // 2
    for row in range(half):
        left, right = cells[row], cells[half + row] if half + row < len(cells) else ("", "")
        table.add_row(*map(Text, (*left, *right)))  # names of one's own space may look like markup
    return table


def _where(summary: StudySummary, folder: Path) -> list[str]:
    """Where everything lies, and whose the models are; none is told that is not there."""
    lines = [f"Results: {folder}{'/' if str(folder) != '.' else ''} (summary.json, trials.csv)."]
    winner, best = summary.winner, summary.best
    models = []
    if winner is not None and summary.winner_model is not None:
        reranked = summary.reranking is not None and summary.reranking.finished
        run = ", its first further run" if reranked else ""
        models.append(f"{summary.winner_model} (the winner's: trial {winner.number}{run})")
    if best is not None and (folder / BEST_MODEL).is_file():
        models.append(f"{BEST_MODEL} (of the best single run whose results went there)")  # other hosts have others
    if summary.winner_model_missing is not None:
        lines.append(f"There is no winner.safetensors: {summary.winner_model_missing}")
    if models:
        lines.append(
            f"Models there: {', '.join(models)}; trained on the search's training images. verify-best trains the "
            f"winner on all of them, and that model is to be used."
        )
    return lines
