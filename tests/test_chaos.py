"""Commands that are hit by signals lose nothing: three rounds of `benchmarks/chaos.py`, and what they are judged by."""

import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from click.testing import CliRunner
from commands import run
from rounds import ROUND, SHOT

from benchmarks import chaos, disturbance, repeat
from benchmarks.aftermath import RESULTS, Aftermath, damage_of_database, differences, look_at
from benchmarks.disturbance import MARK, Aim, Place, exit_codes
from benchmarks.records import Shot, SignalName, Target, read, to_json
from search.provenance import Code
from search.studies.facts import TrialFacts
from search.studies.study import StoredStudy

pytestmark = pytest.mark.slow  # benchmarks, which only this project's developers run

STUDY = "sample-1999p-1e"  # of `finished_search`
SEARCH = ["search", "--dataset", "sample", "--epochs", "1", "--max-params", "1999", "--compare", "0", "--quiet"]
NOTHING = Aftermath(outcomes={}, interrupted=0, files=frozenset(), partial=0, faults=())


@pytest.fixture
def searched(finished_search: subprocess.CompletedProcess[str]) -> Path:
    """The folder of an undisturbed search."""
    [url] = [word for word in finished_search.args if word.startswith("sqlite:///")]
    return Path(url.removeprefix("sqlite:///")).parent


def hit(place: Place, words: list[str], aim: Aim) -> Shot:
    """Hits a command of one worker that is at work; asserts that it did nothing that none may do."""
    ended = place.run([*words, "--workers", "1"], aim)
    assert ended.faults == ()
    assert ended.shot is not None
    assert ended.shot.at_work
    return ended.shot


