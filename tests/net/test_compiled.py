"""Our own kernels compute what PyTorch does, and the same bits on every CPU."""

import copy
import hashlib
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from search.config import IMAGE_SIZE, LANES, MARGIN, AugmentConfig, ModelConfig, TrialConfig
from search.net.augment import augment
from search.net.compiled import images as compiled_images
from search.net.compiled import jit, kept, masks, preparing
from search.net.compiled.evaluation import compiled_logits
from search.net.compiled.preparing import prepare
from search.net.compiled.training import CompiledTraining
from search.net.compiled.weights import CompiledAdamW, average_weights
from search.net.crops import ALL_CROPS, CENTRE, Crops, resize
from search.net.data import Split, load_search_splits, normalise
from search.net.datasets import dataset_row
from search.net.device import Runtime
from search.net.model import TinyCNN, draw_weights, to_device
from search.net.train import evaluate, predict, train
from search.net.weights import all_weights, flat_weights

CPU = Runtime(device=torch.device("cpu"), precision="fp32")
PYTORCH = replace(CPU, own_kernels=False)
NETWORKS = {
    "dense": ModelConfig(channels=((9, 10), (12, 14), (15, 17))),
    "separable": ModelConfig(channels=((8, 8, 9), (11, 12, 13), (13, 16)), blocks=("separable",) * 3),
    "mixed": ModelConfig(channels=((3, 4), (5, 6), (7, 2)), blocks=("dense", "separable", "dense")),
    "one convolution a stage": ModelConfig(channels=((5,), (7,), (8,))),
    "residual and narrowing": ModelConfig(channels=((6, 6, 5, 7), (9, 7, 8, 3), (4, 6)), residual=True),
    "residual and separable": ModelConfig(
        channels=((6, 6, 6, 7), (9, 9, 10), (10, 11, 12)), blocks=("separable",) * 3, residual=True
    ),
    "without norm": ModelConfig(channels=((4, 5, 3), (6, 6), (7,)), norm=False),
    "as narrow as can be": ModelConfig(channels=((1, 1), (1, 1), (1, 1)), blocks=("dense", "dense", "separable")),
}
widths = st.lists(st.integers(1, 11), min_size=1, max_size=4).map(tuple)
kinds = st.sampled_from(["dense", "separable"])


