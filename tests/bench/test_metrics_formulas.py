"""What metrics reckon, on hand-made logits, boxes and vectors, and against the published architectures and formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from helpers import tiny_checkpoints, tiny_metrics
from unbleed.bench.metrics import metric
from unbleed.bench.metrics.asked import entities_of
from unbleed.bench.metrics.blip import yes_probability
from unbleed.bench.metrics.blip_vqa import questions_of
from unbleed.bench.metrics.cmmd import SCALE, WIDTH, distance, features_of
from unbleed.bench.metrics.detector import Detection, box_of, mean_inside, top_pairs
from unbleed.bench.metrics.geneval import COLOURS, cut_out, is_correct, relations
from unbleed.bench.metrics.image_reward import pixels_of
from unbleed.bench.metrics.models import Pretrained
from unbleed.bench.metrics.templates import IMAGENET_TEMPLATES, filled, filled_strictly
from unbleed.bench.plan.cases import Case, Expected
from unbleed.bench.suites import suite
from unbleed.errors import BenchError


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: CLIPTokenizer) -> Path:
    return tiny_metrics.clip(tmp_path_factory.mktemp("clip"), tokenizer)


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (48, 48, 3), dtype=np.uint8))


# ------------------------------------------------------------------------------------------------------------- CLIP


def test_there_are_80_templates() -> None:
    assert len(set(IMAGENET_TEMPLATES)) == len(IMAGENET_TEMPLATES) == 80
    assert all(template.count("{}") == 1 and template == template.strip() for template in IMAGENET_TEMPLATES)


def test_strictly_a_panda_loses_letters() -> None:
    prompt = "a red zebra and a blue panda and a green bowl"
    assert filled_strictly(prompt)[39] == "a photo of a red zebrand a blue pandand a green bowl."
    assert filled(prompt)[39] == "a photo of a red zebra and a blue panda and a green bowl."


def test_both_fillings_agree_on_prompts_of_the_paper_s_patterns() -> None:
    """Which is why the paper's numbers stand."""
    for case in suite("emoji-pairs").cases:
        assert filled(case.prompt) == filled_strictly(case.prompt)


def clip_reference(folder: Path, image: Image.Image, text: str, *, strict: bool) -> float:
    """Return the similarity as Attend-and-Excite's loop over templates has it."""
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    network, words = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(image, return_tensors="pt").pixel_values
    total = torch.zeros(8)
    for sentence in filled_strictly(text) if strict else filled(text):
        tokens = words(sentence, truncation=True, max_length=32, return_tensors="pt").input_ids
        with torch.inference_mode():
            embedded = network.get_text_features(tokens).pooler_output[0]
        total += embedded / embedded.norm() / 80
    with torch.inference_mode():
        seen = network.get_image_features(pixels).pooler_output[0]
    return float(seen / seen.norm() @ (total / total.norm()))


@pytest.mark.parametrize("strict", [False, True])
def test_clip_is_the_mean_over_templates(clip_folder: Path, image: Image.Image, strict: bool) -> None:
    prompt = "a zebra and a cat and a dog"
    one = metric("clip", model=str(clip_folder), strict=strict)
    [seen] = one.run([image], [Case(prompt)])
    parts = ["a zebra", "a cat"] if strict else ["zebra", "cat", "dog"]
    assert [text for text, _ in seen["entities"]] == parts
    assert seen["prompt"] == pytest.approx(clip_reference(clip_folder, image, prompt, strict=strict), abs=1e-5)
    for text, similarity in seen["entities"]:
        assert similarity == pytest.approx(clip_reference(clip_folder, image, text, strict=strict), abs=1e-5)
    assert one.score(Case(prompt), seen)["clip_min"] == min(similarity for _, similarity in seen["entities"])


def test_the_corrupted_prompt_is_another_prompt(clip_folder: Path, image: Image.Image) -> None:
    prompt = "a red zebra and a blue panda"
    right, wrong = (metric("clip", model=str(clip_folder), strict=s).run([image], [Case(prompt)]) for s in (False, True))
    assert abs(right[0]["prompt"] - wrong[0]["prompt"]) > 1e-4


def test_what_cannot_be_split_is_left_out_strictly(clip_folder: Path, image: Image.Image) -> None:
    strict, default = (metric("clip", model=str(clip_folder), strict=strict) for strict in (True, False))
    case = Case("a dog")
    assert strict.score(case, strict.run([image], [case])[0]) == {}
    assert default.score(case, default.run([image], [case])[0]).keys() == {"clip_full", "clip_min"}
    assert default.score(case, {"prompt": 0.3, "entities": []}) == {"clip_full": 0.3}


