"""The engine on a tiny random Stable Diffusion: parity with diffusers and with a plain loop, and the contract of `guide`.

Random weights tell about arithmetic, not about pictures.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionAttendAndExcitePipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from torch import Tensor

import unbleed
from helpers.engine import CURVE, PROMPTS, SHORT, STEPS, draw, guided, noise, traces
from helpers.marks import quick
from unbleed.attention import AttentionProbe, average_maps, family_of

# Thresholds in shares of the run, and the same as diffusers wants them, by loop index of a run of STEPS. They are
# reached by the tiny model, so that refinement ends by its target at one point and by its limit at the other.
THRESHOLDS = {0.0: 0.05, 0.2: 0.2, 0.4: 0.3}
METHODS: list[Any] = [
    *(
        kind(**SHORT.get(name, {}))
        for name, kind in unbleed.METHODS.items()
        if name not in ("none", "attend-and-excite", "syngen", "amplify")  # the last for joint attention alone
    ),
    unbleed.methods.AttendAndExcite(thresholds=THRESHOLDS, max_refinements=5),
    unbleed.methods.SynGen(include_entities=True),
    unbleed.losses.ExciteLoss() + 0.1 * unbleed.losses.BindingLoss(),
]


@pytest.fixture
def scheduler(tiny_sd: StableDiffusionPipeline, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The shared pipeline's scheduler, replaced for one test."""
    own = tiny_sd.scheduler
    kind = request.param
    own_options = {DDIMScheduler: {"clip_sample": False}, PNDMScheduler: {"skip_prk_steps": True}}
    tiny_sd.scheduler = kind(**CURVE, **own_options.get(kind, {}))
    yield tiny_sd.scheduler
    tiny_sd.scheduler = own


# --------------------------------------------------------------------------------------------- parity: diffusers


@pytest.mark.parametrize("scheduler", [DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler], indirect=True)
@pytest.mark.parametrize("thresholds", quick([{}], [{}, THRESHOLDS]), ids=["plain", "refined"])
def test_attend_and_excite_equals_the_pipeline_of_diffusers(
    tiny_sd: StableDiffusionPipeline, scheduler: Any, thresholds: dict[float, float]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and calls torch.meshgrid as of old
        theirs = StableDiffusionAttendAndExcitePipeline(
            **{k: v for k, v in tiny_sd.components.items() if k != "image_encoder"}, requires_safety_checker=False
        )
        theirs.set_progress_bar_config(disable=True)
        expected = draw(
            theirs,
            "a cat and a dog",
            noise(),
            token_indices=[2, 5],
            thresholds={round(share * STEPS): peak for share, peak in thresholds.items()},
            max_iter_to_alter=STEPS // 2,
            attn_res=(8, 8),
        )
    method = unbleed.methods.AttendAndExcite(thresholds=thresholds, parity="paper")
    with unbleed.guide(tiny_sd, method) as run:
        found = draw(tiny_sd, "a cat and a dog", noise())
        assert (found - expected).abs().max() < 1e-4
    assert any(step.refinements for step in run.steps) == bool(thresholds)
    assert (found - draw(tiny_sd, "a cat and a dog", noise())).abs().max() > 1e-2


# -------------------------------------------------------------------------------------------- parity: own loop


def plain_maps(unet: Any, sample: Tensor, t: Tensor, text: Tensor, *, of_text: bool = True) -> Tensor:
    """Return the averaged maps of the third level, read by an attention processor that writes its softmax down.

    Of self-attention where not `of_text`: then the place that is attended to stands where the token does.
    """
    seen: list[Tensor] = []

    class Writing:
        def __init__(self, wanted: bool) -> None:
            self.wanted = wanted

        def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            query, key, value = (
                attn.head_to_batch_dim(part) for part in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
            )
            weights = (query @ key.mT * attn.scale).softmax(dim=-1)  # (batch x head, place, token)
            if self.wanted and (encoder_hidden_states is not None) == of_text and weights.shape[1] == 64:
                seen.append(weights.unflatten(0, (len(hidden_states), -1)))
            out = attn.batch_to_head_dim(weights @ value)
            return attn.to_out[1](attn.to_out[0](out))

    kept = unet.attn_processors
    unet.set_attn_processor({name: Writing((".attn2." in name) == of_text) for name in kept})
    try:
        unet(sample, t, encoder_hidden_states=text)
    finally:
        unet.set_attn_processor(kept)
    return torch.cat(seen, dim=1).mean(dim=1).mT.unflatten(-1, (8, 8))


def test_maps_are_the_columns_of_the_full_softmax(tiny_sd: StableDiffusionPipeline) -> None:
    unet = tiny_sd.unet
    text = torch.randn(2, 32, 16, generator=torch.Generator().manual_seed(3))
    sample, t = noise(2), torch.tensor(500)
    layers = family_of(unet).layers(unet, None)
    probe = AttentionProbe(unet, layers.names)
    with torch.no_grad():
        found = average_maps(probe(lambda: unet(sample, t, encoder_hidden_states=text)).values(), layers.grid(32, 32))
        expected = plain_maps(unet, sample, t, text)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 8, 8))


