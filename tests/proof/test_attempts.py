"""Attempts at a proof as values: each counts, none can be cut down, and none is counted twice."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from evidence import CONFIG, OTHER_ATTEMPT, make_proof
from hypothesis import given
from hypothesis import strategies as st

from search.proof.attempts import (
    SeedsError,
    Subject,
    attempts_of,
    earlier_attempts,
    next_free,
    plan_seeds,
    planned_in,
)
from search.proof.records import Attempt, Proof

SUBJECT = Subject.of(make_proof([60]))


def plan(
    first_seed: int | None,
    num_seeds: int,
    *used: range,
    own: Mapping[int, int] | None = None,
    known: Mapping[int, int] | None = None,
) -> range:
    return plan_seeds(first_seed, num_seeds, own=own or {}, known=known or {}, used=used)


# Which seeds


def test_the_first_attempt_takes_the_first_round_number() -> None:
    assert plan(None, 5) == range(10_000, 10_005)
    assert plan(77, 5) == range(77, 82)


def test_the_next_round_number_is_free_of_all_others() -> None:
    assert next_free([]) == 10_000
    assert next_free([range(5)]) == 10_000
    assert next_free([range(10_000, 10_001)]) == 11_000
    assert next_free([range(12_000, 13_000), range(10_000, 10_005)]) == 13_000
    assert next_free([range(12_000, 13_001)]) == 14_000


def test_the_last_attempt_goes_on() -> None:
    assert plan(None, 5, own={10_000: 20, 30_000: 5}) == range(30_000, 30_005)
    assert plan(None, 8, own={30_000: 5, 10_000: 5}) == range(10_000, 10_008)


def test_an_attempt_is_extended_but_not_cut_down_below_what_is_known() -> None:
    own, known = {10_000: 20}, {10_000: 7}
    assert plan(10_000, 20, own=own, known=known) == range(10_000, 10_020)
    assert plan(10_000, 5, own=own, known=known) == range(10_000, 10_007)
    assert plan(None, 1, own=own, known=known) == range(10_000, 10_007)
    assert plan(10_000, 5, own=own, known={10_000: 0}) == range(10_000, 10_005)  # what was planned may be given up


@pytest.mark.parametrize(("first_seed", "num_seeds"), [(10_001, 2), (9_998, 3), (10_014, 1), (9_000, 9_000)])
def test_an_attempt_takes_no_seed_of_another(first_seed: int, num_seeds: int) -> None:
    with pytest.raises(SeedsError, match=r"are not all fresh: .* --first-seed"):
        plan(first_seed, num_seeds, range(10_005, 10_015), own={10_000: 5})


def test_an_attempt_is_not_extended_into_another() -> None:
    own = {10_000: 5, 10_005: 10}
    assert plan(10_000, 5, own=own) == range(10_000, 10_005)
    with pytest.raises(SeedsError, match=r"10005 to 10014 were used before\. Take fresh ones: --first-seed 11000"):
        plan(10_000, 6, own=own)


ranges = st.builds(range, st.integers(0, 30_000), st.integers(0, 30_000)).filter(len)


@given(st.lists(ranges, max_size=5), st.integers(1, 1_000))
def test_seeds_that_the_tool_picks_are_fresh(used: list[range], num_seeds: int) -> None:
    seeds = plan(None, num_seeds, *used)
    assert len(seeds) == num_seeds
    assert all(seeds.start >= other.stop for other in used)


@given(st.lists(ranges, max_size=5), ranges)
def test_seeds_that_are_asked_for_are_fresh_or_refused(used: list[range], wanted: range) -> None:
    overlaps = any(set(wanted) & set(other) for other in used)
    try:
        assert plan(wanted.start, len(wanted), *used) == wanted
        assert not overlaps
    except SeedsError as error:
        assert overlaps
        advised = int(str(error).rpartition("--first-seed ")[2].removesuffix("."))
        assert plan(advised, len(wanted), *used) == range(advised, advised + len(wanted))


# Which attempts there were


def test_an_attempt_has_one_name_wherever_it_is_recorded() -> None:
    # As it was computed before records were types: names in older records and databases have to go on.
    assert (SUBJECT.attempt(10_000), SUBJECT.attempt(12_000)) == ("80e683f48113", "cf143bdaf18e")
    assert Subject.of(Proof.model_validate_json(make_proof([60]).to_json())) == SUBJECT


@pytest.mark.parametrize(
    "other",
    [
        make_proof([60], dataset="sample"),
        make_proof([60], epochs=14),
        make_proof([60], recipe=3),
        make_proof([60], config=replace(CONFIG, lr=0.03)),
        make_proof([60], config=replace(CONFIG, model=replace(CONFIG.model, channels=((8,), (9,), (10,))))),
    ],
    ids=("data set", "epochs", "recipe", "configuration", "network"),
)
def test_an_attempt_at_something_else_is_another(other: Proof) -> None:
    assert Subject.of(other).attempt(10_000) != SUBJECT.attempt(10_000)
    [row] = attempts_of(other)
    assert not SUBJECT.is_of(row)


def test_a_record_knows_itself_and_what_it_carries() -> None:
    proof = make_proof([60, 61], earlier_attempts=(OTHER_ATTEMPT,))
    other, itself = attempts_of(proof)
    assert other == OTHER_ATTEMPT
    assert SUBJECT.is_of(itself)
    assert (itself.first_seed, itself.num_seeds, itself.errors, itself.num_passed) == (10_000, 2, (60, 61), 1)
    assert (itself.trial, itself.num_params, itself.target, itself.confirmed) == (31, 7_893, 99.4, False)
    assert (itself.min, itself.mean, itself.std, itself.commit) == (99.39, proof.mean, proof.std, "0123abc")


def row(first_seed: int, num_seeds: int, subject: Subject = SUBJECT, errors: tuple[int, ...] | None = None) -> Attempt:
    return Attempt(attempt=subject.attempt(first_seed), first_seed=first_seed, num_seeds=num_seeds, errors=errors)


ANOTHER = replace(SUBJECT, recipe=3)


def test_what_records_planned_is_known_by_the_first_seed_the_last_one_last() -> None:
    history = [row(10_000, 5), row(30_000, 3), row(20_000, 9, ANOTHER), row(10_000, 20), row(30_000, 2)]
    assert list(planned_in(history, SUBJECT).items()) == [(10_000, 20), (30_000, 3)]
    assert planned_in(history, ANOTHER) == {20_000: 9}


def earlier(proof: Proof, *history: Attempt, stored: tuple[Attempt, ...] = ()) -> tuple[Attempt, ...]:
    seeds = range(proof.first_seed, proof.first_seed + len(proof.seeds))
    errors = [each.errors for each in proof.seeds]
    return earlier_attempts(Subject.of(proof), seeds, errors, history=history, stored=stored)


def test_a_record_carries_the_attempts_of_the_records_that_it_replaces() -> None:
    first = make_proof([60, 60])
    begun = make_proof([60, 60, 60], first_seed=20_000)
    second = make_proof([60, 60, 60], first_seed=20_000, earlier_attempts=earlier(begun, *attempts_of(first)))
    rows = earlier(make_proof([60], first_seed=30_000), *attempts_of(second))
    assert [(each.first_seed, each.num_seeds) for each in rows] == [(10_000, 2), (20_000, 3)]
    assert (rows[0].mean, rows[0].min, rows[0].commit) == (pytest.approx(99.4), 99.4, "0123abc")
    assert all(each.same_configuration for each in rows)


def test_an_attempt_that_is_extended_is_not_its_own_predecessor() -> None:
    assert earlier(make_proof([60, 60, 60]), *attempts_of(make_proof([60, 60]))) == ()
    assert earlier(make_proof([60, 60]), stored=(row(10_000, 2),)) == ()


@pytest.mark.parametrize(
    ("errors", "num_others"), [([60, 60], 0), ([60], 0), ([60, 60, 70], 0), ([61, 60], 1), ([60, 61, 60], 1)]
)
def test_the_same_seeds_with_other_errors_are_another_attempt(errors: list[int], num_others: int) -> None:
    rows = earlier(make_proof([60, 60]), *attempts_of(make_proof(errors)))  # on another machine, say
    assert len(rows) == num_others
    assert all(each.same_configuration for each in rows)


def test_the_fullest_record_of_an_attempt_counts() -> None:
    few, many = attempts_of(make_proof([60, 60])) + attempts_of(make_proof([60, 60, 61]))
    for history in ([few, many], [many, few]):
        [found] = earlier(make_proof([60], first_seed=20_000), *history)
        assert found.num_seeds == 3


def test_what_a_record_knows_goes_before_what_the_database_knows() -> None:
    [recorded] = attempts_of(make_proof([60, 61]))
    stored = (row(10_000, 5), row(40_000, 5, ANOTHER))
    found = earlier(make_proof([60], first_seed=20_000), recorded, stored=stored)
    assert [(each.first_seed, each.num_passed, each.same_configuration) for each in found] == [
        (10_000, 1, True),
        (40_000, None, False),
    ]


def test_an_attempt_that_was_at_another_recipe_counts_as_one_at_another_configuration() -> None:
    [old] = attempts_of(make_proof([60, 60], recipe=3))
    [found] = earlier(make_proof([60], first_seed=20_000), old)
    assert (found.first_seed, found.num_seeds, found.num_passed) == (10_000, 2, 2)
    assert found.same_configuration is False
    assert found.attempt != SUBJECT.attempt(10_000)
