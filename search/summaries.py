"""What a person sees of a command's results: the tables and summaries for stdout."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search import ladder, report, verdict


def search_summary(summary: dict[str, Any], total: int) -> list[str]:
    """The end of a search, for people."""
    trials, epochs = summary["trials"], summary["epochs"]
    all_epochs = epochs["trained"] + epochs["saved_by_pruning"]
    of_total = f" of {total}" if trials["total"] < total else ""
    again = f"; {plural(trials['failed'], 'trial')} cut off or failed" if trials["failed"] else ""
    peak = summary["peak_memory_mb"]
    memory = f"; a worker took at most {peak / 1000:.1f} GB of main memory" if peak is not None else ""
    lines = [
        f"{summary['study_name']}: {trials['total']}{of_total} trials done ({trials['complete']} complete, "
        f"{trials['pruned']} pruned{again}) in {format_seconds(summary['seconds'])} of training.",
        f"{plural(epochs['trained'], 'epoch')} trained, {epochs['saved_by_pruning']} "
        f"({epochs['saved_by_pruning'] / max(1, all_epochs):.0%}) saved by pruning{memory}.",
    ]
    best, reranking = summary["best"], summary["rerank"]
    if reranking is not None and reranking["finished"]:
        lines += _rerank_summary(summary["winner"], best, reranking)
    elif best is not None:
        lines.append(f"Best: trial {best['number']}, {best['val_accuracy']:.2f} % on validation, {_network(best)}.")
        lines.append(f"Its parameters: {_parameters(best)}.")
        if reranking is not None:
            lines.append(f"Re-ranking is not finished: {plural(len(reranking['standings']), 'trial')} so far.")
    if summary["dataset"] == "sample" and not of_total:
        lines.append("The 99.4 % claim cannot be judged on the bundled sample.")
    return lines


def _rerank_summary(winner: dict[str, Any], best: dict[str, Any], reranking: dict[str, Any]) -> list[str]:
    """The winner, and how much the best single run owed to luck."""
    means = {each["number"]: each["mean"] for each in reranking["standings"]}
    num_runs = len(reranking["standings"][0]["val_accuracies"])
    return [
        f"Winner: trial {winner['number']}, {means[winner['number']]:.3f} % on validation on average over "
        f"{plural(num_runs, 'further run')}, {_network(winner)}.",
        f"Its parameters: {_parameters(winner)}.",
        f"Best single run: trial {best['number']}, {best['val_accuracy']:.2f} % (best.safetensors); its further runs "
        f"reach {means[best['number']]:.3f} % on average ({-reranking['regression']:+.3f} points).",
    ]


def _parameters(trial: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in trial["params"].items())


def _network(trial: dict[str, Any]) -> str:
    return f"{trial['num_params']:,} parameters, channels {report.format_channels(trial['channels'])}"


def verification_report(facts: dict[str, Any]) -> RenderableType:
    """The table of seeds, the evidence, and the verdict."""
    table = Table(title=Text(f"Trial {facts['trial']} of {facts['study_name']}"), title_justify="left")
    for heading in ("Seed", "Test accuracy (%)", f"Errors of {facts['num_images']:,}", "With one view"):
        table.add_column(heading, justify="right")
    for each in facts["seeds"]:
        missed = facts["confirmed"] is not None and each["errors"] > facts["max_errors"]
        style = "red" if missed else None
        errors = (str(each["errors"]), str(each["errors_one_view"]))
        table.add_row(str(each["seed"]), f"{each['test_accuracy']:.2f}", *errors, style=style)
    styles = {True: "bold green", False: "bold red", None: "bold yellow"}
    return Group(
        table, *map(Text, verdict.evidence(facts)), Text(verdict.verdict(facts), style=styles[facts["confirmed"]])
    )


def reproduction_report(facts: dict[str, Any]) -> RenderableType:
    """Recorded and repeated errors side by side, and how far they agree."""
    table = Table(title=Text(f"Trial {facts['trial']} of {facts['study_name']}, repeated"), title_justify="left")
    for heading in ("Seed", "Test accuracy (%)", "Errors", "Recorded errors"):
        table.add_column(heading, justify="right")
    for each in facts["seeds"]:
        recorded = each["recorded_errors"]
        words = str(recorded) if recorded is not None else "not recorded"
        table.add_row(str(each["seed"]), f"{each['test_accuracy']:.2f}", str(each["errors"]), words)
    styles = {True: "bold green", False: "bold red", None: "bold yellow"}
    sentence = Text(verdict.reproduction_verdict(facts), style=styles[facts["reproduced"]])
    return Group(table, *map(Text, verdict.agreement(facts)), sentence)


def ladder_table(facts: dict[str, Any]) -> RenderableType:
    """What each method earned; fits 80 columns, for which it leaves the parameters out."""
    title = Text(f"Trial {facts['trial']} of {facts['search_study']}, taken apart")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    headings, *rungs = ((name, *accuracies) for name, _, *accuracies in ladder.rows(facts))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right", no_wrap=True)
    for rung in rungs:
        table.add_row(*rung)
    return Group(table, *map(Text, ladder.notes(facts)))


def studies_table(rows: list[dict[str, Any]]) -> RenderableType:
    """All studies, and which trials have lost their worker."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    longest = max((len(row["study_name"]) for row in rows), default=0)
    table.add_column("Study", no_wrap=True, min_width=longest)  # whole, to be copied
    table.add_column("Kind", no_wrap=True)
    for heading in ("Done", "Pruned", "Running", "Failed", "Best %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        counts = row["trials"]
        numbers = (counts["complete"], counts["pruned"], row["running"], counts["failed"])
        best = f"{row['best']:.2f}" if row["best"] is not None else ""
        table.add_row(Text(row["study_name"]), row["kind"] or "other", *(str(number) for number in numbers), best)
    stale = [
        f"{row['study_name']}: the workers of trials {row['stale']} have ended; the same command tries them again."
        for row in rows
        if row["stale"]
    ]
    return Group(table, *map(Text, stale))


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def format_seconds(seconds: float) -> str:
    """For example "0:03:25"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
