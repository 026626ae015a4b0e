"""The ledger as a value: nothing that was seen is forgotten, counted twice or undone, whichever way it came here."""

import json
from dataclasses import replace
from typing import Any

import pytest
from evidence import CONFIG, TRAINED, ask, make_proof, make_tested
from hypothesis import given
from hypothesis import strategies as st

from search.config import MAX_SEEDS, TrialConfig
from search.proof import tested  # not Tested by its name: pytest would take it for a test
from search.proof.evidence import Proof
from search.proof.ledger import (
    LADDER_SEEDS,
    Asked,
    Entry,
    Ledger,
    Look,
    SeedsError,
    entries_of,
    next_free,
    parse_line,
    parse_lines,
    plan_seeds,
)
from search.proof.parts import Environment, RecordError
from search.proof.tested import AskedSeeds, MeasuredSeed, Outcome, Subject

SUBJECT = Subject.of(CONFIG, dataset="mnist", epochs=15, recipe=4)
ANOTHER = SUBJECT.model_copy(update={"recipe": 3})
NAMED = {"study_name": "small", "trial": 31, "num_params": 7_893}
COMMANDS = ("verify-best", "ablate", "reproduce")


def asked(first_seed: int, num_seeds: int, subject: Subject = SUBJECT, **changes: Any) -> Asked:
    return Asked(subject=subject, seeds=ask(first_seed, num_seeds, **changes), **NAMED)


def look(
    seed: int, errors: int = 60, subject: Subject = SUBJECT, *, command: str = "verify-best", **changes: Any
) -> Look:
    facts = {
        "subject": subject,
        "seed": seed,
        "outcome": {"command": command, "errors": errors, "errors_one_view": errors},
        "num_images": 10_000,
        "environment": TRAINED,
        "time": "",
    }
    return Look.model_validate(NAMED | facts | changes)


def looks(seeds: range, *, subject: Subject = SUBJECT) -> list[Look]:
    return [look(seed, subject=subject) for seed in seeds]


def ids(of: Ledger) -> set[str]:
    return {entry.id for entry in of.entries}


def pooled(*entries: Entry) -> tested.Tested:
    """All that is known of the configuration."""
    found = Ledger.joined(entries).tested(SUBJECT)
    assert found is not None
    return found


# Any entries, of few values, so that some of them meet

subjects = st.sampled_from([SUBJECT, ANOTHER, SUBJECT.model_copy(update={"dataset": "sample"})])
few_seeds = st.integers(10_000, 10_005)
outcomes = st.builds(
    Outcome,
    command=st.sampled_from(COMMANDS),
    errors=st.integers(58, 62),
    errors_one_view=st.integers(68, 70),
)
environments = st.sampled_from([TRAINED, TRAINED | {"device": "cuda", "versions": {"torch": "2.15.0"}}]).map(
    Environment.model_validate
)
times = st.sampled_from(["", "2026-11-25T03:16:35.091+00:00", "2026-11-25T04:16:35+00:00"])
asked_seeds = st.builds(
    AskedSeeds,
    first_seed=few_seeds,
    num_seeds=st.integers(1, 4),
    target=st.sampled_from([None, 99.38, 99.4, 99.42]),
    chosen_by=st.just("the best"),
    time=times,
    commit=st.just("0123abc"),
)
named = {"study_name": st.sampled_from(["small", "other"]), "trial": st.integers(0, 1), "num_params": st.just(7_893)}
entries = st.one_of(
    st.builds(Asked, subject=subjects, seeds=asked_seeds, **named),
    st.builds(
        Look,
        subject=subjects,
        seed=few_seeds,
        outcome=outcomes,
        num_images=st.just(10_000),
        environment=environments,
        time=times,
        **named,
    ),
)
parts = st.lists(entries, max_size=8)


