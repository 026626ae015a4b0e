"""Devices: which to compute on, in which arithmetic, and by how many workers."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config import ExplainedError
from ..settings import AUTO, DEVICES
from .compiled.kept import stamp

BACKENDS: Any = torch.backends  # whose attributes come into being at run time
CPU_SHARE = Path("/sys/fs/cgroup/cpu.max")
WORKERS_PER_GPU = 4  # not measured: no GPU was at hand


class DeviceError(ExplainedError):
    """The device is not there."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and in which arithmetic a network is computed.

    Attributes:
        precision: "bf16" or "fp32".
        own_kernels: Whether our own kernels may compute what they can; else PyTorch's compute all, to compare with.
    """

    device: torch.device
    precision: str
    own_kernels: bool = True

    @property
    def compiled(self) -> bool:
        """Whether our own kernels compute, instead of PyTorch's (`search.net.compiled`)."""
        return self.own_kernels and self.device.type == "cpu" and self.precision == "fp32"

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def prepare(self) -> None:
        """Prepares this process: on a CPU one thread computes, for a sum that is split may come out different."""
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        if self.precision == "fp32":  # else convolutions on an NVIDIA GPU round to ten bits (TF32)
            BACKENDS.fp32_precision = "ieee"


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves PyTorch in this process as it was: for what computes in a notebook."""
    num_threads, random_state = torch.get_num_threads(), torch.get_rng_state()
    rounding = BACKENDS.fp32_precision
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
        torch.set_rng_state(random_state)
        BACKENDS.fp32_precision = rounding


def compile_for(device: str, precision: str, tell: Callable[[str], None]) -> None:
    """Compiles what computes there, if that is ours and was not done yet: once, before several workers need it."""
    if Runtime(device=torch.device(device), precision=precision).compiled:
        ready = stamp()
        if ready is None or not ready.exists():
            from .compiled.preparing import prepare  # brings numba along, which takes half a second

            prepare(tell)


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first of cuda, mps and cpu that is there.

    Raises:
        DeviceError: If this machine, or this build of PyTorch, has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == AUTO:
        name = next(kind for kind in DEVICES if available[kind])
    if not available.get(name, False):
        raise DeviceError(f"No {name} device is available here. Use --device auto.")
    return torch.device(name)


def choose_precision(device: torch.device) -> str:
    """bf16 where the hardware has matrix units for it, else fp32. A fixed rule: timing would not repeat.

    On a CPU that means AMX. Vector instructions for bf16 alone (AVX512-BF16) do not pay: on one core of such a
    machine bf16 trained 0.86 times as fast as fp32 (results/LOG.md).
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"
    return "fp32"


def worker_devices(device: torch.device, workers: int | None) -> tuple[str, ...]:
    """One device per worker; without a number, one worker per CPU core, or several per GPU as far as cores go.

    One worker is expected to leave a GPU idle, for a step of so small a network should be over before the CPU has
    sent off the next; each worker needs a core to send from.
    """
    if device.type == "cuda":
        num_gpus = torch.cuda.device_count()
        default = max(num_gpus, min(num_gpus * WORKERS_PER_GPU, num_cores()))
        return tuple(f"cuda:{index % num_gpus}" for index in range(workers or default))
    if device.type == "cpu":
        return ("cpu",) * (workers or num_cores())
    return (device.type,) * (workers or 1)


def num_cores() -> int:
    """What this process may use, not what the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:  # a container's share (cgroup v2): microseconds of CPU time in a period, or "max"
        quota, period = CPU_SHARE.read_text(encoding="ascii").split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return allowed


def free_memory() -> None:
    """Gives back what a failed run held on a GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
