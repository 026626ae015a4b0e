"""What pages tell of samplers and of random rivals, from records."""

from pathlib import Path

import pytest

from benchmarks.records import (
    BeyondRandom,
    Mean,
    RandomRival,
    RuleRow,
    SampledBudget,
    SampledRow,
    Samplers,
    SurrogateFit,
    to_json,
)
from benchmarks.surrogate import ROUGH, SMOOTH
from tools import earned

FIT = SurrogateFit(
    points=101, repeated=10, noise=0.05, spread=0.4, explained=0.7, rank_correlation=0.85, length_scales={"lr": 1.0}
)
NOTHING, SOME, FIRST = (
    Mean(mean=0.0, margin=0.0),
    Mean(mean=0.04, margin=0.018),
    Mean(mean=0.14, margin=0.02),
)


def budget(smoothness: float) -> SampledBudget:
    return SampledBudget(
        max_params=2_000,
        smoothness=smoothness,
        surrogate=FIT,
        samplers=(
            SampledRow(sampler="tpe", pruner="none", trials=60.0, earned=FIRST, beyond_default=NOTHING),
            SampledRow(sampler="gp", pruner="none", trials=60.0, earned=FIRST, beyond_default=SOME),
        ),
        rules=(RuleRow(rule="top 5 by 2", runs=12, earned=FIRST, beyond_default=NOTHING),),
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(earned, "REFERENCE", tmp_path)
    return tmp_path


def test_samplers_are_told_beside_the_default_with_their_intervals(folder: Path) -> None:
    budgets = budget(SMOOTH), budget(ROUGH)
    record = Samplers(dataset="mnist", cost=750, searches=200, budgets=budgets, commit="0123", versions={})
    (folder / "samplers.json").write_text(to_json(record))
    told = earned.samplers()
    for line in (
        "| Sampler | Pruner | 2,000 parameters, smooth | 2,000 parameters, rough |",
        "| tpe | none | earns +0.140 ± 0.020 | earns +0.140 ± 0.020 |",
        "| gp | none | +0.040 ± 0.018 | +0.040 ± 0.018 |",
        "| top 5 by 2 | 12 | earns +0.140 ± 0.020 | earns +0.140 ± 0.020 |",
    ):
        assert line in told.splitlines()
    assert "cost 750 epochs each, re-ranking included; with 95 % intervals over 200 simulated searches of each" in told
    assert told.count("a rank correlation of 0.85") == 1  # both worlds are of the same points


@pytest.mark.parametrize("warm", [True, False])
def test_a_random_rival_is_told_with_what_both_cost(folder: Path, warm: bool) -> None:
    row = RandomRival(
        max_params=2_000,
        study_name="small",
        sampler="gp",
        pruner="percentile",
        epochs=600,
        warm_start_epochs=2_100 if warm else 0,
        val_accuracies=(99.3, 99.4),
        random_study_name="random",
        random_epochs=1_515,
        random_val_accuracies=(99.2, 99.3),
        difference=0.1,
        margin=0.05,
    )
    (folder / "beyond_random.json").write_text(to_json(BeyondRandom(rows=(row,), commit="0123", versions={})))
    told = earned.rivals()
    assert told.startswith("- At 2,000 parameters: **+0.100 ± 0.050 points** beyond a random search")
    begun = ", begun with the leaders of searches of 2,100" if warm else ""
    assert told.endswith(f"(gp: 600 epochs{begun}; random: 1,515 epochs).\n")
    assert earned.rivals_in_short().startswith("Beyond random searches that trained no fewer epochs")
    assert ": +0.100 ± 0.050 points at 2,000 ([how" in earned.rivals_in_short()
