"""Words for numbers: what several texts say alike."""

from collections.abc import Iterable, Sequence


def plural(count: int, noun: str) -> str:
    """For example "1 trial" or "1,024 trials"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def format_seconds(seconds: float) -> str:
    """For example "0:03:25"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def format_channels(channels: Iterable[Iterable[int]] | None) -> str:
    """For example "8,10 / 12,14 / 15,16"."""
    return " / ".join(",".join(str(width) for width in stage) for stage in channels or ())


def describe_seeds(seeds: Sequence[int]) -> str:
    """For example "seeds 10000 to 10004 (n = 5)"."""
    return f"seeds {seeds[0]} to {seeds[-1]} (n = {len(seeds)})" if len(seeds) > 1 else f"seed {seeds[0]} (n = 1)"
