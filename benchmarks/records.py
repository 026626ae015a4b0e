"""The records of the benchmarks: what each has measured, as one value and one JSON file. Loads no PyTorch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from search.config import Block, Channels
from search.proof.parts import RecordError, describe_damage


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What every benchmark's record says of the code that was measured."""

    commit: str
    versions: dict[str, str]


MeasurementType = TypeVar("MeasurementType", bound=Measurement)


def to_json(measurement: Measurement) -> str:
    return json.dumps(asdict(measurement), indent=2, allow_nan=False)


def read(kind: type[MeasurementType], path: Path) -> MeasurementType:
    """Reads a benchmark's record.

    Raises:
        FileNotFoundError: If there is none.
        RecordError: If it is damaged, or of another version of the benchmark.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordError(f"{path} is no record of this benchmark ({describe_damage(error)}). Measure anew.") from error


Phase = Literal["search", "re-ranking", "proof", "ladder", "reproduction"]
SignalName = Literal["SIGKILL", "SIGTERM", "SIGINT"]
Target = Literal["group", "parent", "worker"]
Since = Literal["start", "first worker"]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A signal that was sent to a command.

    Attributes:
        target: The command's process group, the command itself, or one of its workers.
        since: What the delay is counted from: the command's start, or its first worker's.
        delay: Seconds.
        hit: Whether the command still ran.
        at_work: Whether it had workers then.
        exit_code: With which the command ended; negative: by that signal.
    """

    signal: SignalName
    target: Target
    since: Since
    delay: float
    hit: bool
    at_work: bool
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """A command that was hit, perhaps again and again, and started again until it ended by itself.

    Attributes:
        index: With the seed and the phase, it decides every draw.
        starts: Of the command.
        trials: That finished.
        interrupted: That were cut off on the way, and tried again.
        partial: Files that were being written when their writer was killed: a later command removes them.
        violations: Of what is promised.
    """

    phase: Phase
    index: int
    shots: tuple[Shot, ...]
    starts: int
    trials: int
    interrupted: int
    partial: int = 0
    seconds: float
    violations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Chaos(Measurement):
    """Commands that were hit by signals at random moments (`benchmarks.chaos`).

    Attributes:
        code: The hash of the code that was hit; rounds of other code do not count.
        counts: Signals that hit, by phase, signal and target.
        violations: Of all rounds.
    """

    schema_version: Literal[1] = 1
    code: str
    seed: int
    num_cores: int
    counts: dict[str, int]
    violations: tuple[str, ...]
    rounds: tuple[Round, ...]


@dataclass(frozen=True, kw_only=True)
class RepeatedStudy:
    """A search with one worker, made twice: undisturbed, and hit and resumed.

    Attributes:
        trials, runs: That finished, of the search and of its re-ranking.
        pruned: Of the trials.
        interrupted: Trials and runs that were cut off on the way, and tried again.
        differences: Between the two.
    """

    seed: int
    trials: int
    pruned: int
    runs: int
    shots: tuple[Shot, ...]
    interrupted: int
    differences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Repeat(Measurement):
    """Studies that were interrupted and resumed, beside the same undisturbed (`benchmarks.repeat`)."""

    schema_version: Literal[1] = 1
    code: str
    sampler: str
    pruner: str
    epochs: int
    studies: tuple[RepeatedStudy, ...]


@dataclass(frozen=True, kw_only=True)
class ThroughputRow:
    """A way to train, in rounds in which all take turns.

    Attributes:
        rounds: Every round's images per second, of all its processes together.
        images_per_s: Their median.
        ratios: Every round's ratio to what the user's loop has reached in it.
        ratio: Their median.
    """

    name: str
    precision: str
    rounds: tuple[int, ...]
    images_per_s: int
    ratios: tuple[float, ...]
    ratio: float


