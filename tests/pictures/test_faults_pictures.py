"""Pictures say what they show: layers, words, letters; heat maps in Python; the words that the embedded model knows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unbleed
from unbleed import cli, figures, generation, heat_maps, lettering, recipes
from unbleed.cli import draw, emoji  # noqa: F401  (they add the commands)
from unbleed.emoji.scenes import WORDS, unknown_words
from unbleed.emoji.sprites import COLOURS, NOUNS
from unbleed.guidance.run import Run
from unbleed.prompt import Entity
from unbleed.sheets import comparison, unguided

PROMPT = "a red bench and a red horse"
STEPS = 3
ROOT = Path(__file__).parents[2]
LEFT, RIGHT = slice(None, 7), slice(7, None)  # columns of a map of 16


@pytest.fixture(scope="module")
def pipe() -> Any:
    loaded = unbleed.load("emoji")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def recorded(pipe: Any) -> tuple[Run, list[Image.Image]]:
    """Two calls: two prompts with two images each, then one image of one prompt."""
    with unbleed.guide(pipe, "none", record_maps=True) as run:
        images = pipe([PROMPT, "a cat"], num_inference_steps=STEPS, num_images_per_prompt=2).images
        pipe("a green apple", num_inference_steps=2)
    return run, images


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run([str(a) for a in arguments])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What every sheet was made of."""
    made: list[dict[str, Any]] = []
    own = figures.grid

    def noting(rows: Any, **texts: Any) -> Image.Image:
        made.append({"rows": rows, **texts})
        return own(rows, **texts)

    monkeypatch.setattr(figures, "grid", noting)
    return made


# ------------------------------------------------------------------------------------------------- comparisons


def test_S1_both_sides_of_a_comparison_read_the_layers_of_the_method(command: Any, sheets: Any, tmp_path: Path) -> None:
    code, out, _ = command("generate", PROMPT, "--method", "syngen", "--compare", "--steps", 2, "--out", tmp_path, "--json")
    plain, guided = (recipes.read_recipe(Path(image["path"])) for image in json.loads(out)["images"])
    assert (code, plain.method, guided.method) == (0, "none", "syngen")
    assert plain.settings["resolution"] == guided.settings["resolution"] == 16
    (sheet,) = sheets
    assert sheet["labels"] == ["unguided", "syngen"]
    assert "Maps: 3 text attention layers of 16x16 pixels" in sheet["note"]


@pytest.mark.parametrize("settings", [{"resolution": 8}, {"resolution": 16, "layers": "up"}, {"parity": "paper"}])
def test_S1_whatever_layers_a_method_reads_the_unguided_picture_has_them_too(pipe: Any, settings: dict[str, Any]) -> None:
    recipe = recipes.Recipe(PROMPT, method="syngen + ela", settings=settings, steps=2)
    plain, guided = (generation.draw(pipe, [one], record_maps=True)[0] for one in (unguided(recipe), recipe))
    assert plain.attention.layers == guided.attention.layers
    assert plain.attention.grid == guided.attention.grid
    # before anything was moved both see the same latents, and so the same maps
    unmoved = replace(recipe, method="syngen", settings=settings | {"step_size": 0.0})
    (still,) = generation.draw(pipe, [unmoved], record_maps=True)
    torch.testing.assert_close(still.attention.maps[0], plain.attention.maps[0])
    comparison(plain, guided)


def test_S1_maps_of_different_layers_are_never_compared(pipe: Any) -> None:
    pair = [recipes.Recipe(PROMPT, steps=2, settings={"resolution": side}) for side in (8, 16)]
    coarse, fine = (generation.draw(pipe, [recipe], record_maps=True)[0] for recipe in pair)
    with pytest.raises(unbleed.OutputError) as refused:
        comparison(coarse, fine)
    assert str(refused.value) == (
        "maps of different layers cannot be compared (4 text attention layers of 8x8 pixels and 3 text attention layers of "
        "16x16 pixels); record both with the same resolution and layers"
    )


