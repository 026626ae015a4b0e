"""A search is held against a random one by runs that chose neither winner."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from evidence import RERANKED, make_summary
from scipy import stats

from benchmarks import beyond_random
from search.config import ExplainedError
from search.proof.summaries import Earned, StudySummary
from search.settings import SUMMARY

pytestmark = pytest.mark.slow  # benchmarks, which only this project's developers run

OURS, RANDOMS, FIRSTS = (99.5, 99.4, 99.6), (99.3, 99.2, 99.1), (99.0, 99.1, 99.0)


def summary(*runs: float, name: str = "drawn", sampler: str = "tpe", **changes: Any) -> StudySummary:
    """Of a search whose winner has such runs beside the first trial's; a random one prunes nothing."""
    if sampler == "random":
        changes.setdefault("pruner", "none")
    num_leading = changes.pop("num_leading", 5)
    made = make_summary(**RERANKED, study_name=name)
    earned = Earned(first=0, winner_val_accuracies=runs, first_val_accuracies=FIRSTS[: len(runs)]) if runs else None
    return made.model_copy(
        update={
            "reranking": RERANKED["reranking"].model_copy(update={"earned": earned, "num_leading": num_leading}),
            "settings": made.settings.model_copy(update={"sampler": sampler, **changes}),
            "trials": made.trials.model_copy(update={"complete": 38, "pruned": 0}),  # of 15 epochs: 570
        }
    )


def test_the_winners_are_compared_by_the_runs_that_chose_neither() -> None:
    found = beyond_random.compare(summary(*OURS), summary(*RANDOMS, sampler="random"))
    assert (found.val_accuracies, found.random_val_accuracies) == (OURS, RANDOMS)
    assert found.difference == pytest.approx(0.3)
    welch = stats.ttest_ind(OURS, RANDOMS, equal_var=False).confidence_interval(0.95)
    assert (found.difference - found.margin, found.difference + found.margin) == pytest.approx((welch.low, welch.high))
    assert (found.sampler, found.epochs, found.random_epochs) == ("tpe", 560, 570)


def test_single_runs_have_no_interval() -> None:
    assert beyond_random.difference_of_means([99.5], [99.25, 99.25]) == (0.25, None)


def test_equal_runs_do_not_show_that_there_is_no_spread() -> None:
    difference, margin = beyond_random.difference_of_means([99.5] * 6, [99.25] * 6)
    assert difference == 0.25
    assert margin is not None
    assert margin > 0.005


def with_trials(rival: StudySummary, complete: int) -> StudySummary:
    return rival.model_copy(update={"trials": rival.trials.model_copy(update={"complete": complete})})


def test_a_random_search_that_was_given_less_is_refused() -> None:
    with pytest.raises(ExplainedError, match=r"555 epochs, and 'drawn' 560: .* --trials 38"):
        beyond_random.compare(summary(*OURS), with_trials(summary(*RANDOMS, sampler="random"), 37))


def test_a_random_search_may_have_been_given_more() -> None:
    rival = with_trials(summary(*RANDOMS, sampler="random", num_leading=9), 100)
    assert beyond_random.compare(summary(*OURS), rival).random_epochs == 1_500


def test_what_a_search_was_begun_with_stands_beside_its_cost(tmp_path: Path) -> None:
    for name, before in (("small", None), ("middle", "small")):
        (tmp_path / name).mkdir()
        (tmp_path / name / SUMMARY).write_bytes(summary(*OURS, name=name, warm_start=before).to_json().encode())
    ours = summary(*OURS, warm_start="middle")
    ancestors = beyond_random.read_ancestors(ours, tmp_path)
    assert [each.study_name for each in ancestors] == ["middle", "small"]
    found = beyond_random.compare(ours, summary(*RANDOMS, sampler="random"), ancestors)
    assert (found.epochs, found.epochs + found.warm_start_epochs) == (560, 1_800)


@pytest.mark.parametrize(
    ("ours", "rival", "told"),
    [
        (summary(*OURS), summary(*RANDOMS), "no random search"),
        (summary(*OURS), summary(sampler="random"), "was not run again after the re-ranking"),
        (summary(), summary(*RANDOMS, sampler="random"), "was not run again after the re-ranking"),
        (
            summary(*OURS),
            summary(*RANDOMS, sampler="random", num_leading=4),
            "re-ranked fewer trials",
        ),
        (summary(*OURS), summary(*RANDOMS, sampler="random", warm_start="small"), "was warm-started, or pruned"),
        (summary(*OURS), summary(*RANDOMS, sampler="random", pruner="percentile"), "was warm-started, or pruned"),
        (summary(*OURS), summary(*RANDOMS, sampler="random", max_params=2_000), "differ in budget"),
        (summary(*OURS), summary(*RANDOMS, sampler="random", recipe=1), "differ in space or recipe"),
        (summary(*OURS), summary(*RANDOMS, sampler="random", split="other"), "differ in data set"),
    ],
)
def test_what_does_not_compare_is_told(ours: StudySummary, rival: StudySummary, told: str) -> None:
    with pytest.raises(ExplainedError, match=told):
        beyond_random.compare(ours, rival)


def test_the_command_reads_the_searches_records(tmp_path: Path) -> None:
    for name, found in (("ours", summary(*OURS)), ("drawn", summary(*RANDOMS, sampler="random"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / SUMMARY).write_bytes(found.to_json().encode())
    options = ["--pair", "ours", "drawn", "--results-dir", str(tmp_path)]
    ended = CliRunner().invoke(beyond_random.main, [*options, "--json"])
    assert ended.exit_code == 0, ended.stderr
    [row] = json.loads(ended.stdout)["rows"]
    assert row["difference"] == pytest.approx(0.3)
    shown = CliRunner().invoke(beyond_random.main, options)
    assert "+0.300 ± " in shown.stdout
