import subprocess
import time

import psutil
from fakes import dead_process

from search.studies.process import this_process


def test_this_process_is_alive_and_here() -> None:
    assert this_process().is_here
    assert not this_process().is_dead


def test_an_ended_process_is_dead_even_where_nobody_reaps_it() -> None:
    process = subprocess.Popen(["sleep", "60"])
    watched = psutil.Process(process.pid)
    owner = this_process().model_copy(update={"pid": process.pid, "started": watched.create_time()})
    alive_before = not owner.is_dead
    process.kill()
    deadline = time.monotonic() + 30
    while watched.status() != psutil.STATUS_ZOMBIE:  # as under a container's first process
        assert time.monotonic() < deadline
        time.sleep(0.01)
    dead_unreaped = owner.is_dead
    process.wait()
    assert (alive_before, dead_unreaped, owner.is_dead) == (True, True, True)


def test_a_process_that_got_a_dead_ones_number_is_another() -> None:
    owner = this_process()
    assert owner.model_copy(update={"started": owner.started - 3600}).is_dead
    assert owner.model_copy(update={"started": owner.started + 3600}).is_dead


def test_a_clock_that_was_set_right_kills_nobody() -> None:
    owner = this_process()
    assert not owner.model_copy(update={"started": owner.started + 10}).is_dead


def test_nothing_is_claimed_to_be_known_of_another_hosts_processes() -> None:
    elsewhere = dead_process().model_copy(update={"host": "elsewhere"})
    assert not elsewhere.is_here
    assert not elsewhere.is_dead
