"""Generates the README's parts that repeat what is said elsewhere: results, file tree, help texts.

python tools/readme.py            writes them
python tools/readme.py --check    fails if one is stale
"""

import ast
import contextlib
import csv
import json
import re
import sqlite3
import statistics
import sys
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cli import cli  # noqa: E402 (the path comes first)
from search import ladder  # noqa: E402
from search.config import MAX_EPOCHS  # noqa: E402
from search.report import format_channels  # noqa: E402
from search.verdict import evidence, verdict  # noqa: E402

REFERENCE = ROOT / "results" / "reference"
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HELP_WIDTH = 100


def result_table() -> str:
    """The reference study and its verification, from their committed records."""
    summary, facts = _read("summary.json"), _read("verify.json")
    if summary is None or facts is None:
        return "The reference study is not finished yet: what is committed are its trials so far.\n"
    trials, epochs, reranking = summary["trials"], summary["epochs"], summary.get("rerank")
    saved = epochs["saved_by_pruning"] / (epochs["trained"] + epochs["saved_by_pruning"])
    hours, minutes = divmod(round(summary["seconds"] / 60), 60)
    cut_off = f"; {trials['failed']} more were cut off or failed, and tried again" if trials["failed"] else ""
    rows = {
        "Search": f"{trials['total']} trials ({trials['complete']} complete, {trials['pruned']} pruned{cut_off}) "
        f"in {hours} h {minutes:02} min on {summary['device']}, re-ranking not included; "
        f"pruning saved {saved:.0%} of the epochs",
        "Winner": f"trial {facts['trial']}, {facts.get('chosen_by', 'the best single run')}",
        "Network": f"{facts['num_params']:,} parameters, channels {format_channels(facts['channels'])}",
        "Epochs": f"{facts['epochs']} (at most {MAX_EPOCHS})",
        f"Test accuracy over fresh seeds{_views(facts)}": f"mean {facts['mean']:.3f} %, minimum {facts['min']:.2f} %, "
        f"n = {len(facts['seeds'])}",
        "Verdict": verdict(facts),
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]
    if reranking is not None and reranking["regression"] is not None:
        lines += [
            f"The search's first-ranked trial had reached {summary['best']['val_accuracy']:.2f} % on validation; its "
            f"further runs differ from that by {-reranking['regression']:+.3f} points on average. The network that "
            f"every study tries first (trial 0) had reached {float(_first_trial()['val_accuracy']):.2f} %.",
        ]
    return "\n".join([*lines, *evidence(facts), "", *_earned(facts, summary), "", _durations(facts)]) + "\n"


def _views(facts: dict[str, Any]) -> str:
    return f" (mean of {facts['num_views']} views)" if "num_views" in facts else ""


def _first_trial() -> dict[str, str]:
    """What `trials.csv` says of the network that every study tries first."""
    with (REFERENCE / "trials.csv").open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file))


