"""Words for numbers: what several texts say alike."""

import re
from collections.abc import Iterable

from ..config import Network


def escape_markdown(text: str) -> str:
    """In one line, with whatever Markdown or HTML would take for markup: names and reasons may hold anything."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", line)


def plural(count: int, noun: str) -> str:
    """For example "1 trial" or "1,024 trials"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def describe_trials(numbers: Iterable[int]) -> str:
    """For example "trial 7" or "trials 3, 7"."""
    words = [str(number) for number in sorted(numbers)]
    return f"trial{'s' * (len(words) > 1)} {', '.join(words)}"


def signed(points: float) -> str:
    """For example "+0.050"; what rounds to nothing is "+0.000" from either side."""
    return f"{round(points, 3) + 0.0:+.3f}"  # minus zero plus zero is zero


def format_seconds(seconds: float) -> str:
    """For example "0:03:25"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def format_network(network: Network) -> str:
    """The output channels of every stage, for example "8,10 / 12,14 / sep 16,20, residual"."""
    stages = [
        ("sep " if block == "separable" else "") + ",".join(map(str, widths))
        for widths, block in zip(network.channels or (), network.blocks, strict=False)
    ]
    return " / ".join(stages) + (", residual" if network.residual else "")


def describe_seeds(seeds: Iterable[int]) -> str:
    """For example "seeds 10000 to 10004 (n = 5)", or "seeds 3, 10000 to 10004 (n = 6)"."""
    numbers = sorted(seeds)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(words)} (n = {len(numbers)})"
