"""NAG against its formula, number by number, and against what follows from it on tiny random models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import unbleed
from helpers.families import draw
from unbleed.edits.negative import away_from
from unbleed.errors import ModelError
from unbleed.methods import Nag

PROMPT, OTHER = "a red cat and a blue bench", "a yellow dog"
PLAIN: dict[str, dict[str, Any]] = {"flux2": {}, "klein": {"guidance_scale": 1.0}}  # without negative prompts


def slow(positive: list[list[float]], negative: list[list[float]], scale: float, tau: float, alpha: float) -> list[list[float]]:
    """One token, (head, channel), one number after another."""
    moved = [
        [scale * p - (scale - 1) * n for p, n in zip(ps, ns, strict=True)] for ps, ns in zip(positive, negative, strict=True)
    ]
    ratio = sum(abs(x) for row in moved for x in row) / sum(abs(x) for row in positive for x in row)
    factor = min(ratio, tau) / ratio
    return [
        [alpha * factor * m + (1 - alpha) * p for m, p in zip(ms, ps, strict=True)]
        for ms, ps in zip(moved, positive, strict=True)
    ]


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0, 30.0])
def test_the_attention_is_the_formula(scale: float) -> None:
    positive, negative = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = away_from(positive, negative, scale=scale, tau=2.5, alpha=0.25)
    for row in range(2):
        for token in range(4):
            expected = slow(positive[row, :, token].tolist(), negative[row, :, token].tolist(), scale, 2.5, 0.25)
            torch.testing.assert_close(found[row, :, token], torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=1e-5)


def test_attention_to_nothing_stays_finite() -> None:
    nothing = torch.zeros(1, 1, 1, 2)
    assert away_from(nothing, nothing, scale=5.0, tau=2.5, alpha=0.25).tolist() == nothing.tolist()


@pytest.mark.parametrize("name", ["sd", "flux2", "klein"])
def test_a_scale_of_0_draws_the_negative_prompt(name: str, pipes: Callable[[str], Any], tiny_sd: Any) -> None:
    """The picture attends to the other text alone, whose own states are those of that text in every block."""

    def drawn(prompt: str) -> Tensor:
        if name != "sd":
            return draw(pipes(name), name, prompt, seeds=(0,), **PLAIN[name])
        seeded = torch.Generator().manual_seed(0)
        return tiny_sd(prompt, num_inference_steps=3, guidance_scale=1.0, generator=seeded, output_type="latent").images

    expected, plain = drawn(OTHER), drawn(PROMPT)
    assert not torch.allclose(plain, expected, atol=1e-3)
    with unbleed.guide(tiny_sd if name == "sd" else pipes(name), Nag(negative=OTHER, scale=0.0, alpha=1.0, tau=1e9)):
        torch.testing.assert_close(drawn(PROMPT), expected, atol=1e-4, rtol=1e-3)
    assert torch.equal(drawn(PROMPT), plain)  # detached


@pytest.mark.parametrize("name", ["sd3", "flux", "sdxl"])
def test_the_prompt_itself_as_the_negative_changes_nothing(name: str, pipes: Callable[[str], Any]) -> None:
    plain = draw(pipes(name), name, PROMPT, seeds=(0,))
    with unbleed.guide(pipes(name), Nag(negative=PROMPT)):
        torch.testing.assert_close(draw(pipes(name), name, PROMPT, seeds=(0,)), plain, atol=1e-4, rtol=1e-3)
    with unbleed.guide(pipes(name), Nag(negative=OTHER)):
        assert not torch.allclose(draw(pipes(name), name, PROMPT, seeds=(0,)), plain, atol=1e-3)


@pytest.mark.parametrize("name", ["sd3", "klein"])  # negative prompts of the pipeline's own in the batch, and apart
def test_a_batch_gives_what_its_images_give(name: str, pipes: Callable[[str], Any]) -> None:
    prompts = [PROMPT, "a green apple"]
    with unbleed.guide(pipes(name), Nag(negative=OTHER)):
        together = draw(pipes(name), name, prompts)
        for at, prompt in enumerate(prompts):
            alone = draw(pipes(name), name, prompt, seeds=(at,))
            torch.testing.assert_close(together[at : at + 1], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("more", [{}, {"update": "velocity"}])
def test_a_loss_beside_it_sees_the_prompt_alone(more: dict[str, Any], pipes: Callable[[str], Any]) -> None:
    pipe = pipes("sd3")

    def steps(label: str) -> list[float]:
        with unbleed.guide(pipe, unbleed.method(label, stop=1.0, **more), record_maps=True) as run:
            draw(pipe, "sd3", PROMPT, seeds=(0,))
        return [step.loss for step in run.steps]

    alone, beside = steps("syngen"), steps("syngen + nag")
    assert len(beside) == len(alone) == 3
    assert (beside[0] == pytest.approx(alone[0])) == (not more)  # the velocity's loss is of the pipeline's own forward
    assert beside[1] != alone[1]


def test_the_regions_of_a_sum_are_kept(pipes: Callable[[str], Any]) -> None:
    pipe = pipes("klein")
    with unbleed.guide(pipe, "regions + nag", regions={"red cat": "left", "blue bench": "right"}) as run:
        draw(pipe, "klein", PROMPT, seeds=(0,))
    assert len(run.regions) > 0


def test_what_cannot_have_a_second_text_says_so(pipes: Callable[[str], Any]) -> None:
    for name in ("z-image", "chroma", "qwen"):
        with pytest.raises(ModelError, match=r"^nag edits layers that an? \w+ does not have.*sd, sd3, flux, flux2"):
            unbleed.guide(pipes(name), "nag").__enter__()
