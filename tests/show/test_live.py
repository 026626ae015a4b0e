"""The live screen on stderr; where that is no terminal, lines."""

import re

import pytest
from optuna.trial import TrialState

from search.show.live import LiveScreen
from search.show.screen import Work
from search.studies.facts import TrialFacts
from search.studies.optuna_private import writable
from search.studies.plan import DrawnPlan
from search.studies.study import StoredStudy

LONG = "MNIST is not in /a/rather/long/folder/[name]/MNIST/raw and cannot be downloaded. Using the sample."


@pytest.fixture
def work(search_study: StoredStudy) -> Work:
    plan = DrawnPlan(num_trials=4, sampler_name="random", seed=0)
    return Work(stored=search_study, plan=plan, epochs=4, devices=["cpu", "cpu"], precision="fp32")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if stderr were a terminal of eighty columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_the_live_table(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    with LiveScreen(quiet=False).watch(work) as update:
        work.stored.study.tell(4, 99.0)
        update()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "complete 3   pruned 1   running 0" in captured.err
    assert "4/4 done" in captured.err
    assert "best trial 4: 99.00 %" in captured.err
    assert "[4/4]" not in captured.err


def test_a_terminal_that_cannot_redraw_gets_lines(
    work: Work, terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("TERM", "dumb")
    with LiveScreen().watch(work) as update:
        update()
        work.stored.study.tell(4, 99.0)
        update()
    assert "[4/4] trial 4: 99.00 %" in capsys.readouterr().err


def test_without_a_terminal_each_finished_trial_gets_a_line(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    with LiveScreen(quiet=False).watch(work) as update:
        update()
        work.stored.study.tell(4, 99.0)
        update()
        update()
    captured = capsys.readouterr()
    assert captured.out == ""
    first, *lines = captured.err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d small: 4 trials of 4 epochs, 2 workers on cpu \(fp32\)", first)
    assert len(lines) == 1
    assert re.match(r"\d\d:\d\d:\d\d \[4/4\] trial 4: 99.00 %", lines[0])


def test_a_reason_in_brackets_is_one_line_and_printed_as_it_is(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    reason = "RuntimeError: [enforce fail at alloc_cpu.cpp:117] out of memory, see [/proc/meminfo] " + "and so on " * 9
    search = work.stored
    with LiveScreen(quiet=False).watch(work) as update:
        TrialFacts(fail_reason=reason).write(writable(search.study, search.trials()[4]))
        search.study.tell(4, state=TrialState.FAIL)
        update()
    assert f"trial 4: {reason}" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_said_is_one_line_and_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    LiveScreen(quiet=False).say(LONG)
    LiveScreen(quiet=False).warn(LONG)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.sub(r"^\d\d:\d\d:\d\d ", "", line) == LONG
        assert line != LONG


def test_on_a_terminal_what_is_said_is_wrapped_between_words(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("NO_COLOR", "1")
    LiveScreen(quiet=False).say(LONG)
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(line.strip() for line in lines) == LONG


def test_quiet_is_silent(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    with LiveScreen(quiet=True).watch(work) as update:
        work.stored.study.tell(4, 99.0)
        update()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_quiet_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    screen = LiveScreen(quiet=True)
    screen.say("Verifying trial 2.")
    screen.warn("MNIST is not there. Using the sample.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "MNIST is not there. Using the sample.\n")


def test_no_colour_is_honoured(terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    LiveScreen(quiet=False).warn("yellow")
    assert "\x1b[3" in capsys.readouterr().err
    terminal.setenv("NO_COLOR", "1")
    LiveScreen(quiet=False).warn("plain")
    assert "\x1b[3" not in capsys.readouterr().err


def test_what_a_command_and_its_workers_warn_of_alike_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    screen = LiveScreen(quiet=True)
    for message in ("away", "away", "back", "away", "back"):
        screen.warn(message)
    assert capsys.readouterr().err.splitlines() == ["away", "back"]