def test_the_case_s_entities_overrule_the_parser() -> None:
    assert entities_of(Case("a red cat and a dog")) == ["red cat", "dog"]
    assert entities_of(Case("a red cat and a dog", (Expected("boot", ("green",)),))) == ["green boot"]


def test_pickscore_is_the_scaled_cosine(clip_folder: Path, image: Image.Image) -> None:
    from transformers import CLIPModel

    network = CLIPModel.from_pretrained(clip_folder).eval()
    reader = Pretrained(str(clip_folder), "CLIPModel")
    with torch.inference_mode():
        logits = network(**reader.tokens(["a red cat"], 32), **reader.pixels([image])).logits_per_image
    one, case = metric("pickscore", model=str(clip_folder)), Case("a red cat")
    assert one.score(case, one.run([image], [case])[0])["pickscore"] == pytest.approx(float(logits), rel=1e-4)


# ------------------------------------------------------------------------------------------------------ questions


def test_share_of_yes_is_that_of_two_probabilities() -> None:
    logits = torch.tensor([[0.5, 2.0, -1.0, 3.0], [1.0, 0.0, 0.0, 9.0]])
    p = logits.softmax(dim=-1)
    assert yes_probability(logits, 1, 2).tolist() == pytest.approx((p[:, 1] / (p[:, 1] + p[:, 2])).tolist())


def test_a_question_per_noun_phrase_and_eight_at_most() -> None:
    assert questions_of("a Red cat with a hat") == ["a red cat?", "a hat?"]
    assert (
        len(questions_of(" and ".join(f"a {noun}" for noun in "cat dog car bench apple bird hat bow crown clock".split()))) == 8
    )


# -------------------------------------------------------------------------------------------------------- GenEval


def thing(box: tuple[float, ...], confidence: float = 0.95, colour: str | None = None) -> dict[str, Any]:
    return {"box": list(box), "confidence": confidence, "colour": colour}


def test_relations_are_geneval_s() -> None:
    """Against a transcription of the formula with vectors."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(400):
        low, size = rng.uniform(0, 80, (2, 2)), rng.uniform(1, 40, (2, 2))
        boxes = np.stack([low, low + size], axis=1)  # (box, corner, x and y)
        offset = boxes[0].mean(axis=0) - boxes[1].mean(axis=0)
        shortened = np.maximum(np.abs(offset) - 0.1 * (size[0] + size[1]), 0) * np.sign(offset)
        expected = set()
        if not np.all(np.abs(shortened) < 1e-3):
            dx, dy = shortened / np.linalg.norm(offset)
            checks = (("left of", dx < -0.5), ("right of", dx > 0.5), ("above", dy < -0.5), ("below", dy > 0.5))
            expected = {name for name, holds in checks if holds}
        assert relations(boxes[0].flatten(), boxes[1].flatten()) == expected
        seen |= {frozenset(expected)}
    assert len(seen) == 9  # four sides, four corners, none


LEFT, RIGHT = thing((0, 0, 10, 10)), thing((50, 0, 60, 10))


def asked(tag: str = "two_object", exclude: Any = (), **include: Any) -> dict[str, Any]:
    return {"tag": tag, "include": [{"class": name, "count": 1, **more} for name, more in include.items()], "exclude": exclude}


def test_all_that_is_included_must_be_there() -> None:
    assert is_correct(asked(cat={}, dog={}), {"cat": [LEFT], "dog": [RIGHT]})
    assert not is_correct(asked(cat={}, dog={}), {"cat": [LEFT]})
    assert not is_correct(asked(cat={}), {"cat": [thing((0, 0, 1, 1), 0.3)]})


def test_counts_are_exact_where_more_are_excluded_and_ask_for_more_confidence() -> None:
    three = asked("counting", [{"class": "cat", "count": 4}], cat={"count": 3})
    assert is_correct(three, {"cat": [LEFT] * 3})
    assert not is_correct(three, {"cat": [LEFT] * 2})
    assert not is_correct(three, {"cat": [LEFT] * 4})
    assert not is_correct(three, {"cat": [LEFT] * 2 + [thing((0, 0, 10, 10), 0.85)]})


def test_colours_are_of_the_surest_things() -> None:
    red = asked("colors", cat={"color": "red"})
    assert is_correct(red, {"cat": [thing((0, 0, 1, 1), 0.9, "red"), thing((0, 0, 1, 1), 0.5, "blue")]})
    assert not is_correct(red, {"cat": [thing((0, 0, 1, 1), 0.9, "blue"), thing((0, 0, 1, 1), 0.5, "red")]})


def test_positions_are_those_to_what_matched() -> None:
    left = {"position": ["left of", 0]}
    assert is_correct(asked("position", dog={}, cat=left), {"cat": [LEFT], "dog": [RIGHT]})
    assert not is_correct(asked("position", dog={}, cat=left), {"cat": [RIGHT], "dog": [LEFT]})
    assert not is_correct(asked("position", dog={"color": "red"}, cat=left), {"cat": [LEFT], "dog": [RIGHT]})


def test_the_surest_pairs_of_query_and_class() -> None:
    logits = torch.tensor([[4.0, 0.0, 0.0], [0.0, 3.0, 3.0], [0.0, 0.0, 9.0]])  # (query, two classes and none)
    sure, label, query = top_pairs(logits, 0.3)
    p = logits.softmax(dim=-1)
    assert (label.tolist(), query.tolist()) == ([0, 1], [0, 1])
    assert sure.tolist() == pytest.approx([float(p[0, 0]), float(p[1, 1])])


def test_masks_have_a_mean_and_a_box() -> None:
    mask = torch.full((1, 6, 8), -2.0)
    mask[0, 2:4, 3:7] = torch.tensor([1.0, 3.0])[:, None]
    assert mean_inside(mask).item() == pytest.approx((1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(-3))) / 2, rel=1e-4)
    assert box_of(mask[0] > 0) == (3, 2, 7, 4)
    assert box_of(mask[0] > 5) is None


def test_a_thing_is_cut_out_on_grey() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 2:4] = True
    cut = cut_out(Image.new("RGB", (8, 8), "red"), Detection("cat", 0.9, (2, 2, 5, 6), mask))
    assert cut.size == (3, 4)
    assert [cut.getpixel((0, 0)), cut.getpixel((2, 0))] == [(255, 0, 0), (153, 153, 153)]


def test_a_colour_is_the_nearest_of_ten_of_three_sentences(clip_folder: Path, image: Image.Image) -> None:
    one: Any = metric("geneval", clip=str(clip_folder))
    whole = Detection("cat", 0.9, (0, 0, *image.size), torch.ones(image.size[::-1], dtype=torch.bool))
    [chosen] = one._name_colours(image, [whole], "cat")
    embed, [seen] = one.embedding.of_texts, one.embedding.of_images([image])
    means = []
    for colour in COLOURS:
        sentences = [f"a photo of a {colour} cat", f"a photo of a {colour}-colored cat", f"a photo of a {colour} object"]
        mean = sum(embed([sentence])[0] for sentence in sentences) / 3
        means.append(float(mean / mean.norm() @ seen))
    assert chosen == COLOURS[int(np.argmax(means))]


class FixedDetector:
    """Finds twenty mice everywhere; its labels are COCO's."""

    labels: ClassVar = {0: "cat", 64: "mouse"}
    fingerprint = "fixed"

    def detect(self, images: list[Image.Image]) -> list[list[Detection]]:
        masks = [torch.ones(image.size[::-1], dtype=torch.bool) for image in images]
        return [
            [Detection("mouse", 0.9 - k / 100, (0, 0, *image.size), mask) for k in range(20)]
            for image, mask in zip(images, masks, strict=True)
        ]


