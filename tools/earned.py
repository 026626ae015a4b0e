"""The parts of a page that tell what samplers, re-ranking and whole searches earn: from the benchmarks' records."""

from benchmarks.records import BeyondRandom, Mean, RandomRival, SampledBudget, Samplers, read
from benchmarks.surrogate import SMOOTH
from search.show.words import signed
from tools.results import REFERENCE


def samplers() -> str:
    """Simulated searches: what every sampler and pruner, and every rule of re-ranking, earns beyond the default."""
    measured = read(Samplers, REFERENCE / "samplers.json")
    first, *_ = measured.budgets
    names = [_name(budget) for budget in measured.budgets]
    sampled = [
        [row.sampler, row.pruner, *(_figure(budget.samplers[at].beyond_default) for budget in measured.budgets)]
        for at, row in enumerate(first.samplers)
    ]
    ruled = [
        [row.rule, str(row.runs), *(_figure(budget.rules[at].beyond_default) for budget in measured.budgets)]
        for at, row in enumerate(first.rules)
    ]
    sampled[0][2:] = [f"earns {_figure(budget.samplers[0].earned)}" for budget in measured.budgets]
    ruled[0][2:] = [f"earns {_figure(budget.rules[0].earned)}" for budget in measured.budgets]
    paragraphs = [
        f"Points of validation accuracy, without noise, beyond what the first row earns over a study's first trial, in "
        f"searches that cost {measured.cost} epochs each, re-ranking included; with 95 % intervals over "
        f"{measured.searches} simulated searches of each kind, in the same worlds.",
        _table(["Sampler", "Pruner", *names], sampled),
        _table(["Re-ranking", "Runs", *names], ruled),
        " ".join(_surrogate(budget) for budget in measured.budgets if budget.smoothness == SMOOTH)
        + " How far these worlds are from the truth is in no interval.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _name(budget: SampledBudget) -> str:
    return f"{budget.max_params:,} parameters, {'smooth' if budget.smoothness == SMOOTH else 'rough'}"


def _figure(found: Mean) -> str:
    return f"{signed(found.mean)} ± {found.margin:.3f}"


def _surrogate(budget: SampledBudget) -> str:
    fit = budget.surrogate
    return (
        f"The worlds at {budget.max_params:,} parameters are drawn from {fit.points} points, {fit.repeated} of them "
        f"run again; those that were left out are foretold with a rank correlation of {fit.rank_correlation:.2f}, and "
        f"a run's noise is {fit.noise:.0%} of its errors."
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


def rivals() -> str:
    """Searches beside random ones that were given as much or more."""
    return "\n".join(_rival(row) for row in read(BeyondRandom, REFERENCE / "beyond_random.json").rows) + "\n"


def rivals_in_short() -> str:
    """The same in a sentence, for the README."""
    rows = read(BeyondRandom, REFERENCE / "beyond_random.json").rows
    listed = ", ".join(f"{_beyond(row)} points at {row.max_params:,}" for row in rows)
    return (
        f"Beyond random searches that trained no fewer epochs at the same budget: {listed} "
        "([how this was measured](docs/results.md#against-random-searches))."
    )


def _beyond(row: RandomRival) -> str:
    return signed(row.difference) + (f" ± {row.margin:.3f}" if row.margin is not None else "")


def _rival(row: RandomRival) -> str:
    before = f", begun with the leaders of searches of {row.warm_start_epochs:,}" if row.warm_start_epochs else ""
    return (
        f"- At {row.max_params:,} parameters: **{_beyond(row)} points** beyond a random search, by "
        f"{len(row.val_accuracies)} and {len(row.random_val_accuracies)} runs of the two winners that chose neither "
        f"({row.sampler}: {row.epochs:,} epochs{before}; random: {row.random_epochs:,} epochs)."
    )
