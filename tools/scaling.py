"""The part of a page that tells how many workers one server bears: from the benchmark's committed record."""

import csv
import statistics

from benchmarks.records import ClaimRow, Scaling, ScalingRow, read
from search.config import ExplainedError
from tools.results import REFERENCE

WORTH = 0.8  # of the ideal rate: below it, so many workers are hardly worth it
MAX_CONNECTIONS, RESERVED_CONNECTIONS = 100, 3  # of PostgreSQL as it comes
WORKERS_PER_HOST = 8


def scaling() -> str:
    """What was measured of workers, connections and claims."""
    measured = read(Scaling, REFERENCE / "scaling.json")
    if measured.interrupted or not measured.rows or not measured.claims:
        raise ExplainedError(f"{REFERENCE / 'scaling.json'} is not of a whole measurement. Measure anew.")
    paragraphs = [
        _describe_setting(measured),
        _table(measured),
        "![Trials per second and seconds lost, by workers](../results/reference/scaling.png)",
        _describe_rates(measured, _mean_trial()),
        _describe_connections(measured.rows),
        _describe_claims(measured.claims),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _slept(measured: Scaling) -> float:
    return measured.epochs * measured.epoch_seconds


def _describe_setting(measured: Scaling) -> str:
    return (
        f"Trials that sleep for {_slept(measured):.0f} s where a search trains, and report {measured.epochs} epochs as "
        f"a search does, in a study that held {measured.recorded} others. Server and workers share "
        f"{measured.num_cores} cores, so this is less than what workers on hosts of their own reach."
    )


def _table(measured: Scaling) -> str:
    lines = [
        "| Workers | Trials per second | Of the ideal | Seconds lost per trial | Server's CPU seconds per trial "
        "| Connections |",
        "|---|---|---|---|---|---|",
    ]
    for row in measured.rows:
        lines.append(
            f"| {row.workers} | {row.trials_per_second:.2f} | {_share(row, measured):.0%} "
            f"| {row.seconds_per_trial:.2f} | {row.server_cpu_seconds:.3f} | {row.connections} |"
        )
    return "\n".join(lines)


def _mean_trial() -> float:
    """The seconds that a trial of the reference study took its worker."""
    with (REFERENCE / "trials.csv").open(encoding="utf-8", newline="") as file:
        return statistics.mean(float(row["seconds"]) for row in csv.DictReader(file) if row["seconds"])


def _share(row: ScalingRow, measured: Scaling) -> float:
    return row.trials_per_second * _slept(measured) / row.workers


def _describe_rates(measured: Scaling, trial: float) -> str:
    worth = [row.workers for row in measured.rows if _share(row, measured) >= WORTH]
    limit = f"up to {max(worth)} workers" if worth else "no number of workers"
    most = max(row.trials_per_second for row in measured.rows)
    server = max(row.server_cpu_seconds for row in measured.rows)
    return (
        f"Of the ideal rate, {limit} reach {WORTH:.0%}; the most was {most:.1f} trials per second. A trial of the "
        f"reference study took {trial:.0f} s on average, pruned ones included: {most:.1f} such trials per second are "
        f"the work of {most * trial:,.0f} workers. The server computes {server:.2f} s for a trial at most, so one core "
        f"of its own bears {trial / server:,.0f} of them."
    )


def _describe_connections(rows: tuple[ScalingRow, ...]) -> str:
    most = max(rows, key=lambda row: row.workers)
    command = most.connections_of_command
    host = WORKERS_PER_HOST * (most.connections - command) / most.workers + command
    hosts = int((MAX_CONNECTIONS - RESERVED_CONNECTIONS) / host)
    return (
        f"**Connections.** {most.workers} workers with one command held {most.connections} at once; a worker alone at "
        f"most {most.connections_per_worker}, and its command {command}. PostgreSQL as it comes has {MAX_CONNECTIONS}, "
        f"of which {RESERVED_CONNECTIONS} are reserved: that bears {hosts} hosts of {WORKERS_PER_HOST} workers. The "
        f"dashboard holds some, too."
    )


def _describe_claims(claims: tuple[ClaimRow, ...]) -> str:
    there = [claim for claim in claims if claim.backend == "postgresql"]
    recorded = ", ".join(f"{claim.recorded:,}" for claim in there)
    first = ", ".join(f"{claim.first_seconds:.1f}" for claim in there)
    later = ", ".join(f"{claim.seconds:.3f}" for claim in there)
    waited = ", ".join(f"{claim.others_waited:.2f}" for claim in there)
    return (
        f"**Claims.** With {recorded} trials on record, a worker's first claim, which reads the study, takes {first} "
        f"s, and each later one {later} s. Meanwhile another waited for its turn for at most {waited} s."
    )