def test_geneval_names_and_limits_things_and_colours_those_asked_for(clip_folder: Path, image: Image.Image) -> None:
    one: Any = metric("geneval", clip=str(clip_folder))
    one.__dict__["detector"] = FixedDetector()
    entry = {"class": "computer mouse", "count": 2, "color": "red"}
    [seen] = one.run([image], [Case("two red mice", annotations={"tag": "colors", "include": [entry]})])
    assert list(seen["objects"]) == ["computer mouse"]
    colours = [found["colour"] for found in seen["objects"]["computer mouse"]]
    assert len(colours) == 16
    assert all(colours[:2])
    assert not any(colours[2:])


def test_geneval_says_what_a_case_lacks(clip_folder: Path, image: Image.Image) -> None:
    one: Any = metric("geneval", clip=str(clip_folder))
    one.__dict__["detector"] = FixedDetector()
    with pytest.raises(BenchError, match='"a cat" does not say which objects to expect; expected annotations'):
        one.run([image], [Case("a cat")])
    with pytest.raises(BenchError, match='asks for "unicorn", which "facebook/mask2former'):
        one.run([image], [Case("", annotations={"tag": "single_object", "include": [{"class": "unicorn", "count": 1}]})])


# -------------------------------------------------------------------------- published architectures, on their own names


def test_hps_is_open_clip_s_cosine(clip_folder: Path, image: Image.Image, tmp_path: Path) -> None:
    file = tiny_checkpoints.hps_checkpoint(clip_folder, tmp_path / "hps.safetensors")
    one: Any = metric("hpsv2", model=str(file), backbone=str(clip_folder))
    [seen] = one.run([image], [Case("a red cat")])
    tensors, reader = load_file(file), one.clip.pretrained
    pictures = tiny_checkpoints.open_clip_image(tensors, reader.pixels([image])["pixel_values"], heads=2)
    texts = tiny_checkpoints.open_clip_text(tensors, reader.tokens(["a red cat"], 32)["input_ids"], heads=2)
    expected = torch.cosine_similarity(pictures, texts).item()
    assert one.score(Case("a red cat"), seen)["hpsv2"] == pytest.approx(expected, abs=1e-5)