@dataclass(frozen=True, kw_only=True)
class Throughput(Measurement):
    """Training throughput (`benchmarks.throughput`).

    Attributes:
        loop: The name of the row that all are compared with: the better of the loop with and without loader workers.
        scaling: How many times as fast as one worker all workers train: the median of the rounds.
        gemm_fp32_gflops: Of a large fp32 matrix product, in as many processes as ours has workers.
        train_gflops: What ours computes in convolutions and the head.
        share_of_fp32_peak: The one divided by the other: the median of the rounds.
    """

    rows: tuple[ThroughputRow, ...]
    loop: str
    scaling: float
    gemm_fp32_gflops: float
    train_gflops: float
    share_of_fp32_peak: float
    channels: Channels
    batch_size: int
    dataset: str
    device: str
    num_workers: int
    num_cores: int


@dataclass(frozen=True, kw_only=True)
class StepProfileRow:
    """A network's training step in milliseconds.

    Attributes:
        step_ms: Without stopwatches; the two kinds of epochs take turns.
        kinds_ms: With them, by kind of work; they add up to `timed_step_ms`.
    """

    channels: Channels
    blocks: tuple[Block, ...]
    residual: bool
    num_params: int
    batch_size: int
    step_ms: float
    timed_step_ms: float
    kinds_ms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class StepProfile(Measurement):
    """Where the time of training steps goes (`benchmarks.step_profile`)."""

    rows: list[StepProfileRow]
    precision: str
    dataset: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of the search space, trained to the end.

    Attributes:
        params: What was drawn, by name.
        curve: The validation accuracy after every epoch, by one view, in percent.
        value: That after the last epoch, by all views: the trial's value.
        further: The same of further runs, by other seeds.
    """

    params: dict[str, bool | int | float]
    num_params: int
    curve: tuple[float, ...]
    value: float
    further: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Points(Measurement):
    """Random points of the search space, behind the one that every study tries first (`benchmarks.points`)."""

    schema_version: Literal[1] = 1
    study_name: str
    dataset: str
    max_params: int
    epochs: int
    space: str
    recipe: int
    precision: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class SurrogateFit:
    """What a surrogate of the search space was made of, and how well it foretells points that it was not given.

    Attributes:
        points, repeated: How many, and how many of them were run again.
        noise, spread: Standard deviations in log error, of a point's runs and over the points.
        explained: The share of the variance that is foretold.
        rank_correlation: Spearman's.
        length_scales: By parameter, whose whole range is 1: the shorter, the more it matters.
    """

    points: int
    repeated: int
    noise: float
    spread: float
    explained: float
    rank_correlation: float
    length_scales: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Of simulated searches, with half of its 95 % interval."""

    mean: float
    margin: float


@dataclass(frozen=True, kw_only=True)
class SampledRow:
    """A sampler and a pruner, with the re-ranking that the tool has.

    Attributes:
        trials: Begun within the cost, on average.
        earned: By how many points what is chosen is better than the first trial, without noise.
        beyond_default: By how many points it is better than with the default sampler and pruner, in the same worlds.
    """

    sampler: str
    pruner: str
    trials: float
    earned: Mean
    beyond_default: Mean


@dataclass(frozen=True, kw_only=True)
class RuleRow:
    """A rule by which the winner of a search is chosen, at equal cost, with the default sampler and pruner.

    Attributes:
        runs: Of re-ranking, that it takes.
    """

    rule: str
    runs: int
    earned: Mean
    beyond_default: Mean


@dataclass(frozen=True, kw_only=True)
class SampledBudget:
    """Simulated searches at one budget, in worlds of one kind.

    Attributes:
        smoothness: Of the Matérn kernel that the worlds are drawn with.
    """

    max_params: int
    smoothness: float
    surrogate: SurrogateFit
    samplers: tuple[SampledRow, ...]
    rules: tuple[RuleRow, ...]


@dataclass(frozen=True, kw_only=True)
class Samplers(Measurement):
    """Samplers, pruners and rules of re-ranking, on simulated searches (`benchmarks.samplers`).

    Attributes:
        cost: Epochs of a whole search, re-ranking included.
        searches: Simulated, of each kind.
    """

    schema_version: Literal[1] = 1
    dataset: str
    cost: int
    searches: int
    budgets: tuple[SampledBudget, ...]


