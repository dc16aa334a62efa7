"""The prompts of one pipeline call, their entities, and the positions of these among the text encoder's tokens.

Every pipeline of diffusers passes its prompts to `encode_prompt` first, so a wrapper of that method sees them as they are.
"""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..attention import Family
from ..errors import ModelError, PromptError, UnbleedWarning
from ..losses.groups import TokenGroups, group_tokens
from ..prompt import Encoder, Parsed, PromptTokens, locate, parse_all
from ..prompt.alignment import counterparts
from ..prompt.weights import without_weights
from ..regions.given import Given, assign_all
from .call import as_tensor
from .named import Entities, entities_per_prompt, parse_named

Encode = Callable[[Sequence[str]], Tensor]
ReadPrompts = Callable[[int, int], "CallPrompts"]
"""From the numbers of text tokens and of images that the denoiser gets to the prompts of the call."""


@dataclass(frozen=True)
class CallPrompts:
    """The prompts of one pipeline call and what was found in them."""

    prompts: list[str]
    parsed: list[Parsed]  # per prompt
    tokens: list[PromptTokens]  # per prompt
    images_per_prompt: int
    groups: TokenGroups  # per image
    encode: Encode  # encodes other texts with the options of this call

    def per_image(self, values: Sequence[Any]) -> list[Any]:
        """Return values that are given per prompt, one per image."""
        return [value for value in values for _ in range(self.images_per_prompt)]


