"""A proof in words: the verdict, its evidence, and the page beside the record."""

from typing import Any

import pytest
from evidence import ON_THE_SAMPLE, OTHER_ATTEMPT, VERSIONS, ask, make_proof, measure

from search.proof.tested import OtherLooks
from search.show.proof import evidence, to_markdown, verdict


def test_confirmed_when_every_seed_reaches_the_target_exactly() -> None:
    assert verdict(make_proof([60, 58, 60, 55, 60])) == (
        "CONFIRMED: every one of 5 fresh seeds reaches 99.4 % on the 10,000 test images (at most 60 errors)."
    )
    assert verdict(make_proof([60])).startswith("CONFIRMED: the one fresh seed reaches 99.4 %")


def test_one_error_too_many_in_one_seed_is_not_confirmed() -> None:
    assert verdict(make_proof([60, 58, 61, 55, 60])).startswith("NOT CONFIRMED: 1 of 5 fresh seeds miss 99.4 %")


def test_a_seed_with_nothing_right_is_a_miss_like_any_other() -> None:
    proof = make_proof([60, 10_000, 60])  # as a diverged seed is recorded
    assert verdict(proof).startswith("NOT CONFIRMED: 1 of 3 fresh seeds miss 99.4 %")
    assert evidence(proof)[0].startswith("Minimum 0.00 %")


def test_a_seed_that_missed_before_is_one_of_those_in_the_verdict() -> None:
    proof = make_proof([60, 58], seeds=(measure(10_000, 60), measure(10_001, 58), measure(20_000, 61)))
    assert verdict(proof).startswith("NOT CONFIRMED: 1 of 3 fresh seeds miss 99.4 %")
    assert any(line.startswith("2 of 3 proves") for line in evidence(proof))


def test_a_bar_that_was_lowered_is_told() -> None:
    assert not any("bar" in line for line in evidence(make_proof([50])))
    proof = make_proof([60], asked=(ask(10_000, 1, 99.5), ask(10_000, 1, 99.4)))
    assert verdict(proof).startswith("NOT CONFIRMED: 1 of 1 fresh seeds miss 99.5 %")
    assert "99.4 % was asked for, but 99.5 % before, and a bar is not lowered." in evidence(proof)
    raised = make_proof([60], asked=(ask(10_000, 1, 99.4), ask(10_000, 1, 99.5)))
    assert not any("bar" in line for line in evidence(raised))


def test_seeds_that_no_proof_has_measured_are_told() -> None:
    seeds = (
        measure(10_000, 60),
        measure(10_001, 60, command="reproduce"),
        measure(2**31, 60, command="ablate"),
        measure(2**31 + 1, 60, command="ablate"),
    )
    assert (
        "Measured by ablate or reproduce: seeds 10001, 2147483648 to 2147483649 (n = 3). Every measured seed counts."
    ) in evidence(make_proof([60], seeds=seeds))
    assert not any("Every measured seed" in line for line in evidence(make_proof([60, 61])))


def test_a_seed_that_a_reproduction_repeated_is_the_proofs_own() -> None:
    row = measure(10_000, 60, command="reproduce")
    own = row.model_copy(update={"others": measure(10_000, 60).outcomes})
    assert not any("Every measured seed" in line for line in evidence(make_proof([60], seeds=(own,))))


def test_seeds_that_were_not_measured_alike_are_told() -> None:
    rows = (measure(10_000, 60, 60), measure(10_001, 60, 58), measure(10_002, 60))
    lines = evidence(make_proof([60] * 3, seeds=rows))
    assert "Measured repeatedly, and not alike: seed 10001 (n = 1). The worst counts." in lines
    assert not any("not alike" in line for line in evidence(make_proof([60], seeds=rows[:1])))


@pytest.mark.parametrize(
    ("target", "words"), [(99.5, "99.5 %"), (99.0, "99 %"), (100.0, "100 %"), (99.39999999999, "99.39999999999 %")]
)
def test_the_target_is_told_as_exactly_as_it_was_given(target: float, words: str) -> None:
    assert f"miss {words} on" in verdict(make_proof([50, 101], target=target))


def test_the_claim_cannot_be_judged_on_the_sample() -> None:
    proof = make_proof([0, 0, 0], **ON_THE_SAMPLE)
    assert verdict(proof) == (
        "NOT JUDGED: 99.4 % is a claim about a complete set of test images; it cannot be judged on the 1,000 of the "
        "sample."
    )
    assert not any("proves" in sentence for sentence in evidence(proof))


def test_the_evidence_names_the_views_and_what_a_single_one_would_reach() -> None:
    [line] = [line for line in evidence(make_proof([60, 58])) if "views" in line]
    assert line == (
        "Each image is classified by the mean of 27 views: 3 sizes, 9 shifts of up to 1 pixel. By one view alone: "
        "minimum 99.31 %, mean 99.320 %."
    )


def test_the_evidence_tells_of_seeds_that_were_planned_and_not_measured() -> None:
    assert not any("planned" in line for line in evidence(make_proof([60, 58])))
    lines = evidence(make_proof([60, 58], asked=(ask(10_000, 20), ask(10_000, 2))))
    assert "20 seeds were planned; 18 of them were not measured." in lines


def test_seeds_trained_in_several_environments_name_them_all() -> None:
    proof = make_proof([60, 58], commit="0123abc, 4567def", versions={**VERSIONS, "torch": "2.14.1, 2.15.0"})
    assert "torch 2.14.1, 2.15.0, torchvision 0.29.1" in evidence(proof)[-1]
    assert evidence(proof)[-1].endswith("commit 0123abc, 4567def.")