@dataclass(frozen=True, kw_only=True)
class RandomRival:
    """A search, and a random one at the same budget: accuracies of their winners' runs, on validation, in percent.

    Attributes:
        epochs: That the search has trained; what was cut off included.
        warm_start_epochs: That the searches have, with their re-ranking, whose leaders it was begun with: at other
            budgets.
        random_epochs: That the random one's complete trials have: no fewer than the search. It has re-ranked no fewer
            trials either.
        difference, margin: Of the means, in points, and half of its 95 % interval (Welch's), over runs of these two
            winners; null where there are too few. It says nothing of how another pair of searches would end.
    """

    max_params: int
    study_name: str
    sampler: str
    pruner: str
    epochs: int
    warm_start_epochs: int
    val_accuracies: tuple[float, ...]
    random_study_name: str
    random_epochs: int
    random_val_accuracies: tuple[float, ...]
    difference: float
    margin: float | None


@dataclass(frozen=True, kw_only=True)
class BeyondRandom(Measurement):
    """What searches have earned beyond random ones (`benchmarks.beyond_random`)."""

    schema_version: Literal[1] = 1
    rows: tuple[RandomRival, ...]


@dataclass(frozen=True, kw_only=True)
class PrunerRow:
    """A pruner over all orders of the curves, and over random parts of them.

    Attributes:
        epochs_saved, best_killed, parts_lost: Shares, from 0 to 1.
        mean_regret, max_regret, parts_mean_regret: By how many points what is found falls short of the best curve.
    """

    pruner: str
    epochs_saved: float
    best_killed: float
    mean_regret: float
    max_regret: float
    parts_mean_regret: float
    parts_lost: float


@dataclass(frozen=True, kw_only=True)
class EpochPrediction:
    """How well an epoch's accuracy ranks the configurations as their values do (Spearman)."""

    epoch: int
    rank_correlation: float


@dataclass(frozen=True, kw_only=True)
class FinalAccuracy:
    """Values of the trials, in percent."""

    best: float
    median: float
    worst: float


@dataclass(frozen=True, kw_only=True)
class PrunerReplays(Measurement):
    """Pruners, replayed on learning curves (`benchmarks.pruners`).

    Attributes:
        curves: How many, of random points of the search space at `max_params`.
        part: The share of the curves in each random part.
        noise: The standard deviation of a point's runs, in points of accuracy.
    """

    curves: int
    dataset: str
    max_params: int
    epochs: int
    orders: int
    part: float
    noise: float
    final_accuracy: FinalAccuracy
    pruners: tuple[PrunerRow, ...]
    predictiveness: tuple[EpochPrediction, ...]


@dataclass(frozen=True, kw_only=True)
class OrchestrationRow:
    """What a trial costs beside its training.

    Attributes:
        recorded: Trials that the study had before.
        seconds_per_trial, slowest: Not slept between a worker's trials: the median, and the most.
        seconds_to_first_trial: From the start of a worker: the median.
    """

    backend: str
    recorded: int
    workers: int
    seconds_per_trial: float
    slowest: float
    seconds_to_first_trial: float


@dataclass(frozen=True, kw_only=True)
class StartSeconds:
    """Until `python cli.py --help` has ended, and a click program that does nothing."""

    help: float
    bare_click: float


@dataclass(frozen=True, kw_only=True)
class Orchestration(Measurement):
    """What trials cost beside their training (`benchmarks.orchestration`).

    Attributes:
        seconds_to_first_trial: The median over the rows with no more workers than cores; None without any.
        epoch_seconds: How long each epoch slept.
    """

    trials: tuple[OrchestrationRow, ...]
    interrupted: bool
    start: StartSeconds
    seconds_to_first_trial: float | None
    dataset: str
    epochs: int
    epoch_seconds: float
    num_cores: int