def drawn(config: ModelConfig, seed: int) -> TinyCNN:
    """A network with weights like those of one that has been trained for a while."""
    generator = torch.Generator().manual_seed(seed)
    model = TinyCNN(config)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(0.3 + torch.rand(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / tensor[0].numel() ** 0.5)
    return model


def batch(side: int, seed: int, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 1, side, side, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def gradients(model: TinyCNN) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        yield name, parameter.grad.double()


def apart(config: ModelConfig, side: int, seed: int) -> dict[str, float]:
    """How far loss, gradients and statistics are from PyTorch's in fp64, as a share of what they are."""
    ours = drawn(config, seed).train()
    theirs = copy.deepcopy(ours).double()
    images, labels = batch(side, seed)
    loss = CompiledTraining(ours, flat_weights(ours), batch_size=len(images), image_side=side)(images, labels)
    expected = F.cross_entropy(theirs(images.double()), labels)
    expected.backward()
    found = {"loss": abs(loss - float(expected.detach()))}
    for (name, own), (_, right) in zip(gradients(ours), gradients(theirs), strict=True):
        found[name] = float((own - right).norm() / (right.norm() + 1e-3))
    for (name, own), (_, right) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        if own.is_floating_point():
            found[name] = float((own.double() - right).norm() / right.norm())
    return found


@pytest.mark.parametrize("side", [IMAGE_SIZE, IMAGE_SIZE + 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_gradients_and_statistics_are_those_of_pytorch(name: str, side: int) -> None:
    found = apart(NETWORKS[name], side, seed=1)
    assert max(found.values()) < 1e-3, found


@settings(max_examples=25, deadline=None)
@given(
    channels=st.tuples(widths, widths, widths),
    blocks=st.tuples(kinds, kinds, kinds),
    residual=st.booleans(),
    norm=st.booleans(),
    seed=st.integers(0, 99),
)
def test_so_they_are_for_every_network(
    channels: tuple[tuple[int, ...], ...], blocks: tuple[str, ...], residual: bool, norm: bool, seed: int
) -> None:
    first = "separable" if blocks[0] == "separable" and len(channels[0]) > 1 else "dense"
    config = ModelConfig(channels=channels, blocks=(first, *blocks[1:]), norm=norm)  # type: ignore[arg-type]
    config = replace(config, residual=residual and config.has_inner_blocks)
    # With some weights a maximum or a zero falls to the other side in fp32; what is wrong is so with any.
    assert any(max(apart(config, IMAGE_SIZE, seed + 100 * more).values()) < 0.05 for more in range(3))


@pytest.mark.parametrize("crops", [CENTRE, ALL_CROPS], ids=["one view", "all views"])
@pytest.mark.parametrize("name", NETWORKS)
def test_answers_are_those_of_pytorch_by_any_views(name: str, crops: Crops, few_digits: Split) -> None:
    model = drawn(NETWORKS[name], seed=2).eval()
    few = few_digits.select(torch.arange(45))  # no multiple of eight
    images = normalise(few.images, few.pixels)
    with torch.inference_mode():
        expected = model(images, crops)
    assert torch.allclose(compiled_logits(model, images, crops), expected, atol=1e-4)
    assert torch.allclose(predict(model, few, CPU, crops), predict(model, few, PYTORCH, crops), atol=1e-4)


def test_a_network_in_another_order_of_memory_gives_the_same_answers(few_digits: Split) -> None:
    model = drawn(NETWORKS["mixed"], seed=3).eval()
    few = few_digits.select(torch.arange(16))
    expected = predict(model, few, CPU)
    assert torch.equal(predict(to_device(copy.deepcopy(model), torch.device("cpu")), few, CPU), expected)


def test_dropout_takes_its_share_and_its_gradients_are_of_the_same_mask() -> None:
    model = drawn(replace(NETWORKS["mixed"], dropout=0.25), seed=4).train()
    images, labels = batch(IMAGE_SIZE, seed=4, size=64)
    weights = flat_weights(model)
    [matrices] = weights.matrices
    step = CompiledTraining(model, weights, batch_size=64, image_side=IMAGE_SIZE)

    def loss() -> float:
        step.seed_dropout(5)
        return step(images, labels)

    loss()
    drawn_masks = [mask for _, _, mask in step._dropout]
    assert len(drawn_masks) == 3  # one after each stage
    for mask in drawn_masks:
        assert sorted(set(mask.tolist())) == pytest.approx([0.0, 1 / 0.75])
        assert 0.2 < float((mask == 0).mean()) < 0.3
    assert matrices.grad is not None
    uphill = matrices.grad / matrices.grad.norm()
    slope = float(matrices.grad.norm())
    with torch.no_grad():
        matrices += 1e-3 * uphill
        above = loss()
        matrices -= 2e-3 * uphill
    assert (above - loss()) / 2e-3 == pytest.approx(slope, rel=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63 - 1])
@pytest.mark.parametrize("rate", [0.025, 0.5, 0.1])
def test_masks_are_of_the_numbers_that_pytorch_draws(seed: int, rate: float) -> None:
    state = np.zeros(masks.STATE, dtype=np.uint32)
    masks.seed_masks(state, seed)
    torch.manual_seed(seed)
    for size in (1, 5, 700, 624, 10_000):
        mask = np.full(size, np.nan, dtype=np.float32)
        masks.draw_mask(state, np.float32(rate), np.float32(1) / np.float32(1 - rate), mask)
        expected = (torch.rand(size) >= rate).float().div_(1 - rate)
        assert torch.equal(torch.from_numpy(mask), expected)


@pytest.mark.parametrize("frame", [0, 2])
def test_images_are_distorted_as_pytorch_does_it(frame: int, few_digits: Split) -> None:
    pixels = replace(few_digits.pixels, frame=frame)
    strengths = AugmentConfig(rotation=25.0, shift=4.0, scale=0.3, shear=0.2)
    ours, theirs = (
        augment(few_digits.images, pixels, strengths, torch.Generator().manual_seed(1), own_kernels=own)
        for own in (True, False)
    )
    assert theirs.shape == (256, 1, IMAGE_SIZE + 2 * frame, IMAGE_SIZE + 2 * frame)
    theirs = theirs[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]  # the network looks at no more
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=2e-3)  # coordinates are rounded otherwise
    assert float((ours - theirs).abs().mean()) < 1e-5


@pytest.mark.parametrize("side", [26, 28, 30, 34])
def test_images_are_resized_as_pytorch_does_it(side: int, few_digits: Split) -> None:
    images = normalise(few_digits.images, few_digits.pixels)
    assert torch.allclose(compiled_images.resize(images, side), resize(images, side), atol=1e-5)


def test_weights_descend_and_are_averaged_as_pytorch_does_it() -> None:
    generator = torch.Generator().manual_seed(2)
    ours = torch.randn(501, generator=generator, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    own_average, right_average = ours.detach().clone(), ours.detach().clone()
    own = CompiledAdamW([ours], lr=0.1, weight_decay=0.3)
    right = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.3)
    for step in range(30):
        ours.grad = torch.randn(501, generator=generator)
        theirs.grad = ours.grad.clone()
        for optimizer in (own, right):
            optimizer.param_groups[0]["betas"] = (0.95 - step / 300, 0.99)  # as one cycle moves them
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimizer.step()
        share = 1 / (1 + 0.3 * step)
        average_weights([own_average], [ours])(share)
        torch._foreach_lerp_([right_average], [theirs.detach()], share)
        assert torch.allclose(ours, theirs, atol=1e-6)
        assert torch.allclose(own_average, right_average, atol=1e-6)
        assert step > 0 or torch.equal(own_average, ours)


CONFIG = TrialConfig(
    model=replace(NETWORKS["residual and separable"], dropout=0.05),
    augment=AugmentConfig(rotation=10.0, shift=2.0, scale=0.1, shear=0.1),
    lr=0.01,
    weight_decay=0.01,
)


def some_digits() -> Split:
    training, _ = load_search_splits(dataset_row("sample"), Path("there-is-no-such-folder"))
    return training.select(torch.arange(128) * 25)


def fingerprint_of_a_run(digits: Split) -> str:
    """Of weights and statistics after two epochs, and of what they answer."""
    model = list(train(CONFIG, digits, epochs=2, seed=3, runtime=CPU))[-1].model
    digest = hashlib.sha256()
    for tensor in [*all_weights(model).all, predict(model, digits, CPU, ALL_CROPS)]:
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def test_a_run_gives_the_same_bits_again(few_digits: Split) -> None:
    assert fingerprint_of_a_run(few_digits) == fingerprint_of_a_run(few_digits)


def test_weights_are_drawn_as_pytorch_does_it() -> None:
    model = TinyCNN(NETWORKS["residual and separable"])
    torch.manual_seed(4)
    draw_weights(model)
    torch.manual_seed(4)
    for name, expected in TinyCNN(NETWORKS["residual and separable"]).state_dict().items():
        assert torch.allclose(model.state_dict()[name], expected, atol=1e-6), name


@pytest.mark.slow  # it compiles for that CPU, which takes half a minute
def test_a_cpu_with_half_as_wide_registers_and_without_fma_gives_the_same_bits(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = ['tests/net', '.']\n"
        "from test_compiled import fingerprint_of_a_run, some_digits\n"
        "print(fingerprint_of_a_run(some_digits()))"
    )
    # The last of PyTorch's own operations that are left: they have to round alike, too.
    of_old = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, **of_old}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [fingerprint_of_a_run(some_digits())]


def test_weights_and_gradients_are_parts_of_a_few_flat_tensors() -> None:
    model = drawn(NETWORKS["mixed"], seed=6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = flat_weights(model)
    assert [len(tensors) for tensors in weights] == [1, 1, 1]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    CompiledTraining(model, weights, batch_size=16, image_side=IMAGE_SIZE)(*batch(IMAGE_SIZE, seed=6))
    assert sum(float(each.grad.abs().sum()) for each in weights.all[:2]) == pytest.approx(  # type: ignore[union-attr]
        sum(float(gradient.abs().sum()) for _, gradient in gradients(model))
    )
    with torch.no_grad():
        weights.matrices[0].zero_()
    assert not model.head.weight.any()


def test_a_batch_that_is_no_multiple_of_eight_is_trained_by_pytorch(few_digits: Split) -> None:
    model = drawn(NETWORKS["mixed"], seed=7)
    with pytest.raises(ValueError, match="multiple of 8"):
        CompiledTraining(model, flat_weights(model), batch_size=LANES + 1, image_side=IMAGE_SIZE)
    last = list(train(replace(CONFIG, batch_size=50), few_digits, epochs=1, seed=3, runtime=CPU))[-1]
    assert evaluate(last.model, few_digits, CPU).num_images == len(few_digits)


def test_it_is_told_once_that_kernels_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "stamp", lambda: tmp_path / "stamp")
    told: list[str] = []
    prepare(told.append)
    prepare(told.append)
    assert told == ["Compiling for this CPU. It takes about a minute, once."]


def test_kernels_are_kept_in_a_folder_of_these_sources_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = kept.cache_folder.__wrapped__()
    assert folder.parent == tmp_path / "tiny-mnist-search"
    monkeypatch.setattr(kept, "SOURCES", ("forwards.py",))
    assert kept.cache_folder.__wrapped__() != folder


def test_all_that_is_compiled_is_among_those_sources() -> None:
    modules = [path for path in Path(kept.__file__).parent.glob("*.py") if path.name != "__init__.py"]
    compiled = {
        path.name for path in modules if re.search(r"^from .(jit|vectors) import|^import numba", path.read_text(), re.M)
    }
    assert compiled | {"vectors.py", "../../config.py"} == set(kept.SOURCES)


@pytest.mark.parametrize("home", ["a file", "none"])
def test_without_a_place_to_keep_them_kernels_are_compiled_all_the_same(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file") if home == "a file" else "")
    if home == "none":
        monkeypatch.setattr(Path, "expanduser", no_home)
    kept.cache_folder.cache_clear()
    try:
        assert kept.cache_folder() is None
        assert jit.kernel(lambda x: x + 1)(1) == 2
        told: list[str] = []
        prepare(told.append)
        assert "Set XDG_CACHE_HOME" in told[0]
    finally:
        kept.cache_folder.cache_clear()


def no_home(_path: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("layer", [0, 5, 10])
def test_what_is_no_number_is_not_lost_on_the_way(layer: int, few_digits: Split) -> None:
    model = drawn(NETWORKS["dense"], seed=8)
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1][layer // 2]
    with torch.no_grad():
        weights.view(-1)[0] = math.nan
    assert not predict(model.eval(), few_digits, CPU, ALL_CROPS).isfinite().any()
    step = CompiledTraining(model.train(), flat_weights(model), batch_size=16, image_side=IMAGE_SIZE)
    loss = step(*batch(IMAGE_SIZE, seed=8))
    assert math.isnan(loss)


def test_distortions_that_leave_nothing_to_be_seen_are_black(few_digits: Split) -> None:
    most = AugmentConfig(rotation=180.0, shift=1_000.0, scale=0.99, shear=1_000.0)
    images = augment(few_digits.images, few_digits.pixels, most, torch.Generator().manual_seed(1), own_kernels=True)
    black = -few_digits.pixels.mean / few_digits.pixels.std
    assert images.isfinite().all()
    assert float((images - black).abs().lt(1e-5).float().mean()) > 0.9


def test_weights_that_the_optimizer_would_not_see_are_not_trained() -> None:
    model, others = (drawn(NETWORKS["dense"], seed=9) for _ in range(2))
    with pytest.raises(ValueError, match="parts of the flat ones"):
        CompiledTraining(model, flat_weights(others), batch_size=16, image_side=IMAGE_SIZE)