def go_on(place: Place, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    assert run(*words, "--workers", "0").exit_code == 0
    assert place.end_all() == []


def test_a_search_whose_group_gets_sigterm_goes_on_to_the_same_study(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(folder=tmp_path / "place")
    place.folder.mkdir()
    words = [*SEARCH, "--trials", "8", "--rerank", "0"]
    shot = hit(place, words, Aim(signal="SIGTERM", target="group", since="first worker", delay=1.5))
    assert shot.exit_code == 130
    go_on(place, words, monkeypatch)
    found, undisturbed = look_at(place.folder, STUDY), look_at(searched, STUDY)
    assert found.faults == ()
    assert len(found.outcomes) == 8
    assert {ticket: found.outcomes[ticket] for ticket in ("0", "1")}.items() <= undisturbed.outcomes.items()


def test_a_reranking_whose_parent_is_killed_goes_on_without_a_run_lost_or_done_twice(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(folder=Path(shutil.copytree(searched, tmp_path / "place")))
    words = [*SEARCH, "--trials", "3", "--rerank", "3"]
    shot = hit(place, words, Aim(signal="SIGKILL", target="parent", since="first worker", delay=1.5))
    assert shot.exit_code == -9
    go_on(place, words, monkeypatch)
    found = look_at(place.folder, f"{STUDY}-rerank")
    assert found.faults == ()
    assert len(found.outcomes) == 6
    assert look_at(searched, f"{STUDY}-rerank").outcomes.items() <= found.outcomes.items()


def test_a_proof_whose_worker_gets_sigint_ends_by_itself(searched: Path, tmp_path: Path) -> None:
    place = Place(folder=Path(shutil.copytree(searched, tmp_path / "place")))
    words = ["verify-best", "--seeds", "1", "--first-seed", "40000", "--quiet"]  # other tests may have proved others
    shot = hit(place, words, Aim(signal="SIGINT", target="worker", since="first worker", delay=0.3))
    assert shot.exit_code == 0
    assert place.end_all() == []
    [study] = [name for name in chaos.studies_in(place.folder) if "-verify-" in name]
    found = look_at(place.folder, study)
    assert found.faults == ()
    assert ('{"seed": 40000}' in found.outcomes, found.interrupted) == (True, 0)


# What commands are hit by


def test_nine_rounds_hit_by_every_signal_every_target_and_draw_the_same_again() -> None:
    drawn = [[*chaos.draw_aims(0, "proof", index, 9.0, 4.0)] for index in range(9)]
    assert drawn == [[*chaos.draw_aims(0, "proof", index, 9.0, 4.0)] for index in range(9)]
    assert drawn != [[*chaos.draw_aims(1, "proof", index, 9.0, 4.0)] for index in range(9)]
    assert {(first.signal, first.target) for first, *_ in drawn} == set(chaos.COMBINATIONS)


def test_moments_lie_within_the_command_and_a_worker_is_hit_once_there_is_one() -> None:
    aims = [aim for index in range(90) for aim in chaos.draw_aims(0, "search", index, 9.0, 4.0)]
    assert len(aims) > 90  # some commands are hit again
    assert all(0 <= aim.delay <= (4.0 if aim.since == "start" else 5.0) for aim in aims)
    assert {aim.since for aim in aims if aim.target == "worker"} == {"first worker"}
    assert {aim.since for aim in aims if aim.target == "parent"} == {"start", "first worker"}


@pytest.mark.parametrize(
    ("signal", "target", "at_work", "codes"),
    [
        ("SIGKILL", "group", True, {-9}),
        ("SIGKILL", "parent", False, {-9}),
        ("SIGTERM", "parent", True, {0, 130}),
        ("SIGTERM", "group", False, {0, 130, -15}),
        ("SIGINT", "group", True, {0, 130}),
        ("SIGKILL", "worker", True, {0}),
        ("SIGINT", "worker", True, {0}),
    ],
)
def test_a_command_ends_as_documented(signal: SignalName, target: Target, at_work: bool, codes: set[int]) -> None:
    assert exit_codes(replace(SHOT, signal=signal, target=target, at_work=at_work)) == codes
    assert exit_codes(replace(SHOT, signal=signal, target=target, hit=False)) == {0}


@pytest.mark.parametrize(("code", "hit"), [("", False), ("import os; os.kill(os.getpid(), 9)", True)])
def test_a_sigkill_to_a_command_that_had_just_ended_by_itself_has_hit_nothing(
    code: str, hit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen([sys.executable, "-c", code])
    watch = disturbance._Watch(process, Aim(signal="SIGKILL", target="parent", since="start", delay=0.0))
    monkeypatch.setattr(watch, "_shot", replace(SHOT, signal="SIGKILL", target="parent", hit=True))
    ended = watch.ended("")
    assert ended.shot is not None
    assert (ended.shot.hit, ended.faults) == (hit, ())


# What they are judged by


def test_a_command_that_fails_shows_no_end_or_listens_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(folder=tmp_path / "place")
    place.folder.mkdir()
    [fault] = place.run(["status"]).faults
    assert fault.startswith("exit code 1 (Error: There is no study yet: ")
    monkeypatch.setattr(disturbance, "LIMIT", 0.05)
    assert place.run(["status"]).faults[0] == "it had not ended after 0 s"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"it listens on addr(ip='127.0.0.1', port={port})" in disturbance.listening([psutil.Process()])


def test_a_process_that_is_left_is_told_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbance, "PATIENCE", 0.1)
    place = Place(folder=tmp_path)
    with subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: place.mark}) as left:
        assert place.end_all() == ["sleep 600"]
        assert left.wait(10) == -9
    assert place.end_all() == []


def test_what_must_not_be_left_is_told(search_study: StoredStudy, tmp_path: Path) -> None:
    again = optuna.trial.create_trial(value=1.0, user_attrs=TrialFacts(ticket=0).as_attributes())
    search_study.study.add_trial(again)
    failed = TrialFacts(ticket=3, fail_reason="out of memory").as_attributes()
    search_study.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=failed))
    damaged = {
        "summary.json": b'{"schema_version": 1',
        ".verify.json.41": b"{}",
        "trials.csv": b"number,state\n0\n",
        "verify.md": b"# Trial 3 of sm",
        "ablation.png": b"\x89PNG",
        "winner.safetensors": b"",
        ".trials.csv.0123abcd.part": b"num",
        "attempts.jsonl": b'{"seed": 1}\n{"se\n',
    }
    (tmp_path / RESULTS).mkdir()
    for name, content in damaged.items():
        (tmp_path / RESULTS / name).write_bytes(content)
    found = look_at(tmp_path, "small")
    assert {fault.partition(":")[0] for fault in found.faults} == {
        *(name for name in damaged if not name.endswith(".part")),
        "trials [4] of small are RUNNING",
        "0 was done 2 times",
        "a trial failed",
    }
    assert (found.interrupted, found.partial, sorted(found.outcomes)) == (1, 1, ["0", "1", "2"])


