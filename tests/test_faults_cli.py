"""What the command line and the recipes once got wrong."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import ExifTags, Image, PngImagePlugin

import unbleed
from unbleed import loading
from unbleed.errors import ModelError, OutputError
from unbleed.foreign import read_foreign
from unbleed.recipes import Recipe, free_name, read_recipe, save

PROMPT = "a red cat and a blue car"


def picture_with(path: Path, **texts: str) -> Path:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    Image.new("RGB", (8, 8)).save(path, "PNG", pnginfo=info)
    return path


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_I12_the_package_imports_nothing_heavy_until_a_name_is_used() -> None:
    """So that completion and --version answer at once, and Ctrl-C is heard from the beginning."""
    code = "import unbleed, sys; print('torch' in sys.modules, callable(unbleed.guide), 'torch' in sys.modules)"
    assert python(code).stdout == "False True True\n"


def test_I12_every_public_name_is_there_whichever_module_came_first() -> None:
    importlib.import_module("unbleed.estimation")  # a module must not take the place of a name

    assert all(getattr(unbleed, name) is not None for name in unbleed.__all__)
    assert callable(unbleed.estimate)
    assert unbleed.losses.Loss is unbleed.Loss
    assert not hasattr(unbleed, "nonsense")


# ----------------------------------------------------------------------------------------------- recipes (I8, B8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1.5}, "seed is 1.5; expected a whole number"),
        ({"steps": 2.5}, "steps is 2.5; expected a whole number"),
        ({"settings": [1]}, "settings is a list of 1; expected an object"),
        ({"settings": {"step_size": "big"}}, "step_size of syngen"),
        ({"settings": {"step_sise": 1}}, "did you mean step_size"),
        ({"entities": 5}, "entities is 5; expected a text"),
        ({"negative_prompt": ["x"]}, "negative_prompt is a list of 1; expected a text"),
        ({"method": None}, "method is null; expected a text"),
        ({"method": "synjen"}, "did you mean syngen"),
        ({"versions": "new"}, 'versions is "new"; expected an object'),
        ({"versions": {"torch": 2}}, "versions.torch is 2; expected a text"),
        ({"steps": 0}, "0 steps; expected 1 to 1000"),
        ({"hat": 1}, "hat is unknown"),
        ("[" * 100_000, "nested more than 64 levels deep"),
        ('{"settings":' * 500 + "1" + "}" * 500, "nested more than 64 levels deep"),
        ("[]", "it is a list of 0; expected an object"),
        ("{}", "prompt is missing"),
        ('{"prompt": "\\ud800"}', "prompt holds half a character"),
    ],
)
def test_I8_a_tampered_recipe_is_one_line_that_names_the_field(tmp_path: Path, change: Any, message: str) -> None:
    whole = {**asdict(Recipe(PROMPT, method="syngen")), "versions": {}}
    text = change if isinstance(change, str) else json.dumps(whole | change)
    with pytest.raises(OutputError) as refused:
        read_recipe(picture_with(tmp_path / "x.png", unbleed=text))
    assert message in str(refused.value)
    assert "the recipe in" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_I8_a_picture_damaged_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (8, 8)), Recipe(PROMPT), tmp_path / "x.png")
    data = path.read_bytes()
    for at in range(0, len(data), 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(OutputError):  # and nothing else is raised
                read_recipe(path)


def test_B8_an_unreadable_file_counts_as_taken(tmp_path: Path) -> None:
    recipe = Recipe(PROMPT)
    first = save(Image.new("RGB", (8, 8)), recipe, tmp_path / "x.png")
    assert free_name(first, recipe) == first
    first.write_bytes(first.read_bytes()[:60] + b"\0" * 40)  # Pillow raises SyntaxError for some of these
    assert free_name(first, recipe) == tmp_path / "x-2.png"
    (tmp_path / "x-2.png").mkdir()
    (tmp_path / "x-3.png").symlink_to(tmp_path / "nowhere")
    assert free_name(first, recipe) == tmp_path / "x-4.png"


# --------------------------------------------------------------------------------------------- other programs (I9)

LINES = """a (red:1.3) cat, <lora:style:0.8> on a mat
Negative prompt: blurry
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 1234567890, Size: 512x768, Model hash: 6ce0, Model: v1-5, \
Lora hashes: "style: abc, x: y", Version: v1.6.0""".replace("\\\n", "")

NODES = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["8", 0], "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    "8": {"class_type": "PrimitiveString", "inputs": {"value": "a red cat"}},
    "9": {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["6", 0], "negative": ["7", 0]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            **{"seed": 42, "steps": 20, "cfg": 7.5, "sampler_name": "euler", "scheduler": "normal"},
            **{"model": ["4", 0], "positive": ["9", 0], "negative": ["9", 1], "latent_image": ["5", 0]},
        },
    },
}
LARGER = {  # a second pass over the first picture, which comes first in the file
    "1": {"class_type": "KSampler", "inputs": {**NODES["3"]["inputs"], "seed": 7, "latent_image": ["2", 0]}},
    "2": {"class_type": "LatentUpscale", "inputs": {"width": 1024, "height": 1536, "samples": ["3", 0]}},
    **NODES,
}
FLUX = {
    "13": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {"noise": ["25", 0], "guider": ["22", 0], "sigmas": ["17", 0], "latent_image": ["27", 0]},
    },
    "25": {"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
    "22": {"class_type": "BasicGuider", "inputs": {"model": ["12", 0], "conditioning": ["26", 0]}},
    "26": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["6", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red cat", "clip": ["11", 0]}},
    "17": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 20, "model": ["12", 0]}},
    "27": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 512, "height": 768}},
}
INVOKE = {
    **{"positive_prompt": "a red cat", "negative_prompt": "blurry", "seed": 42, "steps": 20, "cfg_scale": 7.5},
    **{"width": 512, "height": 768, "scheduler": "euler", "model": {"name": "dreamer"}},
}
OLD_INVOKE = {
    "model_weights": "sd-1.5",
    "image": {
        **{"prompt": [{"prompt": "a red cat [blurry]", "weight": 1}], "seed": 42, "steps": 20},
        **{"cfg_scale": 7.5, "width": 512, "height": 768, "sampler": "k_lms"},
    },
}
TAKEN = {
    **{"prompt": "a red cat", "negative_prompt": "blurry", "seed": 42, "steps": 20, "guidance_scale": 7.5},
    **{"height": 768, "width": 512},
}


@pytest.mark.parametrize(
    ("chunk", "text", "program", "taken", "left"),
    [
        (
            "parameters",
            LINES,
            "AUTOMATIC1111",
            TAKEN | {"prompt": "a red cat, on a mat", "seed": 1234567890},
            ("LoRA style", "Sampler DPM++ 2M Karras", "Model v1-5", "the weights and other signs in the prompt"),
        ),
        ("prompt", json.dumps(NODES), "ComfyUI", TAKEN, ("sampler euler", "scheduler normal", "model v1-5.safetensors")),
        (
            "prompt",
            json.dumps(LARGER),
            "ComfyUI",
            TAKEN,
            ("the sampler of node 1", "sampler euler", "scheduler normal", "model v1-5.safetensors"),
        ),
        (
            "prompt",
            json.dumps(FLUX),
            "ComfyUI",
            {name: value for name, value in TAKEN.items() if name not in ("negative_prompt", "guidance_scale")},
            ("scheduler simple",),
        ),
        ("invokeai_metadata", json.dumps(INVOKE), "InvokeAI", TAKEN, ("model dreamer", "scheduler euler")),
        ("sd-metadata", json.dumps(OLD_INVOKE), "InvokeAI", TAKEN, ("model sd-1.5", "sampler k_lms")),
        (
            "invokeai_metadata",
            json.dumps(INVOKE | {"steps": 0, "width": 513, "seed": "x"}),
            "InvokeAI",
            {name: value for name, value in TAKEN.items() if name not in ("steps", "width", "seed")},
            (
                *("model dreamer", "scheduler euler", 'seed is "x"; expected a whole number', "0 steps; expected 1 to 1000"),
                "width 513; expected a multiple of 8 from 64 to 4096",
            ),
        ),
    ],
)
def test_I9_what_other_programs_say_is_taken_over_and_the_rest_is_named(
    tmp_path: Path, chunk: str, text: str, program: str, taken: dict[str, Any], left: tuple[str, ...]
) -> None:
    found = read_foreign(picture_with(tmp_path / "x.png", **{chunk: text}))
    assert found is not None
    assert (found.program, found.taken, found.left) == (program, taken, left)


def test_I9_a_jpeg_says_it_in_its_comment(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"UNICODE\0" + LINES.encode("utf-16-be")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg", exif=exif)
    found = read_foreign(tmp_path / "x.jpg")
    assert found is not None
    assert (found.taken["prompt"], found.taken["seed"]) == ("a red cat, on a mat", 1234567890)


@pytest.mark.parametrize(
    ("chunk", "text", "message"),
    [
        ("prompt", "[" * 100_000, "what ComfyUI wrote into .*x.png cannot be understood: it is nested more than 64"),
        ("prompt", json.dumps({"3": NODES["3"]}), "is of ComfyUI and names no prompt that can be found"),
        ("invokeai_metadata", "[]", "what InvokeAI wrote into .* it is a list of 0; expected an object"),
        ("parameters", "(:1.3)\nSteps: 20, Seed: 1", "has no words"),
        ("parameters", "Steps: 20, Seed: 1", "names no prompt"),
    ],
)
def test_I9_what_cannot_be_understood_is_one_line(tmp_path: Path, chunk: str, text: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        read_foreign(picture_with(tmp_path / "x.png", **{chunk: text}))


def test_I9_a_graph_that_runs_in_a_circle_ends(tmp_path: Path) -> None:
    circle = {"6": {"class_type": "ConditioningCombine", "inputs": {"a": ["9", 0], "b": ["6", 0]}}}
    with pytest.raises(OutputError, match="names no prompt"):
        read_foreign(picture_with(tmp_path / "x.png", prompt=json.dumps(NODES | circle)))


def test_I9_a_picture_that_says_nothing_is_no_foreign_one(tmp_path: Path) -> None:
    for text in ("no settings here", '{"sui_image_params": {}}'):
        assert read_foreign(picture_with(tmp_path / "x.png", parameters=text)) is None


# ----------------------------------------------------------------------------------------------- loading (I7, I13)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta", ""])
def test_I7_a_device_that_cannot_be_used_is_one_line(device: str) -> None:
    with pytest.raises(ModelError, match=f'the device "{device}" cannot be used') as refused:
        unbleed.load("emoji", device=device)
    assert "cpu" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_I13_the_fastest_device_is_taken_apples_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert loading.usable_device().type == "mps"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert loading.usable_device() == torch.device("cuda")


def test_I13_a_scheduler_by_its_short_name() -> None:
    pipe = unbleed.load("emoji", device="cpu")
    own = pipe.scheduler.config
    names = {"euler-ancestral": "EulerAncestralDiscreteScheduler", "uniPC": "UniPCMultistepScheduler"}
    for name, kind in {**names, "DDIMScheduler": "DDIMScheduler"}.items():
        loading.set_scheduler(pipe, name)
        assert type(pipe.scheduler).__name__ == kind
        assert pipe.scheduler.config.prediction_type == own.prediction_type == "v_prediction"
    with pytest.raises(ModelError, match='no scheduler "eulr" for StableDiffusionPipeline; did you mean euler'):
        loading.set_scheduler(pipe, "eulr")


def test_B15_a_model_is_here_only_if_nothing_must_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert loading.is_here("emoji")
    assert loading.is_here(str(tmp_path))
    for name in ("some/model", "", "\0", "x" * 5000, "//server/share", "\\\\server\\share", "a b"):
        assert not loading.is_here(name)
