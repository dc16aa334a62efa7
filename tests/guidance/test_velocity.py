"""Correction of the velocity of flow models: its sign, its size, its cost, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unbleed
from helpers.families import PROMPTS, draw
from unbleed.attention.families import denoiser_of
from unbleed.errors import MethodError, ModelError
from unbleed.guidance import evaluator
from unbleed.guidance.velocity import weight
from unbleed.methods import SynGen

OTHERS = ["flux", "sana", "qwen", "z-image", "klein"]
every_flow = pytest.mark.parametrize("name", ["sd3", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])


def velocity(**changes: Any) -> SynGen:
    return SynGen(**{"update": "velocity", "include_entities": True, "step_size": 1.0, "stop": 1.0, **changes})


class Counted:
    """Counts the rows that the denoiser's first block gets, whoever runs it, and the gradients that are taken."""

    def __init__(self, pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.backwards = 0
        differentiate = evaluator.gradient_through

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.backwards += 1
            return differentiate(*args, **kwargs)

        monkeypatch.setattr(evaluator, "gradient_through", counted)
        blocks = "layers.0" if hasattr(denoiser_of(pipe), "layers") else "transformer_blocks.0"
        block = denoiser_of(pipe).get_submodule(blocks)
        self.handle = block.register_forward_pre_hook(self._block, with_kwargs=True)

    def _block(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        self.rows.append(len(states))


@every_flow
def test_a_step_makes_the_forwards_of_an_unguided_one_and_one_backward(
    pipes: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pipe = pipes(name)
    counted = Counted(pipe, monkeypatch)
    draw(pipe, name, PROMPTS)
    plain, counted.rows = sum(counted.rows), []
    with unbleed.guide(pipe, velocity()) as run:
        draw(pipe, name, PROMPTS)
    counted.handle.remove()
    assert sum(counted.rows) == plain
    assert counted.backwards == 3  # for the three steps, both images at once
    assert len(run.steps) == 6


@every_flow
def test_the_loss_falls_with_the_update_and_rises_with_the_opposite_sign(pipes: Callable[[str], Any], name: str) -> None:
    pipe = pipes(name)
    method = velocity(direction="unit", limit=0.3)  # the same size whatever the gradient: a small part of the velocity

    def next_losses(method: Any) -> list[float]:
        with unbleed.guide(pipe, method) as run:
            draw(pipe, name, PROMPTS, num_inference_steps=20, **stop_after(2))
        sign = -1 if run.method.startswith("-") else 1
        return [sign * step.loss for step in run.steps if step.step == 1]

    falling, plain, rising = (next_losses(one) for one in (method, velocity(step_size=0.0), -1 * method))
    assert all(low < own < high for low, own, high in zip(falling, plain, rising, strict=True))


def stop_after(steps: int) -> dict[str, Any]:
    def stop(pipe: Any, step: int, *_: Any) -> dict[str, Any]:
        pipe._interrupt = step + 1 >= steps
        return {}

    return {"callback_on_step_end": stop}


@every_flow
def test_the_velocity_gets_the_weighted_gradient_of_the_loss(
    pipes: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pipe = pipes(name)

    def first_velocity(method: Any) -> tuple[Tensor, unbleed.Run]:
        seen: list[Tensor] = []
        own = pipe.scheduler.step

        def step(model_output: Tensor, *args: Any, **kwargs: Any) -> Any:
            seen.append(model_output.clone())
            return own(model_output, *args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(pipe.scheduler, "step", step)
            with unbleed.guide(pipe, method) as run:
                draw(pipe, name, PROMPTS, num_inference_steps=10, **stop_after(1))
        return seen[0], run

    plain, _ = first_velocity("none")
    corrected, run = first_velocity(velocity(step_size=0.01))
    with unbleed.guide(pipe, velocity(update="latents")) as apart:
        draw(pipe, name, PROMPTS, num_inference_steps=10, **stop_after(1))
    level = run.steps[0].timestep / 1000
    for image in range(2):
        assert run.steps[image].gradient_norm == pytest.approx(apart.steps[image].gradient_norm, rel=1e-4)
        added = float((corrected[image] - plain[image]).norm())
        assert added == pytest.approx(0.01 * weight(level) * run.steps[image].gradient_norm, rel=1e-3, abs=1e-4)


@every_flow
def test_without_a_step_size_the_image_is_the_unguided_one(pipes: Callable[[str], Any], name: str) -> None:
    plain = draw(pipes(name), name, PROMPTS)
    with unbleed.guide(pipes(name), velocity(step_size=0.0)):
        guided = draw(pipes(name), name, PROMPTS)
    torch.testing.assert_close(guided, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd3", "qwen"])
def test_a_batch_equals_its_single_images_and_checkpointing_changes_nothing(pipes: Callable[[str], Any], name: str) -> None:
    pipe, method = pipes(name), velocity(limit=0.3)
    with unbleed.guide(pipe, method):
        both = draw(pipe, name, PROMPTS)
    with unbleed.guide(pipe, method, checkpointing=True):
        saving = draw(pipe, name, PROMPTS)
    torch.testing.assert_close(saving, both, atol=1e-4, rtol=1e-4)
    with unbleed.guide(pipe, method):
        alone = draw(pipe, name, PROMPTS[0], seeds=(0,))
    torch.testing.assert_close(alone, both[:1], atol=1e-4, rtol=1e-3)


def test_nothing_is_left_after_a_failure(pipes: Callable[[str], Any]) -> None:
    pipe = pipes("sd3")
    before = draw(pipe, "sd3", PROMPTS)
    last = denoiser_of(pipe).get_submodule("norm_out")

    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    handle = last.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="on purpose"), unbleed.guide(pipe, velocity()):
        draw(pipe, "sd3", PROMPTS)
    handle.remove()
    assert torch.is_grad_enabled()
    assert torch.equal(draw(pipe, "sd3", PROMPTS), before)


def test_a_model_without_a_velocity_is_refused_in_one_line(pipes: Callable[[str], Any]) -> None:
    with pytest.raises(ModelError, match=r"^syngen corrects the velocity of a flow model, and EulerDiscreteScheduler steps"):
        unbleed.guide(pipes("sdxl"), velocity()).__enter__()


def test_repeated_updates_are_refused() -> None:
    with pytest.raises(MethodError, match=r"^conform repeats updates at one step"):
        unbleed.methods.Conform(update="velocity")
    assert unbleed.methods.Conform(update="velocity", refinements={}).parts().descent.update == "velocity"


def test_an_estimate_counts_the_backward_alone(pipes: Callable[[str], Any]) -> None:
    latents, own = (unbleed.estimate(pipes("sd3"), velocity(update=u), steps=10) for u in ("latents", "velocity"))
    assert own.evaluations == latents.evaluations
    assert 0 < own.evaluation == pytest.approx(latents.evaluation - latents.reading)
