"""The library, by the examples of its page."""

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from commands import ROOT
from optuna.trial import FrozenTrial, TrialState

from search.config import ExplainedError
from search.library import QuietScreen, SearchSettings, VerifySettings, load_winner, run_search
from search.runs.telling import TrialTeller
from search.studies.study import StoredStudy

EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "library.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


def run_example(place: Path, example: str) -> str:
    script = place / "example.py"
    script.write_text(example, encoding="utf-8")
    (place / "space.py").write_bytes((ROOT / "space.py").read_bytes())
    ended = subprocess.run([sys.executable, script], cwd=place, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.mark.slow
def test_the_examples_of_the_page_work_in_their_order(place: Path) -> None:
    searched, classified, drawn, logged = EXAMPLES
    told = run_example(place, searched).splitlines()
    assert sorted(line.split()[0] for line in told[:3]) == ["0", "1", "2"]
    assert told[3].startswith("winner: ")
    assert told[4].startswith("confirmed: None [")
    again = run_example(place, searched).splitlines()
    assert again == told[3:]  # nothing is left to do, so no trial is told of
    assert run_example(place, classified).startswith("torch.Size([1, 10]) ")
    assert int(run_example(place, drawn).split()[-1]) <= 2_000
    pytest.importorskip("tensorboard")
    run_example(place, logged)
    assert {path.name for path in (place / "runs" / "logged").iterdir()} == {"0", "1", "2"}


def test_each_trial_that_ends_is_told_of_once(search_study: StoredStudy) -> None:
    told: list[int] = []

    def note(study: optuna.Study, trial: FrozenTrial) -> None:
        assert study.study_name == search_study.name
        told.append(trial.number)

    teller = TrialTeller(search_study, note)
    teller.update()
    assert told == []  # what had ended before is none of its business
    running = search_study.storage.create_new_trial(search_study.study._study_id)
    teller.update()
    assert told == []
    search_study.storage.set_trial_state_values(running, TrialState.FAIL)
    teller.update()
    teller.update()
    assert told == [search_study.storage.get_trial(running).number]


def test_a_finished_study_is_only_read(search_study: StoredStudy, storage_url: str, tmp_path: Path) -> None:
    settings = SearchSettings(
        dataset="sample",
        epochs=4,
        max_params=1_999,
        study_name="small",
        trials=3,
        rerank=0,
        storage=storage_url,
        results_dir=tmp_path / "results",
    )
    summary = run_search(settings, space=ROOT / "space.py", screen=QuietScreen())
    assert summary.trials.total == 3
    assert load_winner(ROOT / "results" / "reference", tmp_path).training is False  # an absolute path is one, too


def test_an_interrupted_call_raises(
    search_study: StoredStudy, storage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.runs.session.in_processes", lambda *_, **__: True)  # as after Ctrl-C
    settings = SearchSettings(
        dataset="sample", epochs=4, max_params=1_999, study_name="small", trials=9, storage=storage_url,
        results_dir=tmp_path / "results",
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        run_search(settings)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epochs": 40}, "epochs has to be from 1 to 15, not 40."),
        ({"max_params": 500_000}, "max_params has to be from 500 to 100,000, not 500000."),
        ({"precision": "fp16"}, "precision has to be one of auto, bf16, fp32, not 'fp16'."),
        ({"sampler": "cmaes"}, "sampler has to be one of tpe, gp, random, not 'cmaes'."),
        ({"pruner": "median"}, "pruner has to be one of percentile, none, not 'median'."),
        ({"workers": -1}, "workers has to be from 0 to 1,024, not -1."),
        ({"timeout": -1.0}, "timeout has to be more than 0 seconds, and no more than 31,622,400."),
        ({"timeout": "2h"}, "timeout has to be more than 0 seconds, and no more than 31,622,400."),
        ({"timeout": float("nan")}, "timeout has to be more than 0 seconds, and no more than 31,622,400."),
        ({"trials": "many"}, "trials has to be from 1 to 100,000, not 'many'."),
    ],
)
def test_settings_are_bounded_as_at_the_command_line(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ExplainedError) as refused:
        SearchSettings(**change)
    assert str(refused.value) == told


def test_settings_take_what_is_typed_at_the_command_line() -> None:
    settings = VerifySettings(results_dir="out", data_dir="digits", workers="auto", target=92)  # type: ignore[arg-type]
    assert settings == VerifySettings(results_dir=Path("out"), data_dir=Path("digits"), target=Decimal("92"))
    assert SearchSettings(trials=np.int64(7)).trials == 7  # type: ignore[arg-type]
    for target in ("high", float("nan")):
        with pytest.raises(ExplainedError, match=f"target has to be from 1 to 100, not '{target}'"):
            VerifySettings(target=target)  # type: ignore[arg-type]


def test_a_callback_that_fails_ends_the_search_with_its_error(tmp_path: Path) -> None:
    def fail(study: optuna.Study, trial: FrozenTrial) -> None:
        calls.append(trial.number)
        raise RuntimeError("my own mistake")

    calls: list[int] = []

    settings = SearchSettings(
        dataset="sample", epochs=1, max_params=800, trials=2, workers=0, storage=f"sqlite:///{tmp_path}/study.db",
        results_dir=tmp_path / "results",
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="my own mistake"):
        run_search(settings, on_trial=fail)
    assert len(calls) == 1
