"""What a person sees of a command's results: the tables and summaries for stdout."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search import ladder, report, verdict


def search_summary(summary: dict[str, Any], total: int) -> list[str]:
    """The end of a search, for people."""
    trials, epochs, best = summary["trials"], summary["epochs"], summary["best"]
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
    if best is not None:
        lines.append(
            f"Best: trial {best['number']}, {best['val_accuracy']:.2f} % on validation, "
            f"{best['num_params']:,} parameters, channels {report.format_channels(best['channels'])}."
        )
    if summary["rerank"] is not None:
        lines.append(_rerank_summary(summary["rerank"]))
    if summary["dataset"] == "sample":
        lines.append("The 99.4 % claim cannot be judged on the bundled sample.")
    return lines


def _rerank_summary(facts: dict[str, Any]) -> str:
    if not facts["finished"]:
        return f"Re-ranking is not finished: {plural(len(facts['standings']), 'trial')} so far."
    winner = facts["standings"][0]
    num_runs = plural(len(winner["val_accuracies"]), "further run")
    words = f"Re-ranked: trial {winner['number']} wins with {winner['mean']:.3f} % on average over {num_runs}"
    change = -facts["regression"]
    return f"{words}; the first-ranked trial's runs differ from its searched one by {change:+.3f} points."


def verification_report(facts: dict[str, Any]) -> RenderableType:
    """The table of seeds, the evidence, and the verdict."""
    table = Table(title=Text(f"Trial {facts['trial']} of {facts['study_name']}"), title_justify="left")
    for heading in ("Seed", "Test accuracy (%)", f"Errors of {facts['num_images']:,}"):
        table.add_column(heading, justify="right")
    for each in facts["seeds"]:
        missed = facts["confirmed"] is not None and each["errors"] > facts["max_errors"]
        style = "red" if missed else None
        table.add_row(str(each["seed"]), f"{each['test_accuracy']:.2f}", str(each["errors"]), style=style)
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
    for heading in ladder.HEADINGS:
        if heading != "Params":
            table.add_column(heading, justify="left" if heading == "Rung" else "right", no_wrap=True)
    for rung, _, *accuracies in ladder.rows(facts):
        table.add_row(rung, *accuracies)
    return Group(table, *map(Text, ladder.notes(facts)))


def studies_table(rows: list[dict[str, Any]]) -> RenderableType:
    """All studies, and which trials have lost their worker."""
    table = Table()
    table.add_column("Study", overflow="fold")
    table.add_column("Kind")
    for heading in ("Complete", "Pruned", "Running", "Failed", "Best (%)"):
        table.add_column(heading, justify="right")
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