def said(of: Ledger) -> Any:
    """What a ledger says of every configuration, without where and when."""
    rows = {}
    for entry in of.entries:
        found = of.tested(entry.subject)
        assert found is not None
        planned = {seed for each in found.asked for seed in each.range}
        measured = {row.seed: (row.errors, {each.model_dump_json() for each in row.outcomes}) for row in found.seeds}
        rows[entry.subject.key] = (found.target, planned, measured, found.num_passed)
    return ids(of), rows


@given(parts)
def test_a_ledger_joined_with_itself_says_nothing_new(some: list[Entry]) -> None:
    once = Ledger.joined(some)
    assert Ledger.joined(once.entries, some, once.entries) == once
    assert len(ids(once)) == len(once.entries)


@given(parts, parts)
def test_ledgers_are_joined_in_any_order(some: list[Entry], others: list[Entry]) -> None:
    assert said(Ledger.joined(some, others)) == said(Ledger.joined(others, some))


@given(parts, parts, parts)
def test_ledgers_are_joined_in_any_groups(some: list[Entry], others: list[Entry], more: list[Entry]) -> None:
    together = Ledger.joined(some, others, more)
    assert Ledger.joined(Ledger.joined(some, others).entries, more) == together
    assert Ledger.joined(some, Ledger.joined(others, more).entries) == together


with_a_target = asked_seeds.filter(lambda seeds: seeds.target is not None)


@given(st.builds(Asked, subject=st.just(SUBJECT), seeds=with_a_target, **named), parts, parts)
def test_nothing_that_is_added_makes_a_verdict_greener(asked: Asked, some: list[Entry], others: list[Entry]) -> None:
    before, after = Ledger.joined([asked], some).tested(SUBJECT), Ledger.joined([asked], some, others).tested(SUBJECT)
    assert before is not None
    assert after is not None
    assert (after.target or 0) >= (before.target or 0)
    worst = {row.seed: row.errors for row in after.seeds}
    assert all(worst[row.seed] >= row.errors for row in before.seeds)
    assert len(after.seeds) - (after.num_passed or 0) >= len(before.seeds) - (before.num_passed or 0)


@given(entries)
def test_an_entry_survives_its_line(entry: Entry) -> None:
    line = entry.model_dump_json()
    assert "\n" not in line
    again = parse_line(line, "here")
    assert (again, again.id) == (entry, entry.id)
    assert again.model_dump_json() == line


@given(parts)
def test_a_ledger_survives_its_file(some: list[Entry]) -> None:
    content = "".join(f"{entry.model_dump_json()}\n" for entry in some).encode()
    assert parse_lines(content, "here") == some
    assert parse_lines(content.removesuffix(b"\n"), "here") == some  # as an editor may leave it
    assert parse_lines(content.replace(b"\n", b"\r\n"), "here") == some


# Whatever it is, it is said as it was


@st.composite
def configurations(draw: st.DrawFn) -> tested.Tested:
    """A configuration as a record has it: some proofs asked for, some seeds measured, some of them repeatedly."""
    found = draw(
        st.dictionaries(
            st.integers(0, 2**32 - 1),
            st.lists(outcomes, min_size=1, max_size=3, unique=True),
            max_size=4,
        )
    )
    asked_for = draw(
        st.lists(asked_seeds, min_size=not found, max_size=3, unique_by=lambda each: each.model_dump_json())
    )
    environment = draw(environments) if found else Environment(device="", precision="", commit="", versions={})
    return make_tested(
        asked=tuple(sorted(asked_for, key=lambda each: each.time)),
        seeds=tuple(MeasuredSeed.of(seed, found[seed], 10_000) for seed in sorted(found)),
        num_images=10_000 if found else 0,
        **dict(environment),
    )


@given(configurations())
def test_what_a_record_knows_is_known_of_its_entries(known: tested.Tested) -> None:
    again = Ledger.joined(entries_of(known)).tested(known.subject)
    assert again == known
    assert Ledger.joined(entries_of(known), entries_of(again)).tested(known.subject) == known