def test_S2_the_attention_of_the_embedded_model_is_read_where_guidance_acts(command: Any, sheets: Any, tmp_path: Path) -> None:
    common = ("attention", PROMPT, "--steps", 2, "--out", tmp_path / "heat.png", "--json")
    default, coarse = (json.loads(command(*common, *more)[1]) for more in ((), ("--resolution", 8)))
    assert default["grid"] == "16x16"
    assert coarse["grid"] == "8x8"
    assert len(set(default["layers"]) & set(coarse["layers"])) == 0
    assert "Maps: 3 text attention layers of 16x16 pixels." in sheets[0]["note"]
    assert "Maps: 4 text attention layers of 8x8 pixels." in sheets[1]["note"]
    code, _, err = command(*common, "--resolution", 5)
    assert (code, err) == (
        2,
        "unbleed: this denoiser has no text attention at 5x5; at its own image size it has 16x16, 8x8\n",
    )


def test_S2_the_maps_of_the_readmes_prompt_show_the_leak(pipe: Any) -> None:
    """The unguided horse, on the left, comes out red; the layers of the default reading say so."""
    with unbleed.guide(pipe, "none", record_maps=True) as run:
        seed = torch.Generator("cpu").manual_seed(1)
        pipe("a red bench and a horse", num_inference_steps=6, guidance_scale=3.0, generator=seed, output_type="latent")
    left, right = ({w: run.heat_map(w).values[:, half].max() for w in ("red", "bench", "horse")} for half in (LEFT, RIGHT))
    assert left["horse"] > right["horse"]
    assert right["bench"] > left["bench"]
    assert left["red"] > 0.8 * right["red"]


# ------------------------------------------------------------------------------------------------------- words


def test_S5_the_embedded_model_says_which_words_it_does_not_know(command: Any, tmp_path: Path) -> None:
    told = (
        'the embedded model does not know "castle", "on", "hill", "dragon" and draws something else there: it was trained on '
        "24 nouns and 11 colours (unbleed emoji words lists them); --model takes another model"
    )
    for name in ("generate", "attention"):
        with pytest.warns(unbleed.UnbleedWarning) as warned:
            code, *_ = command(name, "a castle on a hill with a dragon", "--steps", 2, "--out", tmp_path / f"{name}.png")
        assert (code, [str(one.message) for one in warned]) == (0, [told])


def test_S5_words_that_it_was_shown_are_known() -> None:
    assert {*NOUNS, *COLOURS} < WORDS
    assert unknown_words("A photo of a GREY cat next to an orange elephant, 2 &") == []
    assert unknown_words("two (cats:1.2) and a Cats' cat") == ["two", "cats", "Cats"]


def test_S5_the_list_of_its_words_is_one_command_and_one_page_away(command: Any) -> None:
    code, out, _ = command("emoji", "words")
    assert code == 0
    assert out.splitlines()[0] == f"24 nouns: {', '.join(NOUNS)}"
    assert out.splitlines()[1] == f"11 colours: {', '.join(COLOURS)}"
    listed = json.loads(command("emoji", "words", "--json")[1])
    assert {word for kind in listed.values() for word in kind} == WORDS
    page = (ROOT / "docs" / "emoji-model.md").read_text()
    assert ", ".join(NOUNS) in page
    assert ", ".join(COLOURS) in page


# ------------------------------------------------------------------------------------------------------ sheets


def test_S7_every_map_of_a_sheet_is_of_the_words_above_it(recorded: Any, sheets: Any) -> None:
    run, images = recorded
    attention = run.attention(0, call=0)
    heat_maps.compare([("one", images[0], attention)], side=128)
    assert sheets[0]["columns"] == ["picture", "red (bench)", "bench", "red (horse)", "horse"]
    entity = run.entities[0][0]
    for column, word in (("red (bench)", entity.modifier_spans[0].text), ("bench", entity.noun)):
        at = sheets[0]["columns"].index(column)
        position = {"red": 2, "bench": 3}[word]
        own = torch.stack([maps[position] for maps in attention.maps]).mean(dim=0)
        assert np.array_equal(sheets[0]["rows"][0][at], figures.overlay(images[0], own))
        assert sheets[0]["captions"][0][at] == f"max {own.max():.2f}"