@dataclass(frozen=True)
class PromptReader:
    """Reads the prompts of a call, by the arguments `entities`, `parser`, `prompts` and `regions` of `unbleed.guide`."""

    entities: Entities = None
    parser: Any = None
    prompts: Sequence[str] | None = None
    regions: Given = None

    def watched(
        self, pipe: Any, encode_prompt: Callable[..., Any], family: Family, begin: Callable[[ReadPrompts, Tensor], None]
    ) -> Callable[..., Any]:
        """Return `encode_prompt`, which then also calls `begin(read, embeddings)`: `read` returns the prompts it encoded."""
        signature = inspect.signature(encode_prompt)

        @functools.wraps(encode_prompt)
        def watching(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            encode = encoding(pipe, encode_prompt, dict(bound.arguments))
            encoded = encode_prompt(*map(_copied, args), **{name: _copied(value) for name, value in kwargs.items()})
            bound.apply_defaults()
            begin(lambda length, images: self.read(pipe, family, bound.arguments, length, encode, images), encoded[0])
            return encoded

        return watching

    def read(
        self, pipe: Any, family: Family, given: Mapping[str, Any], length: int, encode: Encode, images: int = 1
    ) -> CallPrompts:
        """Return the prompts of a call: those among the arguments `given` to `encode_prompt`, else the user's `prompts`.

        `length` is the number of text tokens that the denoiser gets, and `images` that of the images that it is called for.
        """
        written = next((given[name] for name in family.texts if given.get(name) is not None), None)
        prompt, embeddings = self.prompts if written is None else written, given.get("prompt_embeds")
        if prompt is None:
            raise PromptError("the pipeline was called with embeddings, which hold no words; use guide(..., prompts=[...]) too")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        # Z-Image repeats embeddings itself, after they were encoded
        images_per_prompt = given.get("num_images_per_prompt", images // len(prompts)) or 1
        if embeddings is not None and len(embeddings) != len(prompts):
            raise PromptError(
                f"the pipeline was called with {len(embeddings)} embeddings, but guide with {len(prompts)} prompts"
            )
        if written is None:  # encoded elsewhere, by code that does not clean them
            prompts, given = [without_weights(text) for text in prompts], {**given, "clean_caption": False}
        encoders = family.encoders(pipe, given, length)
        learnt = _learnt(pipe, encoders[0].tokenizer)
        if self.entities is None:
            parsed = parse_all(prompts, parser=self.parser, learnt=learnt)
        else:
            named = entities_per_prompt(self.entities, len(prompts))
            parsed = [
                parse_named(text, own, encoders, parser=self.parser, learnt=learnt)
                for text, own in zip(prompts, named, strict=True)
            ]
        parsed = [one for one, _ in assign_all(parsed, self.regions)]
        _warn_of_other_texts(family, given, prompts)
        located = [locate(one, *self._own_texts(encoders, given, one, row)) for row, one in enumerate(parsed)]
        with torch.inference_mode(False):  # these take part in gradients
            groups = group_tokens([tokens for tokens in located for _ in range(images_per_prompt)])
        return CallPrompts(prompts, parsed, located, images_per_prompt, groups, encode)

    def read_rows(
        self, pipe: Any, family: Family, rows: int, embeddings: Tensor, encode_prompt: Callable[..., Any] | None
    ) -> CallPrompts:
        """Return the user's own `prompts`, for a pipeline that encodes them without `encode_prompt`.

        `rows` is the number of rows in the call of the denoiser, `embeddings` (row, token, channel) the text that it is given.
        """
        assert self.prompts is not None
        count = 1 if isinstance(self.prompts, str) else len(self.prompts)
        doubled = getattr(pipe, "do_classifier_free_guidance", None)
        if doubled is None or family.negatives != "first":  # the pipeline does not say: one image per prompt
            doubled = rows == 2 * count and family.negatives != "apart"
        images, rest = divmod(rows, count * (1 + doubled))
        if rest or not images:
            raise PromptError(
                f"the denoiser was called with {rows} rows, but guide with {count} prompts; name a prompt for each image"
            )
        encode = encoding(pipe, encode_prompt, {"device": embeddings.device})
        return self.read(pipe, family, {"num_images_per_prompt": images}, embeddings.shape[1], encode)

    def _own_texts(self, encoders: Sequence[Encoder], given: Mapping[str, Any], parsed: Parsed, row: int) -> Sequence[Encoder]:
        """Return the encoders, with their own text if they have one; warn of entities that are missing in it."""
        found = []
        for encoder in encoders:
            texts = given.get(encoder.argument)
            text = texts if texts is None or isinstance(texts, str) else texts[row]
            if encoder.argument != "prompt" and text and text != parsed.prompt:
                (own,) = parse_all([text], parser=self.parser, learnt=parsed.learnt)
                spans, _ = counterparts(parsed, own)
                if missing := [str(entity) for entity in parsed.entities if entity.noun_span not in spans]:
                    warnings.warn(
                        f"{encoder.argument} does not have {_listed(missing)}, so it is guided by the tokens of prompt only",
                        UnbleedWarning,
                        stacklevel=2,
                    )
                encoder = replace(encoder, own=own if self.entities is None else _only(own, parsed))
            found.append(encoder)
        return found


def _only(own: Parsed, named: Parsed) -> Parsed:
    """Return a text with those of its entities that the user named."""
    nouns = {entity.noun.lower() for entity in named.entities}
    return replace(own, entities=[entity for entity in own.entities if entity.noun.lower() in nouns])


def encoding(pipe: Any, encode_prompt: Callable[..., Any] | None, given: Mapping[str, Any]) -> Encode:
    """Return a function that encodes other texts with the arguments `given` for the prompts; it expands learnt words."""

    def encode(texts: Sequence[str]) -> Tensor:
        if encode_prompt is None:
            raise ModelError(f"{type(pipe).__name__} has no encode_prompt, so no other texts can be encoded")
        if given.get("image") is not None and len(texts) > 1:  # with pictures a text is encoded alone
            return pad_sequence([one for text in texts for one in encode([text])], batch_first=True)
        alone = {"prompt": list(texts), "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        alone["batch_size"] = len(texts)
        parameters = inspect.signature(encode_prompt).parameters.values()
        named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        others = ("prompt_", "negative_")  # embeddings, and texts of further encoders
        without = dict.fromkeys(name for name in named if "embeds" in name or name.startswith(others))
        chosen = {**given, **without, **alone}
        with torch.no_grad():
            return as_tensor(encode_prompt(**{name: chosen[name] for name in named if name in chosen})[0])

    return encode


def _copied(value: Any) -> Any:
    """Return a list as a new one: Z-Image writes its templates into the list of prompts that it is given."""
    return list(value) if isinstance(value, list) else value


def _learnt(pipe: Any, tokenizer: Any) -> tuple[str, ...]:
    """Return the words of textual inversion that the pipeline expands; those in angle brackets need no list."""
    if not hasattr(pipe, "maybe_convert_prompt"):
        return ()
    added = set(tokenizer.added_tokens_encoder) - set(tokenizer.all_special_tokens)
    return tuple(sorted(name for name in added if name.strip() and re.sub(r"_\d+$", "", name) not in added - {name}))


def _warn_of_other_texts(family: Family, given: Mapping[str, Any], prompts: list[str]) -> None:
    for name in family.beside:
        texts = given.get(name)
        texts = [texts] * len(prompts) if texts is None or isinstance(texts, str) else list(texts)
        if any(text and text != prompt for text, prompt in zip(texts, prompts, strict=False)):
            warnings.warn(
                f"{name} differs from prompt, and its words are at the same positions; guidance follows prompt only",
                UnbleedWarning,
                stacklevel=2,
            )


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f'"{name}"' for name in names[:most]) + more


def warn_about(parsed: Parsed, tokens: PromptTokens, method: str, needs: str | None) -> None:
    """Warn of entities that no encoder reads, and of a prompt without what the method `needs`, if that is not None."""
    if tokens.removed:
        missing = _listed([span.text for span in tokens.removed])
        warnings.warn(
            f"not in the text that the text encoder is given, and not guided: {missing}",
            UnbleedWarning,
            stacklevel=2,
        )
    removed = set(tokens.removed)
    lost = [str(entity) for entity in tokens.dropped if entity.noun_span not in removed]
    lost += [span.text for span in tokens.cut if span not in removed]
    if lost:
        warnings.warn(
            f"beyond the {len(tokens.pieces)} tokens that the text encoder reads, and not guided: {_listed(lost)}; shorten the "
            "prompt",
            UnbleedWarning,
            stacklevel=2,
        )
    if needs:
        found = _listed([str(entity) for entity in tokens.kept]) or "no entities"
        warnings.warn(
            f'"{parsed.prompt}" runs unguided: {method} has nothing to act on in it (found: {found}); it needs {needs}; '
            'entities="red cat; blue bench" names them by hand',
            UnbleedWarning,
            stacklevel=2,
        )
