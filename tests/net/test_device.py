"""Devices, precision and workers."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from search.net import device
from search.net.device import (
    DeviceError,
    Runtime,
    choose_device,
    choose_precision,
    num_cores,
    undisturbed,
    worker_devices,
)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (False, True, "mps"), (True, False, "cuda"), (True, True, "cuda")],
)
def test_auto_is_the_first_of_cuda_mps_and_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(chosen)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=f"No {name} device.*--device auto"):
        choose_device(name)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"amx_bf16": True}, "bf16"), ({"amx_bf16": False, "avx512_bf16": True}, "fp32"), ({}, "fp32")],
)
def test_a_cpu_computes_in_bf16_where_it_has_matrix_units(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision(torch.device("cpu")) == precision


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_computes_in_bf16_where_it_does_not_emulate_it(
    monkeypatch: pytest.MonkeyPatch, supported: bool, precision: str
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported or including_emulation
    )
    assert choose_precision(torch.device("cuda")) == precision


def test_other_devices_compute_in_fp32() -> None:
    assert choose_precision(torch.device("mps")) == "fp32"


def test_other_names_are_refused() -> None:
    with pytest.raises(DeviceError, match="No abacus device"):
        choose_device("abacus")


def test_a_cpu_is_prepared_to_compute_in_one_thread() -> None:
    torch.set_num_threads(2)
    try:
        Runtime(device=torch.device("meta"), precision="fp32").prepare()
        assert torch.get_num_threads() == 2
        Runtime(device=torch.device("cpu"), precision="fp32").prepare()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)


# Workers

Machine = Callable[[int, int], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Sets how many GPUs there are, and how many cores this process may use."""

    def build(num_gpus: int, cores: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)

    return build


def test_a_cpu_gets_a_worker_per_core(machine: Machine) -> None:
    machine(0, 3)
    assert worker_devices(torch.device("cpu"), None) == ("cpu",) * 3


@pytest.mark.parametrize(
    ("num_gpus", "cores", "expected"),
    [
        (1, 16, ("cuda:0",) * 4),
        (2, 16, ("cuda:0", "cuda:1") * 4),
        (1, 2, ("cuda:0",) * 2),  # a core each
        (4, 2, ("cuda:0", "cuda:1", "cuda:2", "cuda:3")),  # no GPU stays idle
    ],
)
def test_gpus_get_several_workers_each_as_far_as_cores_go(
    machine: Machine, num_gpus: int, cores: int, expected: tuple[str, ...]
) -> None:
    machine(num_gpus, cores)
    assert worker_devices(torch.device("cuda"), None) == expected


def test_a_number_of_workers_is_kept_to_and_spread_over_the_gpus(machine: Machine) -> None:
    machine(2, 1)
    assert worker_devices(torch.device("cuda"), 3) == ("cuda:0", "cuda:1", "cuda:0")
    assert worker_devices(torch.device("cpu"), 2) == ("cpu", "cpu")
    assert worker_devices(torch.device("mps"), None) == ("mps",)


def test_only_the_cores_that_this_process_may_use_count(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    machine(0, 3)
    assert num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert num_cores() == 64


@pytest.mark.parametrize(
    ("share", "expected"),
    [("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("max 100000\n", 8), ("", 8), (None, 8)],
)
def test_a_container_has_as_many_cores_as_it_was_given(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, share: str | None, expected: int
) -> None:
    machine(0, 8)
    monkeypatch.setattr(device, "CPU_SHARE", tmp_path / "cpu.max")
    if share is not None:
        (tmp_path / "cpu.max").write_text(share)
    assert num_cores() == expected


def test_fp32_is_not_rounded_on_a_gpu_and_what_computes_here_leaves_everything_as_it_was() -> None:
    before = torch.get_num_threads(), torch.get_rng_state()
    rounding = torch.backends.fp32_precision
    with undisturbed():
        Runtime(device=torch.device("cpu"), precision="fp32").prepare()
        torch.manual_seed(1)
        assert torch.get_num_threads() == 1
        assert torch.backends.fp32_precision == "ieee"
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.backends.fp32_precision == rounding