def test_a_damaged_database_is_told(search_study: StoredStudy, tmp_path: Path) -> None:
    search_study.storage.engine.dispose()
    path = tmp_path / "study.db"
    content = bytearray(path.read_bytes())
    content[8_192:12_288] = bytes(4_096)  # a page
    path.write_bytes(content)
    assert damage_of_database(path) == ["study.db: database disk image is malformed"]


def test_what_differs_from_an_undisturbed_command_is_told() -> None:
    undisturbed = replace(NOTHING, outcomes={"0": "a", "1": "b"}, files=frozenset({"summary.json"}))
    found = replace(NOTHING, outcomes={"1": "c", "2": "d"}, files=frozenset({".summary.json.1"}))
    assert differences(undisturbed, undisturbed) == []
    assert differences(found, undisturbed) == [
        "lost: 0",
        "too many: 2",
        "with another outcome: 1",
        "missing: summary.json",
        "left over: .summary.json.1",
    ]


# What is recorded


def test_a_record_goes_on_with_the_rounds_that_it_holds(code: Code, tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"
    missed = replace(ROUND, index=4, shots=(replace(SHOT, hit=False),), violations=("lost: 0",))
    assert chaos.read_rounds(path, 0, code) == []
    recorded = chaos.sum_up([ROUND, missed], 0, code)
    assert recorded.counts == {"proof SIGINT group": 1}
    assert recorded.violations == ("proof 4: lost: 0",)
    path.write_text(to_json(recorded), encoding="utf-8")
    assert read(chaos.Chaos, path) == recorded
    assert chaos.read_rounds(path, 0, code) == [ROUND, missed]
    assert chaos.num_hits([ROUND, missed], "proof") == 1
    ended = CliRunner().invoke(chaos.main, ["--phase", "proof", "--moments", "1", "--record", str(path), "--json"])
    assert (ended.exit_code, ended.stdout) == (0, f"{to_json(recorded)}\n")


def test_rounds_of_another_seed_or_other_code_do_not_count(code: Code, tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"
    for recorded in (chaos.sum_up([ROUND], 1, code), chaos.sum_up([ROUND], 0, replace(code, hash="0"))):
        path.write_text(to_json(recorded), encoding="utf-8")
        ended = CliRunner().invoke(chaos.main, ["--record", str(path)])
        assert ended.exit_code == 1
        assert ended.stderr.startswith(f"Error: {path} has rounds of other code (at ")
        assert read(chaos.Chaos, path) == recorded


# Bit for bit


def test_a_study_is_described_alike_whatever_its_trials_numbers_and_times_are() -> None:
    def described(number: int, other: int, seconds: float) -> dict[str, Any]:
        reranking = {"winner": number, "first": other, "tied": [number, other]}
        return {"winner": {"number": number, "seconds": seconds}, "params": {"trial": number}, "reranking": reranking}

    once, again = described(2, 3, 1.0), described(5, 2, 9.0)
    assert repeat.by_ticket(once, {2: 0, 3: 1}) == repeat.by_ticket(again, {2: 1, 5: 0})
    assert repeat.by_ticket(once, {2: 0, 3: 1}) != repeat.by_ticket(again, {2: 0, 5: 1})


def test_a_repetition_is_hit_while_it_works() -> None:
    aims = repeat.draw_aims(3, 40.0, 10.0)
    assert aims == repeat.draw_aims(3, 40.0, 10.0)
    assert Counter(aim.since for aim in aims) == {"first worker": 3}
    assert all(0 <= aim.delay <= 10.0 for aim in aims)
