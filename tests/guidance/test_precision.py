"""Gradients through half precision: as exact as in single, and no image's depends on another's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unbleed
from unbleed.guidance.evaluator import Evaluator
from unbleed.guidance.update import Evaluation
from unbleed.model_settings import method_of
from unbleed.precision import gradient_through


def graph(leaf: Tensor, factors: Tensor, *, half: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    inside = leaf.half() if half else leaf
    maps = (inside * 0.01).to(leaf.dtype).softmax(dim=1)
    others = inside.to(leaf.dtype).square()
    return maps, others, (maps[:, 0].square().flatten(1).sum(1) + others.flatten(1).mean(1)) * factors


def gradients(factors: list[float], *, scaled: bool, half: bool) -> Tensor:
    leaf = torch.randn(len(factors), 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    maps, others, loss = graph(leaf, torch.tensor(factors), half=half)
    return gradient_through([maps, others], loss, leaf, half=scaled)


def test_a_power_of_two_changes_no_digit() -> None:
    factors = [1.0, 1e-6, 3e4]
    assert torch.equal(gradients(factors, scaled=True, half=False), gradients(factors, scaled=False, half=False))


def test_small_gradients_come_through_float16() -> None:
    exact = gradients([1e-8], scaled=False, half=False)
    assert (gradients([1e-8], scaled=False, half=True) == 0).all()
    found = gradients([1e-8], scaled=True, half=True)
    assert (found - exact).norm() < 2e-3 * exact.norm()


def test_images_are_scaled_apart() -> None:
    together = gradients([1e-8, 1.0, 0.0], scaled=True, half=True)
    assert (together[2] == 0).all()
    assert torch.equal(together[0], gradients([1e-8], scaled=True, half=True)[0])


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so_and_alone(broken: float) -> None:
    found = gradients([broken, 1.0], scaled=True, half=True)
    assert not found[0].isfinite().all()
    assert found[1].isfinite().all()


def test_a_loss_with_small_gradients_guides_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clustering compactness, of all losses the one with the smallest; the embedded model, its first evaluation."""
    found: dict[torch.dtype, Tensor] = {}
    measure = Evaluator.measure

    class Enough(Exception):
        pass

    def once(self: Evaluator, *args: object) -> Evaluation:
        found[self.denoiser.dtype] = measure(self, *args).gradient.float()  # type: ignore[arg-type]
        raise Enough

    monkeypatch.setattr(Evaluator, "measure", once)
    noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    for dtype in (torch.float32, torch.float16):
        pipe = unbleed.load("emoji", dtype=dtype, device="cpu")
        pipe.set_progress_bar_config(disable=True)
        with pytest.raises(Enough), unbleed.guide(pipe, method_of("overlap-cc", "emoji")):
            pipe("a red bench and a horse", num_inference_steps=30, latents=noise.to(dtype), output_type="latent")
    exact, half = found[torch.float32], found[torch.float16]
    assert (half - exact).norm() < 0.15 * exact.norm()