@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler], indirect=True)
@pytest.mark.parametrize("settings", [{}, {"direction": "unit"}, {"limit": 0.01}], ids=["plain", "unit", "limit"])
def test_an_update_moves_what_the_denoiser_sees_as_far_under_euler_as_under_ddim(
    tiny_sd: StableDiffusionPipeline, scheduler: Any, settings: dict[str, Any]
) -> None:
    """Euler's own latents are 15 times as large in the first step, and their gradient as much smaller."""
    seen: list[Tensor] = []

    def move(latents: Tensor) -> Tensor:
        seen.clear()
        # the guidance's own run of the denoiser is broken off and does not come here
        hook = tiny_sd.unet.register_forward_hook(lambda _, args, __: seen.append(args[0]))
        try:
            guided(tiny_sd, unbleed.methods.AttendAndExcite(thresholds={}, **settings), PROMPTS[0], latents)
        finally:
            hook.remove()
        return seen[0][1:] - noise()

    scheduler.set_timesteps(STEPS)
    sigma, first = float(scheduler.sigmas[0]), scheduler.timesteps[0]
    under_euler = move(noise() * math.sqrt(sigma**2 + 1) / sigma)
    tiny_sd.scheduler = DDIMScheduler(**CURVE, timestep_spacing="linspace", clip_sample=False)
    tiny_sd.scheduler.set_timesteps(STEPS)
    assert tiny_sd.scheduler.timesteps[0] == first
    torch.testing.assert_close(under_euler, move(noise()), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler], indirect=True)
def test_attached_guidance_equals_a_plain_loop(tiny_sd: StableDiffusionPipeline, scheduler: Any) -> None:
    """A loop of its own, full forwards, another way of reading maps, one noun per image: the same latents."""
    prompt, noun, scale = "a red cat", 3, 5.0
    conditional, empty = tiny_sd.encode_prompt(prompt, "cpu", 1, True)
    scheduler.set_timesteps(STEPS)
    latents = noise() * scheduler.init_noise_sigma
    taps = torch.tensor([math.exp(-1), 1.0, math.exp(-1)])
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    for index, t in enumerate(scheduler.timesteps):
        if index < STEPS / 2:
            z = latents.clone().requires_grad_(True)
            maps = plain_maps(tiny_sd.unet, scheduler.scale_model_input(z, t), t, conditional)
            excited = (100 * maps[:, 1:-1]).softmax(dim=1)[:, noun - 1]
            smooth = F.conv2d(F.pad(excited[None], (1, 1, 1, 1), mode="reflect"), kernel[None, None])
            (gradient,) = torch.autograd.grad((1 - smooth.max()).clamp(min=0), z)
            own = float(scheduler.sigmas[index] ** 2 + 1) if isinstance(scheduler, EulerDiscreteScheduler) else 1.0
            latents = latents - 20 * math.sqrt(1 - 0.5 * index / (STEPS - 1)) * own * gradient
        with torch.no_grad():
            both = scheduler.scale_model_input(torch.cat([latents] * 2), t)
            out = tiny_sd.unet(both, t, encoder_hidden_states=torch.cat([empty, conditional])).sample
            predicted = out[:1] + scale * (out[1:] - out[:1])
            latents = scheduler.step(predicted, t, latents).prev_sample
    found = guided(tiny_sd, unbleed.methods.AttendAndExcite(thresholds={}), prompt, noise())
    assert (found - latents).abs().max() < 1e-5 * latents.abs().max()


