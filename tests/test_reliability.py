"""The page of promises says what the records say."""

from dataclasses import replace
from typing import get_args

import pytest
from rounds import ROUND, SHOT

from benchmarks.chaos import sum_up
from benchmarks.records import (
    Crowd,
    Crowds,
    LostHost,
    Phase,
    Repeat,
    RepeatedStudy,
    Restart,
    Scaling,
    ScalingRow,
    Tally,
)  # fmt: skip
from search.config import ExplainedError
from search.provenance import Code
from tools import reliability

STUDY = RepeatedStudy(
    seed=0, trials=14, pruned=3, runs=4, shots=(SHOT, replace(SHOT, hit=False)), interrupted=1, differences=()
)


def test_kills_are_counted_and_what_was_not_kept_is_told(code: Code) -> None:
    rounds = [replace(ROUND, phase=phase) for phase in get_args(Phase)]
    kept = reliability.kills(sum_up(rounds, 0, code))
    assert kept.tried.startswith(
        "5 signals (SIGKILL (0), SIGTERM (0) and SIGINT (5)) to group (5), parent (0) and worker (0) at random moments "
        "of search (1), re-ranking (1), proof (1), ladder (1) and reproduction (1); 5 of them while workers were at "
    )
    assert kept.result.startswith("10 starts, 30 trials finished, 5 cut off on the way and tried again: none lost, ")
    broken = [*rounds, *(replace(ROUND, index=index, violations=("lost: 0",)) for index in range(7))]
    told = reliability.kills(sum_up(broken, 0, code)).result
    assert "none lost" not in told
    assert "**not kept**: proof 0: lost: 0; proof 1: lost: 0; " in told
    assert "proof 4: lost: 0 and 2 more" in told
    assert kept.result.endswith(f"(commit {code.commit[:12]})")


def test_a_phase_that_was_not_hit_is_told(code: Code) -> None:
    missed = replace(ROUND, phase="ladder", shots=(replace(SHOT, hit=False),))
    assert (
        "search (0), re-ranking (0), proof (1), ladder (0)" in reliability.kills(sum_up([ROUND, missed], 0, code)).tried
    )


def test_repetitions_are_the_same_or_said_to_differ(code: Code) -> None:
    measured = Repeat(
        code=code.hash,
        sampler="tpe",
        pruner="percentile",
        epochs=7,
        studies=(STUDY, STUDY),
        commit="0123abc",
        versions={},
    )
    row = reliability.repetition(measured)
    assert row.tried.startswith("2 searches of 14 trials (tpe sampler, percentile pruner) were made twice, ")
    assert "hit 2 times and resumed" in row.tried
    assert row.result == "2 runs cut off, 6 pruned: the same, bit for bit (commit 0123abc)"
    other = replace(measured, studies=(STUDY, replace(STUDY, differences=("summary",))))
    assert "**not kept**: summary" in reliability.repetition(other).result


def test_the_table_of_bad_inputs_is_counted_where_it_stands() -> None:
    number, _, rest = reliability.bad_inputs().tried.partition(" ")
    assert int(number) >= 150
    assert rest.startswith("cases: ")


TALLY = Tally(planned=2_000, finished=2_000, missing=0, twice=0, running=0, interrupted=3)
SLEPT = {"workers": 8, "epochs": 2, "epoch_seconds": 0.05, "seconds": 90.0, "starts": 1, "tally": TALLY}
CROWDS = Crowds(
    crowds=(
        Crowd(
            **SLEPT,
            backend="sqlite",
            dashboard_requests=1_500,
            dashboard_failures=0,
            status_reads=40,
            status_failures=0,
        ),
    ),
    lost_hosts=(LostHost(**SLEPT, silence=20.0, held=4, taken_over=4, seconds_until_taken_over=25.0),),
    restarts=(Restart(**SLEPT | {"starts": 2}, mode="immediate", seconds_away=30.0),),
    left_out=(),
    interrupted=False,
    num_cores=2,
    commit="0123abc",
    versions={},
)


def test_crowds_lost_hosts_and_restarts_are_a_row_each() -> None:
    crowd, host, restart = reliability.crowds(CROWDS)
    assert crowd.tried.startswith("2,000 sleeping trials by 8 workers on sqlite, while the dashboard (1,500 requests) ")
    assert crowd.result.startswith("sqlite: 2,000 of 2,000, 0 missing, 0 twice, 0 left running, 3 cut off ")
    assert host.result.startswith(
        "4 of 4 taken over after 25 s (a host counted as dead after 20 s of silence); 2,000 of "
    )
    assert "the command was started 2 times" in restart.result
    assert len(reliability.crowds(replace(CROWDS, lost_hosts=(), restarts=()))) == 1
    with pytest.raises(ExplainedError, match=r"crowds\.json is of a measurement that was interrupted"):
        reliability.crowds(replace(CROWDS, interrupted=True))


def test_scaling_tells_trials_per_second_by_workers() -> None:
    numbers = dict.fromkeys(ScalingRow.__dataclass_fields__, 1)
    rows = tuple(ScalingRow(**numbers | {"workers": count, "trials_per_second": count / 2}) for count in (1, 64))
    measured = Scaling(
        rows=rows, claims=(), interrupted=False, recorded=1_000, epochs=4, epoch_seconds=0.5, num_cores=2,
        commit="0123abc", versions={},
    )  # fmt: skip
    row = reliability.scaling(measured)
    assert row.result == "trials per second, by the number of workers: 1: 0.5, 64: 32.0 (commit 0123abc)"
    assert "trials of 2.0 s" in row.tried