def test_hps_pads_what_is_not_square(clip_folder: Path, tmp_path: Path) -> None:
    file = tiny_checkpoints.hps_checkpoint(clip_folder, tmp_path / "hps.safetensors")
    one = metric("hpsv2", model=str(file), backbone=str(clip_folder))
    wide, square = Image.new("RGB", (64, 32), "red"), Image.new("RGB", (64, 64), "black")
    square.paste(wide, (0, 16))
    a, b = one.run([wide, square], [Case("a red cat")] * 2)
    assert a["cosine"] == pytest.approx(b["cosine"], abs=0.02)  # the edge is resized on one of them only


def test_image_reward_is_that_of_its_own_architecture(image: Image.Image, tmp_path: Path) -> None:
    words = tiny_metrics.bert_tokenizer()
    file = tiny_checkpoints.image_reward_checkpoint(tmp_path / "reward.safetensors", vocabulary=len(words) + 2)
    words.save_pretrained(tmp_path / "words")
    one: Any = metric("image-reward", model=str(file), tokenizer=str(tmp_path / "words"))
    other = image.rotate(90)
    seen = one.run([image, other], [Case("a red cat"), Case("a bird on a green car and an apple")])
    tensors = load_file(file)
    for picture, prompt, of_picture in zip(
        (image, other), ("a red cat", "a bird on a green car and an apple"), seen, strict=True
    ):
        tokens = torch.tensor([words(prompt)["input_ids"]])
        [expected] = tiny_checkpoints.image_reward(tensors, pixels_of(picture, 32)[None], tokens).tolist()
        assert of_picture["reward"] == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert seen[0]["reward"] != pytest.approx(seen[1]["reward"], abs=1e-3)
    # too small a thing to be seen in random weights
    assert one.network[0].config.vision_config.layer_norm_eps == 1e-6


def test_image_reward_sees_the_middle_of_what_is_not_square() -> None:
    picture = Image.new("RGB", (96, 32), "blue")
    picture.paste("red", (32, 0, 64, 32))
    pixels = pixels_of(picture, 32)
    assert pixels.shape == (3, 32, 32)
    assert pixels[0].mean() == pytest.approx((1 - 0.48145466) / 0.26862954, abs=0.1)


# ------------------------------------------------------------------------------------------------------------ CMMD


def cmmd_reference(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / (2 * WIDTH**2))

    def pairs(z: np.ndarray) -> Iterator[float]:
        return (k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j)

    within = sum(sum(pairs(z)) / (len(z) * (len(z) - 1)) for z in (x, y))
    return SCALE * (within - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y)))


def test_distance_is_the_unbiased_estimate_and_its_error_a_jackknife_over_prompts() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)), rng.normal(0.5, size=(6, 5))
    prompts = [4, 4, 9, 9, 9, 2, 2]
    found = distance(x, y, prompts)
    assert found.value == pytest.approx(cmmd_reference(x, y))
    left_out = [cmmd_reference(x[[p != out for p in prompts]], y) for out in (4, 9, 2)]
    mean = sum(left_out) / 3
    assert found.error == pytest.approx(math.sqrt(2 / 3 * sum((value - mean) ** 2 for value in left_out)))


def test_the_estimate_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(40, 4)) * 5
    values = [distance(rng.normal(size=(5, 4)) * 5, reference, range(5)).value for _ in range(300)]
    whole = distance(rng.normal(size=(1500, 4)) * 5, reference, range(1500)).value
    assert np.mean(values) == pytest.approx(whole, abs=3 * np.std(values) / math.sqrt(300) + 0.5)


def test_cmmd_looks_at_a_folder(clip_folder: Path, image: Image.Image, tmp_path: Path) -> None:
    one: Any = metric("cmmd", model=str(clip_folder))
    with pytest.raises(BenchError, match="has 0 images; expected at least 2 reference images"):
        one.reference(tmp_path)
    for number in range(3):
        image.rotate(90 * number).save(tmp_path / f"{number}.png")
    reference = one.reference(tmp_path)
    assert reference.shape == (3, 8)
    features = features_of(one.run([image.rotate(90 * number) for number in range(3)], [Case("")] * 3))
    assert features == pytest.approx(reference, abs=1e-5)
    assert one.scores == ()
    assert one.score(Case(""), {"features": []}) == {}
    with pytest.raises(BenchError, match="3 images of 1 prompts; expected more"):
        distance(features, reference, [0, 0, 0])
