"""Every metric, from its own loading code to its scores, on tiny random models of the real classes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers.models.mask2former.modeling_mask2former as mask2former_code
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer
from transformers.utils import is_scipy_available

from helpers import tiny_metrics
from helpers.tiny_checkpoints import hps_checkpoint, image_reward_checkpoint
from unbleed.bench.metrics import Metric, metric, metric_facts, metric_names
from unbleed.bench.metrics.answers import BlipAnswers, ChatAnswers
from unbleed.bench.metrics.models import Pretrained
from unbleed.bench.plan.cases import Case, Expected
from unbleed.emoji.oracle import Oracle
from unbleed.errors import BenchError

PROMPTS = ("a red cat and a blue bench", "a dog", "a bird on a green car and an apple and a yellow dog")
GENEVAL = {"tag": "colors", "include": [{"class": "computer mouse", "count": 1, "color": "pink"}]}
QUESTIONS = [{"id": 1, "text": "Is there a cat?", "parents": [0]}, {"id": 2, "text": "Is it red?", "parents": [1]}]
ATOMS = [
    {"question": "Is there a cat?", "answer": "Yes", "skill": "object"},
    {"question": "Is it red?", "answer": "No", "skill": "attribute"},
]
CASES = [
    Case(prompt, annotations={**GENEVAL, "questions": QUESTIONS[: 1 + n % 2], "atoms": ATOMS[: 1 + n % 2]})
    for n, prompt in enumerate(PROMPTS)
]


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((40, 40)) for _ in PROMPTS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: CLIPTokenizer) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        _without_scipy(patch)
        return {
            "clip": tiny_metrics.clip(at / "clip", tokenizer),
            "blip": tiny_metrics.blip(at / "blip"),
            "captions": tiny_metrics.blip(at / "captions", captions=True),
            "vilt": tiny_metrics.vilt(at / "vilt"),
            "llava": tiny_metrics.llava(at / "llava"),
            "mask2former": tiny_metrics.mask2former(at / "mask2former"),
            "hps": hps_checkpoint(at / "clip", at / "hps.safetensors"),
            "image_reward": image_reward_checkpoint(
                at / "reward.safetensors", vocabulary=len(tiny_metrics.bert_tokenizer()) + 2
            ),
        }


@pytest.fixture(autouse=True)
def _no_scipy_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_scipy(monkeypatch)


def _without_scipy(patch: pytest.MonkeyPatch) -> None:
    """Mask2Former asks for scipy for the sake of its training loss."""
    if not is_scipy_available():
        patch.setattr(mask2former_code, "requires_backends", lambda *names: None)


MADE: dict[str, tuple[str, Callable[[dict[str, Path]], dict[str, Any]]]] = {
    "oracle": ("oracle", lambda at: {}),
    "clip": ("clip", lambda at: {"model": at["clip"]}),
    "clip, strict": ("clip", lambda at: {"model": at["clip"], "strict": True}),
    "blip-caption": ("blip-caption", lambda at: {"model": at["captions"], "clip": at["clip"]}),
    "blip-vqa": ("blip-vqa", lambda at: {"model": at["blip"]}),
    "entity-questions, BLIP": ("entity-questions", lambda at: {"model": at["blip"]}),
    "entity-questions, ViLT": ("entity-questions", lambda at: {"model": at["vilt"]}),
    "entity-questions, chat": ("entity-questions", lambda at: {"model": at["llava"]}),
    "vqascore": ("vqascore", lambda at: {"model": at["llava"]}),
    "geneval": ("geneval", lambda at: {"model": at["mask2former"], "clip": at["clip"]}),
    "dsg": ("dsg", lambda at: {"model": at["llava"]}),
    "soft-tifa": ("soft-tifa", lambda at: {"model": at["llava"]}),
    "vqascore, as GenEval 2 asks": ("vqascore", lambda at: {"model": at["llava"], "wording": "geneval2"}),
    "image-reward": ("image-reward", lambda at: {"model": at["image_reward"], "tokenizer": at["blip"]}),
    "pickscore": ("pickscore", lambda at: {"model": at["clip"]}),
    "hpsv2": ("hpsv2", lambda at: {"model": at["hps"], "backbone": at["clip"]}),
    "cmmd": ("cmmd", lambda at: {"model": at["clip"]}),
}


def made(kind: str, folders: dict[str, Path], **settings: Any) -> Metric:
    name, at = MADE[kind]
    return metric(name, **{key: str(v) if isinstance(v, Path) else v for key, v in at(folders).items()}, **settings)


# --------------------------------------------------------------------------------------------------- the contract


def test_every_metric_is_tested_here() -> None:
    assert {name for name, _ in MADE.values()} == set(metric_names())


@pytest.mark.parametrize("kind", MADE)
def test_what_is_seen_is_json_and_is_scored_without_the_model(
    kind: str, folders: dict[str, Path], images: list[Image.Image]
) -> None:
    one = made(kind, folders)
    seen = json.loads(json.dumps(one.run(images, CASES)))
    assert len(seen) == len(images)
    assert seen[0] != seen[1]  # it looks
    blind = metric(one.name, **({"strict": True} if "strict" in kind else {}))
    for case, of_picture in zip(CASES, seen, strict=True):
        values = blind.score(case, of_picture)
        assert values.keys() <= {score.name for score in one.scores}
        assert all(math.isfinite(value) for value in values.values())
        shares = {score.name for score in one.scores if score.fraction}
        assert all(0 <= value <= 1 for name, value in values.items() if name in shares)


@pytest.mark.parametrize("kind", MADE)
def test_a_batch_gives_what_its_pictures_give_alone(kind: str, folders: dict[str, Path], images: list[Image.Image]) -> None:
    one = made(kind, folders)
    together = one.run(images, CASES)
    alone = [one.run([image], [case])[0] for image, case in zip(images, CASES, strict=True)]
    assert together == one.run(images, CASES)
    assert_alike(together, alone)


def assert_alike(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_alike(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_alike(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, abs=2e-5)
    else:
        assert a == b


@pytest.mark.parametrize("kind", [kind for kind in MADE if kind != "oracle"])
def test_other_weights_are_another_metric(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    before = made(kind, folders).fingerprint
    assert made(kind, folders).fingerprint == before
    assert made(kind, folders, dtype="bfloat16").fingerprint != before
    place = Path(str(made(kind, folders).model))  # type: ignore[attr-defined]
    file = place if place.is_file() else place / "model.safetensors"
    kept = file.read_bytes()
    try:
        file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert made(kind, folders).fingerprint != before
    finally:
        file.write_bytes(kept)
    assert made(kind, folders).fingerprint == before


def test_settings_tell_metrics_apart(folders: dict[str, Path]) -> None:
    assert made("clip", folders).fingerprint != made("clip, strict", folders).fingerprint
    assert made("clip", folders).fingerprint != made("pickscore", folders).fingerprint
    assert made("blip-caption", folders).fingerprint != made("blip-caption", folders, templates=False).fingerprint


def test_half_precision_says_nearly_the_same(folders: dict[str, Path], images: list[Image.Image]) -> None:
    whole, half = (made("clip", folders, dtype=dtype).run(images, CASES) for dtype in ("float32", "bfloat16"))
    assert [seen["prompt"] for seen in half] == pytest.approx([seen["prompt"] for seen in whole], abs=0.05)


# ----------------------------------------------------------------------------------------------------- the registry


def test_facts_and_names() -> None:
    assert metric_facts("clip").model == "openai/clip-vit-base-patch16"
    assert metric_facts("vqascore").licence == "Apache-2.0"
    assert all(metric_facts(name).about for name in metric_names())


def test_unknown_names_and_settings_are_named() -> None:
    with pytest.raises(BenchError, match='there is no metric "clipp"; did you mean "clip"'):
        metric("clipp")
    with pytest.raises(BenchError, match='metric "dsg" has no setting "strict"; it has model, revision, device, dtype'):
        metric("dsg", strict=True)


# ----------------------------------------------------------------------------------------------- models that fail


def one_line(error: pytest.ExceptionInfo[BenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", [kind for kind in MADE if kind not in ("oracle", "image-reward", "hpsv2")])
def test_a_model_that_is_not_there_is_one_line(
    kind: str, folders: dict[str, Path], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name, _ = MADE[kind]
    with pytest.raises(BenchError) as error:
        metric(name, model="nobody/nothing").run(images, CASES)
    assert one_line(error).startswith('"nobody/nothing" cannot be loaded (')
    assert "run `hf download nobody/nothing` with a network connection, or name a folder with its safetensors" in str(
        error.value
    )
    with pytest.raises(BenchError, match='"nobody/nothing" cannot be loaded'):
        _ = metric(name, model="nobody/nothing").fingerprint


@pytest.mark.parametrize(("name", "published"), [("image-reward", "ImageReward.pt"), ("hpsv2", "HPS_v2.1_compressed.pt")])
def test_a_pickle_is_to_be_converted(
    name: str, published: str, folders: dict[str, Path], images: list[Image.Image], tmp_path: Path
) -> None:
    pickle = tmp_path / published
    torch.save({}, pickle)
    backbone = {"backbone": str(folders["clip"])} if name == "hpsv2" else {"tokenizer": str(folders["blip"])}
    for use in (lambda one: one.run(images, CASES), lambda one: one.fingerprint):
        with pytest.raises(BenchError) as error:
            use(metric(name, model=str(pickle), **backbone))
        assert f"is not a safetensors file; {published}" in one_line(error)
        assert "convert it with python -c" in str(error.value)


def test_what_the_conversion_line_says_works(tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state_dict": load_file(folders["hps"])}, tmp_path / "in.pt")
    with pytest.raises(BenchError) as error:
        _ = metric("hpsv2", model=str(tmp_path / "in.pt")).fingerprint
    code = re.search('python -c "(.*)" IN.pt OUT.safetensors', str(error.value))
    assert code
    monkeypatch.setattr("sys.argv", ["-c", str(tmp_path / "in.pt"), str(tmp_path / "out.safetensors")])
    exec(code[1], {})
    assert load_file(tmp_path / "out.safetensors").keys() == load_file(folders["hps"]).keys()


def test_a_folder_without_safetensors_is_refused(folders: dict[str, Path], images: list[Image.Image], tmp_path: Path) -> None:
    for file in folders["clip"].iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(folders["clip"] / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(BenchError) as error:
        metric("clip", model=str(tmp_path)).run(images, CASES)
    assert "expected a folder written by CLIPModel.save_pretrained, with model.safetensors" in one_line(error)


def test_a_model_of_another_kind_is_refused(folders: dict[str, Path], images: list[Image.Image]) -> None:
    with pytest.raises(BenchError) as error:
        metric("blip-vqa", model=str(folders["clip"])).run(images, CASES)
    assert "BlipForQuestionAnswering" in one_line(error)


def test_a_checkpoint_that_does_not_fit_is_refused(folders: dict[str, Path], images: list[Image.Image], tmp_path: Path) -> None:
    tensors = load_file(folders["image_reward"])
    for name, changed in {
        "missing": {key: value for key, value in tensors.items() if "blocks.1.norm1.weight" not in key},
        "strange": tensors | {"blip.text_encoder.extra": torch.zeros(1)},
        "wrong": tensors | {"mlp.layers.2.bias": torch.zeros(3)},
    }.items():
        save_file(changed, tmp_path / f"{name}.safetensors")
        with pytest.raises(BenchError, match=r"does not fit .*: 1 tensors are unknown, missing or of another shape, such as"):
            metric("image-reward", model=str(tmp_path / f"{name}.safetensors"), tokenizer=str(folders["blip"])).run(
                images, CASES
            )


def test_a_package_that_is_not_installed_is_named_with_the_extra(
    folders: dict[str, Path], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **how: Any) -> None:
        raise ImportError("\nIt requires the scipy library\nand so on")

    monkeypatch.setattr("transformers.CLIPModel.from_pretrained", fail)
    with pytest.raises(BenchError) as error:
        made("clip", folders).run(images, CASES)
    assert 'not installed (It requires the scipy library): pip install "scipy>=1.11" "torchvision>=' in one_line(error)


def test_device_and_precision_are_checked(folders: dict[str, Path], images: list[Image.Image]) -> None:
    with pytest.raises(BenchError, match='"float8" is not a precision for a metric; known: float32, float16, bfloat16'):
        made("clip", folders, dtype="float8").run(images, CASES)
    with pytest.raises(BenchError, match='device "gpu" cannot be used'):
        made("clip", folders, device="gpu").run(images, CASES)


def test_a_pinned_revision_needs_no_network() -> None:
    assert Pretrained("openai/clip-vit-large-patch14", "CLIPModel").fingerprint == "32bd64288804d66eefd0ccbe215aa642df71cc41"
    assert Pretrained("some/model", "CLIPModel", revision="a" * 40).fingerprint == "a" * 40


def test_another_revision_is_the_commit_that_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda model, file, revision: f"/x/snapshots/of-{revision}/{file}")
    assert Pretrained("some/model", "CLIPModel").fingerprint == "of-main"


# ------------------------------------------------------------------------------------------------------ the oracle


def test_the_oracle_says_as_a_metric_what_it_says(images: list[Image.Image]) -> None:
    oracle, one = Oracle.load(), metric("oracle")
    assert one.fingerprint == oracle.fingerprint
    assert one.run(images, CASES) == [finding.to_json() for finding in oracle.look(images)]
    case = Case("a cat", (Expected("cat"),))
    thing = {"noun": "cat", "colour": None, "box": [0, 0, 1, 1], "confidence": 1.0}
    assert one.score(case, {"things": [thing], "blends": []})["all_correct"] == 1
    assert one.score(Case("a cat"), {"things": [thing], "blends": []})["all_correct"] == 1  # the prompt itself names it
    assert one.score(Case("a castle"), {"things": [thing], "blends": []}) == {}


# ------------------------------------------------------------------------------------ answers, against plain forwards


def test_vqascore_is_the_probability_of_yes_after_the_question(folders: dict[str, Path], images: list[Image.Image]) -> None:
    pretrained = Pretrained(str(folders["llava"]), "AutoModelForImageTextToText")
    processor = pretrained.processor
    text = 'user:<image>Does this figure show "a dog"? Please answer yes or no. assistant:'
    with torch.inference_mode():
        logits = pretrained.network(**processor(images=images[1], text=text, return_tensors="pt")).logits
    expected = logits[0, -1].softmax(dim=-1)[processor.tokenizer.convert_tokens_to_ids("Yes")]
    assert made("vqascore", folders).run(images, CASES)[1]["yes"] == pytest.approx(float(expected), rel=1e-4)


def test_a_chat_answers_yes_against_no(folders: dict[str, Path], images: list[Image.Image]) -> None:
    chat = ChatAnswers(Pretrained(str(folders["llava"]), "AutoModelForImageTextToText"))
    [[sure]] = chat.yes_confidence(images[:1], [["Is there a cat?"]])
    [[(yes, no)]] = chat.probabilities(images[:1], [["Is there a cat? Please answer yes or no."]], ("Yes", "No"))
    assert sure == pytest.approx(yes / (yes + no))


def test_questions_of_one_batch_do_not_touch_each_other_in_the_default_model(
    tmp_path: Path, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny Qwen2.5-VL, whose pictures have as many tokens as their size asks for."""
    from transformers import Qwen2_5_VLProcessor

    # its video processor needs torchvision; pictures do not
    monkeypatch.setattr(Qwen2_5_VLProcessor, "check_argument_for_proper_class", lambda *arguments: None)
    pretrained = Pretrained(str(tmp_path), "AutoModelForImageTextToText")
    pretrained.__dict__["processor"] = tiny_metrics.qwen(tmp_path)
    chat = ChatAnswers(pretrained)
    sized = [image.resize((40 + 30 * number, 40)) for number, image in enumerate(images)]
    questions = [["Is there a cat?"], ["Is there a bird on a green car?", "red?"], ["Is there any apple in the picture?"]]
    together = chat.yes_confidence(sized, questions)
    assert_alike(together, [chat.yes_confidence([one], [asked])[0] for one, asked in zip(sized, questions, strict=True)])
    assert len({round(sure, 4) for of_picture in together for sure in of_picture}) == 4


