"""Guidance on every family of models: the same contract on tiny random pipelines of each."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

import unbleed
from helpers.families import FAMILIES as KINDS
from helpers.families import MODERN, OPTIONS, PROMPTS, batch, draw, every_family, every_family_quickly, layout
from unbleed.attention import family_of
from unbleed.attention.families import FAMILIES, denoiser_of
from unbleed.errors import ModelError

METHOD = unbleed.methods.SynGen(include_entities=True, step_size=5.0, stop=1.0)


@every_family
def test_guided_differs_and_detached_is_bit_identical(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    plain = draw(pipe, name, PROMPTS)
    with unbleed.guide(pipe, METHOD) as run:
        guided = draw(pipe, name, PROMPTS)
    assert [[str(e) for e in own] for own in run.entities] == [["red cat", "blue bench"], ["dog", "yellow car", "apple"]]
    assert run.prompts == PROMPTS
    assert [(step.step, step.image) for step in run.steps] == [(step, image) for step in range(3) for image in range(2)]
    assert all(step.gradient_norm > 0 for step in run.steps)
    assert guided.isfinite().all()
    assert all((guided[i] - plain[i]).abs().max() > 1e-3 for i in range(2))
    assert torch.equal(draw(pipe, name, PROMPTS), plain)


@every_family
def test_an_exception_leaves_nothing_behind(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    plain = draw(pipe, name, PROMPTS)

    def fail(*_: Any) -> None:
        raise RuntimeError("in the middle")

    denoiser = denoiser_of(pipe)
    handle = denoiser.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"), unbleed.guide(pipe, METHOD):
        draw(pipe, name, PROMPTS)
    handle.remove()
    assert torch.equal(draw(pipe, name, PROMPTS), plain)
    # the call that failed had encoded its prompts; the next one is guided by its own
    with unbleed.guide(pipe, METHOD) as run:
        handle = denoiser.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            draw(pipe, name, PROMPTS)
        handle.remove()
        draw(pipe, name, "a green bird", (0,))
    assert run.prompts[-1:] == ["a green bird"]


@every_family
def test_a_batch_equals_its_singles(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    prompts = batch(name)
    with unbleed.guide(pipe, METHOD):
        both = draw(pipe, name, prompts)
        singles = [draw(pipe, name, prompt, (seed,)) for seed, prompt in enumerate(prompts)]
    torch.testing.assert_close(both, torch.cat(singles), atol=2e-4, rtol=1e-3)


@every_family
def test_images_of_one_prompt_keep_their_order(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    with unbleed.guide(pipe, METHOD):
        pair = draw(pipe, name, PROMPTS[0], (0, 1), num_images_per_prompt=2)
        singles = [draw(pipe, name, PROMPTS[0], (seed,)) for seed in (0, 1)]
    torch.testing.assert_close(pair, torch.cat(singles), atol=2e-4, rtol=1e-3)


@contextmanager
def explicit_attention(pipe: Any, seen: dict[str, Tensor]) -> Iterator[None]:
    """Compute attention the slow way, and keep a softmax of every module in the denoiser's first run, (row, head, place, key).

    That is the module's first attention, or the one with the image's queries where the text has one of its own before it.
    """
    running: list[str] = []
    denoiser, own = denoiser_of(pipe), F.scaled_dot_product_attention
    last = family_of(denoiser).reads == "last"

    def slow(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        *rest: Any,
        scale: Any = None,
        **more: Any,
    ) -> Tensor:
        if not running:  # a text encoder, whose attention is causal
            return own(query, key, value, attn_mask, *rest, scale=scale, **more)
        logits = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
        shares = torch.softmax(logits, dim=-1)
        if running[0] != "over" and (last or running[-1] not in seen):
            seen[running[-1]] = shares
        return shares @ value

    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: running.append(name))
        for name, module in denoiser.named_modules()
        if name.rpartition(".")[2] in ("attn", "attn2", "attention")
    ]
    handles.append(denoiser.register_forward_hook(lambda *_: running.insert(0, "over")))
    F.scaled_dot_product_attention = slow  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own
        for handle in handles:
            handle.remove()


@every_family_quickly
def test_maps_are_the_columns_of_the_full_softmax(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    with unbleed.guide(pipe, "none", record_maps=True) as run:
        draw(pipe, name, PROMPTS, num_inference_steps=2)
    seen: dict[str, Tensor] = {}
    with explicit_attention(pipe, seen):
        draw(pipe, name, PROMPTS, num_inference_steps=2)
    layers = family_of(denoiser_of(pipe)).layers(denoiser_of(pipe), None, "all")
    maps = run.maps[0].maps
    rows, tokens, height, width = maps.shape
    places = height * width
    total = torch.zeros(rows, places, tokens)
    for layer in layers.names:
        conditional = slice(0, rows) if name == "z-image" else slice(-rows, None)  # diffusers puts them last elsewhere
        for row, shares in enumerate(seen[layer][conditional].mean(dim=1)):
            if layers.joint:
                pixels, _, text = layout(name, pipe, shares.shape[0], shares.shape[1], PROMPTS[row], places)
                shares = shares[pixels, text:]
            shares = shares[:, :tokens]
            total[row, :, : shares.shape[-1]] += shares / len(layers.names)
    found = maps.flatten(2).transpose(1, 2)
    own = [list(t.own) for t in run.tokens]
    for row in range(rows):
        assert own[row]
        assert total[row][:, own[row]].max() > 2e-3
        torch.testing.assert_close(found[row][:, own[row]], total[row][:, own[row]], atol=1e-6, rtol=1e-5)
    if not layers.joint:
        torch.testing.assert_close(found, total, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_tokens_of_quoted_text_stand_before_those_of_the_prompt(pipes: Callable[[str], Any]) -> None:
    """HunyuanImage puts the tokens of ByT5, of what is in quotes, between the pixels and the prompt."""
    pipe, prompt = pipes("hunyuan"), 'a red cat and "a"'
    with unbleed.guide(pipe, "none", record_maps=True) as run:
        draw(pipe, "hunyuan", prompt, (0,), num_inference_steps=1)
    seen: dict[str, Tensor] = {}
    with explicit_attention(pipe, seen):
        draw(pipe, "hunyuan", prompt, (0,), num_inference_steps=1)
    glyphs = len(pipe.tokenizer_2('Text "a". ')["input_ids"])
    assert glyphs > 5
    own, places = list(run.tokens[0].own), 16 * 20
    shares = torch.stack([seen[layer][0].mean(dim=0) for layer in run.layers]).mean(dim=0)
    expected = shares[:places, [places + glyphs + p for p in own]]
    torch.testing.assert_close(run.maps[0].maps[0, own].flatten(1).T, expected, atol=1e-6, rtol=1e-5)


def smoothed(picture: Tensor) -> Tensor:
    """Return a map under the 3x3 kernel of Attend-and-Excite, reflected at the edges."""
    taps = torch.tensor([math.exp(-1.0), 1.0, math.exp(-1.0)])
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    return F.conv2d(F.pad(picture[None, None], (1, 1, 1, 1), mode="reflect"), kernel[None, None])[0, 0]


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_attached_guidance_equals_a_plain_loop(name: str, pipes: Callable[[str], Any]) -> None:
    """A loop of its own with full forwards and explicit attention, one noun, Attend-and-Excite: the same latents."""
    pipe, prompt, scale, size, steps = pipes(name), "a red cat", 4.0, 20.0, 4
    denoiser: Any = denoiser_of(pipe)
    scheduler = pipe.scheduler
    start = torch.randn(1, denoiser.config.in_channels, 16, 20, generator=torch.Generator().manual_seed(5))
    if name == "sdxl":
        embeds, empty, pooled, empty_pooled = pipe.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=True)
        times = torch.tensor([[128.0, 160.0, 0.0, 0.0, 128.0, 160.0]])
        own, noun = [1, 2, 3], [3]
        layers = [
            n for n, _ in denoiser.named_modules() if n.endswith("attn2") and not n.startswith(("down_blocks.1", "up_blocks.1"))
        ]

        def predict(x: Tensor, t: Tensor, text: Tensor, vector: Tensor) -> Tensor:
            more = {"text_embeds": vector, "time_ids": times.expand(len(x), -1)}
            return denoiser(x, t, encoder_hidden_states=text, added_cond_kwargs=more).sample

    else:
        embeds, empty, pooled, empty_pooled = pipe.encode_prompt(prompt, prompt_2=None, prompt_3=None, max_sequence_length=24)
        own, noun = [1, 2, 3, 32, 33, 34], [3, 34]  # CLIP's 32 positions, then T5's, which has no start token
        layers = ["transformer_blocks.0.attn", "transformer_blocks.1.attn"]

        def predict(x: Tensor, t: Tensor, text: Tensor, vector: Tensor) -> Tensor:
            times = t.expand(len(x))
            return denoiser(hidden_states=x, timestep=times, encoder_hidden_states=text, pooled_projections=vector).sample

    scheduler.set_timesteps(steps)
    latents = start * getattr(scheduler, "init_noise_sigma", 1.0)
    scaled = getattr(scheduler, "scale_model_input", lambda x, _: x)
    grid = (4, 5) if name == "sdxl" else (8, 10)
    for index, t in enumerate(scheduler.timesteps):
        if index < steps / 2:
            z, seen = latents.clone().requires_grad_(True), {}
            with torch.enable_grad(), explicit_attention(pipe, seen):
                predict(scaled(z, t), t, embeds, pooled)
                places = grid[0] * grid[1]
                shares = torch.stack([seen[layer][0].mean(dim=0) for layer in layers]).mean(dim=0)
                maps = shares if name == "sdxl" else shares[:places, places:]
                excited = (100 * maps[:, own]).softmax(dim=1)[:, [own.index(p) for p in noun]].sum(dim=1)
                loss = (1 - smoothed(excited.reshape(grid)).max()).clamp(min=0)
                (gradient,) = torch.autograd.grad(loss, z)
            seen_of_one = float(scaled(torch.ones(1), t))  # the step size belongs to latents as the denoiser sees them
            latents = latents - size * math.sqrt(1 - 0.5 * index / (steps - 1)) * gradient / seen_of_one**2
        with torch.no_grad():
            both = scaled(torch.cat([latents] * 2), t)
            out = predict(both, t, torch.cat([empty, embeds]), torch.cat([empty_pooled, pooled]))
            predicted = out[:1] + scale * (out[1:] - out[:1])
            latents = scheduler.step(predicted, t, latents).prev_sample
    method = unbleed.methods.AttendAndExcite(thresholds={}, step_size=size, kept="words")
    options = {**OPTIONS[name], "num_inference_steps": steps, "guidance_scale": scale, "output_type": "latent"}
    with unbleed.guide(pipe, method):
        found = pipe(prompt, latents=start.clone(), height=128, width=160, **options).images
    assert (found - latents).abs().max() < 1e-5 * latents.abs().max()


@every_family
def test_the_pieces_of_every_encoder_spell_the_words(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    with unbleed.guide(pipe, METHOD) as run:
        draw(pipe, name, "A Red zebra and a blue ocelot", (0,))
    (tokens,) = run.tokens
    encoders = 2 if name == "sd3" else 1
    for entity, (noun, modifiers) in zip(tokens.kept, tokens.entities, strict=True):
        for word, places in zip((*entity.modifiers, entity.noun), (*modifiers, noun), strict=True):
            text = "".join(tokens.pieces[p].replace("</w>", "").replace("▁", "") for p in places)
            assert text.replace(" ", "").lower() == word.lower() * encoders


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # Krea 2's norms compute in float32
@every_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite(name: str, dtype: torch.dtype, pipes: Callable[[str], Any]) -> None:
    pipe = copy.deepcopy(pipes(name)).to(dtype)
    with unbleed.guide(pipe, METHOD) as run:
        assert draw(pipe, name, PROMPTS).isfinite().all()
    assert [step.step for step in run.steps if not step.skipped] == [0, 0, 1, 1, 2, 2]


@every_family
def test_checkpointing_changes_nothing_but_memory(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    with unbleed.guide(pipe, METHOD):
        usual = draw(pipe, name, PROMPTS)
    with unbleed.guide(pipe, METHOD, checkpointing=True):
        saving = draw(pipe, name, PROMPTS)
    torch.testing.assert_close(saving, usual, atol=1e-4, rtol=1e-3)


def test_every_row_has_a_tiny_model(pipes: Callable[[str], Any]) -> None:
    assert {family_of(denoiser_of(pipes(name))).name for name in KINDS} == {family.name for family in FAMILIES}


@pytest.mark.parametrize("options", [{"guidance_scale": 0.0}, {"guidance_scale": 2.0, "cfg_truncation": 0.5}])
def test_z_image_without_negative_prompts_in_all_or_in_some_steps(options: dict[str, Any], pipes: Callable[[str], Any]) -> None:
    """As the distilled model is called, and as guidance is left out near the end: then a call has half of the rows."""
    pipe, rows = pipes("z-image"), []
    handle = pipe.transformer.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    plain = draw(pipe, "z-image", PROMPTS, **options)
    with unbleed.guide(pipe, METHOD) as run:
        guided = draw(pipe, "z-image", PROMPTS, **options)
    handle.remove()
    assert set(rows) == ({2} if options["guidance_scale"] == 0 else {2, 4})
    assert {step.step for step in run.steps} == {0, 1, 2}
    assert all((guided[i] - plain[i]).abs().max() > 1e-3 for i in range(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODERN)
def test_every_method_runs_or_is_refused(name: str, pipes: Callable[[str], Any]) -> None:
    pipe, refused = pipes(name), {}
    for method in unbleed.METHODS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", unbleed.UnbleedWarning)  # of prompts with nothing to act on
                with unbleed.guide(pipe, f"{method}@paper"):
                    assert draw(pipe, name, PROMPTS[1], (0,), num_inference_steps=2).isfinite().all(), method
        except (ModelError, unbleed.MethodError) as error:
            refused[method] = str(error)
    assert {"composable", "structure-diffusion", "attention-regulation"} <= set(refused)
    reasons = (
        "edits layers that",
        "velocity of a flow model",
        "keeps keys from step to step",
        "steps ahead",
        "look ahead",
        "1 joint blocks",
    )
    assert all(any(reason in message for reason in reasons) for message in refused.values())


# -------------------------------------------------------------------------------------------- guidance in calls apart


def test_negative_prompts_in_calls_of_their_own_get_the_same_latents(pipes: Callable[[str], Any]) -> None:
    pipe = pipes("flux")
    apart = {"negative_prompt": ["a bird", "a bird"], "true_cfg_scale": 3.0}
    seen: list[Tensor] = []
    handle = pipe.transformer.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["hidden_states"].clone()), with_kwargs=True
    )
    with unbleed.guide(pipe, METHOD) as run:
        seen.clear()
        guided = draw(pipe, "flux", PROMPTS, **apart)
    handle.remove()
    assert run.prompts == PROMPTS
    assert len(run.entities) == 2
    own = [x for x in seen if x.shape == seen[0].shape]
    assert len(own) >= 6
    assert not torch.equal(guided, draw(pipe, "flux", PROMPTS, **apart))


# ------------------------------------------------------------------------------------------------------- schedulers


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler,
        PNDMScheduler,
        EulerAncestralDiscreteScheduler,
        HeunDiscreteScheduler,
        DPMSolverMultistepScheduler,
        UniPCMultistepScheduler,
        LCMScheduler,
    ],
)
def test_guidance_happens_once_per_noise_level(scheduler: Any, pipes: Callable[[str], Any]) -> None:
    pipe = pipes("sdxl")
    changes = {"skip_prk_steps": True} if scheduler is PNDMScheduler else {}
    own, pipe.scheduler = pipe.scheduler, scheduler.from_config(pipe.scheduler.config, **changes)
    try:
        plain = draw(pipe, "sdxl", PROMPTS)
        with unbleed.guide(pipe, METHOD) as run:
            guided = draw(pipe, "sdxl", PROMPTS)
        assert [step.step for step in run.steps if step.image == 0] == [0, 1, 2]
        assert not torch.equal(guided, plain)
        assert torch.equal(draw(pipe, "sdxl", PROMPTS), plain)
    finally:
        pipe.scheduler = own


def test_flow_matching_with_inner_evaluations(pipes: Callable[[str], Any]) -> None:
    pipe = pipes("sd3")
    own, pipe.scheduler = pipe.scheduler, FlowMatchHeunDiscreteScheduler(shift=3.0)
    try:
        with unbleed.guide(pipe, METHOD) as run:
            draw(pipe, "sd3", PROMPTS)
        assert [step.step for step in run.steps if step.image == 0] == [0, 1, 2]
    finally:
        pipe.scheduler = own


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["sd3", "flux", "pixart", "sana", "qwen"])
def test_a_transformer_has_one_grid(name: str, pipes: Callable[[str], Any]) -> None:
    with (
        pytest.raises(ModelError, match="has text attention on one grid only"),
        unbleed.guide(pipes(name), unbleed.methods.SynGen(resolution=16)),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("flux", "structure-diffusion"),
        ("sd3", "attention-regulation"),
        ("flux", "composable"),
        ("pixart", "structure-diffusion"),
    ],
)
def test_edits_are_refused_where_they_cannot_be_made(name: str, method: str, pipes: Callable[[str], Any]) -> None:
    message = f"^{method} edits layers that a .* does not have in that form; it works with sd"
    with pytest.raises(ModelError, match=message), unbleed.guide(pipes(name), method):
        pass


def test_concepts_add_up_on_stable_diffusion_3(pipes: Callable[[str], Any]) -> None:
    """Euler steps of flow matching by their formula, each concept with the pooled embedding of the whole prompt."""
    pipe, options = pipes("sd3"), {"device": torch.device("cpu"), "max_sequence_length": 24}
    scale, weight, steps = 4.0, 0.5, 3
    with unbleed.guide(pipe, unbleed.methods.Composable(weight=weight)):
        found = draw(pipe, "sd3", PROMPTS[0], (0,), guidance_scale=scale, num_inference_steps=steps)

    def encoded(text: str) -> tuple[Tensor, Tensor]:
        tokens, _, pooled, _ = pipe.encode_prompt(text, text, text, do_classifier_free_guidance=False, **options)
        return tokens, pooled

    def predicted(latents: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        return pipe.transformer(
            hidden_states=latents, timestep=time[None], encoder_hidden_states=tokens, pooled_projections=pooled
        ).sample

    latents = torch.randn(1, 16, 16, 20, generator=torch.Generator().manual_seed(0))
    whole = encoded(PROMPTS[0])[1]
    pipe.scheduler.set_timesteps(steps)
    sigmas = pipe.scheduler.sigmas
    with torch.no_grad():
        for time, now, then in zip(pipe.scheduler.timesteps, sigmas[:-1], sigmas[1:], strict=True):
            prediction = nothing = predicted(latents, time, *encoded(""))
            for concept in ("a red cat", "a blue bench"):
                one = predicted(latents, time, encoded(concept)[0], whole)
                prediction = prediction + weight * scale * (one - nothing)
            latents = latents + (then - now) * prediction
    torch.testing.assert_close(found, latents, atol=1e-4, rtol=1e-4)


def test_weights_that_let_no_gradient_through_are_refused(pipes: Callable[[str], Any]) -> None:
    """As kernels for quantised weights do that were written for inference."""
    pipe = copy.deepcopy(pipes("flux"))
    pipe.transformer.x_embedder.register_forward_hook(lambda _, __, output: output.detach())
    with pytest.raises(ModelError, match=r"^no gradient comes through the denoiser"), unbleed.guide(pipe, METHOD):
        draw(pipe, "flux", PROMPTS)


def test_context_parallelism_is_refused(pipes: Callable[[str], Any]) -> None:
    pipe = copy.deepcopy(pipes("flux"))
    pipe.transformer._parallel_config = object()
    with pytest.raises(ModelError, match=r"^the denoiser is split over several devices"), unbleed.guide(pipe, METHOD):
        pass


@pytest.mark.parametrize("part", ["down", "mid", "up"])
def test_parts_of_a_transformer_are_thirds(part: Any, pipes: Callable[[str], Any]) -> None:
    denoiser = denoiser_of(pipes("sd3"))
    family = family_of(denoiser)
    names = [family.layers(denoiser, None, own).names for own in ("down", "mid", "up")]
    assert sorted({name for own in names for name in own}) == [f"transformer_blocks.{i}.attn" for i in range(4)]
    assert family.layers(denoiser, None, part).names