@dataclass(frozen=True, kw_only=True)
class ScalingRow:
    """So many workers at once, on one server.

    Attributes:
        seconds: Measured, from the moment at which all workers were at work.
        trials: That ended meanwhile.
        seconds_per_trial, slowest: Not slept between a worker's trials: the median, and the most.
        worker_cpu_seconds, server_cpu_seconds: Computed per trial, by the workers and their command, and by the server.
        connections: To the database, the most at once, and those of one worker and of the command.
    """

    workers: int
    seconds: float
    trials: int
    trials_per_second: float
    seconds_per_trial: float
    slowest: float
    worker_cpu_seconds: float
    server_cpu_seconds: float
    connections: int
    connections_per_worker: int
    connections_of_command: int


@dataclass(frozen=True, kw_only=True)
class ClaimRow:
    """How long a claim takes where nobody else wants one.

    Attributes:
        recorded: Trials that the study had before.
        first_seconds: The first of a process, which knows no trial yet.
        seconds: The median of those after it.
        others_waited: The longest that anybody would have waited meanwhile for a turn.
    """

    backend: str
    recorded: int
    first_seconds: float
    seconds: float
    others_waited: float


@dataclass(frozen=True, kw_only=True)
class Scaling(Measurement):
    """How many workers one PostgreSQL server bears (`benchmarks.scaling`).

    Attributes:
        recorded: Trials that the study had before, in each row.
        num_cores: Of the one machine that the server and all workers ran on.
    """

    schema_version: Literal[1] = 1
    rows: tuple[ScalingRow, ...]
    claims: tuple[ClaimRow, ...]
    interrupted: bool
    recorded: int
    epochs: int
    epoch_seconds: float
    num_cores: int


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a study holds in the end.

    Attributes:
        planned: Trials that were asked for.
        finished: Trials that completed or were pruned.
        missing, twice: Of the planned tickets, those that no finished trial has, and those that several have.
        running: Trials that are said to run.
        interrupted: Attempts that were cut off, and made again.
    """

    planned: int
    finished: int
    missing: int
    twice: int
    running: int
    interrupted: int


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Many short trials, while the dashboard and `status` read.

    Attributes:
        starts: How often the command had to be started.
        dashboard_requests, dashboard_failures: Requests to the dashboard, and those of them that failed.
        status_reads, status_failures: Likewise for `python cli.py status`.
    """

    backend: str
    workers: int
    epochs: int
    epoch_seconds: float
    seconds: float
    starts: int
    tally: Tally
    dashboard_requests: int
    dashboard_failures: int
    status_reads: int
    status_failures: int


@dataclass(frozen=True, kw_only=True)
class LostHost:
    """Two hosts search together, until one is killed with all its processes.

    Attributes:
        silence: Seconds after which a host counted as dead, in this measurement.
        held: Trials that the host held when it was killed.
        taken_over: Those of them that the other finished.
        seconds_until_taken_over: From the kill to the start of the last of them: the host has been silent for long
            enough by then, and the other has nothing else left to start. None where one was not taken over.
        starts: How often the other host's command had to be started.
    """

    workers: int
    epochs: int
    epoch_seconds: float
    silence: float
    seconds: float
    held: int
    taken_over: int
    seconds_until_taken_over: float | None
    starts: int
    tally: Tally


@dataclass(frozen=True, kw_only=True)
class Restart:
    """The server is stopped while a search runs, and comes back.

    Attributes:
        mode: How it was stopped, as pg_ctl has it.
        seconds_away: How long nothing answered.
        starts: How often the command had to be started.
    """

    mode: str
    seconds_away: float
    workers: int
    epochs: int
    epoch_seconds: float
    seconds: float
    starts: int
    tally: Tally


@dataclass(frozen=True, kw_only=True)
class Crowds(Measurement):
    """Crowds, hosts that vanish, and servers that are restarted (`benchmarks.crowds`).

    Attributes:
        left_out: What could not be measured here, and why.
    """

    schema_version: Literal[1] = 1
    crowds: tuple[Crowd, ...]
    lost_hosts: tuple[LostHost, ...]
    restarts: tuple[Restart, ...]
    left_out: tuple[str, ...]
    interrupted: bool
    num_cores: int
