"""Hostile values at the page's handlers: each is refused in one line, nothing is executed, no file is read or written."""

from __future__ import annotations

import base64
import builtins
import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.studio import PROMPT, png_with
from unbleed.errors import UnbleedError
from unbleed.recipes import Recipe, as_png
from unbleed.studio import handlers
from unbleed.studio.code import as_command, as_python
from unbleed.studio.markup import facts, failed, status
from unbleed.studio.studio import Studio

SCRIPT = '<img src=x onerror="alert(1)"><script>alert(2)</script>'


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, studio: Studio) -> list[str]:
    """The files that are opened meanwhile, by their names; without the model's own settings."""
    handlers.on_prompt(studio, PROMPT, {})  # the parser's own files, and methods of packages, once
    handlers.on_method(studio, "syngen")
    names: list[str] = []
    real = builtins.open

    def watched(file: Any, *arguments: Any, **named: Any) -> Any:
        if Path(str(file)).name != "unbleed.json":
            names.append(str(file))
        return real(file, *arguments, **named)

    monkeypatch.setattr(builtins, "open", watched)
    monkeypatch.setattr(io, "open", watched)
    return names


def raw(**changes: Any) -> list[Any]:
    """Return the page's values as a client sends them."""
    values = {
        "prompt": PROMPT, "chips": {"entities": None}, "method": "regions", "settings": {"changes": {}}, "seed": 1, "seeds": 1,
        "steps": 2, "guidance_scale": 3, "width": None, "height": None, "negative_prompt": "", "regions": {"regions": {}},
        "attention": False,
    }  # fmt: skip
    return list((values | changes).values())


def refused(studio: Studio, values: list[Any]) -> str:
    """Return the line with which a drawing is refused."""
    with pytest.raises(UnbleedError) as error:
        studio.draw("hostile", handlers.form_from(studio, values))
    line = failed(str(error.value))
    assert "\n" not in line
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "x" * 10_000_000},
        {"prompt": ["a", {"b": 1}]},
        {"prompt": None},
        {"prompt": "a \ud800 cat"},
        {"chips": "red cat"},
        {"chips": {"entities": {"$gt": ""}}},
        {"method": "../../etc/passwd"},
        {"method": "__import__('os').system('touch /tmp/pwned')"},
        {"method": {"name": "syngen"}},
        {"settings": {"changes": {"step_size": "__import__('os')"}}},
        {"settings": {"changes": {"__class__": 1}}},
        {"settings": {"changes": [["a"] * 60]}},
        {"seed": "1; rm -rf /"},
        {"seed": 1e400},
        {"seeds": 10**9},
        {"steps": 10**9},
        {"steps": -1},
        {"width": 10**6, "height": 10**6},
        {"regions": {"regions": {"red cat": "../../../../etc/passwd"}}},
        {"regions": {"regions": {"red cat": "/etc/passwd.png"}}},
        {"regions": {"regions": {"red cat": "file:///etc/passwd.png"}}},
        {"regions": {"regions": {"red cat": "data:image/png;base64," + base64.b64encode(b"%!PS (/etc/passwd) run").decode()}}},
        {"regions": {"regions": {"red cat": "left,adapter=../../x"}}, "method": "syngen"},
        {"regions": {"regions": {f"cat {n}": "left" for n in range(10_000)}}},
        {"attention": "yes"},
        {"guidance_scale": [3]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_values_that_no_page_would_send(studio: Studio, opened: list[str], changes: dict[str, Any], tmp_path: Path) -> None:
    refused(studio, raw(**changes))
    assert opened == []
    assert not os.path.exists("/tmp/pwned")


def test_markup_in_a_prompt_stays_text(studio: Studio) -> None:
    values = handlers.on_prompt(studio, f"a red cat {SCRIPT}", {})
    assert values["chips"]["prompt"].endswith(SCRIPT)  # data, which the page's script shows as text
    for markup in (status({"state": "done", "text": SCRIPT}), failed(SCRIPT), facts({SCRIPT: SCRIPT})):
        assert "<img" not in markup
        assert "<script" not in markup
    recipe = Recipe(SCRIPT + '"\n)\nimport os; os.system("true")\n(', method="none")
    body = compile(as_python(recipe), "copied", "exec").co_names
    assert "os" not in body
    assert as_command(recipe).startswith("unbleed generate '<img")


SCRIPTS = ("chips", "settings", "regions", "attention", "run_table", "drop", "common")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_of_the_page_makes_markup_of_text(name: str) -> None:
    import unbleed.studio

    text = (Path(str(unbleed.studio.__file__)).with_name("assets") / f"{name}.js").read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert way not in text


def test_recipes_of_strangers(studio: Studio, opened: list[str], tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (64, 64)).save(secret)
    blank = Image.new("RGB", (128, 128))
    hostile = [
        as_png(blank, Recipe(PROMPT, method="none", image=str(secret), image_sha256="0" * 64, strength=0.5)),
        png_with(unbleed='{"prompt": "a", "method": "__import__"}'),
        png_with(unbleed="[" * 100_000),
        png_with(unbleed='{"prompt": ' + '"a' * 10),
        png_with(unbleed=json.dumps(asdict(Recipe("a cat", method="none")) | {"steps": 10**30})),
        png_with(unbleed=json.dumps(asdict(Recipe("a cat", method="none")) | {"regions": {"cat": str(secret)}})),
        png_with(unbleed=json.dumps(asdict(Recipe("x" * 100_000, method="none")))),
        png_with(prompt='{"1": {"class_type": "KSampler", "inputs": {"latent_image": ["1", 0]}}}'),
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    ]
    opened.clear()
    for data in hostile:
        with pytest.raises(UnbleedError) as error:
            handlers.replayed(studio, {"name": f"../../{SCRIPT}\n", "data": base64.b64encode(data).decode()})
        assert "<img" not in failed(str(error.value))
        assert "\n" not in failed(str(error.value))
    for value in (None, [], {"name": "x"}, {"name": 1, "data": ""}, "data", {"path": "/etc/passwd"}):
        with pytest.raises(UnbleedError):
            handlers.replayed(studio, value)
    assert opened == []


def test_a_strangers_model_is_not_loaded(studio: Studio) -> None:
    recipe = Recipe(PROMPT, method="none", model="//attacker/share", loras=("//attacker/lora",), dtype="float32")
    replay = handlers.replayed(
        studio, {"name": "x", "data": base64.b64encode(as_png(Image.new("RGB", (64, 64)), recipe)).decode()}
    )
    assert replay.recipe is None
    assert "model //attacker/share (here emoji)" in replay.note
    assert not hasattr(replay.form, "model")


@pytest.mark.parametrize(
    "call",
    [
        lambda studio: handlers.on_prompt(studio, {"a": 1}, None),
        lambda studio: handlers.on_prompt(studio, PROMPT, {"entities": [1]}),
        lambda studio: handlers.on_edit(studio, PROMPT, {"groups": [["a"]]}),
        lambda studio: handlers.on_edit(studio, PROMPT, {"groups": {"0": 1}}),
        lambda studio: handlers.on_method(studio, "no such"),
        lambda studio: handlers.on_method(studio, 7),
        lambda studio: handlers.on_run_table(studio, {"run": 0}),
        lambda studio: handlers.on_run_table(studio, {"run": "../../etc"}),
        lambda studio: handlers.on_open(studio, {"run": -1, "open": [0, 0]}),
        lambda studio: handlers.on_open(studio, None),
    ],
)
def test_small_handlers_answer_in_one_line(studio: Studio, call: Any) -> None:
    said = call(studio)["status"]
    assert 'class="error"' in said
    assert "\n" not in said
