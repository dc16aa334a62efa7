"""StructureDiffusion: the values, or the keys, of the text attention come from noun phrases that were encoded apart.

Feng et al., ICLR 2023, arXiv 2212.05032, section 3.2. W_0 is the prompt's embedding; W_j that of noun phrase j alone, laid
over W_0 at the phrase's own places (start, end and padding stay W_0's). With n the number of phrases and the prompt,

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
from torch.overrides import TorchFunctionMode

from ..attention.probe import native_processors
from ..errors import ModelError
from ..guidance.edit import Edit, Opened, Rows, Scene

Phrase = tuple[list[int], Tensor]
"""Where a phrase stands in the prompt's sequence, and its own embedding there, (position, channel)."""


def aligned(embedding: Tensor, phrases: Sequence[Phrase]) -> list[Tensor]:
    """Return W_1 .. W_(n-1), each (token, channel): the prompt's `embedding` with one phrase laid over it."""
    return [overlaid(embedding, [phrase]) for phrase in phrases]


def overlaid(embedding: Tensor, phrases: Sequence[Phrase]) -> Tensor:
    """Return the prompt's `embedding`, (token, channel), with all `phrases` laid over it, one after another."""
    laid = embedding.clone()
    for places, own in phrases:
        laid[places] = own.to(laid)
    return laid


@dataclass(frozen=True)
class PhraseEdit(Edit):
    """See the module."""

    mode: Literal["values", "keys"] = "values"

    def open(self, scene: Scene) -> Opened:
        modules = {name: module for name, module in scene.denoiser.named_modules() if name.endswith("attn2")}
        if any(getattr(module, "fused_projections", False) for module in modules.values()):
            raise ModelError("keys and values are projected as one, so they cannot differ; call pipe.unfuse_qkv_projections()")
        texts = sorted({text for tokens in scene.tokens for text, _ in tokens.phrases})
        encoded = dict(zip(texts, scene.encode(texts), strict=True)) if texts else {}
        phrases = [
            [(list(places), encoded[text][1 : len(places) + 1]) for text, places in tokens.phrases] for tokens in scene.tokens
        ]
        return _Phrases(list(modules.values()), phrases, self.mode)


class _Phrases(Opened):
    def __init__(self, modules: list[nn.Module], phrases: list[list[Phrase]], mode: str) -> None:
        self.modules, self.phrases, self.mode = modules, phrases, mode

    @contextmanager
    def around(self, rows: Rows) -> Iterator[None]:
        wanted = {rows.first + at: self.phrases[image] for at, image in enumerate(rows.images) if self.phrases[image]}
        with ExitStack() as stack:
            for module in self.modules:
                to_v: Any = module.to_v
                stack.callback(to_v.register_forward_pre_hook(self._values_of(wanted)).remove)
            if self.mode == "keys":
                stack.enter_context(native_processors(self.modules))
                mode = _ManyKeys(wanted)
                for module in self.modules:
                    stack.callback(module.register_forward_pre_hook(mode.entering, with_kwargs=True).remove)
                    stack.callback(module.register_forward_hook(mode.leaving, always_call=True).remove)
                stack.enter_context(mode)
            yield

    def _values_of(self, wanted: dict[int, list[Phrase]]) -> Callable[..., tuple[Tensor]]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            embeddings = args[0].clone()
            for row, phrases in wanted.items():
                if self.mode == "keys":
                    embeddings[row] = overlaid(embeddings[row], phrases)
                else:
                    embeddings[row] = torch.stack([embeddings[row], *aligned(embeddings[row], phrases)]).mean(dim=0)
            return (embeddings,)

        return hook


class _ManyKeys(TorchFunctionMode):
    """Answers the text attention of some rows with the mean over several keys."""

    def __init__(self, wanted: dict[int, list[Phrase]]) -> None:
        super().__init__()
        self.wanted = wanted
        self.module: Any = None
        self.text: Tensor | None = None

    def entering(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.module = module
        self.text = kwargs["encoder_hidden_states"] if "encoder_hidden_states" in kwargs else args[1]

    def leaving(self, *_: Any) -> None:
        self.module = self.text = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or self.module is None or self.text is None:
            return func(*args, **kwargs)
        module, text = self.module, self.text
        self.module = None  # the first call of a module is the one on the text
        out = func(*args, **kwargs).clone()
        query, key, value = args[:3] if len(args) >= 3 else (kwargs["query"], kwargs["key"], kwargs["value"])
        for row, phrases in self.wanted.items():
            others = module.to_k(torch.stack(aligned(text[row], phrases)))  # (phrase, token, head * channel)
            others = others.unflatten(-1, (key.shape[1], -1)).transpose(1, 2)  # (phrase, head, token, channel)
            if getattr(module, "norm_k", None) is not None:
                others = module.norm_k(others)
            keys = torch.cat([key[row : row + 1], others])
            count = len(keys)
            answers = F.scaled_dot_product_attention(
                query[row].expand(count, -1, -1, -1), keys, value[row].expand(count, -1, -1, -1), scale=kwargs.get("scale")
            )
            out[row] = answers.mean(dim=0)
        return out
