"""Prompts: each encoder's own text, long embeddings, weights, entities of every form, and the cost of reading."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from unbleed.errors import PromptError, UnbleedWarning
from unbleed.guidance.named import entities_per_prompt
from unbleed.guidance.needs import needs_of
from unbleed.losses import BindingLoss, ExciteLoss, OverlapLoss
from unbleed.losses.groups import group_tokens
from unbleed.losses.maps import renormalise
from unbleed.prompt import Encoder, Entity, PromptTokens, Span, locate, parse
from unbleed.prompt import parser as parsers
from unbleed.prompt.alignment import aligned
from unbleed.prompt.weights import without_weights

PROMPT = "a red cat and a blue bench"
METHOD = unbleed.methods.SynGen(include_entities=True, step_size=5.0, stop=1.0)
ONE_STEP: dict[str, Any] = {"num_inference_steps": 1, "height": 256, "width": 256, "output_type": "latent"}


def run_of(pipe: Any, *args: Any, options: dict[str, Any] | None = None, **call: Any) -> Any:
    with unbleed.guide(pipe, METHOD, **(options or {})) as run:
        pipe(*args, **{**ONE_STEP, **call})
    return run


def spelled(tokens: PromptTokens) -> list[str]:
    """Return what stands at the positions of each entity, modifiers first."""
    return [
        "".join(tokens.pieces[p].replace("</w>", "").lstrip("▁ ") for word in (*modifiers, noun) for p in word)
        for noun, modifiers in tokens.entities
    ]


# ------------------------------------------------------------------------------------------------------------ E2


def chunked(pipe: Any, prompt: str) -> torch.Tensor:
    """Embed a long prompt as compel does: chunks of what fits between a start and an end of their own."""
    tokenizer = pipe.tokenizer
    room = tokenizer.model_max_length - 2
    ids = tokenizer(prompt, verbose=False)["input_ids"][1:-1]
    chunks = []
    for first in range(0, len(ids), room):
        own = [tokenizer.bos_token_id, *ids[first : first + room], tokenizer.eos_token_id]
        own += [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(own))
        chunks.append(pipe.text_encoder(torch.tensor([own]))[0])
    return torch.cat(chunks, dim=1)


LONG = "a red cat and " + "a " * 30 + "blue bench"


def test_E2_words_are_located_in_chunks(tokenizer: CLIPTokenizer) -> None:
    tokens = locate(parse(LONG), Encoder(tokenizer, 32, chunks=2))
    room = 30
    assert len(tokens.pieces) == 64
    assert tokens.pieces[32] == "<|startoftext|>"
    assert tokens.pieces[31] == "<|endoftext|>"
    assert tokens.entities == (((3,), ((2,),)), ((32 + 37 - room - 1,), ((32 + 36 - room - 1,),)))
    assert spelled(tokens) == ["redcat", "bluebench"]
    assert (tokens.end, tokens.ends) == (31, (31, 39))
    assert [tokens.pieces[p].replace("</w>", "") for p in tokens.own] == LONG.split()


def test_E2_a_word_can_end_in_the_next_chunk(tokenizer: CLIPTokenizer) -> None:
    zebra = len(locate(parse("zebra"), tokenizer).own)
    assert zebra > 1
    tokens = locate(parse("a " * 29 + "zebra"), Encoder(tokenizer, 32, chunks=2))
    assert tokens.entities == (((30, *range(33, 32 + zebra)), ()),)
    assert spelled(tokens) == ["zebra"]


def test_E2_each_chunk_leaves_out_its_start_and_last_position(tokenizer: CLIPTokenizer) -> None:
    groups = group_tokens([locate(parse(LONG), Encoder(tokenizer, 32, chunks=2))])
    assert groups.chunks == groups.select([0]).chunks == groups.to(torch.device("cpu")).chunks == 2
    maps = renormalise(torch.zeros(1, 64, 2, 2), groups, kept="padding")[0, :, 0, 0]
    assert maps.nonzero().flatten().tolist() == [*range(1, 31), *range(33, 63)]
    assert maps[1] == pytest.approx(1 / 60)


def test_E2_long_embeddings_are_guided(tiny_sd: StableDiffusionPipeline) -> None:
    long = chunked(tiny_sd, LONG)
    given = {"prompt_embeds": long, "negative_prompt_embeds": torch.zeros_like(long)}
    for method in (
        METHOD,
        unbleed.methods.AttendAndExcite(stop=1.0),
        unbleed.methods.AttentionRegulation(),
        unbleed.methods.StructureDiffusion(),
    ):
        with unbleed.guide(tiny_sd, method, prompts=[LONG], record_maps=True) as run:
            tiny_sd(**given, **ONE_STEP)
        assert spelled(run.tokens[0]) == ["redcat", "bluebench"]
        assert run.maps[0].maps.shape[1] == 64


def test_E2_another_length_is_one_line(tiny_sd: StableDiffusionPipeline) -> None:
    odd = torch.zeros(1, 40, 16)
    with pytest.raises(PromptError, match=r"^the denoiser was given 40 tokens of text, but the tokenizer makes 32; long"):
        run_of(tiny_sd, options={"prompts": [PROMPT]}, prompt_embeds=odd, negative_prompt_embeds=odd)
    pipe = tiny.make("sd3", tiny_sd.tokenizer)
    embedded = torch.zeros(1, 32 + 20, 32), torch.zeros(1, 32)
    names = ("prompt_embeds", "pooled_prompt_embeds")
    given = dict(zip([*names, *(f"negative_{name}" for name in names)], embedded * 2, strict=True))
    with pytest.raises(PromptError, match=r"given 52 tokens of text, but 32 of CLIP and 256 of T5 are expected"):
        run_of(pipe, options={"prompts": [PROMPT]}, **given)
    assert spelled(run_of(pipe, options={"prompts": [PROMPT]}, max_sequence_length=20, **given).tokens[0])[0] == (
        "redredcatcat"
    )


# ------------------------------------------------------------------------------------------------------- E3, E4


@pytest.mark.parametrize("name", ["pixart", "sana"])
def test_E3_words_stand_in_the_cleaned_caption(name: str, tokenizer: CLIPTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tiny.make(name, tokenizer)
    installed = "unbleed.attention.encoders.is_{}_available"
    for library in ("bs4", "ftfy"):
        monkeypatch.setattr(installed.format(library), lambda: True)

    def cleaned(text: Any, clean_caption: bool = False) -> list[str]:
        texts = [text] if isinstance(text, str) else text
        return [(re.sub(r"<[^>]*>|https?:\S*", "", t) if clean_caption else t).lower().strip() for t in texts]

    monkeypatch.setattr(pipe, "_text_preprocessing", cleaned)
    prompt = "  https://cat.example <b>A RED cat</b> and a <i>Blue</i> bench"
    for clean in (True, False):
        small = {"height": 64, "width": 64, "use_resolution_binning": False}
        run = run_of(pipe, prompt, clean_caption=clean, options={"entities": "red cat; blue bench"}, **small)
        tokens = run.tokens[0]
        assert spelled(tokens) == ["redcat", "bluebench"]
        (given,) = cleaned(prompt, clean)
        ids = pipe.tokenizer(given)["input_ids"]
        own = [token for token in ids if token not in pipe.tokenizer.all_special_ids]
        # the first is with a space after the instruction, and without one alone
        assert pipe.tokenizer.convert_tokens_to_ids([tokens.pieces[p] for p in tokens.own])[1:] == own[1:]


@pytest.mark.filterwarnings("ignore:__array__")
def test_E3_what_was_removed_is_said(tokenizer: CLIPTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tiny.make("pixart", tokenizer)
    monkeypatch.setattr(pipe, "_text_preprocessing", lambda text, clean_caption=False: ["a red cat"])
    with pytest.warns(UnbleedWarning, match='^not in the text that the text encoder is given, and not guided: "blue", "bench"'):
        run_of(pipe, "a red cat, a blue bench", options={"entities": "red cat; blue bench"}, use_resolution_binning=False)


def test_E3_words_are_aligned_with_what_is_left_of_them() -> None:
    find = aligned("A  cat in <b>a girl's BOX</b>, a cat", "a cat in a girl's box, a cat")
    assert find(Span(3, 6, "cat")) == Span(2, 5, "cat")
    assert find(Span(15, 19, "girl")) == Span(11, 15, "girl")
    assert find(Span(33, 36, "cat")) == Span(25, 28, "cat")
    assert find(Span(11, 12, "b")) is None


def test_E4_an_encoder_with_a_text_of_its_own_is_read_by_it(tokenizer: CLIPTokenizer) -> None:
    pipe = tiny.make("sd3", tokenizer)
    run = run_of(pipe, PROMPT, prompt_3="a bird with a blue bench, a red cat", max_sequence_length=32)
    (tokens,) = run.tokens
    assert spelled(tokens) == ["redredcatcat", "bluebluebenchbench", "bird"]
    assert tokens.entities[0] == ((3, 32 + 9), ((2, 32 + 8),))
    assert [str(entity) for entity in run.entities[0]] == ["red cat", "blue bench", "bird"]
    named = run_of(pipe, PROMPT, prompt_3="a bird, a red cat", max_sequence_length=32, options={"entities": "cat"})
    assert spelled(named.tokens[0]) == ["catcat"]


@pytest.mark.filterwarnings("ignore:__array__")
def test_E4_what_a_text_does_not_have_is_said(tokenizer: CLIPTokenizer) -> None:
    pipe = tiny.make("sd3", tokenizer)
    with pytest.warns(
        UnbleedWarning, match='^prompt_3 does not have "blue bench", so it is guided by the tokens of prompt only'
    ):
        run = run_of(pipe, PROMPT, prompt_3="a red cat", max_sequence_length=32)
    assert spelled(run.tokens[0]) == ["redredcatcat", "bluebench"]
    for name in ("sd3", "sdxl"):
        with pytest.warns(UnbleedWarning, match="^prompt_2 differs from prompt, and its words are at the same positions"):
            run_of(tiny.make(name, tokenizer), PROMPT, prompt_2="a dog")


def test_E4_a_negative_prompt_is_not_asked_for_the_users_entities(tokenizer: CLIPTokenizer) -> None:
    run = run_of(
        tiny.make("flux", tokenizer), PROMPT, negative_prompt="a dog", true_cfg_scale=2.0, options={"entities": "red cat"}
    )
    assert [str(entity) for entity in run.entities[0]] == ["red cat"]


# ------------------------------------------------------------------------------------------------------------ E9


@pytest.mark.parametrize("name", ["charturner", "1a1", "bad_prompt", "<toy>"])
@pytest.mark.parametrize("vectors", [1, 3])
def test_E9_a_learnt_word_is_one_entity(name: str, vectors: int) -> None:
    pipe = unbleed.load("emoji")
    pipe.set_progress_bar_config(disable=True)
    pipe.load_textual_inversion({name: torch.randn(vectors, pipe.text_encoder.config.hidden_size)}, token=name)
    for entities in (None, f"red {name}; blue dog"):
        with unbleed.guide(pipe, METHOD, entities=entities) as run:
            pipe(f"a red {name} and a blue dog", num_inference_steps=1, output_type="latent")
        assert [str(entity) for entity in run.entities[0]] == [f"red {name}", "blue dog"]
        assert run.tokens[0].entities[0] == (tuple(range(3, 3 + vectors)), ((2,),))
        assert spelled(run.tokens[0])[0] == "red" + "".join([name, *(f"{name}_{i}" for i in range(1, vectors))])


# ------------------------------------------------------------------------------------------------------ E14, E15


class Skipping(StableDiffusionPipeline):
    """A pipeline that encodes its prompts in a way of its own."""

    def __call__(self, embeddings: torch.Tensor, latents: torch.Tensor, steps: int = 2) -> torch.Tensor:  # type: ignore[override]
        self.scheduler.set_timesteps(steps)
        for t in self.scheduler.timesteps:
            both = self.scheduler.scale_model_input(torch.cat([latents] * 2), t)
            with torch.no_grad():
                empty, text = self.unet(both, t, encoder_hidden_states=embeddings).sample.chunk(2)
            latents = self.scheduler.step(empty + 7.5 * (text - empty), t, latents).prev_sample
        return latents


def test_E14_prompts_suffice_where_encode_prompt_is_not_called(make_tiny_sd: Callable[..., Any]) -> None:
    usual = make_tiny_sd()
    pipe = Skipping(**usual.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    conditional, empty = usual.encode_prompt(PROMPT, "cpu", 1, True)
    latents = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    embeddings = torch.cat([empty, conditional])
    with unbleed.guide(usual, METHOD):
        expected = usual(PROMPT, latents=latents, num_inference_steps=2, output_type="latent").images
    with unbleed.guide(pipe, METHOD, prompts=[PROMPT]) as run:
        first, second = pipe(embeddings, latents), pipe(embeddings, latents)
    torch.testing.assert_close(first, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(first, second)
    assert [(step.call, step.step) for step in run.steps] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    with (
        pytest.raises(PromptError, match=r"without a call of its encode_prompt.*use guide\(\.\.\., prompts"),
        unbleed.guide(pipe, METHOD),
    ):
        pipe(embeddings, latents)
    with (
        pytest.raises(PromptError, match="called with 2 rows, but guide with 3 prompts; name a prompt for each image"),
        unbleed.guide(pipe, METHOD, prompts=[PROMPT] * 3),
    ):
        pipe(embeddings, latents)


def test_E14_a_pipeline_without_encode_prompt_says_what_to_give(tiny_sd: StableDiffusionPipeline) -> None:
    class Bare:
        unet, scheduler, tokenizer = tiny_sd.unet, tiny_sd.scheduler, tiny_sd.tokenizer

    with pytest.raises(unbleed.ModelError, match=r"Bare has no encode_prompt.*use guide\(\.\.\., prompts=\[\.\.\.\]\)"):
        unbleed.guide(Bare(), METHOD).__enter__()
    with unbleed.guide(Bare(), METHOD, prompts=[PROMPT]):
        pass


@pytest.mark.parametrize(
    ("weighted", "words"),
    [
        ("a (red:1.2) cat", "a red cat"),
        ("a ((red:1.2)) [old] cat (sitting: .5)", "a red old cat sitting"),
        ("a (red cat)1.3 and a blue dog++", "a red cat and a blue dog"),
        ("a (red (old)+ cat)-- and a dog-, t-shirt", "a red old cat and a dog, t-shirt"),
        (r"a \(red\) cat++", "a (red) cat"),
        ("a t-shirt, a 4-legged cat", "a t-shirt, a 4-legged cat"),
    ],
)
def test_E15_weights_are_left_out(weighted: str, words: str) -> None:
    assert without_weights(weighted) == words


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (
            "a (red) cat",
            r'^"\(" in prompts= may be a weight or a part of the text: "a \(red\) cat"; give the words as they were',
        ),
        ("a cat+ and a dog", r'^"\+" in prompts= may be a weight'),
        ('("a cat", "a dog").and()', r"makes several texts of .*; give the words of one text"),
        ("a cat BREAK a dog", r'^prompts= has "BREAK"'),
        ("a [cat:dog:0.5]", r'^prompts= has "\[cat:dog:0\.5\]"'),
    ],
)
def test_E15_signs_that_cannot_be_read_are_refused(prompt: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        without_weights(prompt)


def test_E15_entities_stand_where_the_words_were_encoded(tiny_sd: StableDiffusionPipeline) -> None:
    embeddings, empty = tiny_sd.encode_prompt(PROMPT, "cpu", 1, True)
    given = {"prompt_embeds": embeddings, "negative_prompt_embeds": empty}
    plain = run_of(tiny_sd, options={"prompts": [PROMPT]}, **given)
    for weighted in ("a (red:1.2) cat and a [blue] bench", "a (red cat)1.3 and a blue++ bench"):
        run = run_of(tiny_sd, options={"prompts": [weighted]}, **given)
        assert run.tokens[0].entities == plain.tokens[0].entities == (((3,), ((2,),)), ((7,), ((6,),)))


# ------------------------------------------------------------------------------------------------------- I3, I14

CAT = Entity(Span(6, 9, "cat"), (Span(2, 5, "red"),))


@pytest.mark.parametrize(
    "entities",
    [
        "red cat; blue bench",
        ["red cat", "blue bench"],
        ["red cat; blue bench"],
        [["red cat", "blue bench"]],
        (CAT, "blue bench"),
        [[CAT, (6, 7)]],
        [(2, 3), (6, 7)],
        parse(PROMPT).entities,
    ],
)
def test_I3_I14_entities_in_every_form(entities: Any, tiny_sd: StableDiffusionPipeline) -> None:
    run = run_of(tiny_sd, PROMPT, options={"entities": entities})
    assert run.tokens[0].entities == (((3,), ((2,),)), ((7,), ((6,),)))


def test_I3_entities_per_prompt() -> None:
    assert entities_per_prompt(["cat", "dog"], 2) == ["cat", "dog"]
    assert entities_per_prompt([["cat", "dog"], None], 2) == [["cat", "dog"], None]
    assert entities_per_prompt("cat", 2) == ["cat", "cat"]
    assert entities_per_prompt([None], 1) == [None]
    assert entities_per_prompt([2, 5], 1) == [[2, 5]]


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ({"cat": "red"}, r"^entities were given as a dict, \{'cat': 'red'\}; expected phrases as in \[\"red cat\", \"blue b"),
        ([{"cat": "red"}], r"^\{'cat': 'red'\} cannot name an entity; expected phrases"),
        (["cat", None], r"^entities were named for 2 prompts, but the pipeline was called with 1; expected phrases"),
        (
            [Entity(Span(0, 3, "cat"))],
            r'^the Entity "cat" is of another prompt: characters 0 to 3 of ".*" are "a r", not "cat"',
        ),
        ([0], r'^no word of the prompt ".*" is at position 0 of its tokens; its words are at 1 \(a\), 2 \(red\), 3 \(cat\)'),
        ([20], "is at position 20 of its tokens"),
        (3.5, "^entities were given as a float, 3.5"),
        ([], '^no entity in ""'),
    ],
)
def test_I3_I14_entities_that_cannot_be_meant(entities: Any, message: str, tiny_sd: StableDiffusionPipeline) -> None:
    with pytest.raises(PromptError, match=message):
        run_of(tiny_sd, PROMPT, options={"entities": entities})


def test_I3_a_modifier_in_the_nouns_place_warns() -> None:
    message = (
        'the entity "cat red" takes its last word, "red", for the noun, but in "a red cat and a blue bench" that says how '
        '"cat" looks; write the noun last: "red cat"'
    )
    with pytest.warns(UnbleedWarning, match=f"^{re.escape(message)}$"):
        assert [str(entity) for entity in parse(PROMPT, "cat red").entities] == ["cat red"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse(PROMPT, "red cat; bench")


def test_I14_positions_of_one_word_are_one_entity(tiny_sd: StableDiffusionPipeline) -> None:
    zebra = locate(parse("a zebra"), tiny_sd.tokenizer).entities[0][0]
    assert len(zebra) > 1
    for entities in ([*zebra], zebra[1]):
        run = run_of(tiny_sd, "a zebra", options={"entities": entities})
        assert run.tokens[0].entities == ((zebra, ()),)


# --------------------------------------------------------------------------------------------------------- S5, S6


def test_S5_parse_says_whose_positions_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    from unbleed.cli import main

    def shown(*arguments: str) -> str:
        assert main(["parse", PROMPT, *arguments]) == 0
        return capsys.readouterr().out

    assert shown().splitlines()[-1] == "positions in tokenizer (24 tokens) of the model emoji; --model names another model"
    document = json.loads(shown("--json"))
    assert document["model"] == "emoji"
    assert document["encoders"]["tokenizer"]["length"] == 24


def test_S6_the_warning_says_what_the_method_needs(tiny_sd: StableDiffusionPipeline) -> None:
    message = (
        '"a cat and a dog" runs unguided: syngen has nothing to act on in it (found: "cat", "dog"); it needs an entity with a '
        'modifier, as in "red cat" (or include_entities=True); entities="red cat; blue bench" names them by hand'
    )
    with pytest.warns(UnbleedWarning, match=f"^{re.escape(message)}$"), unbleed.guide(tiny_sd, "syngen"):
        tiny_sd("a cat and a dog", **ONE_STEP)
    with pytest.warns(UnbleedWarning, match="it needs two entities; "), unbleed.guide(tiny_sd, "overlap-iou"):
        tiny_sd("a red cat", **ONE_STEP)


def test_S6_needs_are_those_of_the_losses() -> None:
    assert needs_of([ExciteLoss()], ()) == "an entity"
    assert needs_of([OverlapLoss() + BindingLoss(include_entities=True)], ()) == "two entities or an entity"
    assert needs_of([OverlapLoss()], unbleed.methods.StructureDiffusion().parts().edits).startswith(
        "two entities or a phrase of several"
    )


# -------------------------------------------------------------------------------------------------------- B5, B10


def test_B5_the_parser_forgets_words(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = parsers.load()
    kept: list[int] = []
    monkeypatch.setattr(parsers, "MOST", 2000)
    for number in range(200):
        assert [str(e) for e in parse(f"a qwx{number}cat and a zyv{number}y dog").entities][1:] == [f"zyv{number}y dog"]
        kept.append(len(parser.pipeline.vocab.strings))
    assert max(kept[100:]) <= max(kept[:100])
    assert "qwx7cat" not in parser.pipeline.vocab.strings


def test_B5_a_pipeline_of_the_users_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    own = parsers.load().pipeline
    monkeypatch.setattr(parsers, "MOST", 10)
    parser = parsers.of(own)
    parser.read(["a red cat and a blue dog"] * 100)
    assert parser.pipeline is own


@pytest.mark.parametrize(
    "prompt", [":" + "1" * 32_000, pytest.param("the cat of " * 9090, marks=pytest.mark.slow), "a-" * 9000]
)
def test_B10_reading_is_linear(prompt: str, tokenizer: CLIPTokenizer) -> None:
    parse("a cat")

    def seconds(text: str) -> float:
        begun = time.process_time()
        parsed = parse(text)
        locate(parsed, tokenizer)
        return time.process_time() - begun

    quarter = seconds(prompt[: len(prompt) // 4])
    assert seconds(prompt) < 10 * quarter + 1  # quadratic reading took 20 to 60 seconds
