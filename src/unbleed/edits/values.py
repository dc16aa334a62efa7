"""StructureDiffusion: the values, or the keys, of the text attention come from noun phrases that were encoded apart.

Feng et al., ICLR 2023, arXiv 2212.05032, section 3.2. W_0 is the prompt's embedding; W_j that of noun phrase j alone, laid
over W_0 at the phrase's own positions (start, end and padding stay W_0's). With n the number of phrases and the prompt,

    values     softmax(Q K_0) V       V from the mean of W_0 .. W_(n-1), which is the mean of their values
    keys       mean over j of softmax(Q K_j) V       V from W_0 with all phrases laid over it

in every layer that attends to text, at every step, in the text-conditioned rows. Later phrases lie over earlier ones: the
longer one comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ModelError
from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..settings import setting
from .attention_override import AttentionCall, overriding

Phrase = tuple[list[int], Tensor]
"""Where a phrase stands in the prompt's sequence, and its own embedding there, (position, channel)."""


def aligned(embedding: Tensor, phrases: Sequence[Phrase]) -> list[Tensor]:
    """Return W_1 .. W_(n-1), each (token, channel): the prompt's `embedding` with one phrase laid over it."""
    return [overlaid(embedding, [phrase]) for phrase in phrases]


def overlaid(embedding: Tensor, phrases: Sequence[Phrase]) -> Tensor:
    """Return the prompt's `embedding`, (token, channel), with all `phrases` laid over it, one after another."""
    laid = embedding.clone()
    for positions, own in phrases:
        laid[positions] = own.to(laid)
    return laid


@dataclass(frozen=True)
class PhraseEdit(Edit):
    """Take the values, or the keys, of the text attention from noun phrases encoded apart.

    Feng et al., ICLR 2023, arXiv 2212.05032, section 3.2.

    >>> from unbleed.edits import PhraseEdit
    >>> PhraseEdit(mode="keys").replaces_attention
    True
    """

    mode: Literal["values", "keys"] = setting("values", help="whether the phrases change the values or the keys")
    needs = 'a phrase of several words that is not the whole prompt, as in "a cat and a dog"'

    @property
    def replaces_attention(self) -> bool:
        return self.mode == "keys"

    def open(self, context: CallContext) -> ActiveEdit:
        modules = {name: module for name, module in context.denoiser.named_modules() if name.endswith("attn2")}
        # the processor tells: after unfusing, diffusers leaves the mark of it on the module
        if any(type(module.processor).__name__.startswith("Fused") for module in modules.values()):
            raise ModelError("keys and values are projected as one, so they cannot differ; call pipe.unfuse_qkv_projections()")
        texts = sorted({text for tokens in context.tokens for text, _ in tokens.phrases})
        encoded = dict(zip(texts, context.encode(texts), strict=True)) if texts else {}
        phrases = [
            [(list(places), encoded[text][1 : len(places) + 1]) for text, places in tokens.phrases] for tokens in context.tokens
        ]
        return _Phrases(modules, phrases, self.mode)


class _Phrases(ActiveEdit):
    def __init__(self, modules: dict[str, nn.Module], phrases: list[list[Phrase]], mode: str) -> None:
        self.modules, self.phrases, self.mode = modules, phrases, mode

    def applies_to(self, image: int) -> bool:
        return bool(self.phrases[image])

    @contextmanager
    def around(self, rows: BatchRows) -> Iterator[None]:
        wanted = {rows.first + at: self.phrases[image] for at, image in enumerate(rows.images) if self.phrases[image]}
        with ExitStack() as stack:
            for module in self.modules.values():
                to_v: Any = module.to_v
                stack.callback(to_v.register_forward_pre_hook(self._values_of(wanted)).remove)
            if self.mode == "keys":
                stack.enter_context(overriding(self.modules, lambda _, call, own: _many_keys(call, own(), wanted)))
            yield

    def _values_of(self, wanted: dict[int, list[Phrase]]) -> Callable[..., tuple[Tensor, ...]]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            embeddings = args[0].clone()
            for row, phrases in wanted.items():
                if self.mode == "keys":
                    embeddings[row] = overlaid(embeddings[row], phrases)
                else:
                    embeddings[row] = torch.stack([embeddings[row], *aligned(embeddings[row], phrases)]).mean(dim=0)
            return (embeddings, *args[1:])

        return hook


def _many_keys(call: AttentionCall, own: Tensor, wanted: dict[int, list[Phrase]]) -> Tensor:
    """Return what attention gives, `own`, but for the rows `wanted`: there the mean over several keys."""
    module: Any = call.module
    assert call.text is not None
    out = own.clone()
    for row, phrases in wanted.items():
        others = module.to_k(torch.stack(aligned(call.text[row], phrases)))  # (phrase, token, head * channel)
        others = others.unflatten(-1, (call.key.shape[1], -1)).transpose(1, 2)  # (phrase, head, token, channel)
        if getattr(module, "norm_k", None) is not None:
            others = module.norm_k(others)
        keys = torch.cat([call.key[row : row + 1], others])
        query, value = (x[row].expand(len(keys), -1, -1, -1) for x in (call.query, call.value))
        out[row] = F.scaled_dot_product_attention(query, keys, value, scale=call.scale).mean(dim=0)
    return out
