"""How worker processes are started, clean and with interrupts held back; and that they end with their command."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from .worker import WorkerError

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
# One thread computes: the cores are better used by a worker each, and a sum that is split over threads may come out
# different. glibc keeps the pages of freed blocks instead of returning them and paying for zeroed ones in each step.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    "MALLOC_TOP_PAD_": str(2**26),
    "PYTHONSAFEPATH": "1",  # what workers are forked from loads packages, none of which is in the current folder
}
PARENT_POLL = 1.0  # seconds
LONGEST_TEMP = 75  # bytes of a temporary folder's path: a socket's, in a folder there, may have 107
SECOND_TRIES, PAUSE = 10, 0.1  # seconds


def worker_context(packages: Sequence[str]) -> BaseContext:
    """How worker processes are started: clean ones, which share nothing with the command.

    On Linux they are forked from a process that has loaded the packages, once for all workers of a command, and has
    done nothing else. Elsewhere a fork is not safe once these are loaded.
    """
    if sys.platform != "linux" or len(os.fsencode(tempfile.gettempdir())) > LONGEST_TEMP:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(packages))
    return context


def start_worker(context: BaseContext, main: Callable[..., None], args: Sequence[Any], name: str) -> BaseProcess:
    """Starts a process, in the workers' environment, that runs `main(*args)` and ends with this one.

    Ctrl-C and SIGTERM do not reach it: a terminal sends the one, and `timeout` the other, to all processes, but only
    the parent decides what it means.

    Raises:
        WorkerError: If what it is to be forked from keeps dying.
    """
    with environment(WORKER_ENVIRONMENT), _interrupts_wait():
        # mypy: every context has this class, but typeshed says so of the single ones alone.
        process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_live, args=(dict(os.environ), main, args), name=name
        )
        for _ in range(SECOND_TRIES):  # what it is forked from may have been killed a moment ago
            with contextlib.suppress(ConnectionError, EOFError):
                process.start()
                return process
            time.sleep(PAUSE)
    raise WorkerError("No worker process can be started: what they are forked from keeps dying. Is memory short?")


def _live(variables: dict[str, str], main: Callable[..., None], args: Sequence[Any]) -> None:
    """The life of a worker process.

    Args:
        variables: Its environment: a forked process has that of the process that it was forked from.
    """
    os.environ.clear()
    os.environ.update(variables)
    for number in INTERRUPTS:  # until now they were blocked, or, on Windows, were not
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(*args)


def _end_with_parent() -> None:
    """Ends this process with the command's; and with the one that it was forked from, for that tells how it ends."""
    parent, forked_from = multiprocessing.parent_process(), os.getppid()
    assert parent is not None
    while parent.is_alive() and os.getppid() == forked_from and _is_or_follows(forked_from, parent.pid):
        parent.join(PARENT_POLL)
    os._exit(1)


def _is_or_follows(pid: int, parent: int | None) -> bool:
    """Whether this is the command's process or one that it has started: whoever adopts an orphan is not."""
    with contextlib.suppress(psutil.Error):
        return pid == parent or psutil.Process(pid).ppid() == parent
    return False


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait meanwhile, and a process that is started has them blocked from birth."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it would unblock them when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Sets variables for the processes started meanwhile; what the user has set stays."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
