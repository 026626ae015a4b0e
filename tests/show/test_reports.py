"""What the commands that follow a search print in the end: its tables fit a terminal."""

from evidence import make_ladder, make_proof, make_reproduction, make_rung
from showing import shown, widest

from search.proof.ladder import ByHand
from search.runs.rungs import RUNGS
from search.show.ladder import ladder_table
from search.show.proof import proof_report
from search.show.reproduction import reproduction_report


def cells_of(text: str) -> list[list[str]]:
    return [line.replace("│", " ").split() for line in text.splitlines()]


def test_the_report_of_a_proof_shows_every_seed_and_the_verdict() -> None:
    text = shown(proof_report(make_proof([60, 62])))
    assert "Trial 31 of small" in text
    assert ["10000", "99.40", "60", "69"] in cells_of(text)
    assert ["10001", "99.38", "62", "71"] in cells_of(text)
    assert "NOT CONFIRMED: 1 of 2 fresh seeds miss 99.4 %" in " ".join(text.split())
    assert widest(text) <= 80


def test_names_in_brackets_are_printed_as_they_are() -> None:
    text = shown(proof_report(make_proof([60, 62], study_name="a [red] study")), width=200)
    assert "Trial 31 of a [red] study" in text
    assert "trial 31 of a [red] study" in text


def test_the_report_of_a_reproduction_shows_repeated_and_recorded_errors_and_the_verdict() -> None:
    seeds = [
        {
            "seed": seed,
            "test_accuracy": test_accuracy,
            "errors": errors,
            "errors_one_view": 70,
            "recorded_errors": before,
        }
        for seed, test_accuracy, errors, before in (
            (10_000, 99.4, 60, 60),
            (10_001, 99.38, 62, 58),
            (10_002, 99.41, 59, None),
        )
    ]
    found = make_reproduction(seeds=seeds, identical=False, num_judged=3, mean=99.397, reproduced=False)
    text = shown(reproduction_report(found))
    assert "Trial 2 of small, repeated" in text
    assert ["10000", "99.40", "60", "60"] in cells_of(text)
    assert ["10001", "99.38", "62", "58"] in cells_of(text)
    assert ["10002", "99.41", "59", "not", "recorded"] in cells_of(text)
    assert text.splitlines()[-1].startswith("NOT REPRODUCED")
    assert widest(text) <= 80


def test_the_ladder_fits_eighty_columns() -> None:
    by_hand = ByHand(train=97.85, test=99.42)
    ladder = make_ladder(
        *(make_rung(rung, 99.5, 99.6, by_hand=by_hand) for rung in RUNGS), study_name="mnist-7999p-15e", trial=31
    )
    lines = shown(ladder_table(ladder)).splitlines()
    assert max(map(len, lines)) <= 80
    for rung in RUNGS:
        [row] = [line for line in lines if line.startswith(f"{rung} ")]
        assert row.count("99.55 ± 0.07") == 3
        assert "97.85 / 99.42" in row
