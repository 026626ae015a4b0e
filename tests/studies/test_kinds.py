import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.studies.kinds import KINDS, Kind, search_followed_by

FOLLOWERS = [kind for kind in Kind if kind != Kind.SEARCH]
PARTS = {"trial": 3, "identity": "0123ab"}
PRINTABLE = st.characters(exclude_categories=["C", "Z"])
WORDS = st.sampled_from(["-rerank", "-verify-", "-ablate-1", "-reproduce-2", "-0123ab", "-", "1", "mnist"])
NAMES = st.lists(st.text(PRINTABLE, max_size=4) | WORDS, min_size=1).map("".join).filter(bool)
IDENTITIES = st.text("0123456789abcdef", min_size=6, max_size=6)


def test_the_table_has_a_row_for_each_kind() -> None:
    assert KINDS.keys() == set(Kind)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.SEARCH, "mnist-7999p-15e"),
        (Kind.RERANK, "mnist-7999p-15e-rerank"),
        (Kind.VERIFY, "mnist-7999p-15e-verify-3"),
        (Kind.ABLATE, "mnist-7999p-15e-ablate-3"),
        (Kind.REPRODUCE, "mnist-7999p-15e-reproduce-3-0123ab"),
    ],
)
def test_a_study_is_named_after_its_search_and_leads_back_to_it(kind: Kind, name: str) -> None:
    assert KINDS[kind].name("mnist-7999p-15e", **PARTS) == name
    assert search_followed_by(name) == ("mnist-7999p-15e" if kind in FOLLOWERS else None)


@given(name=NAMES, kind=st.sampled_from(FOLLOWERS), trial=st.integers(min_value=0), identity=IDENTITIES)
def test_the_name_made_from_a_searchs_leads_back_to_it(name: str, kind: Kind, trial: int, identity: str) -> None:
    assume(search_followed_by(name) is None)  # no search may be called so
    made = KINDS[kind].name(name, trial=trial, identity=identity)
    assert search_followed_by(made) == name
    assert [each for each in Kind if KINDS[each].matches(made) is not None] == [kind]


@pytest.mark.parametrize(
    "name",
    [
        "mnist",
        "-rerank",
        "mnist-rerank-2",
        "mnist-verify",
        "mnist-verify-",
        "mnist-verify-3b",
        "mnist-verify-seed",
        "mnist-ablate-3-rerank2",
        "mnist-reproduce-3",
        "mnist-reproduce-3-0123AB",
        "mnist-reproduce-3-0123abc",
        "rerank-mnist",
    ],
)
def test_a_name_without_such_an_ending_follows_nothing(name: str) -> None:
    assert search_followed_by(name) is None


def test_a_searchs_name_may_hold_what_a_pattern_would_take_for_an_instruction() -> None:
    name = "{trial}.*(x|\\d)-$%s"
    for kind in FOLLOWERS:
        assert search_followed_by(KINDS[kind].name(name, **PARTS)) == name


def test_only_what_follows_a_search_shows_the_test_digits() -> None:
    assert [kind for kind in Kind if KINDS[kind].shows_test] == [Kind.VERIFY, Kind.ABLATE, Kind.REPRODUCE]


def trial_of(params: dict[str, int | str]) -> FrozenTrial:
    distributions = {
        key: IntDistribution(0, 2**32) if isinstance(value, int) else CategoricalDistribution([value])
        for key, value in params.items()
    }
    trial = create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)
    trial.number = 7
    return trial


@pytest.mark.parametrize(
    ("kind", "params", "label"),
    [
        (Kind.SEARCH, {}, "trial 7"),
        (Kind.RERANK, {"trial": 3, "run": 1}, "trial 3, run 2"),
        (Kind.VERIFY, {"seed": 10_000}, "seed 10000"),
        (Kind.REPRODUCE, {"seed": 10_000}, "seed 10000"),
        (Kind.ABLATE, {"rung": "+ dropout", "seed": 5}, "+ dropout, seed 5"),
        (Kind.RERANK, {"trial": 3}, "run 7"),  # it has only just begun
        (Kind.VERIFY, {}, "trial 7"),
        (Kind.ABLATE, {"rung": "plain"}, "run 7"),
    ],
)
def test_a_trial_is_called_by_what_it_is(kind: Kind, params: dict[str, int | str], label: str) -> None:
    assert KINDS[kind].label(trial_of(params)) == label
