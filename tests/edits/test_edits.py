"""What methods change inside the denoiser, against references that write every softmax, mean and step down.

Random weights tell about arithmetic, not about pictures.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from torch import Tensor, nn
from transformers import CLIPTokenizer

import unbleed
from helpers.engine import CURVE, PROMPTS, draw, guided, noise, traces
from helpers.marks import quick
from unbleed.attention.families import FAMILIES
from unbleed.edits import RegulateEdit, regulation
from unbleed.edits.regulation import patterns, regulated
from unbleed.edits.regulation import regulation as objective
from unbleed.guidance.edit import BatchRows, CallContext
from unbleed.guidance.run import Run
from unbleed.losses.groups import group_tokens
from unbleed.prompt import locate, parse

GRIDS = [(16, 16), (24, 24), (32, 48)]
SCALE = 5.0  # of `draw`
# every noun phrase of more than one word, in the order in which they are laid over the prompt
PHRASES = {
    "a cat with a red hat and a dog": ["a cat with a red hat", "a cat", "a red hat", "a dog"],
    "cat and dog": [],
    "two wooden benches on a zebra, a dog": ["two wooden benches on a zebra", "two wooden benches", "a zebra", "a dog"],
    "a dog": [],  # the whole prompt has nothing to add to itself
}
NESTED, PLAIN = list(PHRASES)[:2]

every_grid = pytest.mark.parametrize("grid", quick([(16, 16)], GRIDS), ids=["16x16", "24x24", "32x48"])
unguided_is_meant = pytest.mark.filterwarnings("ignore:.*runs unguided:unbleed.UnbleedWarning")
every_mode = pytest.mark.parametrize("mode", ["values", "keys"])
every_edit = pytest.mark.parametrize(
    "edit",
    [
        unbleed.methods.StructureDiffusion(),
        unbleed.methods.StructureDiffusion(mode="keys"),
        unbleed.methods.AttentionRegulation(iterations=3),
        unbleed.methods.Composable(),
    ],
    ids=["values", "keys", "regulation", "composable"],
)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Whether latents are the same but for last bits, which the sharp tiny model carries on."""
    return bool((found - expected).abs().max() < tolerance * expected.abs().max())


# ------------------------------------------------------------------------------ Attention Regulation: its objective


def slow_patterns(height: int, width: int) -> list[list[list[float]]]:
    sigma = min(height, width) // 16 or 1
    found = []
    for y in range(2 * sigma, height, 2 * sigma):
        for x in range(2 * sigma, width, 2 * sigma):
            found.append(
                [
                    [math.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2)) for column in range(width)]
                    for row in range(height)
                ]
            )
    return found


def slow_objective(attention: Tensor, weights: Tensor, quantile: float = 0.9, share: float = 0.2) -> Tensor:
    """L of one head, for `attention` (place, target) and `weights` (pattern, target)."""
    places, targets = attention.shape
    high, even, size = [torch.zeros((), dtype=torch.float64) for _ in range(3)]
    for target in range(targets):
        column = attention[:, target]
        order = sorted(range(places), key=column.tolist().__getitem__)
        below, along = divmod(quantile * (places - 1), 1)
        low, next_one = column[order[int(below)]], column[order[min(int(below) + 1, places - 1)]]
        high = high + (low + along * (next_one - low) - quantile) ** 2 / targets
        even = even + (sum(column[1:], column[0]) / places - min(1, share * targets) / targets) ** 2 / targets
        for pattern in range(len(weights)):
            size = size + weights[pattern, target] ** 2 / (len(weights) * targets)
    return high + 80 * even + 0.09 * size


def slow_regulated(logits: Tensor, targets: list[int], grid: tuple[int, int], iterations: int, rate: float) -> Tensor:
    """What is added to one head's logits (place, token), (place, target); all in double precision."""
    pattern = torch.tensor(slow_patterns(*grid), dtype=torch.float64).flatten(1)
    weights = torch.full((len(pattern), len(targets)), 0.5, dtype=torch.float64)
    least, best = math.inf, torch.zeros(len(logits), len(targets), dtype=torch.float64)
    for _ in range(iterations):
        weights = weights.detach().requires_grad_()
        added = pattern.T @ weights
        changed = torch.zeros_like(logits)
        for at, target in enumerate(targets):
            changed[:, target] = changed[:, target] + added[:, at]
        power = (logits + changed).exp()
        loss = slow_objective((power / power.sum(dim=1, keepdim=True))[:, targets], weights)
        (slope,) = torch.autograd.grad(loss, weights)
        if loss.item() < least:
            least, best = loss.item(), added.detach()
        weights = weights - rate * slope
    return best


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("grid", [*GRIDS, (8, 8), (10, 6), (2, 3)])
def test_patterns_are_gaussians_on_a_lattice(grid: tuple[int, int]) -> None:
    expected = torch.tensor(slow_patterns(*grid), dtype=torch.float64)
    if min(grid) > 2:
        torch.testing.assert_close(patterns(*grid, dtype=torch.float64), expected)
    else:  # the lattice has no point inside, and the nearest is taken
        assert patterns(*grid).shape[1:] == grid
    assert patterns(*grid).amax() <= 1


@every_grid
@pytest.mark.parametrize("targets", range(1, 7))
def test_the_objective_is_its_formula(targets: int, grid: tuple[int, int]) -> None:
    heads, places = 2, grid[0] * grid[1]
    attention = drawn(heads, places, 9).softmax(dim=-1)[..., :targets].clone().requires_grad_()
    weights = drawn(heads, 12, targets, seed=1).requires_grad_()
    value = objective(attention, weights)
    slopes = torch.autograd.grad(value.sum(), (attention, weights))
    expected = torch.stack([slow_objective(attention[head], weights[head]) for head in range(heads)])
    torch.testing.assert_close(value, expected, atol=1e-12, rtol=1e-9)
    for slope, own in zip(slopes, torch.autograd.grad(expected.sum(), (attention, weights)), strict=True):
        torch.testing.assert_close(slope, own, atol=1e-12, rtol=1e-9)
        assert slope.any()


def test_the_settings_of_the_objective_are_used() -> None:
    attention, weights = drawn(1, 64, 9).softmax(dim=-1)[..., :3], drawn(1, 5, 3)
    value = objective(attention, weights, quantile=0.3, share=0.4)
    expected = slow_objective(attention[0], weights[0], quantile=0.3, share=0.4)
    torch.testing.assert_close(value[0], expected)
    assert objective(attention, weights).item() != pytest.approx(value.item())


@pytest.mark.parametrize("rate", [2.0, 100.0, 3000.0], ids=["slow", "authors", "overshooting"])
@pytest.mark.parametrize("grid", [(8, 8), (10, 6)])
def test_what_is_added_is_the_best_of_the_descent(grid: tuple[int, int], rate: float) -> None:
    logits, targets = drawn(2, grid[0] * grid[1], 12), [2, 5, 6]
    found = regulated(logits, targets, grid, iterations=12, rate=rate, share=0.2, quantile=0.9)
    expected = torch.stack([slow_regulated(head, targets, grid, 12, rate) for head in logits])
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-3)


@every_grid
def test_the_objective_falls_from_iteration_to_iteration(grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[Tensor] = []

    def noted(*args: Any, **settings: Any) -> Tensor:
        losses.append(objective(*args, **settings))
        return losses[-1]

    monkeypatch.setattr(regulation, "regulation", noted)
    logits = drawn(2, grid[0] * grid[1], 12).float()
    for rate in (3.0, 100.0):
        regulated(logits, [2, 5], grid, iterations=20, rate=rate, share=0.2, quantile=0.9)
    gentle, authors = torch.stack(losses).detach().reshape(2, 20, 2)
    assert (gentle[1:] < gentle[:-1]).all()
    assert (authors.amin(dim=0) < gentle.amin(dim=0)).all()  # farther, though not at every iteration


# -------------------------------------------------------------------------------- Attention Regulation: what it answers


class Attends(nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        own = F.scaled_dot_product_attention(query, key, value)
        return own + 0 * F.scaled_dot_product_attention(query, query, query).sum()  # the second call is not on the text


class Layers(nn.Module):
    """Two text layers, of which the first is read."""

    def __init__(self) -> None:
        super().__init__()
        self.attn2, self.other = Attends(), Attends()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        return self.attn2(*tensors), self.other(*tensors)


class Bench:
    """An edit of regulation, opened for two prompts and one without entities; values are one-hot, so answers are attention."""

    grid = (10, 6)
    texts = ("a red cat and a zebra", "and", "a dog")

    def __init__(self, tokenizer: CLIPTokenizer, edit: RegulateEdit) -> None:
        self.edit, self.layers = edit, Layers()
        self.parsed = [parse(text) for text in self.texts]
        self.tokens = [locate(parsed, tokenizer) for parsed in self.parsed]
        self.length = tokenizer.model_max_length
        groups = group_tokens(self.tokens)
        given: Any = (FAMILIES[0], [{} for _ in self.tokens], Run("regulation"), 0)
        context = CallContext(None, self.layers, self.parsed, self.tokens, groups, lambda texts: noise(), ("attn2",), *given)
        self.opened = edit.open(context)

    def inputs(self, rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        query = drawn(rows, 2, 60, 4, seed=seed).float()
        key = drawn(rows, 2, self.length, 4, seed=seed + 1).float()
        return query, key, torch.eye(self.length).expand(rows, 2, -1, -1).contiguous()

    def __call__(self, inputs: tuple[Tensor, ...], first: int, images: Sequence[int], share: float) -> tuple[Tensor, Tensor]:
        with self.opened.around(BatchRows(first, tuple(images), share, self.grid, self.grid)):
            return self.layers(*inputs)

    def targets(self, image: int) -> list[int]:
        return sorted(p for noun, _ in self.tokens[image].entities for p in noun)

    def slow(self, image: int, query: Tensor, key: Tensor, share: float, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """The attention of one head (place, token), and what is added to its logits before mixing."""
        edit, targets = self.edit, self.targets(image)
        logits = query.double() @ key.double().T / math.sqrt(query.shape[-1])
        added = slow_regulated(logits, targets, self.grid, edit.iterations, edit.rate)
        mixed = added if before is None else edit.memory * before + (1 - edit.memory) * added
        changed = logits.clone()
        for at, target in enumerate(targets):
            changed[:, target] += edit.fading ** (50 * share) * mixed[:, at]
        attention, own = (x.exp() / x.exp().sum(dim=1, keepdim=True) for x in (changed, logits))
        if edit.keep_ends:
            for place in (0, self.tokens[image].end):
                attention[:, place] = own[:, place]
        return attention, added


def test_the_bench_has_pieces_and_an_empty_prompt(tokenizer: CLIPTokenizer) -> None:
    bench = Bench(tokenizer, RegulateEdit())
    assert [len(bench.targets(image)) for image in range(3)] == [6, 0, 1]


@pytest.mark.parametrize("keep_ends", [True, False])
def test_regulation_answers_as_written_down(tokenizer: CLIPTokenizer, keep_ends: bool) -> None:
    """Two steps, in each of which the denoiser runs more than once: the last run of a step is what the next one remembers."""
    bench = Bench(tokenizer, RegulateEdit(iterations=4, keep_ends=keep_ends, fading=0.95))
    before: dict[tuple[int, int], Tensor] = {}
    for step, share in enumerate((0.0, 0.25)):
        latest: dict[tuple[int, int], Tensor] = {}
        for run, (first, images) in enumerate([(0, [2, 0]), (3, [0, 1, 2])]):  # an evaluation, then the denoiser's own
            query, key, _ = inputs = bench.inputs(first + len(images), seed=10 * step + 2 * run)
            found, other = bench(inputs, first, images, share)
            plain, _ = bench.layers(*inputs)
            assert torch.equal(other, plain)  # a layer that is not read
            assert torch.equal(found[:first], plain[:first])  # unconditional rows
            for at, image in enumerate(images):
                row = first + at
                if not bench.targets(image):
                    assert torch.equal(found[row], plain[row])
                    continue
                assert not torch.allclose(found[row], plain[row], atol=1e-2)
                for head in range(2):
                    last = before.get((image, head))
                    expected, latest[image, head] = bench.slow(image, query[row, head], key[row, head], share, last)
                    torch.testing.assert_close(found[row, head].double(), expected, atol=1e-4, rtol=1e-3)
            sums = found[first:].sum(dim=-1)
            assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5) == (not keep_ends)
            if keep_ends:
                ends = [0, bench.tokens[images[0]].end]
                torch.testing.assert_close(found[first][..., ends], plain[first][..., ends])
        before = latest


def test_regulation_ends_at_its_stop(tokenizer: CLIPTokenizer) -> None:
    bench = Bench(tokenizer, RegulateEdit(iterations=2, stop=0.3))
    inputs = bench.inputs(3, seed=0)
    plain, _ = bench.layers(*inputs)
    assert torch.equal(bench(inputs, 0, [0, 1, 2], 0.3)[0], plain)
    assert torch.equal(bench(inputs, 0, [0, 1, 2], 0.9)[0], plain)
    assert not torch.equal(bench(inputs, 0, [0, 1, 2], 0.29)[0], plain)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in bench.layers.modules())


def test_regulation_stops_in_a_run_where_it_says(tiny_sd: StableDiffusionPipeline) -> None:
    """Half of four steps are changed: from there on an unguided run of the same latents goes the same way."""
    kept: dict[int, Tensor] = {}

    def note(pipe: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        kept[step] = tensors["latents"].clone()
        return {}

    options: dict[str, Any] = {"num_inference_steps": 4, "callback_on_step_end": note}
    method = unbleed.methods.AttentionRegulation(iterations=3)
    first = guided(tiny_sd, method, PROMPTS[0], noise(), **options)
    middle, last = kept[1], kept[3]
    assert torch.equal(first, last)
    assert torch.equal(guided(tiny_sd, method, PROMPTS[0], noise(), **options), first)
    text = torch.cat(tiny_sd.encode_prompt(PROMPTS[0], "cpu", 1, True)[::-1])
    latents = middle
    for t in tiny_sd.scheduler.timesteps[2:]:
        with torch.no_grad():
            out = tiny_sd.unet(torch.cat([latents] * 2), t, encoder_hidden_states=text).sample
        latents = tiny_sd.scheduler.step(out[:1] + SCALE * (out[1:] - out[:1]), t, latents).prev_sample
    assert close(last, latents, 1e-6)
    plain = draw(tiny_sd, PROMPTS[0], noise(), **options)
    assert not torch.equal(kept[0], middle)
    assert not close(plain, last, 1e-3)


def test_nothing_added_is_nothing_changed(tiny_sd: StableDiffusionPipeline) -> None:
    """Without iterations the edit rewrites the attention as it was, and the gradient of a loss passes through it."""
    with unbleed.guide(tiny_sd, unbleed.losses.ExciteLoss()) as plain:
        expected = draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=4)
    method = unbleed.Method(unbleed.losses.ExciteLoss(), edits=(RegulateEdit(iterations=0),))
    with unbleed.guide(tiny_sd, method) as run:
        found = draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=4)
    assert close(found, expected)
    for step, own in zip(run.steps, plain.steps, strict=True):
        assert step.gradient_norm == pytest.approx(own.gradient_norm, rel=1e-3)


@pytest.mark.parametrize(("height", "width"), [(40, 24), (24, 40)])
def test_regulation_knows_the_picture_from_its_side(
    tiny_sd: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    grids = set()

    def noted(logits: Tensor, targets: list[int], grid: tuple[int, int], **settings: Any) -> Tensor:
        grids.add(grid)
        return regulated(logits, targets, grid, **settings)

    monkeypatch.setattr(regulation, "regulated", noted)
    size = {"height": 8 * height, "width": 8 * width, "num_inference_steps": 2}
    method = unbleed.methods.SynGen() + unbleed.methods.AttentionRegulation(iterations=1)
    guided(tiny_sd, method, PROMPTS[0], noise(1, height, width), **size)
    assert grids == {(height // 4, width // 4)}


# -------------------------------------------------------------------------------------------------- StructureDiffusion


def alone(pipe: StableDiffusionPipeline, text: str) -> Tensor:
    """The embedding of one text, (token, channel)."""
    return pipe.encode_prompt(text, "cpu", 1, False)[0][0]


def laid(pipe: StableDiffusionPipeline, prompt: str) -> tuple[list[Tensor], Tensor]:
    """W_0, W_1, ... of a prompt, and W_0 with all phrases laid over it, each (token, channel)."""
    ids = pipe.tokenizer(prompt)["input_ids"]
    whole = alone(pipe, prompt)
    each, over = [whole], whole.clone()
    for phrase in PHRASES[prompt]:
        own = pipe.tokenizer(phrase)["input_ids"][1:-1]
        (start,) = (at for at in range(len(ids)) if ids[at : at + len(own)] == own)
        one, embedding = whole.clone(), alone(pipe, phrase)
        for k in range(len(own)):
            one[start + k] = over[start + k] = embedding[1 + k]
        each.append(one)
    return each, over


class Written:
    """An attention processor that writes the softmax down, and answers rows from `first` on by phrases."""

    def __init__(self, texts: list[tuple[list[Tensor], Tensor]], mode: str, first: int) -> None:
        self.texts, self.mode, self.first = texts, mode, first
        self.maps: list[Tensor] = []  # of the layers with 64 places, (row, head, place, token); the first key's

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        heads = attn.heads
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        rows, seen = [], []
        if encoder_hidden_states is None:
            parts = (
                x.unflatten(2, (heads, -1)).transpose(1, 2)
                for x in (attn.to_q(context), attn.to_k(context), attn.to_v(context))
            )
            return attn.to_out[0](F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        for row, (places, text) in enumerate(zip(hidden_states, context, strict=True)):
            keys, values = [text], text
            if row >= self.first:
                each, over = self.texts[row - self.first]
                if self.mode == "values":
                    values = sum(each[1:], each[0]) / len(each)
                else:
                    keys, values = each, over
            answers = []
            for key in keys:
                query, k, v = (x.unflatten(1, (heads, -1)) for x in (attn.to_q(places), attn.to_k(key), attn.to_v(values)))
                parts = [(query[:, h] @ k[:, h].T / math.sqrt(query.shape[-1])).softmax(dim=1) for h in range(heads)]
                seen += [torch.stack(parts)] if key is keys[0] else []
                answers.append(torch.cat([part @ v[:, h] for h, part in enumerate(parts)], dim=1))
            rows.append(sum(answers[1:], answers[0]) / len(answers))
        if len(hidden_states[0]) == 64:
            self.maps.append(torch.stack(seen))
        return attn.to_out[0](torch.stack(rows))


@contextmanager
def written(pipe: StableDiffusionPipeline, prompts: list[str], mode: str, first: int) -> Iterator[Written]:
    kept = pipe.unet.attn_processors
    processor = Written([laid(pipe, prompt) for prompt in prompts], mode, first)
    pipe.unet.set_attn_processor(processor)
    try:
        with torch.no_grad():
            yield processor
    finally:
        pipe.unet.set_attn_processor(kept)


@unguided_is_meant
@every_mode
def test_phrases_change_values_and_keys_as_written_down(tiny_sd: StableDiffusionPipeline, mode: Any) -> None:
    """A batch of prompts with four phrases, with none and with other four: the plain pipeline with plain processors."""
    prompts, options = list(PHRASES), {"num_inference_steps": 2}
    with written(tiny_sd, prompts, mode, first=len(prompts)):
        expected = draw(tiny_sd, prompts, noise(4), **options)
    found = guided(tiny_sd, unbleed.methods.StructureDiffusion(mode=mode), prompts, noise(4), **options)
    plain = draw(tiny_sd, prompts, noise(4), **options)
    for image, prompt in enumerate(prompts):
        assert close(found[image], expected[image], 1e-5)
        assert close(found[image], plain[image], 1e-5) == (not PHRASES[prompt])


@unguided_is_meant
@every_mode
@pytest.mark.parametrize("guidance_scale", [1.0, SCALE])
def test_phrases_change_the_conditional_rows_alone(tiny_sd: StableDiffusionPipeline, mode: Any, guidance_scale: float) -> None:
    out: list[Tensor] = []
    prompts = [NESTED, PLAIN]
    hook = tiny_sd.unet.register_forward_hook(lambda module, args, output: out.append(output[0].clone()))
    try:
        for method in ("none", unbleed.methods.StructureDiffusion(mode=mode)):
            guided(tiny_sd, method, prompts, noise(2), num_inference_steps=1, guidance_scale=guidance_scale)
    finally:
        hook.remove()
    plain, found = out
    first = len(plain) - len(prompts)
    assert torch.equal(found[:first], plain[:first])
    assert torch.equal(found[first + 1], plain[first + 1])
    assert not close(found[first], plain[first], 1e-2)


@every_mode
@pytest.mark.parametrize("prompt", [PLAIN, "a dog", "and", ""])
def test_a_prompt_without_phrases_changes_no_bit(tiny_sd: StableDiffusionPipeline, mode: Any, prompt: str) -> None:
    plain = draw(tiny_sd, prompt, noise(), num_inference_steps=3)
    method = unbleed.methods.StructureDiffusion(mode=mode)
    with pytest.warns(unbleed.UnbleedWarning, match="runs unguided: structure-diffusion has nothing to act on"):
        found = guided(tiny_sd, method, prompt, noise(), num_inference_steps=3)
    assert torch.equal(found, plain)


@every_mode
@pytest.mark.parametrize("processor", [AttnProcessor(), SlicedAttnProcessor(1)], ids=["explicit", "sliced"])
def test_phrases_and_other_processors(make_tiny_sd: Callable[..., StableDiffusionPipeline], mode: Any, processor: Any) -> None:
    pipe, method = make_tiny_sd(), unbleed.methods.StructureDiffusion(mode=mode)
    expected = guided(pipe, method, NESTED, noise(), num_inference_steps=2)
    pipe.unet.set_attn_processor(processor)
    assert close(guided(pipe, method, NESTED, noise(), num_inference_steps=2), expected)
    assert {type(p) for p in pipe.unet.attn_processors.values()} == {type(processor)}


def test_fused_projections_are_refused(make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> None:
    pipe, method = make_tiny_sd(), unbleed.methods.StructureDiffusion()
    expected = guided(pipe, method, NESTED, noise(), num_inference_steps=1)
    pipe.fuse_qkv_projections(vae=False)
    with pytest.raises(unbleed.ModelError, match=r"projected as one.*unfuse_qkv_projections\(\)"):
        guided(pipe, method, NESTED, noise(), num_inference_steps=1)
    pipe.unfuse_qkv_projections(vae=False)
    assert torch.equal(guided(pipe, method, NESTED, noise(), num_inference_steps=1), expected)


def test_phrases_with_learnt_words_are_encoded_as_they_are_written_out(
    tiny_sd: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline writes `<toy>` out before it encodes; a phrase that is written out already is not to be once more."""

    def convert(prompt: str | list[str], _: Any) -> str | list[str]:
        return prompt.replace("<toy>", "<toy> <toy>_1") if isinstance(prompt, str) else [str(convert(p, _)) for p in prompt]

    encoded: list[str] = []
    tokenize = type(tiny_sd.tokenizer).__call__

    def noted(self: Any, text: Any, *args: Any, **options: Any) -> Any:
        encoded.extend([text] if isinstance(text, str) else text)
        return tokenize(self, text, *args, **options)

    monkeypatch.setattr(tiny_sd, "maybe_convert_prompt", convert)
    monkeypatch.setattr(type(tiny_sd.tokenizer), "__call__", noted)
    guided(tiny_sd, unbleed.methods.StructureDiffusion(), "a <toy> cat and a dog", noise(), num_inference_steps=1)
    assert "a <toy> <toy>_1 cat" in encoded
    assert not any("_1 <toy>_1" in text or "_1_1" in text for text in encoded)
    assert tiny_sd.maybe_convert_prompt is convert


def test_phrases_are_encoded_as_the_prompt_was(tiny_sd: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its settings, but without what is the prompt's alone: negative prompt, and the text of a second encoder."""
    calls: list[dict[str, Any]] = []
    own = tiny_sd.encode_prompt

    def encode_prompt(
        prompt: Any,
        device: Any = None,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: Any = None,
        prompt_2: Any = "of its own",
        clip_skip: int | None = None,
        **others: Any,
    ) -> Any:
        calls.append({"prompt": prompt, "negative": negative_prompt, "second": prompt_2, "clip_skip": clip_skip})
        # diffusers 0.42 fails on clip_skip beside transformers 5, so it is noted and goes no farther
        return own(prompt, device, num_images_per_prompt, do_classifier_free_guidance, negative_prompt, **others)

    monkeypatch.setattr(tiny_sd, "encode_prompt", encode_prompt)
    options: dict[str, Any] = {"negative_prompt": "a mouse", "clip_skip": 1, "num_inference_steps": 1}
    with pytest.warns(unbleed.UnbleedWarning, match="prompt_2 differs from prompt"):
        guided(tiny_sd, unbleed.methods.StructureDiffusion(), NESTED, noise(), **options)
    prompt, phrases = calls
    assert phrases == {"prompt": sorted(PHRASES[NESTED]), "negative": None, "second": None, "clip_skip": 1}
    assert prompt == {"prompt": NESTED, "negative": "a mouse", "second": "of its own", "clip_skip": 1}


def test_embeddings_of_a_prompt_do_not_stand_for_its_phrases(tiny_sd: StableDiffusionPipeline) -> None:
    conditional, empty = tiny_sd.encode_prompt(NESTED, "cpu", 1, True)
    options: dict[str, Any] = {"prompt_embeds": conditional, "negative_prompt_embeds": empty, "num_inference_steps": 2}
    expected = guided(tiny_sd, unbleed.methods.StructureDiffusion(), NESTED, noise(), num_inference_steps=2)
    with unbleed.guide(tiny_sd, unbleed.methods.StructureDiffusion(), prompts=[NESTED]):
        found = draw(tiny_sd, None, noise(), **options)  # type: ignore[arg-type]
    assert torch.equal(found, expected)


# ------------------------------------------------------------------------------------------------- Composable Diffusion


def composed(pipe: StableDiffusionPipeline, concepts: list[str], latents: Tensor, steps: int, weight: float) -> Tensor:
    """Deterministic DDIM by its formula, with e = e_u + sum of w_k (e_k - e_u)."""
    alphas = torch.cumprod(
        1 - torch.linspace(CURVE["beta_start"] ** 0.5, CURVE["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2, dim=0
    )
    stride = 1000 // steps
    for t in [stride * k + 1 for k in reversed(range(steps))]:

        def predicted(text: str, t: int = t, latents: Tensor = latents) -> Tensor:
            return pipe.unet(latents, torch.tensor(t), encoder_hidden_states=alone(pipe, text)[None]).sample

        with torch.no_grad():
            unconditional = predicted("")
            e = unconditional
            for concept in concepts:
                e = e + weight * SCALE * (predicted(concept) - unconditional)
        now, then = alphas[t], alphas[max(t - stride, 0)]
        start = (latents - (1 - now).sqrt() * e) / now.sqrt()
        latents = (then.sqrt() * start + (1 - then).sqrt() * e).float()
    return latents


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize(
    ("prompt", "concepts"),
    [
        ("a red cat and a blue bench", ["a red cat", "a blue bench"]),
        ("cat with a red hat and a zebra", ["cat", "a red hat", "a zebra"]),
        ("a dog", ["a dog"]),
    ],
)
def test_concepts_add_up_as_in_a_plain_loop(
    tiny_sd: StableDiffusionPipeline, prompt: str, concepts: list[str], weight: float
) -> None:
    expected = composed(tiny_sd, concepts, noise(), 3, weight)
    found = guided(tiny_sd, unbleed.methods.Composable(weight=weight), prompt, noise(), num_inference_steps=3)
    assert close(found, expected)
    plain = draw(tiny_sd, prompt, noise(), num_inference_steps=3)
    assert close(found, plain, 1e-3) == (weight == 1 and [prompt] == concepts)  # one concept at full weight is the prompt


@unguided_is_meant
def test_images_have_concepts_of_their_own(tiny_sd: StableDiffusionPipeline) -> None:
    """A batch with two concepts, none and three, two images each."""
    prompts = ["a red cat and a blue bench", "and", "a dog, a mouse and a car"]
    together = guided(tiny_sd, unbleed.methods.Composable(), prompts, noise(6), num_inference_steps=2, num_images_per_prompt=2)
    for image in (1, 2, 4):
        one = noise(6)[image : image + 1]
        expected = guided(tiny_sd, unbleed.methods.Composable(), prompts[image // 2], one, num_inference_steps=2)
        assert close(together[image], expected[0])
    plain = draw(tiny_sd, "and", noise(6)[2:3], num_inference_steps=2)
    assert torch.equal(guided(tiny_sd, unbleed.methods.Composable(), "and", noise(6)[2:3], num_inference_steps=2), plain)


def test_concepts_need_an_unconditional_prediction(tiny_sd: StableDiffusionPipeline) -> None:
    untouched = traces(tiny_sd)
    with pytest.raises(unbleed.ModelError, match="guidance_scale above 1"):
        guided(tiny_sd, unbleed.methods.Composable(), PROMPTS[0], noise(), guidance_scale=1.0)
    assert traces(tiny_sd) == untouched


def test_entities_named_by_hand_are_the_concepts(tiny_sd: StableDiffusionPipeline) -> None:
    with unbleed.guide(tiny_sd, unbleed.methods.Composable(), entities="red cat; dog"):
        found = draw(tiny_sd, "the cat that met a dog is red", noise(), num_inference_steps=2)
    assert close(found, composed(tiny_sd, ["red cat", "a dog"], noise(), 2, 1.0))


# -------------------------------------------------------------------------------------------------- edits beside others


def test_only_one_edit_can_replace_the_attention() -> None:
    regulating, keys = unbleed.methods.AttentionRegulation(), unbleed.methods.StructureDiffusion(mode="keys")
    with pytest.raises(unbleed.MethodError, match="replace the text attention; keep one"):
        regulating + keys
    assert len((regulating + unbleed.methods.StructureDiffusion() + unbleed.methods.Composable()).parts().edits) == 3


def test_values_and_regulation_act_both(tiny_sd: StableDiffusionPipeline) -> None:
    """Without iterations the attention is as it was, and what is left are the values; in whatever order."""
    values, options = unbleed.methods.StructureDiffusion(), {"num_inference_steps": 2}
    nothing, regulating = unbleed.methods.AttentionRegulation(iterations=0), unbleed.methods.AttentionRegulation(iterations=3)
    expected = guided(tiny_sd, values, NESTED, noise(), **options)
    assert close(guided(tiny_sd, values + nothing, NESTED, noise(), **options), expected)
    both = guided(tiny_sd, values + regulating, NESTED, noise(), **options)
    assert close(guided(tiny_sd, regulating + values, NESTED, noise(), **options), both)
    for alone in (values, regulating):
        assert not close(guided(tiny_sd, alone, NESTED, noise(), **options), both, 5e-4)


# ------------------------------------------------------------------------------------------------- edits beside a loss


@every_mode
def test_maps_are_those_of_the_edited_denoiser(tiny_sd: StableDiffusionPipeline, mode: Any) -> None:
    with unbleed.guide(tiny_sd, unbleed.methods.StructureDiffusion(mode=mode), record_maps=True) as run:
        draw(tiny_sd, NESTED, noise(), num_inference_steps=1)
    t = tiny_sd.scheduler.timesteps[0]
    with written(tiny_sd, [NESTED], mode, first=0) as processor:
        tiny_sd.unet(noise(), t, encoder_hidden_states=alone(tiny_sd, NESTED)[None])
    expected = torch.cat(processor.maps, dim=1).mean(dim=1).mT.unflatten(-1, (8, 8))
    torch.testing.assert_close(run.maps[0].maps, expected, atol=1e-6, rtol=0)
    with unbleed.guide(tiny_sd, "none", record_maps=True) as plain:
        draw(tiny_sd, NESTED, noise(), num_inference_steps=1)
    assert (run.maps[0].maps - plain.maps[0].maps).abs().max() > 1e-3


@every_edit
def test_a_loss_beside_an_edit(tiny_sd: StableDiffusionPipeline, edit: Any) -> None:
    """The evaluations see what edits do to the denoiser, and a batch is its images one by one."""
    prompts, method, options = [PROMPTS[0], NESTED], unbleed.methods.SynGen() + edit, {"num_inference_steps": 3}
    with unbleed.guide(tiny_sd, method) as run:
        together = draw(tiny_sd, prompts, noise(2), **options)
    assert {step.image for step in run.steps} == {0, 1}
    for image, prompt in enumerate(prompts):
        one = noise(2)[image : image + 1]
        with unbleed.guide(tiny_sd, unbleed.methods.SynGen()) as plain:
            without = draw(tiny_sd, prompt, one, **options)
        with unbleed.guide(tiny_sd, method) as run:
            alone = draw(tiny_sd, prompt, one, **options)
        assert close(together[image], alone[0])
        assert not close(alone, without, 5e-4)
        seen = edit.name != "composable"  # which changes what is predicted, behind all attention
        assert (run.steps[0].loss != plain.steps[0].loss) == seen


@every_edit
def test_checkpointing_and_inference_mode_change_nothing_beside_an_edit(tiny_sd: StableDiffusionPipeline, edit: Any) -> None:
    options = {"num_inference_steps": 2}
    method = unbleed.methods.SynGen() + edit
    expected = guided(tiny_sd, method, NESTED, noise(), **options)
    with unbleed.guide(tiny_sd, method, checkpointing=True):
        assert close(draw(tiny_sd, NESTED, noise(), **options), expected)
    with torch.inference_mode():
        assert close(guided(tiny_sd, method, NESTED, noise(), **options).clone(), expected)


@every_edit
@pytest.mark.parametrize("inside", ["callback", "denoiser"])
@pytest.mark.parametrize("with_loss", [False, True])
def test_an_exception_beside_an_edit_leaves_nothing_behind(
    tiny_sd: StableDiffusionPipeline, edit: Any, inside: str, with_loss: bool
) -> None:
    before, untouched = draw(tiny_sd, NESTED, noise(), num_inference_steps=1), traces(tiny_sd)
    runs = 0

    def stop(*_: Any) -> dict[str, Any]:
        nonlocal runs
        runs += 1
        if runs > 1:
            raise RuntimeError("stopped on purpose")
        return {}

    options: dict[str, Any] = {"callback_on_step_end": stop} if inside == "callback" else {}
    # in the last block, which the guidance's own evaluations do not reach
    module = tiny_sd.unet.up_blocks[-1].attentions[-1].transformer_blocks[0].attn2.to_out[0]
    hook = module.register_forward_hook(lambda *_: None if inside == "callback" else stop() or None)
    method = unbleed.methods.SynGen() + edit if with_loss else edit
    try:
        with pytest.raises(RuntimeError, match="on purpose"), unbleed.guide(tiny_sd, method):
            draw(tiny_sd, NESTED, noise(), num_inference_steps=3, **options)
    finally:
        hook.remove()
    assert traces(tiny_sd) == untouched
    assert torch._C._len_torch_function_stack() == 0
    assert torch.equal(draw(tiny_sd, NESTED, noise(), num_inference_steps=1), before)


@every_edit
def test_an_edit_makes_no_warning_and_no_step(tiny_sd: StableDiffusionPipeline, edit: Any) -> None:
    with warnings.catch_warnings(record=True) as seen, unbleed.guide(tiny_sd, edit) as run:
        draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=1)
    assert not seen
    assert not run.steps
    assert not run.noises


@every_edit
def test_a_prompt_without_anything_to_edit_is_told(tiny_sd: StableDiffusionPipeline, edit: Any) -> None:
    plain = draw(tiny_sd, "and", noise(), num_inference_steps=1)
    with pytest.warns(unbleed.UnbleedWarning, match=f"runs unguided: {edit.name} has nothing to act on"):
        assert torch.equal(guided(tiny_sd, edit, "and", noise(), num_inference_steps=1), plain)