def test_the_evidence_says_what_the_verdict_rests_on() -> None:
    last = evidence(make_proof([60, 58, 55, 57, 59]))[-1]
    for words in (
        "10000 to 10004 (n = 5)",
        "trial 31 of small",
        "7,893 parameters",
        "epochs: 15",
        "data set mnist",
        "cuda in bf16",
        "python 3.12.3, torch 2.14.1, torchvision 0.29.1",
        "commit 0123abc",
    ):
        assert words in last


def test_the_evidence_says_how_little_five_seeds_prove() -> None:
    sentence = next(line for line in evidence(make_proof([60] * 5)) if "proves" in line)
    assert "5 of 5 proves, at 95 % confidence, that at least 54.9 % of all seeds" in sentence
    assert "59 of 59 would prove 95 %" in sentence


def test_fifty_nine_seeds_prove_ninety_five_percent() -> None:
    sentence = next(line for line in evidence(make_proof([60] * 59)) if "proves" in line)
    assert "59 of 59 proves" in sentence
    assert "at least 95.0 % of all seeds" in sentence
    assert "would prove" not in sentence


def test_what_is_missed_proves_nothing() -> None:
    assert not any("proves" in line for line in evidence(make_proof([61] * 5)))
    assert any(line.endswith("of all seeds reach the target.") for line in evidence(make_proof([60, 61])))


def test_what_is_proved_is_never_rounded_up() -> None:
    proof = make_proof([60] * 58)
    assert 0.9495 < proof.pass_share_lower95 < 0.95  # to the nearest tenth that would be 95.0 %
    assert any("at least 94.9 % of all seeds" in line for line in evidence(proof))


def test_the_evidence_gives_the_spread_and_what_the_interval_leaves_out() -> None:
    lines = evidence(make_proof([65, 55]))
    assert "Minimum 99.35 %, mean 99.400 %, standard deviation 0.071 points" in lines[0]
    assert "95 % interval of the mean 98.765 to 100.000 %" in lines[0]
    # 1.96 standard errors of 99.4 % on 10,000 digits
    assert "the set's own size adds about ±0.15 points" in lines[1]
    assert evidence(make_proof([60]))[0] == "Minimum 99.40 %, mean 99.400 %."  # one seed has no spread


@pytest.mark.parametrize("n", [2, 5])
def test_seeds_that_agree_are_not_told_as_certainty(n: int) -> None:
    line = evidence(make_proof([57] * n))[0]
    assert line.endswith(f"; all {n} make as many errors, and equal counts tell no spread: there is no interval.")


def test_every_attempt_is_told() -> None:
    assert any(line.startswith("The only attempt at a proof") for line in evidence(make_proof([60, 60])))
    thrice = make_proof([60], earlier_attempts=(OTHER_ATTEMPT, OTHER_ATTEMPT))
    assert any(line.startswith("One of 3 attempts at a proof") for line in evidence(thrice))
    assert any(line.endswith("The trial is the one asked for (--trial).") for line in evidence(thrice))


def test_the_other_attempts_and_looks_are_told() -> None:
    looks = (
        OtherLooks(command="ablate", study_name="small", trial=7, num_runs=18),
        OtherLooks(command="reproduce", study_name="other", trial=2, num_runs=1),
    )
    lines = evidence(make_proof([60, 58], earlier_attempts=(OTHER_ATTEMPT, OTHER_ATTEMPT), other_looks=looks))
    words = "trial 7 of small, seeds 20000 to 20002 (n = 3): minimum 99.39 %, mean 99.450 %"
    assert lines.count(f"Another attempt: {words}.") == 2
    shown = "ablate of trial 7 of small (18), reproduce of trial 2 of other (1)"
    assert f"Test accuracies were also shown by {shown}." in lines

    def told(**changes: Any) -> list[str]:
        return evidence(make_proof([60], earlier_attempts=(OTHER_ATTEMPT.model_copy(update=changes),)))

    assert any("(n = 3), 1 of them not measured: minimum" in line for line in told(seeds=OTHER_ATTEMPT.seeds[:2]))
    assert any(line.endswith("(n = 3), nothing measured.") for line in told(seeds=()))
    twice = (*OTHER_ATTEMPT.asked, ask(30_000, 2), ask(20_000, 2))
    assert any(
        "seeds 20000 to 20002, 30000 to 30001 (n = 5), 2 of them not measured" in line for line in told(asked=twice)
    )


def test_the_page_has_verdict_table_and_evidence() -> None:
    proof = make_proof([60, 58, 61])
    text = to_markdown(proof)
    lines = text.splitlines()
    assert lines[0] == f"# {verdict(proof)}"
    table = lines.index("| Seed | Test accuracy (%) | Errors of 10,000 | With one view |")
    assert lines[table + 2 : table + 5] == [
        "| 10000 | 99.40 | 60 | 69 |",
        "| 10001 | 99.42 | 58 | 67 |",
        "| 10002 | 99.39 | 61 | 70 |",
    ]
    assert all(sentence in text for sentence in evidence(proof))
    assert text.endswith("\n")


def test_names_and_reasons_bring_no_markup_into_the_page() -> None:
    page = to_markdown(make_proof([60], chosen_by="| a | <b>\n\n# c"))
    assert r"The trial is \| a \| &lt;b&gt; # c." in page