@given(configurations())
def test_what_a_record_knows_survives_its_lines(known: tested.Tested) -> None:
    content = "".join(f"{entry.model_dump_json()}\n" for entry in entries_of(known)).encode()
    assert Ledger.joined(parse_lines(content, "here")).tested(known.subject) == known


def test_of_a_configuration_that_nobody_has_tried_nothing_is_known() -> None:
    assert Ledger(()).tested(SUBJECT) is None
    assert Ledger.joined([asked(10_000, 5, ANOTHER), look(10_000, subject=ANOTHER)]).tested(SUBJECT) is None


def test_a_record_knows_itself_and_the_other_attempts() -> None:
    other = make_tested(61, subject=ANOTHER, first_seed=20_000)
    proof = make_proof([60, 61], earlier_attempts=(other,))
    found = Ledger.joined(entry for each in proof.tested for entry in entries_of(each))
    itself = found.tested(proof.subject)
    assert itself is not None
    assert (itself.asked, itself.seeds, itself.environment) == (proof.asked, proof.seeds, proof.environment)
    assert (itself.study_name, itself.trial, itself.num_params) == ("small", 31, 7_893)
    assert found.tested(ANOTHER) == other


# Damage


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[]", ""),
        ("7", ""),
        ("{}", ""),
        ('{"kind": "glance"}', ""),
        ('{"kind": "look"}', "it has no"),
        ("[" * 100_000, "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_a_damaged_line_is_refused_by_its_place(line: str | bytes, words: str) -> None:
    whole = look(10_000).model_dump_json().encode()
    content = b"\n".join([whole, line.encode() if isinstance(line, str) else line, whole, b""])
    with pytest.raises(
        RecordError, match=r"small/attempts\.jsonl, line 2, is damaged \(.*\)\. Restore it\.$"
    ) as refused:
        parse_lines(content, "small/attempts.jsonl")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": -1},
        {"seed": None},
        {"num_images": 0},
        {"num_images": 59},  # fewer than its errors
        {"outcome": {"command": "verify-best", "errors": 10_001, "errors_one_view": 60}},
        {"outcome": {"command": "verify-best", "errors": 60, "errors_one_view": 10_001}},
        {"outcome": {"command": "search", "errors": 60, "errors_one_view": 60}},
        {"more": 1},
        {"subject": {}},
    ],
    ids=str,
)
def test_a_look_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    values = json.loads(look(10_000).model_dump_json()) | changes
    with pytest.raises(RecordError, match=r"^here is damaged"):
        parse_line(json.dumps(values), "here")


@pytest.mark.parametrize(
    "changes", [{"num_seeds": 0}, {"num_seeds": MAX_SEEDS + 1}, {"num_seeds": 10**15}, {"target": 100.1}], ids=str
)
def test_a_proof_that_cannot_be_asked_for_is_refused(changes: dict[str, Any]) -> None:
    values = json.loads(asked(10_000, 5).model_dump_json())
    with pytest.raises(RecordError, match=r"^here is damaged"):
        parse_line(json.dumps(values | {"seeds": values["seeds"] | changes}), "here")


def test_a_last_line_that_was_cut_off_is_none_yet() -> None:
    first, second = look(10_000).model_dump_json().encode(), look(10_001).model_dump_json().encode()
    for length in range(len(second)):
        assert parse_lines(first + b"\n" + second[:length], "here") == [look(10_000)], length
    assert parse_lines(b"", "here") == []


def test_errors_on_unlike_many_test_digits_are_not_pooled() -> None:
    found = Ledger.joined([look(10_000, 61)], [look(10_000, 61, num_images=1_000_000)])  # someone has edited one
    with pytest.raises(RecordError, match="31 of small was measured on 10000 and on 1000000 test images of mnist"):
        found.tested(SUBJECT)


# What counts


