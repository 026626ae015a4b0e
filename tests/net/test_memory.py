import subprocess
import sys

import psutil
import torch

from search.net.memory import peak_memory_mb


def test_the_peak_is_no_less_than_what_is_held_now() -> None:
    assert peak_memory_mb() * 1e6 >= 0.95 * psutil.Process().memory_info().rss


def test_the_peak_outlasts_what_is_freed() -> None:
    assert child_peak("block = bytearray(b'x') * 200_000_000; del block") >= child_peak("pass") + 190


def test_the_peak_is_a_process_own_and_not_that_of_the_one_that_started_it() -> None:
    block = torch.ones(100_000_000)  # 400 MB
    assert child_peak("pass") < 400
    del block


def child_peak(code: str) -> int:
    """What a small new process that runs some code says of itself."""
    code += "; from search.net.memory import peak_memory_mb; print(peak_memory_mb())"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