def test_a_word_of_several_tokens_is_no_answer(folders: dict[str, Path], images: list[Image.Image]) -> None:
    chat = ChatAnswers(Pretrained(str(folders["llava"]), "AutoModelForImageTextToText"))
    with pytest.raises(BenchError, match='"Maybe" is 5 tokens for'):
        chat.probabilities(images[:1], [["Is there a cat?"]], ("Maybe",))


def test_vilt_answers_by_its_two_logits(folders: dict[str, Path], images: list[Image.Image]) -> None:
    from transformers import ViltForQuestionAnswering, ViltImageProcessorPil

    network = ViltForQuestionAnswering.from_pretrained(folders["vilt"])
    inputs = tiny_metrics.bert_tokenizer()("Is there any dog in the picture?", return_tensors="pt")
    pixels = ViltImageProcessorPil.from_pretrained(folders["vilt"])(images[1], return_tensors="pt")
    with torch.inference_mode():
        logits = network(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, **pixels).logits[0]
    expected = math.exp(logits[1]) / (math.exp(logits[1]) + math.exp(logits[3]))
    [[_, sure]] = made("entity-questions, ViLT", folders).run(images, CASES)[1]["entities"]
    assert sure == pytest.approx(expected, rel=1e-4)


def test_blip_says_yes_where_its_own_greedy_answer_is_yes(
    folders: dict[str, Path], images: list[Image.Image], tmp_path: Path
) -> None:
    """Tilted towards "yes" and the end, so that both happen."""
    from transformers import BlipForQuestionAnswering

    for file in folders["blip"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    network = BlipForQuestionAnswering.from_pretrained(tmp_path)
    tokenizer = tiny_metrics.bert_tokenizer()
    with torch.no_grad():
        network.text_decoder.cls.predictions.bias[[tokenizer.convert_tokens_to_ids("yes"), tokenizer.sep_token_id]] += 5.0
    network.save_pretrained(tmp_path)
    blip = BlipAnswers(Pretrained(str(tmp_path), "BlipForQuestionAnswering"))
    questions = [f"is there any {noun} in the picture?" for noun in "cat dog car bench apple bird red blue with".split()]
    said = blip.yes_confidence(images, [questions] * len(images))
    for image, of_image in zip(images, said, strict=True):
        for question, yes in zip(questions, of_image, strict=True):
            tokens = blip.pretrained.tokens([question], 35)
            answer = blip.pretrained.network.generate(
                **tokens, **blip.pretrained.pixels([image]), max_new_tokens=4, do_sample=False
            )
            assert yes == (tokenizer.decode(answer[0], skip_special_tokens=True).strip() == "yes")
    assert 0 < sum(map(sum, said)) < len(questions) * len(images)


def test_blip_vqa_reads_the_first_step_of_the_decoder(folders: dict[str, Path], images: list[Image.Image]) -> None:
    from transformers import BlipForQuestionAnswering, BlipImageProcessorPil

    network = BlipForQuestionAnswering.from_pretrained(folders["blip"]).eval()
    tokenizer = tiny_metrics.bert_tokenizer()
    question = tokenizer("a dog?", return_tensors="pt").input_ids
    question[:, 0] = len(tokenizer) + 1  # [ENC]
    pixels = BlipImageProcessorPil.from_pretrained(folders["blip"])(images[1], return_tensors="pt").pixel_values
    with torch.inference_mode():
        seen = network.vision_model(pixels).last_hidden_state
        read = network.text_encoder(input_ids=question, encoder_hidden_states=seen).last_hidden_state
        logits = network.text_decoder(input_ids=torch.tensor([[len(tokenizer)]]), encoder_hidden_states=read).logits[0, 0]
    yes, no = (math.exp(logits[tokenizer.convert_tokens_to_ids(word)]) for word in ("yes", "no"))
    one = made("blip-vqa", folders)
    seen_there = one.run(images, CASES)
    assert seen_there[1]["questions"] == [["a dog?", pytest.approx(yes / (yes + no), rel=1e-4)]]
    assert one.score(CASES[2], {"questions": [["a", 0.5], ["b", 0.25]]}) == {"blip_vqa": 0.125}
    assert one.score(CASES[2], {"questions": []}) == {}


def test_entity_questions_are_soft_and_harsh() -> None:
    one = metric("entity-questions")
    assert one.score(CASES[0], {"entities": [["cat", 0.9], ["dog", 0.5]]}) == {"entities_soft": 0.5, "entities_harsh": 0.0}
    assert one.score(CASES[0], {"entities": [["cat", 0.9], ["dog", 0.6]]}) == {"entities_soft": 1.0, "entities_harsh": 1.0}
    assert one.score(CASES[0], {"entities": []}) == {}


def test_what_a_prompt_excludes_and_counts_is_asked(folders: dict[str, Path], images: list[Image.Image]) -> None:
    (output,) = made("entity-questions, BLIP", folders).run(images[:1], [Case("two red cats and a dog without a hat")])
    assert {kind: [thing for thing, _ in pairs] for kind, pairs in output.items()} == {
        "entities": ["red cats", "dog"],
        "absent": ["hat"],
        "counted": ["2 red cats"],
    }
    said = {"entities": [["cat", 0.9]], "absent": [["hat", 0.9], ["dog", 0.1]], "counted": [["2 cats", 0.2]]}
    found = {"entities_soft": 1.0, "entities_harsh": 1.0, "absent_kept": 0.5, "counted": 0.0}
    assert metric("entity-questions").score(CASES[0], said) == found


def test_scene_graphs_need_questions_that_know_their_parents(folders: dict[str, Path], images: list[Image.Image]) -> None:
    one = made("dsg", folders)
    with pytest.raises(BenchError, match='"a dog" has no questions; expected annotations'):
        one.run(images[:1], [Case("a dog")])
    orphan = Case("a dog", annotations={"questions": [{"id": 1, "text": "Is it red?", "parents": [7]}]})
    with pytest.raises(BenchError, match='question 1 of "a dog" depends on question 7, which does not exist'):
        one.score(orphan, {"yes": [1.0]})
    asked = Case(
        "", annotations={"questions": [{"id": n, "text": "", "parents": p} for n, p in ((1, [0]), (2, [1]), (3, [2]))]}
    )
    assert one.score(asked, {"yes": [0.1, 0.9, 0.9]}) == {"dsg": pytest.approx(1 / 3)}
    assert one.score(asked, {"yes": [0.9, 0.9, 0.9]}) == {"dsg": 1.0}


def test_a_caption_is_bleached_of_its_beginning_and_compared(folders: dict[str, Path], images: list[Image.Image]) -> None:
    one = made("blip-caption", folders)
    seen = one.run(images, CASES)
    assert not any(of_picture["caption"].startswith("a picture of") for of_picture in seen)
    plain = made("blip-caption", folders, templates=False)
    embed = plain.embedding.of_texts  # type: ignore[attr-defined]
    [of_plain] = plain.run(images[:1], [Case("a dog")])
    expected = embed([of_plain["caption"]])[0] @ embed(["a dog"])[0]
    assert of_plain["similarity"] == pytest.approx(float(expected), rel=1e-5)
