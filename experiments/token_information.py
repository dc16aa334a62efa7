"""Which places of the text carry a word: the prompt's embedding at some places, that of the empty prompt at all others.

Guidance moves the attention to a noun's own places. It can bring a thing into the picture as far as these places carry the
noun; in a contextual text encoder later places carry it too. On the embedded model or another with an oracle's nouns, for
prompts of one noun: the share of pictures in which the oracle finds it.
"""

from __future__ import annotations

import argparse
import json
import logging

import torch
from torch import Tensor

import unbleed
from unbleed.emoji.oracle import Oracle
from unbleed.emoji.sprites import NOUNS
from unbleed.model_settings import settings_of
from unbleed.prompt import PromptTokens, locate, parse

GROUPS = ("all", "the noun alone", "all but the noun", "end and padding alone", "none")


def places(group: str, tokens: PromptTokens) -> Tensor:
    """Return bool (token,): where the prompt's own embedding is kept."""
    kept = torch.zeros(len(tokens.pieces), dtype=torch.bool)
    noun = list(tokens.entities[0][0])
    if group == "the noun alone":
        kept[noun] = True
    elif group == "end and padding alone":
        kept[tokens.end :] = True
    elif group != "none":
        kept[:] = True
        kept[noun] = group == "all"
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji", help="emoji or the folder of a model of the emoji world")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    pipe, oracle, own = unbleed.load(given.model), Oracle.load(), settings_of(given.model)
    pipe.set_progress_bar_config(disable=True)

    def embedding(text: str) -> Tensor:
        return pipe.encode_prompt(text, "cpu", 1, False)[0]

    found = dict.fromkeys(GROUPS, 0)
    empty = embedding("")
    for noun in NOUNS:
        prompt = f"a {noun}"  # the captions know no other article
        text, tokens = embedding(prompt), locate(parse(prompt), pipe.tokenizer)
        for group in GROUPS:
            mixed = torch.where(places(group, tokens)[None, :, None], text, empty)
            images = pipe(
                prompt_embeds=mixed.expand(given.seeds, -1, -1),
                negative_prompt_embeds=empty.expand(given.seeds, -1, -1),
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
        print(f"{group:24}{share:8.1%}")


if __name__ == "__main__":
    main()