def test_early_exit_and_checkpointing_do_not_change_the_gradient(tiny_sd: StableDiffusionPipeline) -> None:
    method = unbleed.methods.AttendAndExcite(thresholds={})
    with unbleed.guide(tiny_sd, method, checkpointing=True) as run:
        checkpointed = draw(tiny_sd, PROMPTS[0], noise())
    assert not tiny_sd.unet.is_gradient_checkpointing
    assert len(run.steps) == STEPS / 2
    torch.testing.assert_close(checkpointed, guided(tiny_sd, method, PROMPTS[0], noise()), atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("method", METHODS, ids=lambda m: getattr(m, "name", type(m).__name__))
def test_a_batch_of_three_equals_three_singles(tiny_sd: StableDiffusionPipeline, method: Any) -> None:
    together = guided(tiny_sd, method, PROMPTS, noise(3))
    for at, prompt in enumerate(PROMPTS):
        alone = guided(tiny_sd, method, prompt, noise(3)[at : at + 1])
        # the last bits of a batched product differ, and the sharp tiny model carries them on; latents reach 40 here
        assert (together[at : at + 1] - alone).abs().max() < 1e-4 * alone.abs().max()


def test_an_image_is_left_alone_once_its_loss_is_low_enough(tiny_sd: StableDiffusionPipeline) -> None:
    prompts, latents = ["a cat and a dog", "a red car and a bench", "a bird and a horse"], noise(3)
    with unbleed.guide(tiny_sd, unbleed.methods.AttendAndExcite(thresholds={}, stop=1.0)) as run:
        draw(tiny_sd, prompts, latents)
    losses = {(step.image, step.step): step.loss for step in run.steps}
    first = sorted(losses[image, 0] for image in range(3))
    enough = (first[0] + first[1]) / 2  # one image is there from the beginning
    method = unbleed.methods.AttendAndExcite(thresholds={}, stop=1.0, enough=enough)
    with unbleed.guide(tiny_sd, method) as run:
        together = draw(tiny_sd, prompts, latents)
    for image in range(3):
        own = [step for step in run.steps if step.image == image]
        assert all(step.loss > enough for step in own[:-1])
        assert [step.step for step in own] == list(range(len(own)))
        if losses[image, 0] == first[0]:
            assert len(own) == 1
            plain = draw(tiny_sd, prompts[image], latents[image : image + 1])
            torch.testing.assert_close(together[image : image + 1], plain, atol=1e-4, rtol=1e-4)
        alone = guided(tiny_sd, method, prompts[image], latents[image : image + 1])
        torch.testing.assert_close(together[image : image + 1], alone, atol=1e-4, rtol=1e-4)


def test_images_of_one_prompt_keep_their_order(tiny_sd: StableDiffusionPipeline) -> None:
    """Two prompts, two images each: row 2 belongs to the second prompt."""
    method = unbleed.methods.AttendAndExcite(thresholds={})
    with unbleed.guide(tiny_sd, method) as run:
        together = draw(tiny_sd, PROMPTS[:2], noise(4), num_images_per_prompt=2)
    alone = guided(tiny_sd, method, PROMPTS[1], noise(4)[2:3])
    torch.testing.assert_close(together[2:3], alone, atol=1e-4, rtol=1e-4)
    assert [[str(e) for e in entities] for entities in run.entities] == [["red cat", "blue bench"], ["dog", "yellow car"]]
    assert {step.image for step in run.steps} == {0, 1, 2, 3}


def test_prompts_in_a_row_each_have_their_own_words(tiny_sd: StableDiffusionPipeline) -> None:
    method = unbleed.methods.SynGen(include_entities=True)
    with unbleed.guide(tiny_sd, method) as run:
        draw(tiny_sd, PROMPTS[0], noise())
        second = draw(tiny_sd, PROMPTS[2], noise())
    torch.testing.assert_close(second, guided(tiny_sd, method, PROMPTS[2], noise()), atol=0, rtol=0)
    assert run.prompts == [PROMPTS[0], PROMPTS[2]]
    assert {step.call for step in run.steps} == {0, 1}


def test_an_image_without_entities_is_left_alone_among_guided_ones(tiny_sd: StableDiffusionPipeline) -> None:
    method = unbleed.methods.AttendAndExcite(thresholds={})
    with pytest.warns(unbleed.UnbleedWarning, match="runs unguided"):
        together = guided(tiny_sd, method, [PROMPTS[0], "and"], noise(2))
    torch.testing.assert_close(together[1:], draw(tiny_sd, "and", noise(2)[1:]), atol=1e-4, rtol=1e-4)


def test_what_the_text_encoder_does_not_read_is_told_in_short(tiny_sd: StableDiffusionPipeline) -> None:
    prompt = "a red cat and a blue dog" + " and a green car" * 40
    message = r'^beyond the 32 tokens that the text encoder reads, and not guided: "green car"(, "green car"){4} and 3\d more; '
    with pytest.warns(unbleed.UnbleedWarning, match=message):
        guided(tiny_sd, unbleed.methods.SynGen(), prompt, noise(), num_inference_steps=1)


# ----------------------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize("method", METHODS, ids=lambda m: getattr(m, "name", type(m).__name__))
def test_guided_differs_and_detached_is_bit_identical(tiny_sd: StableDiffusionPipeline, method: Any) -> None:
    before = draw(tiny_sd, PROMPTS[0], noise())
    assert (guided(tiny_sd, method, PROMPTS[0], noise()) - before).abs().max() > 1e-3
    assert torch.equal(draw(tiny_sd, PROMPTS[0], noise()), before)


@pytest.mark.parametrize("at_step", [0, 3])
@pytest.mark.parametrize("inside", ["pipeline", "guidance"])
def test_an_exception_in_the_middle_leaves_nothing_behind(
    tiny_sd: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch, at_step: int, inside: str
) -> None:
    before, untouched = draw(tiny_sd, PROMPTS[0], noise()), traces(tiny_sd)

    def stop(pipe: Any, step: int, *_: Any) -> dict[str, Any]:
        if step == at_step:
            raise RuntimeError("stopped on purpose")
        return {}

    class Failing(unbleed.losses.ExciteLoss):
        calls = 0

        def terms(self, seen: unbleed.AttentionMaps, groups: Any) -> dict[str, Tensor]:
            type(self).calls += 1
            if type(self).calls > at_step:
                raise RuntimeError("stopped on purpose")
            return super().terms(seen, groups)

    changes = {"callback_on_step_end": stop} if inside == "pipeline" else {}
    loss = unbleed.losses.ExciteLoss() if inside == "pipeline" else Failing()
    with pytest.raises(RuntimeError, match="on purpose"), unbleed.guide(tiny_sd, loss, checkpointing=True):
        draw(tiny_sd, PROMPTS[0], noise(), **changes)
    assert traces(tiny_sd) == untouched
    assert torch.equal(draw(tiny_sd, PROMPTS[0], noise()), before)


def test_no_guidance_changes_no_bit(tiny_sd: StableDiffusionPipeline) -> None:
    before = draw(tiny_sd, PROMPTS[0], noise())
    with unbleed.guide(tiny_sd, "none", record_maps=True) as run:
        assert torch.equal(draw(tiny_sd, PROMPTS[0], noise()), before)
    assert not run.steps
    assert [m.maps.shape for m in run.maps] == [(1, 32, 8, 8)] * STEPS


@pytest.mark.parametrize("processor", [AttnProcessor(), SlicedAttnProcessor(1)], ids=["explicit", "sliced"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_processors_that_hide_their_attention_are_lent_the_native_one(
    make_tiny_sd: Callable[..., StableDiffusionPipeline], processor: Any, checkpointing: bool
) -> None:
    pipe = make_tiny_sd()
    expected = guided(pipe, unbleed.methods.AttendAndExcite(thresholds={}), PROMPTS[0], noise())
    pipe.unet.set_attn_processor(processor)
    with unbleed.guide(pipe, unbleed.methods.AttendAndExcite(thresholds={}), checkpointing=checkpointing, record_maps=True):
        found = draw(pipe, PROMPTS[0], noise())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert {type(p) for p in pipe.unet.attn_processors.values()} == {type(processor)}


def test_attention_that_cannot_be_read_is_an_error_that_says_what_to_do(
    make_tiny_sd: Callable[..., StableDiffusionPipeline],
) -> None:
    class Opaque:
        def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
            return hidden_states

    pipe = make_tiny_sd()
    pipe.unet.set_attn_processor(Opaque())
    with pytest.raises(unbleed.CaptureError, match=r"processor Opaque.*set_attn_processor\(AttnProcessor2_0\(\)\)"):
        guided(pipe, "attend-and-excite", PROMPTS[0], noise())


# ------------------------------------------------------------------------- schedulers, sizes, precisions, forms


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, DPMSolverMultistepScheduler],
    indirect=True,
)
def test_guidance_happens_once_per_noise_level(tiny_sd: StableDiffusionPipeline, scheduler: Any) -> None:
    with unbleed.guide(tiny_sd, unbleed.methods.AttendAndExcite(thresholds={}, stop=1.0)) as run:
        out = draw(tiny_sd, PROMPTS[0], noise())
    times = [step.timestep for step in run.steps]
    assert times == sorted(set(times), reverse=True)
    assert len(times) == len(set(scheduler.timesteps.tolist()))
    assert [step.step for step in run.steps] == list(range(len(times)))
    assert out.isfinite().all()
    assert (out - draw(tiny_sd, PROMPTS[0], noise())).abs().max() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(24, 40), (40, 24), (36, 28)])