def test_equal_facts_of_two_machines_are_one_entry() -> None:
    here = look(10_000, time="2026-11-25T03:16:35+00:00")
    there = here.model_copy(
        update={
            "time": "2026-11-26T03:16:35+00:00",
            "environment": Environment.model_validate(TRAINED | {"device": "cuda"}),
            "study_name": "renamed",
        }
    )
    assert here.id == there.id
    assert Ledger.joined([here], [there]).entries == (here,)
    assert Ledger.joined([there], [here]).entries == (there,)
    assert pooled(here, there).seeds[0].others == ()


@pytest.mark.parametrize("errors", [(60, 61), (61, 60)])
def test_what_machines_do_not_agree_on_stays_and_the_worst_counts(errors: tuple[int, int]) -> None:
    found = pooled(asked(10_000, 1), *(look(10_000, count) for count in errors))
    [row] = found.seeds
    assert (row.errors, [each.errors for each in row.others]) == (61, [60])
    assert (found.num_passed, found.min) == (0, 99.39)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_counts(command: str) -> None:
    found = pooled(asked(10_000, 1), look(10_000, 60), look(LADDER_SEEDS, 61, command=command))
    assert [(row.seed, row.errors) for row in found.seeds] == [(10_000, 60), (LADDER_SEEDS, 61)]
    assert found.num_passed == 1
    again = pooled(asked(10_000, 1), look(10_000, 60), look(10_000, 61, command=command))
    assert ([row.errors for row in again.seeds], again.num_passed) == ([61], 0)


def test_the_bar_is_the_highest_that_was_ever_asked_for() -> None:
    entries = [asked(10_000, 1), asked(20_000, 1, target=99.5), asked(10_000, 1, target=None), asked(1, 1, target=99.0)]
    assert pooled(*entries).target == 99.5
    assert pooled(*reversed(entries)).target == 99.5
    assert pooled(entries[2]).target is None
    assert pooled(entries[2], look(10_000)).num_passed is None


def test_a_configuration_is_named_as_in_the_first_proof_of_it_that_was_asked_for() -> None:
    found = pooled(
        look(10_000, study_name="ablated", trial=1),
        asked(10_000, 1, time="2026-11-26").model_copy(update={"study_name": "second"}),
        asked(10_000, 1, time="2026-11-25").model_copy(update={"study_name": "first"}),
    )
    assert found.study_name == "first"
    assert [each.time for each in found.asked] == ["2026-11-25", "2026-11-26"]  # in order of time
    assert pooled(look(10_000, study_name="ablated")).study_name == "ablated"


def test_environments_are_told_together() -> None:
    found = pooled(look(1), look(2, environment=TRAINED | {"device": "cuda", "versions": {"torch": "2.15.0"}}))
    assert (found.device, found.precision, found.versions) == ("cpu, cuda", "fp32", {"torch": "2.14.1, 2.15.0"})


def test_a_configuration_is_known_by_what_it_is_not_by_its_study() -> None:
    assert Subject.of(TrialConfig(**vars(CONFIG)), dataset="mnist", epochs=15, recipe=4) == SUBJECT
    proof = Proof.model_validate_json(make_proof([60], study_name="renamed", trial=7, space="another").to_json())
    assert (proof.subject, proof.subject.key) == (SUBJECT, SUBJECT.key)


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
    assert other.subject != SUBJECT
    assert other.subject.key != SUBJECT.key
    assert Ledger.joined(entries_of(other.tested[0])).tested(SUBJECT) is None


def test_a_number_is_the_same_with_and_without_its_point() -> None:
    augment = SUBJECT.config["augment"] | {"rotation": 10}  # as other programs write 10.0
    whole = SUBJECT.model_copy(update={"config": SUBJECT.config | {"augment": augment}})
    assert json.dumps(whole.config) != json.dumps(SUBJECT.config)
    assert (whole, whole.key) == (SUBJECT, SUBJECT.key)
    assert look(10_000, subject=whole).id == look(10_000).id


