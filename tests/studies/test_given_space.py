from dataclasses import replace
from pathlib import Path

import optuna
import pytest

import space
from search.config import DEFAULT_MAX_PARAMS, TrialConfig
from search.provenance import space_hash
from search.studies.space import Space, SpaceError


def refusal(given: Space) -> str:
    with pytest.raises(SpaceError) as caught:
        given.check_reference(DEFAULT_MAX_PARAMS)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("REFERENCE in space.py cannot be every study's first trial")
    return message


def test_the_spaces_own_reference_is_accepted(the_space: Space) -> None:
    the_space.check_reference(DEFAULT_MAX_PARAMS)


@pytest.mark.parametrize("name", space.REFERENCE)
def test_a_reference_that_lacks_a_parameter_is_refused_and_names_it(the_space: Space, name: str) -> None:
    rest = {key: value for key, value in space.REFERENCE.items() if key != name}
    assert refusal(replace(the_space, reference=rest)).endswith(
        f": it holds no {name!r}, and has to hold every parameter that suggest_config draws."
    )


def test_a_space_that_draws_one_more_parameter_asks_for_it_in_the_reference(the_space: Space) -> None:
    def suggest_more(trial: optuna.trial.BaseTrial, max_params: int) -> TrialConfig:
        trial.suggest_float("warmth", 0.0, 1.0)
        return space.suggest_config(trial, max_params)

    assert "'warmth'" in refusal(replace(the_space, suggest_config=suggest_more))


@pytest.mark.parametrize(("name", "value"), [("lr", 1.0), ("convs_1", 9), ("dropout", 0.01)])
def test_a_reference_out_of_its_range_is_refused(the_space: Space, name: str, value: float) -> None:
    message = refusal(replace(the_space, reference={**space.REFERENCE, name: value}))
    assert str(value) in message


def test_a_reference_may_hold_more_than_is_drawn(the_space: Space) -> None:
    replace(the_space, reference={**space.REFERENCE, "forgotten": 1.0}).check_reference(DEFAULT_MAX_PARAMS)


def test_checking_a_reference_leaves_it_as_it_is(the_space: Space) -> None:
    before = dict(the_space.reference)
    the_space.check_reference(DEFAULT_MAX_PARAMS)
    assert the_space.reference == before
    assert the_space.suggest_config(optuna.trial.FixedTrial(before), DEFAULT_MAX_PARAMS) == space.reference_config()


def test_a_space_is_known_by_a_hash_of_its_file(the_space: Space, tmp_path: Path) -> None:
    copy = tmp_path / "space.py"
    copy.write_text(the_space.path.read_text())
    assert replace(the_space, path=copy).hash == the_space.hash == space_hash(Path(space.__file__))
    copy.write_text(copy.read_text().replace("0.7, 2.5", "0.7, 2.6"))
    assert replace(the_space, path=copy).hash != the_space.hash
