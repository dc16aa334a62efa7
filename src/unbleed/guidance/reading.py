"""What one call of the pipeline says: its prompts, their entities and where these stand in the text encoder's tokens.

Every pipeline of diffusers hands its prompts to `encode_prompt` first. A wrapper around it sees them as they are.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..attention import Family
from ..errors import PromptError, UnbleedWarning
from ..losses.groups import TokenGroups, group_tokens
from ..prompt import Parsed, PromptTokens, locate, parse, parse_all
from .instance import replace_attribute

Entities = str | Sequence[str | None] | None
Read = Callable[[Sequence[str]], list[Parsed]]
Encode = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class Reading:
    """The prompts of one call, as written out for the tokenizer, and what was found in them."""

    prompts: list[str]
    parsed: list[Parsed]  # per prompt
    tokens: list[PromptTokens]  # per prompt
    images_per_prompt: int
    groups: TokenGroups  # per image
    encode: Encode  # other texts, as the pipeline was told to encode its prompts

    def per_image(self, values: Sequence[Any]) -> list[Any]:
        return [value for value in values for _ in range(self.images_per_prompt)]


def watched(
    pipe: Any,
    encode_prompt: Callable[..., Any],
    family: Family,
    read: Read,
    prompts: Sequence[str] | None,
    begin: Callable[[Reading, Tensor], None],
) -> Callable[..., Any]:
    """Return `encode_prompt` with `begin` called behind it with what it encoded, and the embeddings."""
    signature = inspect.signature(encode_prompt)

    @functools.wraps(encode_prompt)
    def watching(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)

        def encode(texts: Sequence[str]) -> Tensor:
            """Encode other texts, with learnt words written out, as the pipeline was told to encode its prompts."""
            alone = {"prompt": list(texts), "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
            named = [p.name for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
            others = ("prompt_", "negative_")  # embeddings, and what a second encoder is to read
            without = dict.fromkeys(name for name in named if "embeds" in name or name.startswith(others))
            chosen = {**bound.arguments, **without, **alone}
            with torch.no_grad(), ExitStack() as undo:
                replace_attribute(undo, pipe, "maybe_convert_prompt", lambda text, _: text)
                return encode_prompt(**{name: chosen[name] for name in named if name in chosen})[0]

        bound.apply_defaults()
        reading = read_call(pipe, family, bound.arguments, prompts, read, encode)
        encoded = encode_prompt(*args, **kwargs)
        begin(reading, encoded[0])
        return encoded

    return watching


def read_call(
    pipe: Any, family: Family, given: Mapping[str, Any], prompts: Sequence[str] | None, read: Read, encode: Encode
) -> Reading:
    """Return what a call of the pipeline says, by the arguments `given` to `encode_prompt`, or the user's own `prompts`."""
    said = next((given[name] for name in family.texts if given.get(name) is not None), None)
    prompt, embeddings = prompts if said is None else said, given.get("prompt_embeds")
    images_per_prompt = given.get("num_images_per_prompt") or 1
    if prompt is None:
        raise PromptError("the pipeline was called with embeddings, which hold no words; say guide(..., prompts=[...]) too")
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if embeddings is not None and len(embeddings) != len(prompts):
        raise PromptError(f"the pipeline was called with {len(embeddings)} embeddings, but guide with {len(prompts)} prompts")
    # the pipeline writes a learnt word of several vectors (textual inversion) out before it reads the prompt
    convert = getattr(pipe, "maybe_convert_prompt", lambda text, _: text)
    encoders = family.encoders(pipe, given)
    written = [convert(p, encoders[0].tokenizer) for p in prompts]
    parsed = read(written)
    located = [locate(p, *encoders) for p in parsed]
    with torch.inference_mode(False):  # these take part in gradients
        groups = group_tokens([tokens for tokens in located for _ in range(images_per_prompt)])
    return Reading(prompts, parsed, located, images_per_prompt, groups, encode)


def parse_for(prompts: Sequence[str], *, entities: Entities, parser: Any) -> list[Parsed]:
    """Return what prompts name: by the parser, or what the user named for all of them or for each."""
    if entities is None:
        return parse_all(prompts, parser=parser)
    named = [entities] * len(prompts) if isinstance(entities, str) else list(entities)
    if len(named) != len(prompts):
        raise PromptError(f"entities were named for {len(named)} prompts, but the pipeline was called with {len(prompts)}")
    return [parse(prompt, one, parser=parser) for prompt, one in zip(prompts, named, strict=True)]


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f'"{name}"' for name in names[:most]) + more


def warn_about(parsed: Parsed, tokens: PromptTokens, method: str, concerned: bool) -> None:
    """Say what of a prompt is not guided: entities that the text encoder does not read, or all of it."""
    if tokens.dropped or tokens.cut:
        lost = [*map(str, tokens.dropped), *(span.text for span in tokens.cut)]
        warnings.warn(
            f"beyond the {len(tokens.pieces)} tokens that the text encoder reads, and not guided: {_listed(lost)}; shorten the "
            "prompt",
            UnbleedWarning,
            stacklevel=2,
        )
    if not concerned:
        found = _listed([str(entity) for entity in tokens.kept]) or "no entities"
        advice = 'entities="red cat; blue bench" names them by hand'
        if tokens.kept:
            advice = 'this method needs two entities, modifiers as in "red cat" (or include_entities), or phrases as in "a cat"'
        warnings.warn(
            f'"{parsed.prompt}" runs unguided: {method} has nothing to act on in it (found: {found}); {advice}',
            UnbleedWarning,
            stacklevel=2,
        )
