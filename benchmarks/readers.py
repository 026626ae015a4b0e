"""Who reads while others work: the dashboard's server, and a thread that asks again and again."""

import json
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import tell
from benchmarks.counted import POLL_SECONDS
from benchmarks.processes import started

READ_SECONDS = 5.0  # between two looks


@contextmanager
def dashboard(url: str, log: Path) -> Iterator[Callable[[], None]]:
    """The dashboard's own server; asks it for all that it shows of all studies, as a browser that is opened does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("optuna-dashboard"))

    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=120) as answer:
            content: bytes = answer.read()
            return content

    def ask() -> None:
        for study in json.loads(get("studies"))["study_summaries"]:
            get(f"studies/{study['study_id']}")

    with started([program, url, "--host", "127.0.0.1", "--port", str(port)], log) as server:
        while True:
            try:
                get("meta")
            except OSError as error:
                if server.has_ended:
                    raise server.failure() from error
                time.sleep(POLL_SECONDS)
            else:
                break
        yield ask


@dataclass
class Reads:
    """How often something was read, and how often that failed."""

    times: int = 0
    failures: int = 0


@contextmanager
def reading(read: Callable[[], object]) -> Iterator[Reads]:
    """Reads again and again, in a thread."""
    reads, done = Reads(), threading.Event()

    def loop() -> None:
        while not done.is_set():
            try:
                read()
            except Exception as error:  # whatever it is, it is a failure to read
                reads.failures += 1
                tell(f"A reader failed: {error}")
            reads.times += 1
            done.wait(READ_SECONDS)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield reads
    finally:
        done.set()
        thread.join()
