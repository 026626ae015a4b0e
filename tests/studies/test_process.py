import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fakes import dead_process

from search.settings import COMMITTED
from search.studies.process import Owner, process_here, this_place, this_process

ROOT = Path(__file__).resolve().parent.parent.parent
SAY_WHO = [sys.executable, "-c", "from search.studies.process import *; print(this_process().model_dump_json())"]
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
MACHINE_ID = Path("/etc/machine-id")


def test_this_process_is_alive_and_here() -> None:
    assert this_process().is_here
    assert not this_process().is_dead
    assert this_process().pid == os.getpid()


def test_an_ended_process_is_dead_even_where_nobody_reaps_it() -> None:
    process = subprocess.Popen(["sleep", "60"])
    owner = process_here(process.pid)
    alive_before = not owner.is_dead
    process.kill()
    deadline = time.monotonic() + 30
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:  # as under a container's first process
        assert time.monotonic() < deadline
        time.sleep(0.01)
    dead_unreaped = owner.is_dead
    process.wait()
    assert (alive_before, dead_unreaped, owner.is_dead) == (True, True, True)


def test_a_process_that_got_a_dead_ones_number_is_another() -> None:
    owner = this_process()
    assert owner.model_copy(update={"started": owner.started - 1}).is_dead
    assert owner.model_copy(update={"started": owner.started + 1}).is_dead


@ON_LINUX
def test_a_start_is_told_by_a_clock_that_nobody_sets() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen(["sleep", "60"]) as process:
        seconds = process_here(process.pid).started / os.sysconf("SC_CLK_TCK")
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
        process.kill()
    assert before - 0.01 <= seconds <= after  # ticks are whole


def test_nothing_is_claimed_to_be_known_of_another_hosts_processes() -> None:
    for place in ("elsewhere", None):  # None: an earlier version's
        owner = dead_process().model_copy(update={"place": place})
        assert not owner.is_here
        assert not owner.is_dead


@ON_LINUX
@pytest.mark.parametrize("proc", ["--mount-proc", None])
def test_containers_on_one_machine_know_nothing_of_each_others_processes(proc: str | None) -> None:
    apart = ["unshare", "--map-root-user", "--pid", "--fork", *([proc] if proc is not None else [])]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made here")
    said = subprocess.run([*apart, *SAY_WHO], cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    owner = Owner.model_validate_json(said)
    assert owner.host == this_process().host
    assert not owner.is_here
    assert not owner.is_dead


def test_another_process_here_is_seen() -> None:
    said = subprocess.run(SAY_WHO, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    owner = Owner.model_validate_json(said)
    assert owner.is_here
    assert owner.is_dead  # by now


def test_an_owner_says_nothing_of_the_machine_but_its_name() -> None:
    said = this_process().model_dump_json()
    paths = [Path("/proc/sys/kernel/random/boot_id"), MACHINE_ID]
    secrets = [path.read_text().strip() for path in paths if path.exists()]
    assert not any(secret in said for secret in secrets if secret)  # in a container it may be empty
    assert len(this_place()) == 16


def test_the_committed_studies_say_nothing_of_the_machine_that_made_them() -> None:
    paths = sorted(COMMITTED[0].parent.glob("*/*.db"))
    assert paths
    for path in paths:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        assert connection.execute("SELECT count(*) FROM trial_user_attributes WHERE key = 'owner'").fetchone() == (0,)
        connection.close()
        assert b'"host"' not in path.read_bytes()  # nor does what is left of deleted rows