def test_any_size(tiny_sd: StableDiffusionPipeline, height: int, width: int) -> None:
    with unbleed.guide(tiny_sd, "attend-and-excite", record_maps=True) as run:
        out = draw(tiny_sd, PROMPTS[0], noise(1, height, width), height=height * 8, width=width * 8, num_inference_steps=4)
    assert out.isfinite().all()
    assert run.maps[0].maps.shape[-2:] == (-(-height // 4), -(-width // 4))


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_with_and_without_classifier_free_guidance(tiny_sd: StableDiffusionPipeline, guidance_scale: float) -> None:
    """The conditional rows are found either way: the loss at the first step is that of the text alone."""
    with unbleed.guide(tiny_sd, unbleed.methods.AttendAndExcite(thresholds={})) as run:
        draw(tiny_sd, PROMPTS[0], noise(), guidance_scale=guidance_scale)
    with unbleed.guide(tiny_sd, unbleed.methods.AttendAndExcite(thresholds={})) as other:
        draw(tiny_sd, PROMPTS[0], noise(), guidance_scale=2.0, negative_prompt="a mouse")
    assert run.steps[0].loss == pytest.approx(other.steps[0].loss, abs=1e-6)


def test_a_scheduler_may_be_replaced_between_calls(tiny_sd: StableDiffusionPipeline) -> None:
    method = unbleed.methods.AttendAndExcite(thresholds={})
    own, other = tiny_sd.scheduler, EulerDiscreteScheduler(**CURVE)
    try:
        with unbleed.guide(tiny_sd, method):
            draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=2)
            tiny_sd.scheduler = other
            found = draw(tiny_sd, PROMPTS[0], noise())
        torch.testing.assert_close(found, guided(tiny_sd, method, PROMPTS[0], noise()), atol=0, rtol=0)
        assert not [k for s in (own, other) for k in vars(s) if callable(vars(s)[k])]
    finally:
        tiny_sd.scheduler = own


def test_learnt_words_of_several_vectors_keep_their_places(
    tiny_sd: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline writes `<toy>` out as `<toy> <toy>_1` before it reads the prompt; positions follow what it reads."""

    def convert(prompt: str | list[str], _: Any) -> str | list[str]:
        return prompt.replace("<toy>", "<toy> <toy>_1") if isinstance(prompt, str) else [str(convert(p, _)) for p in prompt]

    monkeypatch.setattr(tiny_sd, "maybe_convert_prompt", convert)
    with unbleed.guide(tiny_sd, "attend-and-excite") as run:
        draw(tiny_sd, "a <toy> cat and a red car", noise(), num_inference_steps=2)
    (tokens,) = run.tokens
    nouns = ["".join(tokens.pieces[p] for p in noun) for noun, _ in tokens.entities]
    assert nouns == ["cat</w>", "car</w>"]


def test_embeddings_need_the_words_too(tiny_sd: StableDiffusionPipeline) -> None:
    method = unbleed.methods.AttendAndExcite(thresholds={})
    conditional, empty = tiny_sd.encode_prompt(PROMPTS[0], "cpu", 1, True)
    embeddings = {"prompt_embeds": conditional, "negative_prompt_embeds": empty}
    with (
        pytest.raises(unbleed.PromptError, match=r"guide\(\.\.\., prompts=\[\.\.\.\]\)"),
        unbleed.guide(tiny_sd, method),
    ):
        draw(tiny_sd, None, noise(), **embeddings)  # type: ignore[arg-type]
    with unbleed.guide(tiny_sd, method, prompts=[PROMPTS[0]]):
        found = draw(tiny_sd, None, noise(), **embeddings)  # type: ignore[arg-type]
    torch.testing.assert_close(found, guided(tiny_sd, method, PROMPTS[0], noise()), atol=0, rtol=0)


def test_image_to_image_is_guided_over_the_part_it_runs(tiny_sd: StableDiffusionPipeline) -> None:
    pipe = StableDiffusionImg2ImgPipeline(**tiny_sd.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    start = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))

    def run_it() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return pipe(
            PROMPTS[0], image=start, strength=0.6, num_inference_steps=10, generator=generator, output_type="latent"
        ).images

    plain = run_it()
    with unbleed.guide(pipe, unbleed.methods.AttendAndExcite(thresholds={})) as run:
        assert (run_it() - plain).abs().max() > 1e-3
    assert [step.step for step in run.steps] == [0, 1, 2]  # half of the six steps that are run
    assert torch.equal(run_it(), plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite_and_close(
    make_tiny_sd: Callable[..., StableDiffusionPipeline], dtype: torch.dtype
) -> None:
    method = unbleed.methods.AttendAndExcite(thresholds={})
    with unbleed.guide(make_tiny_sd(), method) as exact:
        draw_into(exact, make_tiny_sd, torch.float32, method)
    found = draw_into(None, make_tiny_sd, dtype, method)
    assert found.isfinite().all()


def draw_into(run: Any, make: Callable[..., StableDiffusionPipeline], dtype: torch.dtype, method: Any) -> Tensor:
    pipe = make().to(dtype)
    with unbleed.guide(pipe, method, record_maps=True) as own:
        out = draw(pipe, PROMPTS[0], noise().to(dtype))
    assert not own.skipped
    assert own.maps[0].maps.dtype == torch.float32
    return out


def test_inference_mode_around_the_pipeline(tiny_sd: StableDiffusionPipeline) -> None:
    method = unbleed.methods.AttendAndExcite(thresholds={})
    with torch.inference_mode():
        found = guided(tiny_sd, method, PROMPTS[0], noise())
    torch.testing.assert_close(found.clone(), guided(tiny_sd, method, PROMPTS[0], noise()), atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------------------------------ what a loss sees


@contextmanager
def runs_of(module: torch.nn.Module) -> Iterator[list[None]]:
    """Give a list that has an entry for every run of `module`, also one that is broken off."""
    runs: list[None] = []
    hook = module.register_forward_pre_hook(lambda *_: runs.append(None))
    try:
        yield runs
    finally:
        hook.remove()


class Noting(unbleed.losses.ExciteLoss):
    """A loss that reads all there is to read and keeps it."""

    notes: ClassVar[list[unbleed.AttentionMaps]] = []
    reads_self_attention = True
    needs_previous_maps = "moved"

    def terms(self, seen: unbleed.AttentionMaps, groups: Any) -> dict[str, Tensor]:
        self.notes.append(
            replace(seen, maps=seen.maps.detach(), self_maps=None if seen.self_maps is None else seen.self_maps.detach())
        )
        return super().terms(seen, groups)


@pytest.fixture
def noting() -> Iterator[Noting]:
    Noting.notes.clear()
    yield Noting()
    Noting.notes.clear()


@pytest.mark.parametrize("refined", [False, True])
def test_a_loss_sees_the_maps_at_the_end_of_the_step_before(
    tiny_sd: StableDiffusionPipeline, noting: Noting, refined: bool
) -> None:
    """Of the images that it concerns, which are the first and the last here; in refinements too, and from guidance on."""
    refinement = unbleed.Refinement(most=2)
    schedule = unbleed.Schedule(start=0.2, stop=0.6, refine={0.2: refinement, 0.4: refinement} if refined else {})
    prompts = [PROMPTS[0], "and", PROMPTS[1]]
    with (
        pytest.warns(unbleed.UnbleedWarning, match="runs unguided"),
        unbleed.guide(tiny_sd, unbleed.Method(noting, schedule), record_maps=True) as run,
    ):
        draw(tiny_sd, prompts, noise(3), num_inference_steps=5)
    recorded = {maps.step: maps.maps for maps in run.maps}
    evaluations = 3 if refined else 1
    assert [note.progress for note in noting.notes] == [0.2] * evaluations + [0.4] * evaluations
    for note in noting.notes:
        assert note.previous_maps is not None
        assert not note.previous_maps.requires_grad
        assert torch.equal(note.previous_maps, recorded[round(5 * note.progress) - 1][[0, 2]])
    # at the last evaluation before an update the loss is where the update begins, the record is where it ends
    assert (noting.notes[-1].maps - recorded[2][[0, 2]]).abs().max() > 1e-6


@pytest.mark.parametrize("refined", [False, True])
def test_a_loss_can_see_the_maps_that_the_step_before_was_measured_on(
    tiny_sd: StableDiffusionPipeline, noting: Noting, refined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of its last evaluation, for which nothing is run again; of the images that it concerns."""
    monkeypatch.setattr(Noting, "needs_previous_maps", "measured")
    schedule = unbleed.Schedule(stop=0.6, refine={0.0: unbleed.Refinement(most=2)} if refined else {})
    with runs_of(tiny_sd.unet) as runs, pytest.warns(unbleed.UnbleedWarning, match="runs unguided"):
        guided(tiny_sd, unbleed.Method(noting, schedule), [PROMPTS[0], "and", PROMPTS[1]], noise(3), num_inference_steps=5)
    *first, second, third = noting.notes
    assert len(first) == (3 if refined else 1)
    assert all(note.previous_maps is None for note in first)
    for before, after in ((first[-1], second), (second, third)):
        assert after.previous_maps is not None
        assert torch.equal(after.previous_maps, before.maps)
    assert len(runs) == 5 + len(noting.notes)


def test_at_the_first_step_there_is_no_step_before(tiny_sd: StableDiffusionPipeline, noting: Noting) -> None:
    with unbleed.guide(tiny_sd, noting):
        for _ in range(2):  # nor is it the last of another picture
            draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=4)
    assert [note.previous_maps is None for note in noting.notes] == [True, False] * 2
    assert [note.progress for note in noting.notes] == [0.0, 0.25] * 2


def test_remembering_costs_one_run_per_step_that_another_guided_one_follows(
    tiny_sd: StableDiffusionPipeline, noting: Noting
) -> None:
    with runs_of(tiny_sd.unet) as runs:
        guided(tiny_sd, unbleed.Method(noting, unbleed.Schedule(start=0.3, stop=0.6)), PROMPTS[0], noise())
    assert len(noting.notes) == 3
    assert all(note.previous_maps is not None for note in noting.notes)
    assert len(runs) == STEPS + 3 + 3  # the pipeline's, the evaluations', and those at the ends of steps 2, 3 and 4


def test_self_attention_is_the_explicit_softmax(tiny_sd: StableDiffusionPipeline, noting: Noting) -> None:
    with unbleed.guide(tiny_sd, noting):
        draw(tiny_sd, PROMPTS[:2], noise(2), num_inference_steps=2)
    found = noting.notes[0].self_maps
    assert found is not None
    assert found.shape == (2, 64, 64)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 64))
    t = tiny_sd.scheduler.timesteps[0]
    text = tiny_sd.encode_prompt(PROMPTS[:2], "cpu", 1, False)[0]
    with torch.no_grad():
        expected = plain_maps(tiny_sd.unet, noise(2), t, text, of_text=False)
    torch.testing.assert_close(found, expected.flatten(-2).mT, atol=1e-6, rtol=0)  # from the rows' places to all places
    assert (found - found.mT).abs().max() > 1e-4  # or rows and columns could be exchanged