def test_the_attempts_on_a_data_set_are_the_configurations_of_which_a_proof_was_asked_for() -> None:
    elsewhere = SUBJECT.model_copy(update={"dataset": "sample"})
    found = Ledger.joined(
        [
            asked(20_000, 5, ANOTHER, time="2026-11-26"),
            asked(10_000, 5, time="2026-11-25"),
            asked(10_000, 20, time="2026-11-27"),  # extended: not another
            asked(30_000, 5, time="2026-11-28"),
            look(
                40_000, subject=SUBJECT.model_copy(update={"epochs": 1}), command="ablate"
            ),  # nobody asked for a proof
            asked(10_000, 5, elsewhere),
        ]
    )
    assert [each.subject for each in found.attempts("mnist")] == [SUBJECT, ANOTHER]
    assert [each.subject for each in found.attempts("sample")] == [elsewhere]
    assert [each.num_planned for each in found.attempts("mnist")] == [25, 5]


def test_what_ladders_and_reproductions_have_shown_is_counted() -> None:
    found = Ledger.joined(
        [
            *(look(LADDER_SEEDS + place, command="ablate", subject=ANOTHER) for place in range(3)),
            look(LADDER_SEEDS, command="ablate"),
            *(look(seed, command="reproduce", study_name="other", trial=2) for seed in (1, 2)),
            look(10_000),
            look(1, command="ablate", subject=SUBJECT.model_copy(update={"dataset": "sample"})),
        ]
    )
    rows = [(row.command, row.study_name, row.trial, row.num_runs) for row in found.other_looks("mnist")]
    assert rows == [("ablate", "small", 31, 4), ("reproduce", "other", 2, 2)]
    assert Ledger.joined([look(10_000), asked(10_000, 1)]).other_looks("mnist") == ()


# Which seeds are fresh


def test_seeds_of_other_configurations_are_used_whether_asked_for_or_seen() -> None:
    found = Ledger.joined(
        [
            asked(10_000, 5, ANOTHER),
            *looks(range(10_000, 10_003), subject=ANOTHER),
            look(10_007, subject=ANOTHER, command="reproduce"),
            look(LADDER_SEEDS, subject=ANOTHER, command="ablate"),
            asked(30_000, 5),  # its own
            look(30_000),
            asked(40_000, 5, SUBJECT.model_copy(update={"dataset": "sample"})),
        ]
    )
    assert found.used(SUBJECT) == [range(10_000, 10_005), range(10_007, 10_008)]
    assert found.used(ANOTHER) == [range(30_000, 30_005)]


def plan(first_seed: int | None, num_seeds: int, *entries: Entry) -> range:
    return plan_seeds(Ledger.joined(entries), SUBJECT, first_seed, num_seeds)


def others(*used: range) -> list[Entry]:
    return [asked(seeds.start, len(seeds), ANOTHER) for seeds in used]


def test_the_first_proof_takes_the_first_round_number() -> None:
    assert plan(None, 5) == range(10_000, 10_005)
    assert plan(77, 5) == range(77, 82)


def test_the_next_round_number_is_free_of_all_others() -> None:
    assert next_free([]) == 10_000
    assert next_free([range(5)]) == 10_000
    assert next_free([range(10_000, 10_001)]) == 11_000
    assert next_free([range(12_000, 13_000), range(10_000, 10_005)]) == 13_000
    assert next_free([range(12_000, 13_001)]) == 14_000


def test_the_last_proof_goes_on() -> None:
    first, second = asked(10_000, 20, time="2026-11-25"), asked(30_000, 5, time="2026-11-26")
    assert plan(None, 5, first, second) == range(30_000, 30_005)
    assert plan(None, 5, second, first) == range(30_000, 30_005)
    assert plan(None, 8, first, second, asked(10_000, 5, time="2026-11-27")) == range(10_000, 10_008)


def test_a_proof_is_extended_but_not_cut_down_below_what_was_measured() -> None:
    begun = [asked(10_000, 20), *looks(range(10_000, 10_003)), look(10_006)]  # cut off there
    assert plan(10_000, 20, *begun) == range(10_000, 10_020)
    assert plan(10_000, 5, *begun) == range(10_000, 10_007)
    assert plan(None, 1, *begun) == range(10_000, 10_007)
    assert plan(10_000, 5, begun[0]) == range(10_000, 10_005)  # what was planned may be given up


