"""The command line, on the embedded model: what it prints, what it writes, how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unbleed.cli.text  # noqa: F401
from unbleed import METHODS, cli
from unbleed.attention.table import FAMILIES
from unbleed.cli import draw, emoji, inspect, look  # noqa: F401  (they add the commands)
from unbleed.recipes import read_recipe

PROMPT = "a red cat and a blue car"
FAST = ["--steps", "4"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; return exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run([str(a) for a in arguments])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path), dtype=np.int16)


# ------------------------------------------------------------------------------------------------------ telling


def test_parse_shows_entities_and_positions(run: Any) -> None:
    code, out, _ = run("parse", PROMPT, "--json")
    document = json.loads(out)
    assert code == 0
    assert [(e["noun"], e["modifiers"], e["span"]) for e in document["entities"]] == [
        ("cat", ["red"], [6, 9]),
        ("car", ["blue"], [21, 24]),
    ]
    (encoder,) = document["encoders"].values()
    assert [(e["noun_positions"], e["modifier_positions"]) for e in encoder["entities"]] == [([3], [[2]]), ([7], [[6]])]
    assert encoder["pieces"] == [f"{word}</w>" for word in PROMPT.split()]
    assert encoder["dropped"] == document["left_out"] == []
    code, out, _ = run("parse", PROMPT)
    assert code == 0
    assert "cat" in out
    assert "2, 3" in out


def test_parse_takes_the_users_word(run: Any) -> None:
    _, out, _ = run("parse", "the cat that chased a dog is red", "--entities", "red cat; dog", "--json")
    assert [(e["noun"], e["modifiers"]) for e in json.loads(out)["entities"]] == [("cat", ["red"]), ("dog", [])]


def test_inspect_describes_a_model(run: Any) -> None:
    code, out, _ = run("inspect", "emoji", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["denoiser"], document["family"], document["missing"]) == ("UNet2DConditionModel", "sd", [])
    assert document["text"] == {"start": 0, "end": 24}


def test_families_lists_all(run: Any) -> None:
    code, out, _ = run("families", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)["families"]] == [family.name for family in FAMILIES]
    code, out, _ = run("families")
    assert code == 0
    assert "ZImageTransformer" in out


def test_methods_lists_all(run: Any) -> None:
    _, out, _ = run("methods", "--json")
    listed = {m["name"]: m for m in json.loads(out)["methods"]}
    assert set(listed) == set(METHODS)
    assert all(m["paper"] and m["summary"] for m in listed.values())
    assert listed["initno"]["needs"] == ["gradient", "parser", "self-attention"]
    assert {name for name, m in listed.items() if m["reconstruction"]} == {"amplify", "ela", "suppress"}
    assert listed["syngen"]["year"] == 2023
    assert listed["attend-and-excite"]["settings"]["thresholds"] == {"0.0": 0.05, "0.2": 0.5, "0.4": 0.8}


def test_methods_tells_where_settings_come_from(run: Any) -> None:
    _, out, _ = run("methods", "syngen + 0.5*overlap-iou", "--json")
    settings = {row["name"]: row for row in json.loads(out)["settings"]}
    assert settings["step_size"]["default"] == 20
    assert "authors' code" in settings["overlap-iou.stop"]["source"]
    code, table, _ = run("methods", "syngen")
    assert code == 0
    assert "authors' code" in table


# ------------------------------------------------------------------------------------------------------ drawing


def test_seeds_together_equal_seeds_alone_and_losses_are_told(run: Any, out: Path) -> None:
    common = ["generate", PROMPT, "--method", "attend-and-excite", "--set", "stop=0.5", *FAST]
    code, text, _ = run(*common, "--seeds", "0-2", "--json", "--out", out / "together")
    images = json.loads(text)["images"]
    assert code == 0
    assert [image["seed"] for image in images] == [0, 1, 2]
    for image in images:
        assert image["method"] == "attend-and-excite"
        assert (image["num_inference_steps"], image["guidance_scale"]) == (4, 3.0)  # given, and the model's own
        assert [step["step"] for step in image["steps"]] == [0, 1]
        assert all(len(step["losses"]) == step["refinements"] + 1 for step in image["steps"])
        run(*common, "--seed", image["seed"], "--out", out / "alone.png")
        assert np.array_equal(pixels(image["path"]), pixels(out / "alone.png"))


def test_a_batch_gives_the_same_pictures(run: Any, out: Path) -> None:
    """Without refinement or large steps, which can carry a difference in the last bit on, to one grey level."""
    common = ["generate", PROMPT, "--seeds", "0-2", "--json", "--method", "syngen", "--set", "step_size=1", *FAST]
    _, alone, _ = run(*common, "--out", out / "alone")
    _, batch, _ = run(*common, "--out", out / "batch", "--batch-size", 3)
    for one, other in zip(json.loads(alone)["images"], json.loads(batch)["images"], strict=True):
        assert np.abs(pixels(one["path"]) - pixels(other["path"])).max() <= 1


def test_a_picture_can_be_replayed_from_itself(run: Any, out: Path) -> None:
    first, again = out / "first.png", out / "again.png"
    run("generate", PROMPT, "--method", "syngen", "--set", "step_size=5", "--seed", 3, "--out", first, *FAST)
    recipe = read_recipe(first)
    assert (recipe.prompt, recipe.seed, recipe.method, recipe.settings["step_size"]) == (PROMPT, 3, "syngen", 5)
    code, _, _ = run("generate", "--replay", first, "--out", again)
    assert code == 0
    assert np.array_equal(pixels(first), pixels(again))
    assert read_recipe(again) == recipe


def test_a_picture_of_another_recipe_is_never_overwritten(run: Any, out: Path) -> None:
    for steps in (2, 3, 2):
        run("generate", PROMPT, "--steps", steps, "--out", out)
    names = sorted(file.name for file in out.iterdir())
    assert len(names) == 2
    assert [read_recipe(out / name).steps for name in names] == [3, 2]  # "...-seed0-2.png" sorts before "...-seed0.png"


def test_another_precision_is_drawn_and_kept(run: Any, out: Path) -> None:
    code, told, _ = run("generate", PROMPT, "--dtype", "bfloat16", *FAST, "--out", out, "--json")
    assert code == 0
    assert read_recipe(json.loads(told)["images"][0]["path"]).dtype == "bfloat16"


def test_a_device_without_room_is_one_line(run: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("unbleed.generation.draw", full)
    code, told, said = run("generate", PROMPT, *FAST, "--out", out)
    assert (code, told) == (2, "")
    assert said == "unbleed: out of memory; take a smaller --batch-size, --height or --width\n"


def test_compare_draws_both_and_a_sheet(run: Any, out: Path) -> None:
    code, text, _ = run("generate", PROMPT, "--compare", "--json", "--out", out, *FAST)
    document = json.loads(text)
    assert code == 0
    assert [image["method"] for image in document["images"]] == ["none", "regions"]
    (sheet,) = document["comparisons"]
    assert pixels(sheet).shape[1] > 2 * 256
    assert (pixels(document["images"][0]["path"]) != pixels(document["images"][1]["path"])).any()
    assert not list(out.glob("*.tmp")) + list(out.glob(".*"))
    assert read_recipe(Path(sheet)).method == "regions"


def test_attention_draws_every_word(run: Any, out: Path) -> None:
    code, text, _ = run("attention", PROMPT, "--out", out / "heat.png", "--per-step", 2, "--json", *FAST)
    words = json.loads(text)["words"]
    assert code == 0
    assert [word["word"] for word in words] == PROMPT.split()
    assert all(len(word["peak_per_step"]) == 4 for word in words)
    assert pixels(out / "heat.png").shape[1] > 8 * 128


def test_a_prompt_without_entities_runs_unguided_with_a_warning(run: Any, out: Path) -> None:
    with pytest.warns(UserWarning, match="runs unguided"):
        code, text, _ = run("generate", "and", "--json", "--out", out, *FAST)
    assert code == 0
    assert json.loads(text)["images"][0]["steps"] == []


# ----------------------------------------------------------------------------------------------------- refusing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "  "], "the prompt is empty"),
        (["generate"], "no prompt"),
        (["generate", PROMPT, "--method", "synjen"], "did you mean syngen"),
        (["generate", PROMPT, "--set", "step_sise=3"], "did you mean step_size"),
        (["generate", PROMPT, "--set", "step_size"], "expected NAME=VALUE"),
        (["generate", PROMPT, "--set", "step_size=big"], "expected a number"),
        (["generate", PROMPT, "--seeds", "7-3"], "the smaller number first"),
        (["generate", PROMPT, "--seeds", "x"], "not a list of seeds"),
        (["generate", PROMPT, "--seed", "1", "--seeds", "2"], "both --seed and --seeds"),
        (["generate", PROMPT, "--steps", "0"], "expected 1 to 1000"),
        (["generate", PROMPT, "--height", "100"], "a multiple of 8"),
        (["generate", PROMPT, "--width", "1000000"], "from 64 to 4096"),
        (["generate", PROMPT, "--guidance-scale", "nan"], "guidance scale"),
        (["generate", PROMPT, "--entities", "red cat; blue carr"], 'did you mean "car"?'),
        (["generate", PROMPT, "--model", "{tmp}"], "no model_index.json"),
        (["generate", PROMPT, "--model", "no/such-model", "--out", "new/folder"], "cannot be loaded"),
        (["generate", PROMPT, "--out", "{file}/x"], "cannot be written to"),
        (["generate", PROMPT, "--out", "x.png", "--seeds", "0-1"], "name a folder"),
        (["generate", "--replay", "{file}"], "cannot be read as a picture"),
        (["generate", "--replay", "{plain}"], "holds no recipe"),
        (["generate", PROMPT, "--replay", "{plain}", "--steps", "3"], "holds no recipe"),
        (["generate", PROMPT, "--compare", "--method", "none"], "name another method"),
        (["generate", PROMPT, "--out", "x.jpg"], "name it x.png"),
        (["generate", PROMPT, "--width", "1024"], "four times its own 128"),
        (
            ["generate", PROMPT, "--method", "attend-and-excite", "--set", "thresholds=5"],
            "expected numbers by fractions of the run",
        ),
        (["emoji", "train", "--preset", "smoke", "--device", "warp", "--out", "{tmp}/o"], 'device "warp" cannot be used'),
        (["generate", PROMPT, "--nonsense"], "no such option"),
        (["attention", PROMPT, "--out", "{tmp}"], "expected one that ends in .png"),
        (["parse", ""], "the prompt is empty"),
        (["emoji", "train", "--preset", "huge", "--out", "{tmp}/o"], "known: release, quick, smoke"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    before = sorted(tmp_path.rglob("*"))
    places = {"tmp": tmp_path, "file": tmp_path / "file", "plain": tmp_path / "plain.png"}
    code, out, err = run(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert message.lower() in err.lower()
    assert err.startswith("unbleed: ")
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_command_the_help_is_shown(run: Any) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "generate" in out
    assert out.count("\n") > 5


def test_the_installed_command_keeps_stdout_for_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unbleed", "generate", PROMPT, "--json", "--steps", "2", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "default"}, check=True)
    assert len(json.loads(done.stdout)["images"]) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_files_and_pipes_are_written_in_utf_8() -> None:
    """Windows gives them the country's old encoding, which has no words for many prompts."""
    command = [sys.executable, "-W", "ignore", "-m", "unbleed", "parse", "a 一只猫 and a dog", "--json"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert "一只猫" in json.loads(done.stdout.decode())["prompt"]


def test_a_log_gets_a_line_a_minute(monkeypatch, capsys):
    from unbleed.cli import progress

    clock = iter([0.0, 30.0, 61.0, 62.0, 125.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.showing_progress("steps") as advance:
        for step in (1, 3, 4):
            advance("denoiser", step, 4, 0.5)
        advance("latents", 4, 4)
    assert capsys.readouterr().err == "denoiser 3/4 steps, loss 0.5000, 61 s, 30 s left\nlatents 4/4 steps, 125 s\n"