# ------------------------------------------------------------------------------------------ records and refusals


def test_losses_fall_while_refining(tiny_sd: StableDiffusionPipeline) -> None:
    method = unbleed.methods.AttendAndExcite(thresholds={0.2: 0.9}, step_size=5.0, max_refinements=8)
    with unbleed.guide(tiny_sd, method) as run:
        draw(tiny_sd, PROMPTS[0], noise())
    refined = next(step for step in run.steps if step.refinements)
    assert len(refined.losses) == refined.refinements + 1
    assert refined.losses[-1] < refined.losses[0]
    assert refined.loss == refined.losses[-1] == pytest.approx(sum(refined.terms.values()))
    assert refined.gradient_norm > 0


def test_a_loss_that_is_not_finite_skips_the_image_and_warns_once(tiny_sd: StableDiffusionPipeline) -> None:
    class Broken(unbleed.losses.ExciteLoss):
        def terms(self, seen: unbleed.AttentionMaps, groups: Any) -> dict[str, Tensor]:
            terms = super().terms(seen, groups)["excite"]
            return {"excite": terms * torch.tensor([1.0, float("nan")])[: len(terms)]}

    with pytest.warns(unbleed.UnbleedWarning) as seen, unbleed.guide(tiny_sd, Broken()) as run:
        together = draw(tiny_sd, PROMPTS[:2], noise(2))
    assert len([w for w in seen if "not finite" in str(w.message)]) == 1
    assert run.skipped == STEPS / 2
    torch.testing.assert_close(together[1:], draw(tiny_sd, PROMPTS[1], noise(2)[1:]), atol=1e-4, rtol=1e-4)
    assert together.isfinite().all()


