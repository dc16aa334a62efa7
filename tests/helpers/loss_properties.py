"""What holds of every pure loss, a function of (maps, groups) with one value per image, and slow helpers of their tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from helpers.loss_cases import LENGTH, SHAPES, maps_of, tokens_of
from helpers.slow_maps import slow_smooth
from unbleed.losses import TokenGroups
from unbleed.losses.base import FunctionLoss
from unbleed.losses.groups import group_tokens
from unbleed.prompt import PromptTokens

Function = Callable[[Tensor, TokenGroups], Tensor]
Slow = Callable[[Tensor, PromptTokens], Tensor]  # of one image with maps (token, height, width)


def value_and_gradient(loss: Function, maps: Tensor, *tokens: PromptTokens) -> tuple[Tensor, Tensor]:
    """The value and gradient of a loss called directly, as `Loss.__call__` does for maps of any precision."""
    maps = maps.clone().requires_grad_()
    value = FunctionLoss(loss)(maps, group_tokens(tokens))
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    return value.detach(), gradient


def slow_word(maps: Tensor, pieces: Sequence[int]) -> Tensor:
    """The sum of the maps of a word's pieces, for maps (token, height, width) of one image."""
    word = torch.zeros_like(maps[0])
    for piece in pieces:
        word = word + maps[piece]
    return word


def slow_probability(maps: Tensor, tokens: PromptTokens, pieces: Sequence[int], *, smoothed: bool) -> Tensor:
    """Z of Attend-and-Excite for one word of an image with maps (token, height, width), smoothed on request."""
    kept = range(1, LENGTH - 1) if tokens.padded_with_end else range(1, tokens.end)
    total = torch.zeros_like(maps[0])
    word = torch.zeros_like(maps[0])
    for token in kept:
        power = torch.exp(100 * maps[token])
        total = total + power
        if token in pieces:
            word = word + power
    return slow_smooth(word / total) if smoothed else word / total


