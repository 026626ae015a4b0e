"""A search space that a file defines, wherever it is."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import optuna
import pytest

import space
from search.config import DEFAULT_MAX_PARAMS
from search.studies.space import Space, SpaceError, default_space, load_space

OWN = Path(space.__file__).read_text(encoding="utf-8").replace('"dropout": 0.0', '"dropout": 0.025')


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "narrow.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_the_default_space_is_that_beside_the_package() -> None:
    assert default_space() == Path(space.__file__).resolve()
    assert load_space().reference == space.REFERENCE


def test_a_file_elsewhere_defines_a_space_of_its_own(own: Path, the_space: Space) -> None:
    given = load_space(own)
    assert given.reference == {**space.REFERENCE, "dropout": 0.025}
    assert given.path == own.resolve()
    assert given.hash != the_space.hash
    given.check_reference(DEFAULT_MAX_PARAMS)


def test_another_process_draws_from_the_same_file(own: Path) -> None:
    own.write_text(own.read_text().replace("weight_decay=", "weight_decay=2 * "))
    suggest = load_space(own).suggest_config
    trial = optuna.trial.FixedTrial(dict(space.REFERENCE))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        drawn = pool.submit(suggest, trial, DEFAULT_MAX_PARAMS).result()
    assert drawn == suggest(trial, DEFAULT_MAX_PARAMS)
    assert drawn.weight_decay == 2 * space.suggest_config(trial, DEFAULT_MAX_PARAMS).weight_decay


def test_a_file_that_was_edited_is_another_space(own: Path) -> None:
    before = load_space(own)
    own.write_text(own.read_text().replace("weight_decay=", "weight_decay=2 * "))
    after = load_space(own)
    trial = optuna.trial.FixedTrial(dict(space.REFERENCE))
    assert after.suggest_config(trial, 2_000) != space.suggest_config(trial, 2_000)
    assert after.hash == before.hash  # of the file as it is now


INSTALLED = OWN.replace("from search.config import", "from tiny_mnist_search.config import")
ALIASED = "import tiny_mnist_search.config as names\n" + OWN.replace("return TrialConfig(", "return names.TrialConfig(")


@pytest.mark.parametrize("content", [INSTALLED, ALIASED])
def test_a_file_may_call_the_package_as_it_is_called_when_installed(own: Path, content: str, the_space: Space) -> None:
    assert content.count("tiny_mnist_search") == 1
    own.write_text(content)
    reference = optuna.trial.FixedTrial(load_space(own).reference)
    assert load_space(own).suggest_config(reference, 2_000) == the_space.suggest_config(reference, 2_000)


def test_the_name_of_the_package_makes_no_other_space(own: Path) -> None:
    before = load_space(own).hash
    own.write_text(INSTALLED)
    assert load_space(own).hash == before


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_byte_order_mark_does_no_harm(own: Path, encoding: str) -> None:
    own.write_text(OWN, encoding=encoding)
    given = load_space(own)
    given.check_reference(DEFAULT_MAX_PARAMS)
    assert len(given.hash) == 16


def test_what_it_gets_wrong_when_it_draws_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "few.py"
    path.write_text("REFERENCE = {}\n\n\ndef suggest_config(trial): ...\n")
    with pytest.raises(SpaceError, match=r"REFERENCE in few\.py cannot be every study's first trial"):
        load_space(path).check_reference(DEFAULT_MAX_PARAMS)


def test_a_file_may_define_classes_of_data(tmp_path: Path) -> None:
    path = tmp_path / "classes.py"
    path.write_text(f"from dataclasses import dataclass\n\n\n@dataclass\nclass Thing:\n    a: int = 1\n\n\n{OWN}")
    load_space(path).check_reference(DEFAULT_MAX_PARAMS)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("REFERENCE = {}\n", "defines no suggest_config"),
        ("def suggest_config(trial, max_params): ...\n", "defines no REFERENCE"),
        ("import search.config\n", "write 'from search.config import ...' for 'import search.config'"),
        ("REFERENCE = 7\nsuggest_config = print\n", "defines no REFERENCE"),
        ("def suggest_config(:\n", r"cannot be used: SyntaxError: "),
        (
            "import no_such_module\n",
            r"cannot be used: ModuleNotFoundError: No module named 'no_such_module' \(wrong\.py:1\)",
        ),
        ("1 / 0\n", r"cannot be used: ZeroDivisionError: division by zero \(wrong\.py:1\)"),
        ("raise SystemExit(3)\n", r"cannot be used: SystemExit: 3 \(wrong\.py:1\)"),
    ],
)
def test_a_file_that_defines_no_space_is_refused_in_one_line(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(content)
    with pytest.raises(SpaceError, match=told) as refused:
        load_space(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_of_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="cannot be read"):
        load_space(tmp_path / "absent.py")
    with pytest.raises(SpaceError, match=r"has to end in \.py"):
        load_space(tmp_path / "space.txt")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(SpaceError, match="cannot be read"):
        load_space(tmp_path / "folder.py")


def test_a_space_that_returns_something_else_says_so(tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    path.write_text("REFERENCE = {}\n\n\ndef suggest_config(trial, max_params): ...\n")
    with pytest.raises(SpaceError, match="has to return a TrialConfig, not NoneType"):
        load_space(path).check_reference(DEFAULT_MAX_PARAMS)


def test_a_reference_over_the_budget_is_refused_and_says_how_to_keep_to_it(own: Path) -> None:
    own.write_text(OWN.replace("growth), max_params, blocks)", "growth), 3_000, blocks)"))
    load_space(own).check_reference(3_000)
    with pytest.raises(SpaceError, match=r"has 2,9\d\d parameters, and the budget is 1,000\. .*fit_channels"):
        load_space(own).check_reference(1_000)


def test_an_accident_in_a_space_names_the_line(own: Path) -> None:
    own.write_text(OWN.replace("        lr=lr,", "        learning_rate=lr,"))
    line = own.read_text().splitlines().index("    return TrialConfig(") + 1
    with pytest.raises(SpaceError, match=rf"TypeError: .*'learning_rate' \(narrow\.py:{line}\)\.$"):
        load_space(own).check_reference(DEFAULT_MAX_PARAMS)
