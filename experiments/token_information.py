"""Which places of the text carry a word: the prompt's embedding at some places, that of the empty prompt at all others.

Guidance moves the attention to a noun's own places. It can bring a thing into the picture as far as these places carry the
noun; in a contextual text encoder later places carry it too. On the embedded model or another with an oracle's nouns, for
prompts of one noun: the share of pictures in which the oracle finds it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
from typing import Any

import torch
from torch import Tensor

import unbleed
from unbleed.attention.families import denoiser_of, family_of
from unbleed.emoji.oracle import Oracle
from unbleed.emoji.sprites import NOUNS
from unbleed.prompt import PromptTokens, locate, parse
from unbleed.sampling import sampling_named
from unbleed.sizes import text_length

GROUPS = ("all", "the noun alone", "all but the noun", "end and padding alone", "none")
BY_ENCODER = ("the noun in the first encoder alone", "the noun in the last encoder alone")


def places(group: str, tokens: PromptTokens, first: int) -> Tensor:
    """Return bool (token,): where the prompt's own embedding is kept. `first` is the number of the first encoder's tokens."""
    kept = torch.zeros(len(tokens.pieces), dtype=torch.bool)
    noun = list(tokens.entities[0][0])
    if group == "the noun alone":
        kept[noun] = True
    elif group in BY_ENCODER:
        kept[[place for place in noun if (place < first) == (group == BY_ENCODER[0])]] = True
    elif group == "end and padding alone":
        kept[1:] = True  # a start token comes before all words and carries none
        kept[list(tokens.own)] = False
    elif group != "none":
        kept[:] = True
        kept[noun] = group == "all"
    return kept


def embedding(pipe: Any, text: str) -> dict[str, Tensor]:
    """Return the arguments of a call that stand for `text`: its tokens, and its pooled vector where the pipeline has one."""
    others = {name: None for name in ("prompt_2", "prompt_3") if name in inspect.signature(pipe.encode_prompt).parameters}
    options = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    tokens, _, *pooled = pipe.encode_prompt(text, **others, **options, **text_length(pipe))
    return {"prompt_embeds": tokens, **({"pooled_prompt_embeds": pooled[0]} if pooled else {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji", help="an embedded model or the folder of a model of the emoji world")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    pipe, oracle, own = unbleed.load(given.model), Oracle.load(), sampling_named(given.model)
    pipe.set_progress_bar_config(disable=True)
    empty = embedding(pipe, "")
    length = empty["prompt_embeds"].shape[1]
    encoders = family_of(denoiser_of(pipe)).encoders(pipe, {}, length)
    groups = GROUPS if len(encoders) == 1 else (*GROUPS, *BY_ENCODER)
    found = dict.fromkeys(groups, 0)
    for noun in NOUNS:
        prompt = f"a {noun}"  # the captions know no other article
        text, tokens = embedding(pipe, prompt), locate(parse(prompt), *encoders)
        for group in groups:
            kept = places(group, tokens, encoders[0].tokens)
            mixed = torch.where(kept[None, :, None], text["prompt_embeds"], empty["prompt_embeds"])
            given_text = {**text, "prompt_embeds": mixed, **{f"negative_{name}": value for name, value in empty.items()}}
            images = pipe(
                **{name: value.repeat(given.seeds, *(1,) * (value.ndim - 1)) for name, value in given_text.items()},
                num_inference_steps=own.steps,
                guidance_scale=own.guidance_scale,
                generator=[torch.Generator().manual_seed(seed) for seed in range(given.seeds)],
            ).images
            found[group] += sum(noun in [thing.noun for thing in finding.things] for finding in oracle.look(images))
    shares = {group: count / (len(NOUNS) * given.seeds) for group, count in found.items()}
    if given.json:
        print(json.dumps(shares, indent=2))
        return
    for group, share in shares.items():
        print(f"{group:36}{share:8.1%}")


if __name__ == "__main__":
    main()
