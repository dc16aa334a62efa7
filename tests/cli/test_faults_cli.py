"""What the command line and the recipes once got wrong."""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, PngImagePlugin

import unbleed
import unbleed.cli.text
from unbleed import cli, files, loading
from unbleed.bench.suites import suite
from unbleed.cli import bench, bench_export, bench_import, bench_report, common, draw, emoji, look, study  # noqa: F401
from unbleed.errors import BenchError, ModelError, OutputError, PromptError
from unbleed.foreign import read_foreign
from unbleed.recipes import Recipe, free_name, read_recipe, save

PROMPT = "a red cat and a blue car"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


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
    heavy = ("torch", "diffusers", "transformers", "spacy", "matplotlib", "pandas", "numpy", "PIL")
    code = (
        f"import unbleed, sys; print([name for name in {heavy} if name in sys.modules], callable(unbleed.guide), "
        "'torch' in sys.modules, 'spacy' in sys.modules, 'matplotlib' in sys.modules)"
    )
    assert python(code).stdout == "[] True True False False\n"


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
        ("prompt", "[" * 100_000, "the recipe of ComfyUI in .*x.png cannot be understood: it is nested more than 64"),
        ("prompt", json.dumps({"3": NODES["3"]}), "was made by ComfyUI and holds no prompt"),
        ("invokeai_metadata", "[]", "the recipe of InvokeAI in .* it is a list of 0; expected an object"),
        ("parameters", "(:1.3)\nSteps: 20, Seed: 1", "has no words"),
        ("parameters", "Steps: 20, Seed: 1", "holds no prompt"),
    ],
)
def test_I9_what_cannot_be_understood_is_one_line(tmp_path: Path, chunk: str, text: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        read_foreign(picture_with(tmp_path / "x.png", **{chunk: text}))


def test_I9_a_graph_that_runs_in_a_circle_ends(tmp_path: Path) -> None:
    circle = {"6": {"class_type": "ConditioningCombine", "inputs": {"a": ["9", 0], "b": ["6", 0]}}}
    with pytest.raises(OutputError, match="holds no prompt"):
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


# ----------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process; return exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run([str(a) for a in arguments])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def test_I7_the_version_is_told_and_completion_is_offered(run: Any) -> None:
    assert run("--version") == (0, f"unbleed {unbleed.__version__}\n", "")
    assert "--install-completion" in run("--help")[1]


def test_I7_an_argument_that_is_not_unicode_is_one_line(run: Any) -> None:
    code, out, err = run("parse", "a red c\udcfft")
    assert (code, out) == (2, "")
    assert err == 'unbleed: argument 2, "a red c\\udcfft", is not Unicode; write it in UTF-8\n'


def test_I7_a_run_prints_in_a_line(emoji_pipe: Any) -> None:
    with unbleed.guide(emoji_pipe, "syngen", record_maps=True) as seen:
        emoji_pipe(PROMPT, num_inference_steps=2)
    assert repr(seen).startswith("<Run of syngen: 1 prompts, 1 images guided in ")
    assert len(repr(seen)) < 120


EMPTY = [
    *(["generate", PROMPT, option, ""] for option in ("--out", "--image", "--replay")),
    *(["attention", PROMPT, "--out", ""], ["emoji", "sheet", "--out", ""], ["emoji", "train", "--out", ""]),
    *(["bench", "run", "emoji-validation", option, ""] for option in ("--out", "--suite-dir")),
    *(["bench", "report", ""], ["bench", "score", "", "--metrics", "oracle"], ["bench", "export", "", "--out", "x"]),
]


@pytest.mark.parametrize("arguments", EMPTY, ids=" ".join)
def test_I2_an_empty_name_is_no_folder(run: Any, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "an empty name; name a file or a folder" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_I12_a_full_device_is_one_line() -> None:
    command = [sys.executable, "-m", "unbleed", "methods", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "unbleed: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("seconds", [0.4, 1.5])
def test_I12_ctrl_c_in_the_first_seconds_is_one_line(seconds: float, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unbleed", "generate", PROMPT, "--steps", "900", "--out", str(tmp_path)]
    begun = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    begun.send_signal(signal.SIGINT)
    out, err = begun.communicate(timeout=60)
    assert (begun.returncode, out, err) == (130, "", "unbleed: interrupted\n")


def test_B15_signs_that_act_on_a_terminal_are_written_out(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    save(Image.new("RGB", (8, 8)), Recipe("a \x1b[31mred\x9b cat\u202e", entities="\x1b]0;title\x07", steps=2), path)
    code, _, err = run("generate", "--replay", path, "--out", tmp_path / "y.png")
    assert code == 2
    assert "\x1b" not in err
    assert "a \\x1b[31mred\\x9b cat\\u202e" in err
    assert cli.printable("a\x1b[2J\u202eb\nc 👩\u200d🔬") == "a\\x1b[2J\\u202eb c 👩\u200d🔬"


def test_B15_json_holds_no_sign_that_acts_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    common.print_json({"prompt": "\x1b[31m \x9b31m \x7f ü"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"prompt": "\x1b[31m \x9b31m \x7f ü"}
    assert not set("\x1b\x9b\x7f") & set(out)


def test_B15_a_model_that_is_not_here_is_asked_for(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    path = save(Image.new("RGB", (8, 8)), Recipe(PROMPT, model="some/model", steps=2), tmp_path / "x.png")
    code, _, err = run("generate", "--replay", path, "--out", tmp_path / "y.png")
    assert code == 2
    assert '--model "some/model", which is not on this machine; --replay downloads nothing' in err
    assert run("generate", "--replay", path, "--model", "emoji", "--out", tmp_path / "y.png")[0] == 0
    assert read_recipe(tmp_path / "y.png").model == "emoji"
    assert "leave out steps" in run("generate", "--replay", path, "--model", "emoji", "--steps", 3)[2]


def test_B8_names_are_cut_by_bytes(run: Any, tmp_path: Path) -> None:
    assert files.slug("𝒳" * 70) == "𝒳" * 15
    assert files.slug("a red cat") == "a-red-cat"
    assert files.slug("!") == "picture"
    with (
        pytest.warns(unbleed.UnbleedWarning, match="does not know"),
        pytest.warns(unbleed.UnbleedWarning, match="seems to be Chinese or Japanese"),
    ):
        code, out, _ = run("generate", f"a cat {'𠀀' * 70}", "--method", "none", "--steps", 2, "--out", tmp_path)
    assert code == 0
    assert Path(out.strip()).exists()
    code, _, err = run("generate", PROMPT, "--out", tmp_path / f"{'x' * 300}.png")
    assert (code, err.count("\n")) == (2, 1)
    assert "File name too long" in err


def test_I9_a_picture_of_another_program_is_drawn_from_what_it_says(run: Any, tmp_path: Path) -> None:
    text = "a (red:1.2) cat\nNegative prompt: dog\nSteps: 2, Sampler: Euler a, CFG scale: 3, Seed: 7, Size: 64x128"
    path = picture_with(tmp_path / "x.png", parameters=text)
    with pytest.warns(unbleed.UnbleedWarning, match="was made by AUTOMATIC1111.*seed.*not used: Sampler Euler a"):
        code, out, _ = run("generate", "--replay", path, "--method", "none", "--steps", 3, "--json", "--out", tmp_path / "new")
    assert code == 0
    recipe = read_recipe(Path(json.loads(out)["images"][0]["path"]))
    assert (recipe.prompt, recipe.negative_prompt, recipe.seed) == ("a red cat", "dog", 7)
    assert (recipe.steps, recipe.guidance_scale, recipe.width, recipe.height) == (3, 3, 64, 128)


def test_I9_lines_of_other_programs_are_understood_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text('a blue bench\n--prompt "a red cat"\n')
    assert [case.prompt for case in suite(str(file)).cases] == ["a blue bench", "a red cat"]
    for line, message in (
        ('--prompt "a red cat" --steps 20', "has --steps, an option of another program"),
        ("--prompt a red cat", "has --prompt"),
        ('--prompt "a red cat', "cannot be read as options"),
        ("Negative prompt: blurry", "is what AUTOMATIC1111 writes after a prompt"),
        ("Steps: 20, Sampler: Euler a", "is what AUTOMATIC1111 writes after a prompt"),
    ):
        file.write_text(f"a blue bench\n{line}\n")
        with pytest.raises(BenchError, match=r"prompts\.txt, line 2: ") as refused:
            suite(str(file))
        assert message in str(refused.value)


def test_I13_scheduler_device_and_initial_image_are_in_the_recipe(run: Any, tmp_path: Path) -> None:
    first = save(Image.new("RGB", (70, 64), "red"), Recipe(PROMPT), tmp_path / "first.png")
    options = ["--image", first, "--strength", 0.5, "--scheduler", "euler", "--device", "cpu", "--steps", 4, "--method", "none"]
    code, _, err = run("generate", PROMPT, *options, "--out", tmp_path / "a.png")
    assert (code, err.count("warning")) == (0, 0)
    assert pixels(tmp_path / "a.png").shape == (64, 64, 3)
    recipe = read_recipe(tmp_path / "a.png")
    assert (recipe.image, recipe.strength, recipe.scheduler) == (str(first), 0.5, "euler")
    assert run("generate", "--replay", tmp_path / "a.png", "--out", tmp_path / "b.png")[0] == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    save(Image.new("RGB", (70, 64), "blue"), Recipe(PROMPT), first)
    assert "is not the image of the recipe" in run("generate", "--replay", tmp_path / "a.png")[2]
    assert "name the picture to begin with" in run("generate", PROMPT, "--strength", 0.5)[2]
    assert "leaves none to run" in run("generate", PROMPT, "--image", first, "--strength", 0.01, "--steps", 4)[2]


def test_I13_a_lora_acts_with_its_weight_and_is_in_the_recipe(run: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    pipe = unbleed.load("emoji", device="cpu")
    pipe.unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    kept = peft.get_peft_model_state_dict(pipe.unet)
    pipe.save_lora_weights(tmp_path, unet_lora_layers=kept, weight_name="style.safetensors")
    drawn = {}
    for weight in ("0", "1"):
        lora = f"{tmp_path / 'style.safetensors'}:{weight}"
        code, _, err = run(
            "generate", PROMPT, "--lora", lora, "--method", "none", "--steps", 2, "--out", tmp_path / f"{weight}.png"
        )
        assert code == 0, err
        assert read_recipe(tmp_path / f"{weight}.png").loras == (lora,)
        drawn[weight] = pixels(tmp_path / f"{weight}.png")
    run("generate", PROMPT, "--method", "none", "--steps", 2, "--out", tmp_path / "plain.png")
    assert np.array_equal(drawn["0"], pixels(tmp_path / "plain.png"))
    assert not np.array_equal(drawn["0"], drawn["1"])
    assert "cannot be loaded" in run("generate", PROMPT, "--lora", tmp_path / "none.safetensors", "--steps", 2)[2]


def test_I13_a_checkpoint_that_is_not_safetensors_or_is_not_whole_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"is not a \.safetensors file; single-file checkpoints of other kinds can run code"):
        unbleed.load(tmp_path / "x.ckpt")
    (tmp_path / "x.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match=r'x.safetensors" cannot be loaded .*; expected the checkpoint of a whole pipeline'):
        unbleed.load(tmp_path / "x.safetensors", config="emoji")
    with pytest.raises(ModelError, match="it is for single files"):
        unbleed.load("emoji", config="emoji")


def test_I8_a_recipe_refuses_half_characters() -> None:
    with pytest.raises(PromptError, match="the negative prompt holds half of a character"):
        Recipe(PROMPT, negative_prompt="\udc80")