def test_S7_a_word_has_one_scale_in_all_rows(recorded: Any, sheets: Any) -> None:
    run, images = recorded
    rows = [(str(at), images[at], run.attention(at, call=0)) for at in (0, 1)]
    heat_maps.compare(rows, side=128)
    means = [attention.over_steps("bench").mean(dim=0) for *_, attention in rows]
    peak = max(float(mean.max()) for mean in means)
    for at, mean in enumerate(means):
        assert np.array_equal(sheets[0]["rows"][at][2], figures.overlay(images[at], mean, peak))


@pytest.mark.parametrize("system", [True, False], ids=["with system fonts", "with Pillow's own font alone"])
def test_S7_no_text_is_drawn_as_boxes(monkeypatch: pytest.MonkeyPatch, system: bool) -> None:
    if not system:
        monkeypatch.setattr(lettering, "_SYSTEM_FONTS", ())
    lettering.fonts.cache_clear()
    try:
        for text in ("a 🐱 and a 🐻‍❄️", "café, naïve, Łódź", "кот и 猫", "π → x", "a\u00a0b\tc\nd", "“quoted” … 5 × 3 − 2"):
            drawn, font = lettering.lettered(text, 16)
            assert all(letter == " " or lettering._draws(font, letter) for letter in drawn), drawn
    finally:
        lettering.fonts.cache_clear()
    assert lettering.lettered("a 🐱 and a ✨", 16)[0] == "a [cat face] and a [sparkles]"


def test_S7_letters_that_no_font_has_keep_their_base_or_tell_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_SYSTEM_FONTS", ())
    lettering.fonts.cache_clear()
    try:
        assert lettering.lettered("café 猫", 16)[0] == "cafe [U+732B]"
    finally:
        lettering.fonts.cache_clear()


def test_S7_pictures_of_the_method_pages_are_not_reduced_to_a_palette() -> None:
    folder = ROOT / "docs" / "images" / "methods"
    pictures = sorted(folder.iterdir())
    assert {path.suffix for path in pictures} == {".webp"}
    for path in pictures:
        with Image.open(path) as image:
            assert image.mode == "RGB"
            assert len(image.getcolors(maxcolors=image.width * image.height) or ()) > 1000


def test_S7_the_readme_of_a_package_index_has_no_relative_pictures_or_links() -> None:
    tomllib = pytest.importorskip("tomllib")
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = """Before [a page](docs/page.md#part).

![A sheet](docs/images/sheet.png)

*Its caption, of `two`
lines.*

[![badge](https://x.org/b.svg)](LICENSE) [there](https://x.org) and [here](#here)
"""
    whole = (ROOT / "README.md").read_text()
    for substitution in hook["substitutions"]:
        text, whole = (re.sub(substitution["pattern"], substitution["replacement"], old) for old in (text, whole))
    assert text == "Before a page.\n\n![badge](https://x.org/b.svg) [there](https://x.org) and [here](#here)\n"
    assert not re.findall(r"\]\((?!https?:|#)", whole)


# --------------------------------------------------------------------------------------------------- heat maps


def test_I6_a_heat_map_is_the_words_share_averaged_over_the_steps_or_of_one(recorded: Any) -> None:
    run, images = recorded
    own = torch.stack([step.maps[3] for step in run.maps if step.call == 0])  # the second image of "a cat"
    found = run.heat_map("cat", image=3, call=0)
    torch.testing.assert_close(found.values, own[:, 2].mean(dim=0))
    torch.testing.assert_close(run.heat_map("cat", step=1, image=3, call=0).values, own[1, 2])
    assert np.asarray(found).shape == (16, 16)
    assert np.asarray(found).dtype == np.float32
    assert found.picture(64).size == (64, 64)
    assert np.array_equal(found.overlay(images[3]), figures.overlay(images[3], found.values))
    assert found._repr_png_().startswith(b"\x89PNG")
    assert repr(found) == "HeatMap(label='cat')"
    torch.testing.assert_close(run.heat_map("apple").values, run.heat_map("apple", call=1).values)  # the last call


