"""Words for numbers."""

import pytest

from search.config import ModelConfig
from search.show.words import describe_seeds, escape_markdown, format_network, format_seconds, plural
from search.studies.facts import TrialFacts, network_facts


@pytest.mark.parametrize(("count", "text"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials"), (1_024, "1,024 trials")])
def test_one_is_singular_and_all_else_plural(count: int, text: str) -> None:
    assert plural(count, "trial") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00"),
        (0.4, "0:00:00"),
        (59.6, "0:01:00"),
        (205, "0:03:25"),
        (3_599.6, "1:00:00"),
        (36_000.4, "10:00:00"),
    ],
)
def test_seconds_are_written_as_a_clock(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (ModelConfig(channels=((8, 10), (12, 14), (15,))), "8,10 / 12,14 / 15"),
        (
            ModelConfig(channels=((6, 8), (16, 16, 24), (24,)), blocks=("dense", "separable", "separable")),
            "6,8 / sep 16,16,24 / sep 24",
        ),
        (ModelConfig(channels=((9,), (12, 12), (15,)), residual=True), "9 / 12,12 / 15, residual"),
    ],
)
def test_a_network_is_written_stage_by_stage(model: ModelConfig, text: str) -> None:
    assert format_network(model) == text
    assert format_network(TrialFacts(**network_facts(model))) == text


def test_an_unknown_network_is_left_out() -> None:
    assert format_network(TrialFacts()) == ""


def test_seeds_are_counted() -> None:
    assert describe_seeds(range(10_000, 10_005)) == "seeds 10000 to 10004 (n = 5)"
    assert describe_seeds([7]) == "seed 7 (n = 1)"


def test_seeds_that_do_not_follow_on_each_other_are_told_in_order() -> None:
    assert describe_seeds([20_000, 10_001, 10_000, 3]) == "seeds 3, 10000 to 10001, 20000 (n = 4)"
    assert describe_seeds([1, 3]) == "seeds 1, 3 (n = 2)"
    assert describe_seeds(iter([2, 1])) == "seeds 1 to 2 (n = 2)"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("mnist-7999p-15e, the best of 5 (99.6 %).", "mnist-7999p-15e, the best of 5 (99.6 %)."),
        ("<script>a && b</script>", "&lt;script&gt;a &amp;&amp; b&lt;/script&gt;"),
        ("a | b `c` *d* _e_ ~f~ $g$", r"a \| b \`c\` \*d\* \_e\_ \~f\~ \$g\$"),
        ("[a](http://b) ![c](d)", r"\[a\](http://b) !\[c\](d)"),
        ("a\\|b", r"a\\\|b"),
        ("a\n\n# b\r\n- c\u2028d\t e", "a # b - c d e"),
    ],
)
def test_markup_in_a_name_is_text(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped
