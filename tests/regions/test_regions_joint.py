"""Regions on every family of models: what their attention sees, on tiny random pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

import unbleed
from helpers.families import APART, PROMPTS, batch, draw, every_family, layout
from helpers.joint_cases import NEGATIVE, tokens_of
from unbleed.attention import family_of
from unbleed.attention.families import denoiser_of
from unbleed.guidance.call import arguments_of, as_tensor
from unbleed.regions.layout import resize

MASKED = unbleed.methods.Regions(step_size=0, candidates=1, apart=0)
GRIDS = {"hunyuan": (16, 20)}  # its pixels are those of the latents
SIDES = {"red cat": (0, 0, 0.4, 1), "blue bench": (0.6, 0, 1, 1)}  # of 10 and of 5 columns whole ones


@dataclass
class Call:
    """One attention of a module: its softmax (row, head, query, key), and what was added to the logits."""

    name: str
    shares: Tensor
    mask: Tensor | None


@dataclass
class Watch(TorchFunctionMode):
    """Keeps an attention of every run of a text module, as the kernel is asked for it: the first, or the `last`."""

    last: bool = False
    calls: list[Call] = field(default_factory=list)
    running: str | None = None
    fresh: bool = False  # the module's next attention is its first

    def __post_init__(self) -> None:
        super().__init__()

    def enter(self, name: str) -> None:
        self.running, self.fresh = name, True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and self.running is not None and (self.fresh or self.last):
            query, key = args[:2] if args else (kwargs["query"], kwargs["key"])
            mask = kwargs.get("attn_mask")
            logits = query @ key.mT * (kwargs.get("scale") or query.shape[-1] ** -0.5)
            if mask is not None:
                logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
            if not self.fresh:
                self.calls.pop()
            self.calls.append(Call(self.running, logits.softmax(dim=-1), mask))
            self.fresh = False
        return func(*args, **kwargs)


@contextmanager
def watching(pipe: Any) -> Iterator[list[Call]]:
    """Watch the attention of all text modules."""
    denoiser = denoiser_of(pipe)
    mode = Watch(last=family_of(denoiser).reads == "last")
    handles = [
        handle
        for name in family_of(denoiser).text_modules(denoiser)
        for module in [denoiser.get_submodule(name)]
        for handle in (
            module.register_forward_pre_hook(lambda *_, name=name: mode.enter(name)),
            module.register_forward_hook(lambda *_: setattr(mode, "running", None)),
        )
    ]
    try:
        with mode:
            yield mode.calls
    finally:
        for handle in handles:
            handle.remove()


@every_family
def test_a_region_attends_to_its_own_words_and_not_to_those_of_others(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    joint = family_of(denoiser_of(pipe)).layers(denoiser_of(pipe), None, "all").joint
    modules = family_of(denoiser_of(pipe)).text_modules(denoiser_of(pipe))
    with unbleed.guide(pipe, MASKED, regions=SIDES) as run, watching(pipe) as calls:
        draw(pipe, name, PROMPTS[0], (0,), num_inference_steps=1)
    assert sorted(call.name for call in calls[: len(modules)]) == sorted(modules)
    words = tokens_of(run)
    for call in calls[: len(modules)]:  # of the first run; a later one is on the negative prompt
        assert call.shares.isfinite().all()
        own = call.shares[0 if name == "z-image" else -1]
        queries, keys = own.shape[-2:]
        height, width = GRIDS.get(name, (8, 10)) if joint else next((h, w) for h, w in sizes(name) if h * w == queries)
        pixels, pictures, first = slice(None), slice(None), 0
        if joint:
            pixels, pictures, first = layout(name, pipe, queries, keys, PROMPTS[0], height * width)
        picture = own[:, pixels].unflatten(1, (height, width))
        left, right = picture[:, :, : width * 2 // 5], picture[:, :, -(width * 2 // 5) :]
        cat, bench = ([first + p for p in words[entity]] for entity in SIDES)
        assert left[..., bench].max() < 1e-7
        assert right[..., cat].max() < 1e-7
        assert left[..., cat].amin() > 0
        assert right[..., bench].amin() > 0
        whole = -(-width * 2 // 5)  # a column that is partly in a region sees something of its words
        middle = picture[:, :, whole:-whole]
        assert middle[..., [*cat, *bench]].max() < 1e-7  # not of any region
        if joint and queries == keys:
            assert own[:, cat][..., bench].max() < 1e-7
            assert own[:, bench][..., cat].max() < 1e-7
            assert own[:, cat][..., cat].amin() > 0
            seen_by_cat = own[:, cat][..., pictures].unflatten(2, (height, width))
            assert seen_by_cat[..., whole:].max() < 1e-7
            assert seen_by_cat[..., : width * 2 // 5].amin() > 0
        if joint:
            assert call.mask is not None
            inside = call.mask.expand(len(call.shares), 1, queries, keys)[:, :, pixels, pictures]
            inside = inside[0 if name == "z-image" else -1]
            assert (inside if inside.dtype == torch.bool else inside == inside.max()).all()  # picture attends to picture


def sizes(name: str) -> list[tuple[int, int]]:
    height, width = (32, 48) if name == "sana" else (16, 20)
    return [(height // factor, width // factor) for factor in (1, 2, 4)]


@every_family
def test_no_query_is_left_without_a_key_and_negative_prompts_are_not_masked(name: str, pipes: Callable[[str], Any]) -> None:
    """A softmax over nothing but minus infinity is not a number before torch 2.7."""
    pipe = pipes(name)
    more = NEGATIVE.get(name, {})
    with watching(pipe) as plain:
        draw(pipe, name, PROMPTS[0], (0,), num_inference_steps=1, **more)
    with unbleed.guide(pipe, MASKED, regions=SIDES), watching(pipe) as calls:
        draw(pipe, name, PROMPTS[0], (0,), num_inference_steps=1, **more)
    assert [call.name for call in calls] == [call.name for call in plain]
    half = len(calls) // 2 if name in APART else 0  # two calls a step: the prompt's, then the negative one's
    masked = 0
    for at, (call, before) in enumerate(zip(calls, plain, strict=True)):
        if call.mask is not None:
            open_keys = call.mask if call.mask.dtype == torch.bool else call.mask > -torch.inf
            assert open_keys.any(dim=-1).all()
            masked += int((~open_keys).any())
        negative = slice(0, 1) if not half else slice(0, 1 if at >= half else 0)
        if name == "z-image":  # prompts first
            negative = slice(1, 2)
        elif name == "flux2":  # no negative prompts
            negative = slice(0, 0)
        torch.testing.assert_close(call.shares[negative], before.shares[negative], atol=1e-5, rtol=1e-3)
        if masked == 1:
            row = 0 if name == "z-image" else -1
            assert (call.shares[row] - before.shares[row]).abs().max() > 1e-3
    assert masked >= len(calls) - half


@every_family
def test_regions_that_are_everywhere_change_no_bit(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    with unbleed.guide(pipe, MASKED, regions=dict.fromkeys(SIDES)) as run:
        guided = draw(pipe, name, PROMPTS[0], (0,), num_inference_steps=2)
    assert torch.equal(guided, draw(pipe, name, PROMPTS[0], (0,), num_inference_steps=2))
    assert not run.regions


@every_family
def test_a_batch_with_regions_equals_its_singles(name: str, pipes: Callable[[str], Any]) -> None:
    """Some regions given, others found; masks, phrases encoded apart and the pull; a prompt of two images and one of three."""
    pipe, method = pipes(name), unbleed.methods.Regions(step_size=2.0, pull_stop=1.0, settle=0.6, candidates=2)
    given: list[dict[str, Any]] = [{"red cat": "left"}, {}]
    with unbleed.guide(pipe, method, regions=given) as run:
        both = draw(pipe, name, batch(name))
    singles = []
    for seed, prompt in enumerate(batch(name)):
        with unbleed.guide(pipe, method, regions=given[seed]) as alone:
            singles.append(draw(pipe, name, prompt, (seed,)))
        ours = [record.masks for record in run.regions if record.image == seed]
        assert ours
        for one, other in zip(ours, alone.regions, strict=True):  # the grid is finer where regions are given
            assert torch.equal(one, resize(other.masks, (one.shape[-2], one.shape[-1])) > 0.5)
    torch.testing.assert_close(both, torch.cat(singles), atol=2e-3, rtol=1e-3)


@every_family
def test_images_of_one_prompt_have_regions_of_their_own(name: str, pipes: Callable[[str], Any]) -> None:
    pipe, method = pipes(name), unbleed.methods.Regions(step_size=0, candidates=1, settle=None)
    with unbleed.guide(pipe, method) as run:
        pair = draw(pipe, name, PROMPTS[0], (0, 1), num_images_per_prompt=2, num_inference_steps=2)
        singles = [draw(pipe, name, PROMPTS[0], (seed,), num_inference_steps=2) for seed in (0, 1)]
    torch.testing.assert_close(pair, torch.cat(singles), atol=2e-4, rtol=1e-3)
    assert [(record.call, record.image) for record in run.regions] == [(0, 0), (0, 1), (1, 0), (2, 0)]


@every_family
def test_detached_is_bit_identical_also_after_an_exception(name: str, pipes: Callable[[str], Any]) -> None:
    pipe, method = pipes(name), unbleed.methods.Regions(step_size=2.0, pull_stop=1.0, candidates=1)
    plain = draw(pipe, name, PROMPTS, num_inference_steps=2)
    with unbleed.guide(pipe, method) as run:
        guided = draw(pipe, name, PROMPTS, num_inference_steps=2)
    assert guided.isfinite().all()
    assert all((guided[i] - plain[i]).abs().max() > 1e-4 for i in range(2))
    assert {step.step for step in run.steps} == {0, 1}
    assert torch.equal(draw(pipe, name, PROMPTS, num_inference_steps=2), plain)

    def fail(*_: Any) -> None:
        raise RuntimeError("in the middle")

    denoiser = denoiser_of(pipe)
    last = list(family_of(denoiser).text_modules(denoiser))[-1]
    handle = denoiser.get_submodule(last).register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"), unbleed.guide(pipe, method, regions=[SIDES, {}]):
        draw(pipe, name, PROMPTS)
    handle.remove()
    assert torch.equal(draw(pipe, name, PROMPTS, num_inference_steps=2), plain)


def read_by(pipe: Any, name: str, prompt: str, method: Any, **options: Any) -> tuple[list[Tensor], dict[str, list[int]]]:
    """Return the text embeddings of each call of the denoiser in one step, and the tokens of each entity."""
    read: list[Tensor] = []
    family = family_of(denoiser_of(pipe))

    def keep(_: Any, args: Any, kwargs: Any) -> None:
        read.append(as_tensor(arguments_of(args, kwargs, family)[family.text]))

    with unbleed.guide(pipe, method, **options) as run:
        handle = denoiser_of(pipe).register_forward_pre_hook(keep, with_kwargs=True)  # after the guidance's own
        draw(pipe, name, prompt, (0,), num_inference_steps=1, **NEGATIVE.get(name, {}))
        handle.remove()
    return read, tokens_of(run)


@every_family
def test_words_of_entities_are_mixed_with_their_phrase_alone(name: str, pipes: Callable[[str], Any]) -> None:
    pipe, share, row = pipes(name), 0.25, 0 if name == "z-image" else -1
    whole, words = read_by(pipe, name, PROMPTS[0], "none")
    mixed, _ = read_by(pipe, name, PROMPTS[0], unbleed.methods.Regions(step_size=0, candidates=1, apart=share, wait=1.0))
    expected = whole[0].clone()
    for entity, own in words.items():
        alone, there = read_by(pipe, name, f"a {entity}", "none")
        assert len(own) == len(there[entity]) == (4 if name == "sd3" else 2)
        expected[row, own] = (1 - share) * whole[0][row, own] + share * alone[0][row, there[entity]]
    torch.testing.assert_close(mixed[0], expected, atol=1e-6, rtol=1e-5)
    assert (mixed[0] - whole[0]).abs().max() > 1e-4
    assert all(torch.equal(a, b) for a, b in zip(mixed[1:], whole[1:], strict=True))  # a negative prompt is left alone


@pytest.mark.parametrize("name", ["flux", "qwen"])
def test_what_a_user_names_is_not_looked_for_in_a_negative_prompt(name: str, pipes: Callable[[str], Any]) -> None:
    pipe, more = pipes(name), {"negative_prompt": "a bird", "true_cfg_scale": 2.0, "num_inference_steps": 2}
    with unbleed.guide(pipe, MASKED, entities="cat; bench", regions={"cat": "left"}) as run:
        draw(pipe, name, PROMPTS[0], (0,), **more)
    assert [[str(entity) for entity in own] for own in run.entities] == [["cat", "bench"]]
    message = '"bird" is not a word of the prompt "a red cat and a blue bench"'
    with pytest.raises(unbleed.PromptError, match=message), unbleed.guide(pipe, MASKED, regions={"bird": "left"}):
        draw(pipe, name, PROMPTS[0], (0,), **more)