def check_formula(loss: Function, slow: Slow, maps: Tensor, *prompts: PromptTokens) -> None:
    """The loss and its gradient are those of the slow transcription, image for image."""
    value, gradient = value_and_gradient(loss, maps, *prompts)
    source = maps.clone().requires_grad_()
    expected = [slow(source[image], tokens) for image, tokens in enumerate(prompts)]
    (slope,) = torch.autograd.grad(torch.stack(expected).sum() + 0 * source.sum(), source)
    torch.testing.assert_close(value, torch.stack(expected).detach(), atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(gradient, slope, atol=1e-9, rtol=1e-6)


def check_batch(loss: Function) -> None:
    """Images do not touch each other."""
    names = ["four", "pieces", "noun", "two-uneven"]
    prompts = [tokens_of(SHAPES[name], padded_with_end=name != "pieces") for name in names]
    maps = maps_of(images=len(prompts), grid=(6, 9))
    value, gradient = value_and_gradient(loss, maps, *prompts)
    for image, tokens in enumerate(prompts):
        alone, slope = value_and_gradient(loss, maps[image : image + 1], tokens)
        torch.testing.assert_close(value[image], alone[0])
        torch.testing.assert_close(gradient[image], slope[0])


def check_order(loss: Function) -> None:
    """Neither the order of entities, nor that of modifiers, nor that of images changes anything."""
    tokens, maps = tokens_of(SHAPES["four"]), maps_of(grid=(6, 9))
    value, gradient = value_and_gradient(loss, maps, tokens)
    for shift in range(1, 4):
        turned = (*tokens.entities[shift:], *tokens.entities[:shift])
        turned = tuple((noun, modifiers[::-1]) for noun, modifiers in turned)
        again, slope = value_and_gradient(loss, maps, replace(tokens, entities=turned))
        torch.testing.assert_close(again, value)
        torch.testing.assert_close(slope, gradient)
    prompts, maps = [tokens_of(SHAPES[name]) for name in ("four", "two", "three")], maps_of(images=3, grid=(6, 9))
    value, gradient = value_and_gradient(loss, maps, *prompts)
    again, slope = value_and_gradient(loss, maps[[2, 0, 1]], prompts[2], prompts[0], prompts[1])
    torch.testing.assert_close(again, value[[2, 0, 1]])
    torch.testing.assert_close(slope, gradient[[2, 0, 1]])


def check_nothing(loss: Function, *names: str) -> None:
    """Prompts that the loss is not about, which are named, and the empty one have no value and no gradient."""
    empty = [tokens_of(()), tokens_of((), padded_with_end=False), *(tokens_of(SHAPES[name]) for name in names)]
    for nothing in empty:
        value, gradient = value_and_gradient(loss, maps_of(grid=(6, 9)), nothing)
        assert value.tolist() == [0]
        assert not gradient.any()
        value, gradient = value_and_gradient(loss, maps_of(images=2, grid=(6, 9)), nothing, tokens_of(SHAPES["four"]))
        assert value[0] == 0
        assert not gradient[0].any()
        assert value[1] != 0
        assert gradient[1].any()


def extreme_maps(dtype: torch.dtype) -> dict[str, Tensor]:
    """Maps (2, token, 6, 9) at which a careless loss is not finite."""
    hot = torch.zeros(2, LENGTH, 6, 9)
    hot[:, :, 2, 3] = 1 / LENGTH
    one_hot = torch.zeros(2, LENGTH, 6, 9)
    one_hot[:, 3, 4, 5] = 1
    cells = torch.arange(54.0).reshape(6, 9)
    apart = torch.zeros(2, LENGTH, 6, 9)
    for token in range(LENGTH):
        apart[:, token, token % 6, token % 9] = 1
    maps = {
        "zero": torch.zeros(2, LENGTH, 6, 9),
        "even": torch.full((2, LENGTH, 6, 9), 1 / LENGTH),
        "identical": (cells / cells.sum()).expand(2, LENGTH, 6, 9),
        "hot": hot,
        "one-hot": one_hot,
        "apart": apart,
    }
    return {name: values.to(dtype) for name, values in maps.items()}


def check_extremes(loss: Function, dtype: torch.dtype, *, steep: bool = False) -> None:
    """Value and gradient are finite and of the maps' precision, whatever the maps.

    A `steep` loss divides a word's map by its own size: where a word is nothing beside another that is something, its
    slope is larger than half precision can say, and that case is left out.
    """
    for name, maps in extreme_maps(dtype).items():
        if steep and dtype == torch.float16 and name in ("one-hot", "apart"):
            continue
        for pair in (("four", "two"), ("noun", "pieces")):
            prompts = [tokens_of(SHAPES[pair[0]]), tokens_of(SHAPES[pair[1]], padded_with_end=False)]
            value, gradient = value_and_gradient(loss, maps, *prompts)
            assert value.dtype == gradient.dtype == dtype
            assert value.shape == (2,)
            assert value.isfinite().all(), (name, pair)
            assert gradient.isfinite().all(), (name, pair)


def check_half(loss: Function) -> None:
    """Maps in half precision give nearly the value of exact ones."""
    tokens, maps = [tokens_of(SHAPES["four"]), tokens_of(SHAPES["two"])], maps_of(images=2, seed=3)
    exact, _ = value_and_gradient(loss, maps, *tokens)
    for dtype, tolerance in ((torch.float16, 0.02), (torch.bfloat16, 0.1)):
        value, gradient = value_and_gradient(loss, maps.to(dtype), *tokens)
        assert value.dtype == gradient.dtype == dtype
        assert gradient.isfinite().all()
        torch.testing.assert_close(value.double(), exact, atol=tolerance, rtol=tolerance)


def check_descent(loss: Function, concerned: Sequence[str]) -> None:
    """A small step along the negative gradient lowers the loss, for the shapes that it is about and those alone."""
    for name, shape in SHAPES.items():
        tokens, maps = tokens_of(shape), maps_of(seed=2)
        value, gradient = value_and_gradient(loss, maps, tokens)
        assert bool(gradient.any()) == (name in concerned), name
        if gradient.any():
            step = 1e-3 * maps.min() / gradient.abs().max()  # keeps the maps positive, and the arg-max in place
            after = loss(maps - step * gradient, group_tokens([tokens]))
            assert (after < value).all(), name
