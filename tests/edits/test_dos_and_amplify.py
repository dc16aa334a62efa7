"""DOS and amplified text against slow transcriptions of their formulas, on tiny random models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import unbleed
from helpers.families import draw
from unbleed.attention.families import denoiser_of
from unbleed.edits import separation
from unbleed.edits.separation import ADJECTIVES, CENTERS, SCENES, Centers, shifts, strength_of
from unbleed.errors import MethodError, ModelError
from unbleed.methods import Amplify, Dos

PROMPT = "a red cat and a dog"


def slow_alike(a: list[float], b: list[float]) -> float:
    """The cosine of two standardised profiles, one number after another."""

    def standardised(values: list[float]) -> list[float]:
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
        return [(value - mean) / deviation for value in values]

    a, b = standardised(a), standardised(b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_strength(looks: list[list[float]], scenes: list[list[float]], n: int, m: int, centers: Centers) -> float:
    v, b = slow_alike(looks[n], looks[m]), 1 - slow_alike(scenes[n], scenes[m])
    high = max(1 / (1 + math.exp(-(v - centers.looks) / 0.6)), 1 / (1 + math.exp(-(b - centers.scenes) / 0.6)))
    return high / (len(looks) - 1)


def test_how_far_objects_move_is_the_formula() -> None:
    random = torch.Generator().manual_seed(0)
    looks, scenes = (torch.rand(3, count, generator=random, dtype=torch.float64) for count in (42, 36))
    centers = CENTERS["sd"]["object"]
    found = strength_of(looks, scenes, centers, 3)
    for n in range(3):
        for m in range(3):
            if n != m:
                expected = slow_strength(looks.tolist(), scenes.tolist(), n, m, centers)
                assert float(found[n, m]) == pytest.approx(expected, rel=1e-9)
    own = torch.rand(3, 5, generator=random, dtype=torch.float64)
    for n in range(3):
        moved = sum((found[n, m] * (own[n] - own[m]) for m in range(3) if m != n), torch.zeros(5, dtype=torch.float64))
        torch.testing.assert_close(shifts(own, found)[n], moved)


def test_the_words_are_as_many_as_the_authors() -> None:
    assert (len(set(ADJECTIVES)), len(set(SCENES))) == (42, 36)


def test_profiles_that_say_nothing_move_by_the_centers_alone() -> None:
    even = torch.ones(2, 42)
    found = strength_of(even, even[:, :36], Centers(0.0, 1.0), 2)
    assert found.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def edited(pipe: Any, name: str, method: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, unbleed.Run]:
    """Return the text embeddings of all rows that the denoiser's forward gets, without and with a method."""
    seen: list[Tensor] = []
    denoiser = denoiser_of(pipe)

    def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["encoder_hidden_states"].clone())

    for guided in (None, method):
        run = unbleed.attach(pipe, guided) if guided else None
        handle = denoiser.register_forward_pre_hook(keep, with_kwargs=True)  # after the guidance's own
        draw(pipe, name, PROMPT, seeds=(0,), num_inference_steps=1)
        handle.remove()
        if guided:
            unbleed.detach(pipe)
    assert run is not None
    return seen[0], seen[-1], run


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_objects_and_the_end_of_the_text_move_and_nothing_else(
    pipes: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pipe = pipes(name)
    before, after, run = edited(pipe, name, Dos(), monkeypatch)
    tokens = run.tokens[0]
    length = pipe.tokenizer.model_max_length
    nouns = [p for noun, _ in tokens.entities for p in noun if p < length]
    moved = (after - before).abs().amax(dim=-1) > 1e-6  # (row, token)
    assert not moved[0].any()  # the unconditional row
    assert moved[1].nonzero().flatten().tolist() == [*nouns, tokens.end]
    cat, dog = (noun[0] for noun, _ in tokens.entities)
    shift = (after - before)[1]
    torch.testing.assert_close(shift[cat], -shift[dog], atol=1e-5, rtol=1e-4)  # of two objects, each by the same


@pytest.mark.filterwarnings("ignore:.*runs unguided:unbleed.UnbleedWarning")
def test_a_prompt_of_one_object_is_left_alone(pipes: Callable[[str], Any]) -> None:
    pipe = pipes("sdxl")
    plain = draw(pipe, "sdxl", "a red cat", seeds=(0,))
    with unbleed.guide(pipe, Dos()):
        assert torch.equal(draw(pipe, "sdxl", "a red cat", seeds=(0,)), plain)


@pytest.mark.parametrize("name", ["sd3", "flux", "flux2", "klein", "chroma", "qwen", "hunyuan"])
def test_the_text_enters_the_block_multiplied(pipes: Callable[[str], Any], name: str) -> None:
    pipe, seen = pipes(name), []
    denoiser: Any = denoiser_of(pipe)
    last = len(denoiser.transformer_blocks) - 1
    # the first thing in a block that sees the text
    inside = denoiser.get_submodule(f"transformer_blocks.{last}.{'txt_norm1' if name == 'qwen' else 'norm1_context'}")

    def entering(method: Any) -> Tensor:
        seen.clear()
        handle = inside.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
        with unbleed.guide(pipe, method):
            draw(pipe, name, PROMPT, seeds=(0,), num_inference_steps=1)
        handle.remove()
        return seen[0]

    plain, doubled = entering("none"), entering(Amplify(first_block=last, blocks=1, factor=2.0))
    *others, conditional = range(len(plain)) if len(plain) == 2 else [0]  # negatives in calls of their own come after
    torch.testing.assert_close(doubled[conditional], 2 * plain[conditional])
    for row in others:
        torch.testing.assert_close(doubled[row], plain[row])


def test_where_amplify_does_not_apply_it_says_so(pipes: Callable[[str], Any]) -> None:
    for name in ("sdxl", "z-image", "krea", "lumina2", "qwen21"):
        with pytest.raises(ModelError, match=r"^amplify edits layers that an? \w+ does not have.*sd3, flux, flux2, chroma"):
            unbleed.guide(pipes(name), Amplify()).__enter__()
    far = pytest.raises(MethodError, match=r"^amplify is to act on blocks 3 to 4, but this model has 4 joint blocks")
    with far, unbleed.guide(pipes("sd3"), Amplify(first_block=3, blocks=2)):
        draw(pipes("sd3"), "sd3", PROMPT, seeds=(0,))


def test_texts_are_encoded_once(pipes: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    own = separation._Encoded._of

    def counted(self: Any, texts: Any) -> Any:
        asked.extend(text for text in dict.fromkeys(texts) if text not in self.rows)
        return own(self, texts)

    monkeypatch.setattr(separation._Encoded, "_of", counted)
    with unbleed.guide(pipes("sdxl"), Dos()):
        draw(pipes("sdxl"), "sdxl", PROMPT, seeds=(0,), num_inference_steps=1)
    assert len(asked) == len(set(asked)) == 2 * (1 + 42 + 36) + 2 * 2
