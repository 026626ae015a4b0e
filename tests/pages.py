"""Facts for pages, from a study that has just begun to one with everything."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from evidence import (
    CONFIG,
    FOUR,
    PARAMS,
    RERANKED,
    make_answers,
    make_frontier,
    make_ladder,
    make_point,
    make_proof,
    make_rung,
    make_summary,
)

from search.show.page.facts import Digit, PageFacts, ShownTrial
from search.show.page.pictures import to_png

START = datetime(2026, 11, 25, 12)
DIGIT = Digit(pixels=bytes(range(196)) * 4, label=4)


def make_trial(number: int, value: float | None = 99.0, **changes: Any) -> ShownTrial:
    facts = {
        "number": number,
        "state": "complete" if value is not None else "pruned",
        "value": value,
        "curve": {epoch: 97 + 0.1 * epoch for epoch in range(1, 16 if value is not None else 6)},
        "params": {**PARAMS, "lr": 0.01 + number / 1000, "separable_1": number % 2 == 0},
        "num_params": 7_900 + number,
        "start": START + timedelta(minutes=number),
        "end": START + timedelta(minutes=number + 2),
        "worker": f"here, process {number % 2}",
        "reason": None,
    }
    return ShownTrial(**(facts | changes))


TRIALS = (
    make_trial(0),
    make_trial(1, None, reason="not promising"),
    make_trial(2, 99.3),
    make_trial(3, None, state="interrupted", curve={}, end=None),
    make_trial(4, 99.1),
    make_trial(7, 99.2),
)
DIGITS = tuple("0123456789")
SEARCH = "python cli.py search --trials 80 --dataset mnist --max-params 7999 --epochs 15"
BEGUN = PageFacts(
    summary=make_summary(best=None), num_planned=80, trials=(), classes=DIGITS, side=24, commands=(SEARCH,)
)
UNDER_WAY = replace(BEGUN, summary=make_summary(), trials=TRIALS, config=CONFIG)
WON = replace(UNDER_WAY, summary=make_summary(**RERANKED), num_planned=50, importance={"lr": 0.7, "shift": 0.3})
ALL = replace(
    WON,
    proof=make_proof([60, 58, 58]),
    answers=make_answers((FOUR,), (FOUR, FOUR.model_copy(update={"place": 8, "answer": 1})), ()),
    ladder=make_ladder(make_rung("plain", 99.0, 99.1), make_rung("all but dropout", 99.4, 99.5)),
    frontier=make_frontier(make_point(1_000, 98.9, 99.0), make_point(7_999, 99.6, 99.65)),
    images=((DIGIT, (DIGIT, DIGIT)),),
    hardest=to_png(DIGIT.pixels * 2),
)