def test_a_seed_that_another_command_has_measured_is_not_cut_off_either() -> None:
    assert plan(10_000, 5, asked(10_000, 20), look(10_010, command="reproduce")) == range(10_000, 10_011)
    assert plan(10_000, 5, asked(10_000, 20), look(10_020, command="reproduce")) == range(10_000, 10_005)  # not of it


@pytest.mark.parametrize(("first_seed", "num_seeds"), [(10_005, 2), (9_998, 10), (10_014, 1), (9_000, 9_000)])
def test_a_proof_takes_no_seed_of_another_configuration(first_seed: int, num_seeds: int) -> None:
    with pytest.raises(SeedsError, match=r"10005 to 10014 were used before\. Take fresh ones: --first-seed"):
        plan(first_seed, num_seeds, *others(range(10_005, 10_015)))


def test_a_proof_may_take_seeds_of_its_own_again_for_all_of_them_count() -> None:
    own = [asked(10_000, 5), asked(20_000, 5), *looks(range(10_000, 10_005)), look(15_000, command="reproduce")]
    for first_seed, num_seeds in ((10_003, 4), (9_998, 3), (14_999, 3), (10_000, 20)):
        assert plan(first_seed, num_seeds, *own) == range(first_seed, first_seed + num_seeds)


def test_a_proof_is_not_extended_into_another_configurations() -> None:
    known = [asked(10_000, 5), *others(range(10_005, 10_015))]
    assert plan(10_000, 5, *known) == range(10_000, 10_005)
    with pytest.raises(SeedsError, match=r"10005 to 10014 were used before\. Take fresh ones: --first-seed 11000"):
        plan(10_000, 6, *known)


def test_a_single_seed_that_was_seen_of_another_configuration_is_not_fresh() -> None:
    with pytest.raises(SeedsError, match="10003 to 10003 were used before"):
        plan(10_000, 5, look(10_003, subject=ANOTHER, command="reproduce"))


def test_on_another_data_set_every_seed_is_fresh() -> None:
    elsewhere = SUBJECT.model_copy(update={"dataset": "sample"})
    assert plan(None, 5, asked(10_000, 5, elsewhere), look(10_000, subject=elsewhere)) == range(10_000, 10_005)


@given(st.sets(st.integers(0, 100)), st.integers(1, 100))
def test_the_ladders_seeds_never_move_the_next_ones(places: set[int], num_seeds: int) -> None:
    ladder = [look(LADDER_SEEDS + place, subject=ANOTHER, command="ablate") for place in places]
    known = others(range(10_000, 10_005))
    assert plan(None, num_seeds, *ladder, *known) == plan(None, num_seeds, *known)


ranges = st.builds(range, st.integers(0, 30_000), st.integers(0, 30_000)).filter(lambda seeds: 0 < len(seeds) <= 10_000)


@given(st.lists(ranges, max_size=5), st.integers(1, 1_000))
def test_seeds_that_the_tool_picks_are_fresh(used: list[range], num_seeds: int) -> None:
    seeds = plan(None, num_seeds, *others(*used))
    assert len(seeds) == num_seeds
    assert all(seeds.start >= other.stop for other in used)


@given(st.lists(ranges, max_size=5), ranges)
def test_seeds_that_are_asked_for_are_fresh_or_refused(used: list[range], wanted: range) -> None:
    overlaps = any(wanted.start < other.stop and other.start < wanted.stop for other in used)
    known = others(*used)
    try:
        assert plan(wanted.start, len(wanted), *known) == wanted
        assert not overlaps
    except SeedsError as error:
        assert overlaps
        advised = int(str(error).rpartition("--first-seed ")[2].removesuffix("."))
        assert plan(advised, len(wanted), *known) == range(advised, advised + len(wanted))