def _earned(proof: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    """What the search and the views have earned, as far as records show it."""
    first, reranking = _read("accuracy.json"), summary.get("rerank")
    if first is None or reranking is None or "one_view" not in proof:
        return []
    assert first["channels"] == json.loads(_first_trial()["channels"]), "accuracy.json is of another network"
    winner = reranking["standings"][0]
    search, views = winner["mean"] - first["mean"], proof["mean"] - proof["one_view"]["mean"]
    return [
        f"What did the search earn? On validation, trial 0's network has {first['mean']:.3f} % on average over "
        f"{len(first['seeds'])} further seeds, and the winner {winner['mean']:.3f} % over its "
        f"{len(winner['val_accuracies'])} further runs: {search:+.3f} points, which so few runs do not prove. "
        f"What did the views earn? On the test digits, {views:+.3f} points on average over the same "
        f"{len(proof['seeds'])} networks."
    ]


def _durations(proof: dict[str, Any]) -> str:
    """From the start of the first run to the end of the last one; of a search there may be several sittings."""
    names = {"re-ranking": f"{proof['study_name']}-rerank", "proof": f"{proof['study_name']}-verify-{proof['trial']}"}
    query = (
        "SELECT (julianday(MAX(datetime_complete)) - julianday(MIN(datetime_start))) * 24 * 60 "
        "FROM trials JOIN studies USING (study_id) WHERE study_name = ?"
    )
    with contextlib.closing(sqlite3.connect(f"file:{REFERENCE / 'study.db'}?immutable=1", uri=True)) as database:
        minutes = {what: database.execute(query, [name]).fetchone()[0] for what, name in names.items()}
    return f"The re-ranking took another {minutes['re-ranking']:.0f} minutes, the proof {minutes['proof']:.0f}."


def ladder_table() -> str:
    """What each method earned, from the committed record."""
    facts, proved = _read("ablation.json"), _read("verify.json")
    assert facts is None or proved is None or facts["config"] == proved["config"], "the ladder is of another trial"
    return ladder.to_markdown(facts) if facts is not None else "Not measured yet.\n"


def speed() -> str:
    """What the benchmarks measured, from their committed records."""
    lines = []
    for name, describe in SPEED_RECORDS.items():
        facts = _read(f"{name}.json")
        if facts is not None and not facts.get("interrupted"):
            lines += describe(facts)
    return "\n".join(lines) + "\n" if lines else "Not measured yet.\n"


def _throughput(facts: dict[str, Any]) -> list[str]:
    rows = {
        "The loop that a user would write (the better of 0 and 2 loader workers)": "reference_images_per_s",
        "The same loop, a process per core": "reference_two_processes_images_per_s",
        "The same loop around exactly our net": "reference_our_net_images_per_s",
        "Ours, 1 worker": "ours_one_worker_images_per_s",
        f"Ours, {facts['num_workers']} workers (the default)": "ours_images_per_s",
    }
    machine = f"{facts['num_cores']} cores" if facts["device"] == "cpu" else facts["device"]
    lines = [f"| Training the reference net, {machine}, {facts['precision']} | Images/s | Ratio |", "|---|---|---|"]
    for name, key in rows.items():
        lines.append(f"| {name} | {facts[key]:,} | {facts[key] / facts['reference_images_per_s']:.2f} |")
    return [
        *lines,
        "",
        "The user's loop draws, warps and normalises one image at a time, and trains the net as textbooks have it, on "
        "28x28 pixels; ours has the same widths. "
        f"All workers train {facts['scaling']:.2f} times as fast as one, at {facts['share_of_fp32_peak']:.0%} of what "
        "a large fp32 matrix product reaches there.",
        "",
    ]


def _step_profile(facts: dict[str, Any]) -> list[str]:
    shares = ", ".join(f"{kind} {ms / facts['profiled_step_ms']:.0%}" for kind, ms in facts["kinds_ms"].items())
    return [
        f"A step of {facts['batch_size']} images takes a worker {facts['step_ms']:.1f} ms. "
        f"Under the profiler: {shares}.",
        "",
    ]


def _accuracy(facts: dict[str, Any]) -> list[str]:
    one_view = f"; by one view {facts['mean_one_view']:.3f}" if "mean_one_view" in facts else "; by one view"
    return [
        f"What that net reaches on the validation digits: {facts['mean']:.3f} % on average over {len(facts['seeds'])} "
        f"seeds (standard deviation {facts['std']:.3f}, minimum {facts['min']:.2f}{one_view}; batches of "
        f"{facts['batch_size']}).",
        "",
    ]


def _pruners(facts: dict[str, Any]) -> list[str]:
    default = next(row for row in facts["pruners"] if row["pruner"] == "the default")
    return [
        f"Replayed on {facts['curves']} full learning curves ({facts['made_with']['sampler']} sampler), in "
        f"{facts['orders']} orders, the default pruner saves {default['epochs_saved']:.0%} of the epochs and kills the "
        f"best configuration in {default['best_killed']:.1%} of the orders (mean regret {default['mean_regret']:.3f} "
        f"points); with random {facts['part']:.0%} of the curves, it costs more than the noise of a run in "
        f"{default['parts_lost']:.1%} of the draws. It was chosen on these same curves.",
        "",
    ]


def _orchestration(facts: dict[str, Any]) -> list[str]:
    headings = sorted({(row["backend"], row["workers"]) for row in facts["trials"]})
    recorded = sorted({row["recorded"] for row in facts["trials"]})
    seconds = {(row["backend"], row["workers"], row["recorded"]): row["seconds_per_trial"] for row in facts["trials"]}
    lines = [
        "| Seconds per trial outside training | " + " | ".join(f"{count:,} recorded" for count in recorded) + " |",
        "|---|" + "---|" * len(recorded),
    ]
    for backend, workers in headings:
        cells = [f"{seconds[backend, workers, count]:.2f}" for count in recorded]
        lines.append(f"| {backend}, {workers} worker{'s' * (workers > 1)} | " + " | ".join(cells) + " |")
    start = facts["start"]
    uncrowded = [row for row in facts["trials"] if row["workers"] <= facts["num_cores"]]
    begins = [
        statistics.median(row["seconds_to_first_trial"] for row in uncrowded if row["recorded"] == count)
        for count in recorded
    ]
    return [
        *lines,
        "",
        "A worker's first trial begins this long after the worker's start (median, no more workers than cores): "
        + ", ".join(f"{seconds:.1f} s with {count:,} recorded" for count, seconds in zip(recorded, begins, strict=True))
        + ". "
        f"`python cli.py --help` takes {start['help'] - start['bare_click']:+.2f} s more than an empty click program.",
        "",
    ]


SPEED_RECORDS = {
    "throughput": _throughput,
    "step_profile": _step_profile,
    "accuracy": _accuracy,
    "pruners": _pruners,
    "orchestration": _orchestration,
}


def file_tree() -> str:
    """Every Python file with the first sentence of its docstring."""
    paths = [ROOT / "cli.py", ROOT / "space.py", *sorted((ROOT / "search").glob("*.py"))]
    paths += [*sorted((ROOT / "tools").glob("*.py")), *sorted((ROOT / "benchmarks").glob("*.py"))]
    lines = [f"{path.relative_to(ROOT).as_posix():<30}{_first_sentence(path)}" for path in paths]
    lines += [
        f"{'tests/':<30}Tests, a file per module, on the real digits of the sample.",
        f"{'results/reference/':<30}The reference study: database, records, model.",
        f"{'results/LOG.md':<30}What was tried and measured, failures included.",
    ]
    return "```\n" + "\n".join(lines) + "\n```\n"


def cli_help() -> str:
    """The help text of every command."""
    texts = []
    for name in (None, *cli.commands):
        words = ["python cli.py", *([name] if name else [])]
        context = click.Context(cli, info_name=words[0], terminal_width=HELP_WIDTH, **cli.context_settings)
        command = cli.commands[name] if name else cli
        if name:
            context = click.Context(command, info_name=name, parent=context, terminal_width=HELP_WIDTH)
        texts.append(f"```\n$ {' '.join(words)} --help\n{command.get_help(context)}\n```\n")
    return "\n".join(texts)


PARTS = {"results": result_table, "ladder": ladder_table, "speed": speed, "tree": file_tree, "help": cli_help}


def generate(text: str) -> str:
    """The README with every generated part anew."""
    return PART.sub(lambda match: match[1] + PARTS[match[2]]() + match[3], text)


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    generated = generate(text)
    if "--check" not in sys.argv:
        readme.write_text(generated, encoding="utf-8")
    elif text != generated:
        sys.exit("README.md is stale. Run 'make format'.")


def _read(name: str) -> dict[str, Any] | None:
    path = REFERENCE / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0] if docstring else ""


if __name__ == "__main__":
    main()
