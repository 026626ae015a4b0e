"""The part of a page that tells how fast this is: from the benchmarks' committed records."""

import statistics

from benchmarks.records import Orchestration, PrunerReplays, StepProfile, Throughput, read
from search.config import ExplainedError
from search.show.words import format_network
from tools.results import REFERENCE


def speed() -> str:
    """What the benchmarks have measured."""
    paragraphs = [
        _describe_throughput(read(Throughput, REFERENCE / "throughput.json")),
        _describe_steps(read(StepProfile, REFERENCE / "step_profile.json")),
        _describe_pruners(read(PrunerReplays, REFERENCE / "pruners.json")),
        _describe_orchestration(read(Orchestration, REFERENCE / "orchestration.json")),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _describe_throughput(measured: Throughput) -> str:
    machine = f"{measured.num_cores} cores" if measured.device == "cpu" else measured.device
    lines = [
        f"| Training the reference net, {machine}, {measured.num_workers} workers | Precision | Images/s | Ratio |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.precision} | {row.images_per_s:,} | {row.ratio:.2f} "
        f"({min(row.ratios):.2f} to {max(row.ratios):.2f}) |"
        for row in measured.rows
    ]
    return "\n".join(lines) + (
        f"\n\nMedians of {len(measured.rows[0].rounds)} rounds, ratios within a round to {measured.loop}, with their "
        "range. The user's loop draws, warps and normalises one image at a time, and trains the net as textbooks have "
        "it, on 28x28 pixels; ours has the same widths. "
        f"All workers train {measured.scaling:.2f} times as fast as one, at {measured.share_of_fp32_peak:.0%} of what "
        "a large fp32 matrix product reaches there."
    )


def _describe_steps(measured: StepProfile) -> str:
    heads = [f"{row.num_params:,} parameters, {format_network(row)}" for row in measured.rows]
    lines = [f"| ms of a step of {measured.rows[0].batch_size} images | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---|" * len(heads))
    for kind in measured.rows[0].kinds_ms:
        lines.append(f"| {kind} | " + " | ".join(f"{row.kinds_ms[kind]:.2f}" for row in measured.rows) + " |")
    for words, times in (
        ("all, each part timed", [row.timed_step_ms for row in measured.rows]),
        ("a step as it is (the epochs between)", [row.step_ms for row in measured.rows]),
    ):
        lines.append(f"| {words} | " + " | ".join(f"{each:.2f}" for each in times) + " |")
    return "\n".join(lines)


def _describe_pruners(replayed: PrunerReplays) -> str:
    default = next(row for row in replayed.pruners if row.pruner == "the default")
    return (
        f"Replayed on {replayed.curves} full learning curves (random points at {replayed.max_params:,} parameters), in "
        f"{replayed.orders} orders, the default pruner saves {default.epochs_saved:.0%} of the epochs. In "
        f"{default.best_killed:.1%} of the orders it kills the best run, and what is left is {default.mean_regret:.3f} "
        f"points worse on average, {default.max_regret:.3f} at most, where a run's noise is {replayed.noise:.3f}. With "
        f"random {replayed.part:.0%} of the curves, it costs more than that noise in {default.parts_lost:.1%} of the "
        f"draws. It was chosen on other curves; what it earns in whole searches is [simulated]"
        f"(results.md#what-samplers-pruning-and-re-ranking-earn)."
    )


def _describe_orchestration(measured: Orchestration) -> str:
    if measured.interrupted:
        raise ExplainedError(f"{REFERENCE / 'orchestration.json'} is of a measurement that was interrupted.")
    recorded = sorted({row.recorded for row in measured.trials})
    lines = [
        "| Seconds per trial outside training | " + " | ".join(f"{count:,} recorded" for count in recorded) + " |",
        "|---|" + "---|" * len(recorded),
    ]
    seconds = {(row.backend, row.workers, row.recorded): row.seconds_per_trial for row in measured.trials}
    for backend, workers in sorted({(row.backend, row.workers) for row in measured.trials}):
        cells = [f"{seconds[backend, workers, count]:.2f}" for count in recorded]
        lines.append(f"| {backend}, {workers} worker{'s' * (workers > 1)} | " + " | ".join(cells) + " |")
    begins = ", ".join(f"{_first_trial(measured, count):.1f} s with {count:,} recorded" for count in recorded)
    return "\n".join(lines) + (
        "\n\nA worker's first trial begins this long after the worker's start (median, no more workers than cores): "
        f"{begins}. `python cli.py --help` takes {measured.start.help - measured.start.bare_click:+.2f} s more than an "
        "empty click program."
    )


def _first_trial(measured: Orchestration, recorded: int) -> float:
    """Seconds from a worker's start to its first trial."""
    uncrowded = [row for row in measured.trials if row.workers <= measured.num_cores and row.recorded == recorded]
    return statistics.median(row.seconds_to_first_trial for row in uncrowded)
