"""Soft-TIFA: hand-made logits against the formula, which tokens count, and a tiny Qwen3-VL."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from helpers import tiny_metrics
from unbleed.bench.metrics import metric
from unbleed.bench.metrics.answers import ChatAnswers, one_token_each, summed
from unbleed.bench.metrics.models import Pretrained
from unbleed.bench.metrics.soft_tifa import SoftTifa, arithmetic_mean, geometric_mean, ways_of_writing
from unbleed.bench.plan.cases import Case
from unbleed.errors import BenchError

# a tokenizer that, like Qwen's, cuts a space from the digit after it: " 4" is two tokens, and " four" is one
VOCABULARY = ["Yes", "yes", " Yes", " yes", "four", " four", "Four", " Four", "4", "three", " ", "No"]
BROKEN = {" 4": [10, 8], " 3": [10, 3]}


def encode(text: str) -> list[int]:
    return BROKEN.get(text) or ([VOCABULARY.index(text)] if text in VOCABULARY else [10, 11, 11])


ATOMS = [
    {"question": "How many cows are there?", "answer": "four", "skill": "count"},
    {"question": "Are there any cows?", "answer": "Yes", "skill": "object"},
    {"question": "Are the cows plastic?", "answer": "Yes", "skill": "attribute"},
]
LOGITS = [
    # Yes yes  _Yes _yes four _four Four _Four 4  three  " "  No
    [0.0, 0.0, 0.0, 0.0, 2.0, 1.0, 0.5, 0.0, 1.5, 2.5, 5.0, 0.0],  # the space is the likeliest by far, and no answer
    [3.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 6.0],
]


def by_formula() -> list[float]:
    """Each atom's score by hand: the sum of e^logit over the answers' tokens, over the sum of all."""

    def part(row: list[float], tokens: tuple[int, ...]) -> float:
        return sum(math.exp(row[token]) for token in tokens) / sum(map(math.exp, row))

    return [part(LOGITS[0], (4, 5, 6, 7, 8)), part(LOGITS[1], (0, 1, 2, 3)), part(LOGITS[2], (0, 1, 2, 3))]


def by_the_metric() -> list[float]:
    probabilities = torch.tensor(LOGITS).softmax(dim=-1)
    ids = [one_token_each(encode, ways_of_writing(atom["answer"])) for atom in ATOMS]
    return [summed(row, own) for row, own in zip(probabilities, ids, strict=True)]


def test_both_means_of_hand_made_logits_are_the_formula() -> None:
    right = by_the_metric()
    expected = by_formula()
    assert right == pytest.approx(expected, rel=1e-6)
    case = Case("four plastic cows", annotations={"atoms": ATOMS})
    scores = SoftTifa().score(case, {"right": right})
    assert scores["soft_tifa_am"] == pytest.approx(sum(expected) / 3, rel=1e-6)
    assert scores["soft_tifa_gm"] == pytest.approx(math.prod(expected) ** (1 / 3), rel=1e-6)
    assert scores["soft_tifa_gm"] < scores["soft_tifa_am"]
    assert [scores[f"soft_tifa_{skill}"] for skill in ("count", "object", "attribute")] == pytest.approx(expected, rel=1e-6)
    assert "soft_tifa_verb" not in scores


def test_a_space_before_a_digit_is_not_an_answer() -> None:
    ways = ways_of_writing("four")
    assert " 4" in ways
    ids = one_token_each(encode, ways)
    assert [VOCABULARY[token] for token in ids] == ["four", "Four", "4", " four", " Four"]
    first_tokens = {encode(way)[0] for way in ways}  # what the official code adds up
    assert VOCABULARY.index(" ") in first_tokens - set(ids)
    row = torch.tensor(LOGITS[0]).softmax(dim=-1)
    assert summed(row, sorted(first_tokens)) > 0.8 > 0.2 > summed(row, ids)


@pytest.mark.parametrize(
    ("answer", "ways"),
    [
        ("Yes", {"yes", "Yes", " yes", " Yes"}),
        ("three", {"three", "Three", "3", " three", " Three", " 3"}),
        ("3", {"three", "Three", "3", " three", " Three", " 3"}),
    ],
)
def test_the_ways_of_writing(answer: str, ways: set[str]) -> None:
    assert set(ways_of_writing(answer)) == ways


def test_means() -> None:
    assert arithmetic_mean([0.0, 1.0]) == 0.5
    assert geometric_mean([0.0, 1.0]) == 0.0
    assert geometric_mean([0.5, 0.5]) == pytest.approx(0.5)


def test_a_case_without_atoms_is_refused() -> None:
    with pytest.raises(BenchError, match=r'^"a fox" has no atoms; expected annotations\["atoms"\], as in the suite geneval-2'):
        SoftTifa().run([Image.new("RGB", (8, 8))], [Case("a fox")])


def test_a_tiny_qwen3_vl_answers_by_its_first_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Qwen3VLProcessor

    # its video processor needs torchvision; pictures do not
    monkeypatch.setattr(Qwen3VLProcessor, "check_argument_for_proper_class", lambda *arguments: None)
    pretrained = Pretrained(str(tmp_path), "AutoModelForImageTextToText")
    processor = pretrained.__dict__["processor"] = tiny_metrics.qwen3(tmp_path)
    one: Any = SoftTifa(model=str(tmp_path))
    vars(one)["chat"] = ChatAnswers(pretrained)
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    atoms = [{"question": "Is there a cat?", "answer": "Yes", "skill": "object"}]
    [output] = one.run([image], [Case("a cat", annotations={"atoms": atoms})])
    chat = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": ASKED}]}]
    inputs: Any = processor.apply_chat_template(
        [chat], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.inference_mode():
        row = pretrained.network(**inputs).logits[0, -1].softmax(dim=-1)
    ids = {processor.tokenizer(way, add_special_tokens=False)["input_ids"][0] for way in ("Yes", "yes")}
    assert output["right"] == pytest.approx([float(row[sorted(ids)].sum())], rel=1e-4)


ASKED = "Is there a cat? Answer in one word."


def test_vqascore_asks_as_geneval_2_does(tmp_path: Path) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    class Heard:
        def chances(self, images: object, texts: list[list[str]], ways: list[list[tuple[str, ...]]]) -> list[list[float]]:
            asked.extend((text, way) for [text], [way] in zip(texts, ways, strict=True))
            return [[0.5]]

    one: Any = metric("vqascore", model=str(tmp_path), wording="geneval2")
    vars(one)["chat"] = Heard()
    assert one.run([Image.new("RGB", (8, 8))], [Case("a {} fox")]) == [{"yes": 0.5}]
    assert asked == [
        ('Does this image show "a {} fox"? Answer the question with Yes or No.', ("Yes", "yes", " Yes", " yes")),
    ]
    with pytest.raises(BenchError, match=r'^wording of vqascore is "x"; expected one of t2v, geneval2'):
        metric("vqascore", wording="x")
