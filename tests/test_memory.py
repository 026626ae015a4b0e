import psutil
import torch

from search.memory import peak_memory_mb


def test_the_peak_is_no_less_than_what_is_held_now() -> None:
    assert peak_memory_mb() * 1e6 >= 0.95 * psutil.Process().memory_info().rss


def test_the_peak_outlasts_what_is_freed() -> None:
    before = psutil.Process().memory_info().rss / 1e6
    block = torch.ones(50_000_000)  # 200 MB
    del block
    assert peak_memory_mb() >= before + 190
