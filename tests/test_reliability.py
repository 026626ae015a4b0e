"""The page of promises says what the records say."""

from dataclasses import replace
from typing import get_args

from rounds import ROUND, SHOT

from benchmarks.chaos import sum_up
from benchmarks.records import Phase, Repeat, RepeatedStudy
from search.provenance import Code
from tools import reliability

STUDY = RepeatedStudy(
    seed=0, trials=14, pruned=3, runs=4, shots=(SHOT, replace(SHOT, hit=False)), interrupted=1, differences=()
)


def test_kills_are_counted_and_what_was_not_kept_is_told(code: Code) -> None:
    rounds = [replace(ROUND, phase=phase) for phase in get_args(Phase)]
    kept = reliability.kills(sum_up(rounds, 0, code))
    assert kept.tried.startswith("5 signals (SIGKILL, SIGTERM and SIGINT; ")
    assert "at least 1 in each; 5 of them while workers were at work." in kept.tried
    assert kept.result.startswith("10 starts, 30 trials, 5 of them cut off on the way and tried again: none lost, ")
    broken = [*rounds, *(replace(ROUND, index=index, violations=("lost: 0",)) for index in range(7))]
    told = reliability.kills(sum_up(broken, 0, code)).result
    assert "none lost" not in told
    assert "**not kept**: proof 0: lost: 0; proof 1: lost: 0; " in told
    assert "proof 4: lost: 0 and 2 more" in told
    assert kept.result.endswith(f"(commit {code.commit[:12]})")


def test_a_phase_that_was_not_hit_is_told(code: Code) -> None:
    assert "at least 0 in each" in reliability.kills(sum_up([ROUND], 0, code)).tried


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
