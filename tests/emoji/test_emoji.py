"""The emoji world: scenes, tokenizer, training and the shipped weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from unbleed.emoji import WEIGHTS, networks
from unbleed.emoji.scenes import VARIED, Mixture, as_told, caption, draw_scene, held_out_pairs, sample_scene
from unbleed.emoji.sprites import COLOURS, NOUNS, SHADES, find_font, sprite
from unbleed.emoji.training.model import PRESETS, export, train, whiten
from unbleed.errors import ModelError, TrainingError


@pytest.fixture(scope="session")
def font() -> Path:
    try:
        return find_font()
    except TrainingError as error:
        pytest.skip(str(error))


# ------------------------------------------------------------------------------------------------------- scenes


def test_half_of_the_pairs_are_held_out_and_never_drawn() -> None:
    held_out = held_out_pairs()
    assert len(held_out) == 138
    assert held_out == held_out_pairs()
    seen = set()
    for index in range(4000):
        for a, b in combinations(sample_scene(0, index, Mixture()), 2):
            seen.add(frozenset((a.noun, b.noun)))
    assert not seen & held_out
    assert len(seen) == 138  # every other pair is
    mixed = Mixture(shares=(0, 1), held_out=True)
    assert any(frozenset(t.noun for t in sample_scene(0, index, mixed)) in held_out for index in range(50))


def test_careless_captions_swap_colours_and_name_what_is_not_there() -> None:
    scenes = [sample_scene(0, index, Mixture()) for index in range(400)]
    rng = np.random.default_rng(0)
    told = [as_told(scene, rng, swapped=0.5, unseen=0.25) for scene in scenes]
    alone = [(scene, said) for scene, said in zip(scenes, told, strict=True) if len(scene) == 1]
    named = [said for _, said in alone if len(said) == 2]
    assert 0.15 < len(named) / len(alone) < 0.35
    assert not {frozenset(thing.noun for thing in said) for said in named} & held_out_pairs()
    assert all(len({thing.noun for thing in said}) == 2 for said in named)
    assert all(said[0] == scene[0] for scene, said in alone)
    several = [(scene, said) for scene, said in zip(scenes, told, strict=True) if len(scene) > 1]
    assert all([t.noun for t in scene] == [t.noun for t in said] for scene, said in several)
    assert all(sorted(str(t.colour) for t in scene) == sorted(str(t.colour) for t in said) for scene, said in several)
    moved = [scene != said for scene, said in several if len({t.colour for t in scene}) > 1]
    assert 0.4 < sum(moved) / len(moved) < 0.6
    state = rng.bit_generator.state
    assert [as_told(scene, rng, swapped=0.0, unseen=0.0) for scene in scenes] == scenes
    assert rng.bit_generator.state == state


def test_a_scene_is_a_function_of_seed_and_index(font: Path) -> None:
    assert sample_scene(3, 7, VARIED) == sample_scene(3, 7, VARIED)
    assert sample_scene(3, 7, VARIED) != sample_scene(3, 8, VARIED)
    first, second = (draw_scene(sample_scene(3, 7, VARIED), 64, np.random.default_rng(1), font) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (64, 64, 3)


def test_things_are_inside_the_picture_and_apart() -> None:
    for index in range(500):
        boxes = [thing.box for thing in sample_scene(1, index, VARIED)]
        assert all(min(box) >= 0 and max(box) <= 1 for box in boxes)
        for a, b in combinations(boxes, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize("noun", NOUNS)
def test_a_tinted_sprite_has_the_colour_that_it_is_named_for(noun: str, font: Path) -> None:
    natural = sprite(noun, None, font)
    for colour in COLOURS:
        tinted = sprite(noun, colour, font)
        assert np.array_equal(tinted[..., 3], natural[..., 3])
        median = np.median(tinted[tinted[..., 3] > 0.9][:, :3], axis=0) * 255
        closest = min(SHADES, key=lambda name: float(np.abs(median - np.array(SHADES[name][1])).sum()))
        assert colour == closest


def test_captions_name_every_thing_and_say_both_a_and_an() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for index in range(1500):
        things = sample_scene(2, index, Mixture())
        text = caption(things, rng)
        assert all(thing.words.replace("gray", "grey") in text.replace("gray", "grey") for thing in things), text
        texts.append(text)
    joined = " ".join(texts)
    for form in ("a elephant", "an elephant", "a orange", "an orange", "grey", "gray"):
        assert form in joined


# ---------------------------------------------------------------------------------------------------- tokenizer


def test_known_words_are_one_piece_and_any_text_can_be_read(tokenizer: CLIPTokenizer) -> None:
    for word in (*NOUNS, *COLOURS, "grey", "a", "an", "and", "with", "photo"):
        assert tokenizer.tokenize(word) == [f"{word}</w>"]
    text = "Zebras & naïve 猫 <b> t-shirt"
    assert tokenizer.unk_token_id == tokenizer.eos_token_id  # as in CLIP; so an unknown piece would end the prompt
    assert tokenizer.eos_token_id not in tokenizer(text).input_ids[1:-1]
    assert len(tokenizer("cat").input_ids) == 3


def test_the_vocabulary_is_the_same_every_time(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    assert networks.tokenizer(tmp_path).get_vocab() == tokenizer.get_vocab()
    changed = json.loads((tmp_path / "tokenizer.json").read_text())
    changed["model"]["vocab"] |= {
        "cat</w>": changed["model"]["vocab"]["car</w>"],
        "car</w>": changed["model"]["vocab"]["cat</w>"],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed))
    assert networks.tokenizer(tmp_path).get_vocab() != tokenizer.get_vocab()  # what is there is never made anew


# ----------------------------------------------------------------------------------------------------- training


def test_whitening_moves_into_the_network(font: Path) -> None:
    torch.manual_seed(0)
    vae = networks.autoencoder().eval().requires_grad_(False)
    vae.quant_conv.bias += 3
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    before = vae.encode(pictures).latent_dist
    drawn, deviation = vae.decode(before.mean).sample, before.mean.std(dim=(0, 2, 3))
    whiten(vae, before.mean)
    after = vae.encode(pictures).latent_dist
    torch.testing.assert_close(after.mean.mean(dim=(0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.mean.std(dim=(0, 2, 3)), torch.ones(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(after.std, before.std / deviation[:, None, None], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(vae.decode(after.mean).sample, drawn, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path: Path, font: Path) -> None:
    recipe = replace(PRESETS["smoke"], warm_up=1)

    def stop_at(stage: str, step: int) -> Callable[[str, int, int, float], None]:
        def report(at: str, done: int, *_: object) -> None:
            if (at, done) == (stage, step):
                raise KeyboardInterrupt

        return report

    train(tmp_path / "straight", recipe, font=font, save_every=1)
    for stage in ("autoencoder", "denoiser"):
        with pytest.raises(KeyboardInterrupt):
            # the state of a step is saved before it is reported, so the next run begins with the step after it
            train(tmp_path / "stopped", recipe, font=font, save_every=1, report=stop_at(stage, 3))
    train(tmp_path / "stopped", recipe, font=font, save_every=1)
    for state in ("autoencoder-state", "denoiser-state"):  # weights, averages and moments, in float32
        straight, stopped = (load_file(tmp_path / folder / f"work/{state}.safetensors") for folder in ("straight", "stopped"))
        for key, value in straight.items():
            # moments that lie in memory in another order would be off by their own size
            torch.testing.assert_close(stopped[key], value, atol=1e-6, rtol=1e-3, msg=lambda text, key=key: f"{key}: {text}")
    with pytest.raises(TrainingError, match="another stages"):
        train(tmp_path / "stopped", replace(recipe, stages=recipe.stages[:1]), font=font)
    assert json.loads((tmp_path / "straight/training.json").read_text())["steps_done"] == 4
    assert isinstance(StableDiffusionPipeline.from_pretrained(tmp_path / "straight"), StableDiffusionPipeline)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="fonts-noto-color-emoji"):
        find_font(tmp_path / "none.ttf")
    (tmp_path / "work").mkdir()
    save_file(networks.autoencoder().state_dict(), tmp_path / "work/autoencoder.safetensors")
    with pytest.raises(ModelError, match='device "warp" cannot be used'):
        train(tmp_path, PRESETS["smoke"], device="warp")
    with pytest.raises(TrainingError, match="has not been trained yet"):
        export(tmp_path, PRESETS["smoke"])


# ------------------------------------------------------------------------------------------- the shipped weights


def test_the_shipped_model_is_small_and_safe() -> None:
    files = [file for file in WEIGHTS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 32e6
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".txt", ".md"}


@pytest.fixture(scope="session")
def shipped() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_a_plain_pipeline_draws_with_the_shipped_weights(shipped: StableDiffusionPipeline) -> None:
    image = shipped("a cat", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (128, 128)


def test_balloons_have_the_colours_that_were_asked_for(shipped: StableDiffusionPipeline) -> None:
    """The weights that are shipped were trained: the middle of a balloon has its colour's hue, in nearly every case."""
    colours = [colour for colour in COLOURS if colour not in ("white", "gray")]  # these are near the ground's own tones
    images = shipped(
        [f"a {colour} balloon" for colour in colours],
        num_inference_steps=12,
        guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(colours))],
        output_type="np",
    ).images
    right = 0
    for colour, image in zip(colours, images, strict=True):
        pixels = image.reshape(-1, 3) * 255
        ground = np.median(pixels, axis=0)
        thing = pixels[np.abs(pixels - ground).sum(axis=1).argsort()[-len(pixels) // 12 :]]  # what differs most from it
        body = np.median(thing, axis=0)
        right += min(colours, key=lambda name: float(np.abs(body - np.array(SHADES[name][1])).sum())) == colour
    assert right >= len(colours) - 1