def test_I6_words_are_a_word_a_phrase_an_entity_or_positions(recorded: Any) -> None:
    run, _ = recorded
    of = run.attention(call=0)
    assert of.positions("bench") == (3,)
    assert of.positions("Red  Horse") == of.positions(run.entities[0][1]) == (6, 7)
    assert of.positions("a red bench") == (1, 2, 3)
    assert (of.positions(6), of.positions([2, 6])) == ((6,), (2, 6))
    phrase = run.heat_map("red horse", call=0).values
    torch.testing.assert_close(phrase, run.heat_map([6], call=0).values + run.heat_map(7, call=0).values)


def test_I6_an_entity_is_found_by_its_name_where_its_words_stand_apart(pipe: Any) -> None:
    with unbleed.guide(pipe, "none", entities="red cat; dog", record_maps=True) as run:
        pipe("the cat of a dog, red", num_inference_steps=1, output_type="latent")
    assert run.attention().positions("red cat") == (2, 7)


def test_I6_what_cannot_be_shown_is_one_line(recorded: Any, pipe: Any) -> None:
    run, _ = recorded
    elsewhere = unbleed.parse("a lion").entities[0]
    assert isinstance(elsewhere, Entity)
    for make, kind, message in [
        (
            lambda: run.heat_map("dog"),
            unbleed.PromptError,
            '"dog" is not in the prompt; it has the words "a", "green", "apple"',
        ),
        (
            lambda: run.heat_map("red", call=0),
            unbleed.PromptError,
            '"red" is in the prompt 2 times, at token positions [2] and [6]; give the positions or a longer phrase',
        ),
        (lambda: run.heat_map(" "), unbleed.PromptError, '" " is not in the prompt'),
        (lambda: run.heat_map(elsewhere), unbleed.PromptError, '"lion" is not an entity of this prompt; it has "green apple"'),
        (lambda: run.heat_map(24), unbleed.PromptError, "token positions [24]; expected some from 0 to 23"),
        (lambda: run.heat_map([]), unbleed.PromptError, "token positions []; expected some from 0 to 23"),
        (
            lambda: run.heat_map("apple", step=2),
            unbleed.OutputError,
            "no attention was recorded at step 2; recorded steps: 0 to 1",
        ),
        (lambda: run.heat_map("apple", image=1), unbleed.OutputError, "image 1; the call made 1 image, counted from 0"),
        (
            lambda: run.heat_map("apple", call=2),
            unbleed.OutputError,
            "call 2; the pipeline was called 2 times inside the block",
        ),
        (
            lambda: run.heat_map("apple").overlay(np.zeros((8, 8, 3))),
            unbleed.OutputError,
            "the picture is a ndarray; expected a Pillow image, as pipelines return by default",
        ),
        (lambda: run.show(words=[]), unbleed.PromptError, "no words to show; name some words of the prompt"),
    ]:
        with pytest.raises(kind) as refused:
            make()
        assert str(refused.value).startswith(message)
    with unbleed.guide(pipe, "none") as unrecorded:
        pipe("a cat", num_inference_steps=1, output_type="latent")
    with pytest.raises(unbleed.OutputError, match=r"open the block with guide\(\.\.\., record_maps=True\)"):
        unrecorded.show()


def test_I6_show_is_a_sheet_of_words_and_steps(recorded: Any, sheets: Any) -> None:
    run, images = recorded
    sheet = run.show(images[0], ["red bench", 7], per_step=2, call=0)
    made = sheets[0]
    assert made["columns"] == ["picture", "red bench", "token 7"]
    assert made["labels"] == ["all steps", "step 0", "step 2"]
    assert [len(row) for row in made["rows"]] == [3, 3, 3]
    assert made["title"] == f"“{PROMPT}”"
    assert sheet.width > 3 * 192
    run.show()
    assert sheets[1]["columns"] == ["a", "green", "apple"]
    assert sheets[1]["title"] == "“a green apple”"
    large = run.heat_map("apple").values
    assert sheets[1]["captions"][0][2] == f"max {large.max():.2f}"


def test_I6_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "heat-maps.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(example.replace("num_inference_steps=10", "num_inference_steps=4"), "heat-maps.md", "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"red.png", "map.png", "sheet.png"}