def test_refusals_say_what_to_do(tiny_sd: StableDiffusionPipeline, make_tiny_sd: Callable[..., Any]) -> None:
    with (
        pytest.raises(unbleed.ModelError, match="being guided already"),
        unbleed.guide(tiny_sd, "none"),
        unbleed.guide(tiny_sd, "none"),
    ):
        pass
    with pytest.raises(unbleed.MethodError, match="did you mean syngen"), unbleed.guide(tiny_sd, "synGen2"):
        pass
    with pytest.raises(unbleed.ModelError, match="has no denoiser"), unbleed.guide(object(), "none"):
        pass
    with (
        pytest.raises(unbleed.PromptError, match="1 embeddings, but guide with 2 prompts"),
        unbleed.guide(tiny_sd, "none", prompts=PROMPTS[:2]),
    ):
        draw(tiny_sd, None, noise(), prompt_embeds=torch.zeros(1, 32, 16), guidance_scale=1.0)  # type: ignore[arg-type]
    offloaded = make_tiny_sd()
    offloaded.unet.enable_group_offload(torch.device("cpu"), offload_type="leaf_level")
    with (
        pytest.raises(unbleed.ModelError, match=r"group offloading.*enable_model_cpu_offload"),
        unbleed.guide(offloaded, "none"),
    ):
        pass
    blind = make_tiny_sd(down_block_types=("DownBlock2D",) * 4, up_block_types=("UpBlock2D",) * 4)
    with pytest.raises(unbleed.ModelError, match="no attention to text"), unbleed.guide(blind, "none"):
        pass
    with (
        pytest.raises(unbleed.PromptError, match='"horse" is not a word of the prompt'),
        unbleed.guide(tiny_sd, "syngen", entities="red cat; horse"),
    ):
        draw(tiny_sd, PROMPTS[0], noise())


def test_entities_named_by_hand_overrule_the_parser(tiny_sd: StableDiffusionPipeline) -> None:
    with unbleed.guide(tiny_sd, "attend-and-excite", entities=["bench", None]) as run:
        draw(tiny_sd, PROMPTS[:2], noise(2), num_inference_steps=2)
    assert [[str(e) for e in entities] for entities in run.entities] == [["bench"], ["dog", "yellow car"]]


def test_resolution_names_the_level_that_is_read(tiny_sd: StableDiffusionPipeline) -> None:
    default = family_of(tiny_sd.unet).layers(tiny_sd.unet, None)
    side = tiny_sd.unet.config.sample_size // default.factor
    assert family_of(tiny_sd.unet).layers(tiny_sd.unet, side) == default
    with pytest.raises(unbleed.ModelError, match=r"no text attention at 7x7; at its own image size it has .*\d+x\d+"):
        family_of(tiny_sd.unet).layers(tiny_sd.unet, 7)
    with pytest.raises(unbleed.ModelError, match="7x7"), unbleed.guide(tiny_sd, unbleed.methods.AttendAndExcite(resolution=7)):
        pass
