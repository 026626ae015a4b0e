import pytest
import torch

import search.runner
from search.runner import worker_devices


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    def build(*, num_gpus: int, num_cores: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
        monkeypatch.setattr(search.runner, "num_cores", lambda: num_cores)

    return build


def test_a_cpu_gets_a_worker_per_core(machine) -> None:
    machine(num_gpus=0, num_cores=3)
    assert worker_devices(torch.device("cpu"), None) == ["cpu"] * 3


@pytest.mark.parametrize(
    ("num_gpus", "num_cores", "expected"),
    [
        (1, 16, ["cuda:0"] * 4),
        (2, 16, ["cuda:0", "cuda:1"] * 4),
        (1, 2, ["cuda:0"] * 2),  # a core each
        (4, 2, ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),  # no GPU stays idle
    ],
)
def test_gpus_get_several_workers_each_as_far_as_cores_go(
    machine, num_gpus: int, num_cores: int, expected: list[str]
) -> None:
    machine(num_gpus=num_gpus, num_cores=num_cores)
    assert worker_devices(torch.device("cuda"), None) == expected


def test_a_number_of_workers_is_kept_to_and_spread_over_the_gpus(machine) -> None:
    machine(num_gpus=2, num_cores=1)
    assert worker_devices(torch.device("cuda"), 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert worker_devices(torch.device("cpu"), 2) == ["cpu", "cpu"]
    assert worker_devices(torch.device("mps"), None) == ["mps"]
