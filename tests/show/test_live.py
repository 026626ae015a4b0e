import io
from collections.abc import Sequence

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console, RenderableType

from search.console import (
    LiveView,
    StudyProgress,
    describe_trial,
)

DIGITS_OF_SEED = optuna.distributions.IntDistribution(0, 2**31 - 1)


def shown(renderable: RenderableType, width: int = 80) -> str:
    """What a terminal of that width shows."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def make_verification(states: Sequence[TrialState], **user_attrs: object) -> optuna.Study:
    """A verification whose seeds from 10,000 on are in these states."""
    study = optuna.create_study(study_name="small-verify-2", direction="maximize")
    study.set_user_attr("kind", "verify")
    for seed, state in enumerate(states, start=10_000):
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=99.4 if state == TrialState.COMPLETE else None,
                params={"seed": seed},
                distributions={"seed": DIGITS_OF_SEED},
                user_attrs={"ticket": seed, "epochs": 3, "seconds": 6.0, "errors": 60, **user_attrs},
            )
        )
    return study


def test_the_live_view_shows_how_far_the_search_is(search_study: optuna.Study) -> None:
    text = shown(StudyProgress(search_study, range(10), epochs=4, num_workers=1).render())
    assert "3/10" in text
    for count in ("done 2", "pruned 1", "running 1", "interrupted 1"):
        assert count in text
    assert "failed" not in text  # what was interrupted is tried again
    assert "epochs saved 3 (20%)" in text


def test_the_live_view_tells_what_failed_from_what_was_interrupted(search_study: optuna.Study) -> None:
    optuna.Trial(search_study, search_study.get_trials()[4]._trial_id).set_user_attr("fail_reason", "out of memory")
    search_study.tell(4, state=TrialState.FAIL)
    text = shown(StudyProgress(search_study, range(10), epochs=4, num_workers=1).render())
    assert "running 0   interrupted 1   failed 1" in text


def test_the_live_view_says_why_nothing_runs_at_the_start() -> None:
    study = optuna.create_study(direction="maximize")
    progress = StudyProgress(study, range(10), epochs=15, num_workers=1)
    assert "done 0   pruned 0   running 0   (workers are starting)" in shown(progress.render())
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"ticket": 0}))
    assert "starting" not in shown(progress.render())


def test_the_live_view_shows_each_running_trial(search_study: optuna.Study) -> None:
    running = search_study.get_trials()[4].user_attrs
    lines = shown(StudyProgress(search_study, range(10), epochs=4, num_workers=1).render()).splitlines()
    row = next(line for line in lines if "2/4" in line)
    assert row.split()[:5] == ["trial", "4", "2/4", "96.50", "%"]
    assert f"{running['num_params']:,}" in row
    assert " / ".join(",".join(map(str, stage)) for stage in running["channels"]) in row


def test_the_live_view_shows_the_best_and_the_time_left(search_study: optuna.Study) -> None:
    text = shown(StudyProgress(search_study, range(10), epochs=4, num_workers=1).render())
    best = search_study.get_trials()[2].user_attrs
    assert f"best trial 2: 98.50 %, {best['num_params']:,} parameters" in text
    # 7 more trials of 3 epochs of 2 seconds, but for two epochs that are done
    assert "0:00:38 left" in text


def test_the_live_view_knows_no_time_left_before_the_first_epoch() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"ticket": 0}))
    text = shown(StudyProgress(study, range(10), epochs=15, num_workers=1).render())
    assert "elapsed" in text
    assert "left" not in text
    assert "0/15" in text
    assert "best" not in text


def test_the_live_view_fits_eighty_columns_with_the_longest_of_everything() -> None:
    study = optuna.create_study(direction="maximize")
    channels = [[41, 42, 43], [44, 45, 46], [47, 48, 49]]
    attributes = {"epochs": 15, "seconds": 30_000.0, "num_params": 100_000, "channels": channels}
    for ticket in range(1_000, 1_020):
        state = TrialState.COMPLETE if ticket < 1_010 else TrialState.RUNNING
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=99.99 if state == TrialState.COMPLETE else None,
                intermediate_values={15: 99.99},
                user_attrs={"ticket": ticket, **attributes},
            )
        )
    text = shown(StudyProgress(study, range(10_000), epochs=15, num_workers=1).render())
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.count("41,42,43 / 44,45,46 / 47,48,49") == 11


def test_the_live_view_counts_only_the_trials_of_its_plan(search_study: optuna.Study) -> None:
    text = shown(StudyProgress(search_study, range(1), epochs=4, num_workers=1).render())
    assert "1/1" in text
    assert "done 1   pruned 0   running 0" in text


def test_the_live_view_of_a_verification_shows_seeds() -> None:
    study = make_verification([TrialState.COMPLETE, TrialState.RUNNING])
    text = shown(StudyProgress(study, range(10_000, 10_005), epochs=15, num_workers=1).render())
    assert "1/5" in text
    row = next(line for line in text.splitlines() if "3/15" in line)
    assert row.split()[:3] == ["seed", "10001", "3/15"]


def test_a_terminal_gets_the_live_view(
    search_study: optuna.Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    view = LiveView(quiet=False)
    with view.watch(search_study, tickets=range(4), epochs=4, devices=["cpu"], precision="fp32") as update:
        search_study.tell(4, 99.0)
        update()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "done 3   pruned 1   running 0" in captured.err
    assert "best trial 4: 99.00 %" in captured.err
    assert "[4/4]" not in captured.err


def test_without_a_terminal_each_finished_trial_gets_a_line(
    search_study: optuna.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    view = LiveView(quiet=False)
    with view.watch(search_study, tickets=range(4), epochs=4, devices=["cpu", "cpu"], precision="fp32") as update:
        update()
        search_study.tell(4, 99.0)
        update()
        update()
    captured = capsys.readouterr()
    assert captured.out == ""
    first, *lines = captured.err.splitlines()
    for words in ("small", "4 trials of 4 epochs", "2 workers on cpu (fp32)"):
        assert words in first
    assert len(lines) == 1
    assert lines[0].startswith("[4/4] trial 4: 99.00 %")


def test_lines_of_trials_that_end_together_count_up(search_study: optuna.Study) -> None:
    progress = StudyProgress(search_study, range(10), epochs=4, num_workers=2)
    finished = search_study.get_trials()[0]
    for ticket in (4, 5):
        search_study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE, value=97.0, user_attrs={**finished.user_attrs, "ticket": ticket}
            )
        )
    assert [line.split()[0] for line in progress.finished_lines()] == ["[4/10]", "[5/10]"]


def test_a_reason_in_brackets_is_printed_as_it_is(
    search_study: optuna.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    view = LiveView(quiet=False)
    reason = "RuntimeError: [enforce fail at alloc_cpu.cpp:117] out of memory, see [/proc/meminfo]"
    with view.watch(search_study, tickets=range(4), epochs=4, devices=["cpu"], precision="fp32") as update:
        optuna.Trial(search_study, search_study.get_trials()[4]._trial_id).set_user_attr("fail_reason", reason)
        search_study.tell(4, state=TrialState.FAIL)
        update()
    assert reason in capsys.readouterr().err


def test_what_is_said_is_one_line_and_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    message = "MNIST is not in /a/rather/long/folder/[name]/MNIST/raw and cannot be downloaded. Using the sample."
    LiveView(quiet=False).say(message)
    assert capsys.readouterr().err == message + "\n"


def test_quiet_is_silent(search_study: optuna.Study, capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveView(quiet=True)
    with view.watch(search_study, tickets=range(4), epochs=4, devices=["cpu"], precision="fp32") as update:
        search_study.tell(4, 99.0)
        update()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_quiet_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveView(quiet=True)
    view.say("Verifying trial 2.")
    view.warn("MNIST is not there. Using the sample.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "MNIST is not there. Using the sample.\n")


def test_no_colour_is_honoured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    LiveView(quiet=False).warn("yellow")
    assert "\x1b[3" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    LiveView(quiet=False).warn("plain")
    assert "\x1b[3" not in capsys.readouterr().err


def test_a_finished_trial_in_one_line(search_study: optuna.Study) -> None:
    complete, pruned, _, interrupted, _ = (describe_trial(trial) for trial in search_study.get_trials())
    trials = search_study.get_trials()
    assert complete == f"trial 0: 98.00 %, {trials[0].user_attrs['num_params']:,} parameters, 4,5 / 6,7 / 7,8"
    assert pruned.startswith("trial 1: 60.00 %,")
    assert pruned.endswith("not promising (epoch 1)")
    assert interrupted == "trial 3: interrupted, to be tried again"


def test_a_finished_seed_in_one_line() -> None:
    complete, interrupted = make_verification([TrialState.COMPLETE, TrialState.FAIL]).get_trials()
    assert describe_trial(complete) == "seed 10000: 99.40 %, 60 errors"
    assert describe_trial(interrupted).startswith("seed 10001: interrupted")


def test_a_seed_that_failed_says_why() -> None:
    (failed,) = make_verification([TrialState.FAIL], fail_reason="OutOfMemoryError: no memory").get_trials()
    assert "no memory" in describe_trial(failed)
