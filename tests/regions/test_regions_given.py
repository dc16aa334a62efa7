"""Regions that a user gives: boxes, words, masks; as texts, on the command line, in a recipe, drawn over a picture."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unbleed
from unbleed import Region, cli, draw_regions, figures, parse
from unbleed.cli import draw  # noqa: F401  (it adds the command)
from unbleed.recipes import Recipe, read_recipe, save
from unbleed.regions.given import assign, masks_of, per_prompt
from unbleed.regions.masks import DATA, as_data, mask_data, mask_file, mask_of
from unbleed.regions.texts import read_regions, region_of_text, regions_of

PROMPT = "a red cat and a blue car"


def half(width: int = 32, height: int = 32) -> np.ndarray:
    """A mask of the left half, in white."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, : width // 2] = 255
    return mask


def png(folder: Path, pixels: Any, name: str = "mask.png") -> Path:
    path = folder / name
    Image.fromarray(pixels).save(path)
    return path


# --------------------------------------------------------------------------------------------------------- masks


def test_a_box_takes_the_pixels_that_it_covers_by_half() -> None:
    assert Region((0.0, 0.0, 0.5, 1.0)).mask((2, 4)).int().tolist() == [[1, 1, 0, 0]] * 2
    assert Region((0.0, 0.0, 0.375, 1.0)).mask((1, 4)).int().tolist() == [[1, 1, 0, 0]]  # half of the second
    assert Region((0.0, 0.0, 0.3, 1.0)).mask((1, 4)).int().tolist() == [[1, 0, 0, 0]]


def test_a_region_smaller_than_a_pixel_keeps_one() -> None:
    mask = Region((0.6, 0.6, 0.61, 0.61)).mask((4, 4))
    assert mask.nonzero().tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("word", "corner"),
    [("top left", (0, 0)), ("top right", (0, 1)), ("bottom left", (1, 0)), ("Bottom Right", (1, 1))],
)
def test_corners_are_quarters(word: str, corner: tuple[int, int]) -> None:
    assert Region(word).mask((2, 2)).nonzero().tolist() == [list(corner)]


def test_everywhere_limits_nothing_and_the_background_is_what_is_left() -> None:
    everywhere, rest, left = masks_of([Region("everywhere"), Region("background"), Region("left")], (2, 2)).int().tolist()
    assert everywhere == [[1, 1], [1, 1]]
    assert rest == [[0, 1], [0, 1]]
    assert left == [[1, 0], [1, 0]]
    with pytest.raises(unbleed.PromptError, match="nothing is left for the background"):
        masks_of([Region("left"), Region("right"), Region("background")], (2, 2))


def test_regions_may_overlap() -> None:
    masks = masks_of([Region((0, 0, 0.75, 1)), Region((0.25, 0, 1, 1))], (1, 4)).int().tolist()
    assert masks == [[[1, 1, 1, 0]], [[0, 1, 1, 1]]]


def test_masks_of_every_kind_of_picture_mean_the_same() -> None:
    white = Image.fromarray(half())
    deep = Image.fromarray(half().astype(np.uint16) * 200)  # 16 bits; above 255 everywhere inside
    ground = np.zeros((32, 32, 4), dtype=np.uint8)  # black on a transparent ground
    ground[:, :16, 3] = 255
    pictures = [white, white.convert("1"), white.convert("RGB"), white.convert("P"), deep, Image.fromarray(ground)]
    for given in (*pictures, half(), torch.from_numpy(half()), half().astype(bool)):
        assert torch.equal(Region(given).mask((4, 4)), Region("left").mask((4, 4)))


def test_a_mask_of_other_proportions_than_the_picture_is_refused() -> None:
    line = "a mask of 64x32 pixels has other proportions than the picture, which has 4:4; give a mask of the picture's size"
    with pytest.raises(unbleed.PromptError, match=line):
        Region(half(64, 32)).mask((4, 4))
    assert Region(half(65, 64)).mask((16, 17)).any()  # grids are rounded


# --------------------------------------------------------------------------------------------------------- texts


def test_a_mask_in_a_text_is_small_and_comes_back() -> None:
    mask = torch.rand(64, 48, generator=torch.Generator().manual_seed(0))
    text = as_data(mask)
    assert text.startswith(DATA)
    assert torch.equal(mask_data(text), (mask > 0.5).float())
    large = mask_of(half(4096, 2048))
    assert mask_data(as_data(large)).shape == (256, 512)
    assert len(as_data(large)) < 1000
    thin = torch.zeros(4096, 4096)
    thin[:, 1000] = 1
    assert mask_data(as_data(thin)).sum() == 512  # a line of one pixel is still there


def test_texts_of_regions(tmp_path: Path) -> None:
    path = png(tmp_path, half())
    texts = read_regions(["red  cat:  Top  Left", "car: 0, 0.25 ,1,1", f"dog: {path}", "sky: everywhere", "cow: found"])
    assert list(texts) == ["red cat", "car", "dog", "sky", "cow"]
    assert [texts[name] for name in ("red cat", "car", "sky", "cow")] == ["top left", "0,0.25,1,1", "everywhere", "found"]
    path.unlink()  # the text holds the mask
    regions = regions_of(texts)
    assert regions["car"].where == (0, 0.25, 1, 1)
    assert torch.equal(regions["dog"].where, torch.from_numpy(half()) / 255)
    assert regions["sky"].where is None
    assert regions["cow"].is_found


def test_texts_that_name_an_adapter(tmp_path: Path) -> None:
    path = png(tmp_path, half())
    texts = read_regions(
        ["cat: Top  Left, Adapter = My_LoRA", "car: 0, 0,1,1 ,adapter=b", f"dog: {path}, adapter=c", "cow: adapter=d"]
    )
    assert [texts[name] for name in ("cat", "car", "cow")] == [
        "top left,adapter=My_LoRA",
        "0,0,1,1,adapter=b",
        "found,adapter=d",
    ]
    regions = regions_of(texts)
    assert [region.adapter for region in regions.values()] == ["My_LoRA", "b", "c", "d"]
    assert regions["car"].where == (0, 0, 1, 1)
    assert torch.equal(regions["dog"].where, torch.from_numpy(half()) / 255)
    assert regions["cow"].is_found
    assert read_regions([f"{phrase}: {where}" for phrase, where in texts.items()]) == texts


def test_phrases_that_no_entity_has_become_one() -> None:
    parsed, found = assign(parse("a red cat in the snow"), {"snow": "bottom", "cat": "top"})
    assert {str(entity): region.where for entity, region in found.items()} == {
        "snow": (0, 0.5, 1, 1),
        "red cat": (0, 0, 1, 0.5),
    }
    assert set(found) <= set(parsed.entities)


def test_one_table_of_regions_per_prompt() -> None:
    assert per_prompt({"cat": "left"}, 2) == [{"cat": "left"}] * 2
    assert per_prompt([None, {"cat": "left"}], 2) == [{}, {"cat": "left"}]
    with pytest.raises(unbleed.PromptError, match="1 tables of regions were given for 2 prompts"):
        per_prompt([{}], 2)


@pytest.mark.parametrize("given", ["left", ["left", "right"], [{}, "left"], 3])
def test_what_is_not_a_table_of_regions_is_refused(given: Any) -> None:
    with pytest.raises(unbleed.PromptError, match=r"regions are .+; expected a table, as in \{\"red cat\": \"left\"\}"):
        per_prompt(given, 2)


def test_an_article_before_a_phrase_changes_nothing() -> None:
    parsed = parse("a red cat and the dog in an igloo")
    phrases = {"The red cat": "left", "a  dog": "right", "an igloo": "bottom"}
    again, found = assign(parsed, phrases)
    assert again == parsed
    assert [str(entity) for entity in found] == ["red cat", "dog", "igloo"]
    with pytest.raises(unbleed.PromptError, match='"red cat" is given two regions'):
        assign(parsed, {"the red cat": "left", "cat": "right"})


def test_entities_of_the_same_words_are_told_apart_by_objects_alone() -> None:
    parsed = parse("a red cat and a red cat")
    with pytest.raises(unbleed.PromptError, match=r'the prompt has 2 entities "red cat", .+ give an Entity of unbleed.parse'):
        assign(parsed, {"red cat": "left"})
    first, second = parsed.entities
    assert assign(parsed, {second: "left", first: "right"})[1] == {first: Region("right"), second: Region("left")}


def test_words_that_another_prompt_lacks_are_named_with_their_phrase() -> None:
    with pytest.raises(
        unbleed.PromptError, match='a region is given for "red cat", but "red" is not a word of the prompt "a dog"'
    ):
        assign(parse("a dog"), {"red cat": "left"})


def test_a_box_may_be_an_array() -> None:
    for box in (np.array([0.0, 0.25, 0.5, 1.0]), torch.tensor([0.0, 0.25, 0.5, 1.0]), [0, 0.25, 0.5, 1]):
        assert Region(box).where == (0.0, 0.25, 0.5, 1.0)
    with pytest.raises(unbleed.PromptError, match="is not a box; expected four numbers"):
        Region(np.zeros(3))


# ------------------------------------------------------------------------------------------------------- pictures


def test_outlines_lie_on_the_edge_of_a_region_inside_it() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1:3, 1:3] = True
    drawn = np.asarray(figures.outlines(Image.new("RGB", (128, 128)), [mask], [""]))
    changed = np.asarray(drawn.any(axis=-1))
    assert not changed[:32].any()
    assert not changed[:, :32].any()
    assert not changed[96:].any()
    assert tuple(drawn[80, 32]) == figures._COLOURS[0]
    assert tuple(drawn[95, 60]) == figures._COLOURS[0]
    assert not changed[70:90, 50:90].any()


def test_names_of_regions_stay_inside_the_picture_and_regions_of_all_pixels_are_not_drawn() -> None:
    corner = torch.zeros(16, 16, dtype=torch.bool)
    corner[15, 15] = True
    everywhere = torch.ones(16, 16, dtype=torch.bool)
    picture = Image.new("RGB", (128, 128), (250, 250, 250))
    assert draw_regions(picture, {"sky": everywhere}).getcolors() == [(384 * 384, (250, 250, 250))]
    named = np.asarray(draw_regions(picture, {"sky": everywhere, "a very long name of a small thing": corner}))
    label = (named == figures._COLOURS[1]).all(axis=-1)
    assert label.sum() > 1000
    with pytest.raises(unbleed.OutputError, match=r'the mask of "cat" has the shape \(1, 4, 4\); expected \(height, width\)'):
        draw_regions(picture, {"cat": torch.ones(1, 4, 4)})


@pytest.fixture(scope="module")
def run_of_regions() -> tuple[Any, Image.Image]:
    pipe = unbleed.load("emoji")
    pipe.set_progress_bar_config(disable=True)
    method = unbleed.methods.Regions(resolution=16, step_size=0, candidates=1)
    with unbleed.guide(pipe, method, regions={"cat": "left", "car": (0.25, 0, 1, 1)}) as run:
        generator = torch.Generator().manual_seed(0)
        picture = pipe([PROMPT], num_inference_steps=2, generator=generator).images[0]
    return run, picture


def test_a_run_shows_its_regions(run_of_regions: tuple[Any, Image.Image]) -> None:
    run, picture = run_of_regions
    masks = run.region_masks()
    assert [str(entity) for entity in masks] == ["red cat", "blue car"]
    cat, car = masks.values()
    assert torch.equal(cat, Region("left").mask((64, 64)))
    assert torch.equal(car, Region((0.25, 0, 1, 1)).mask((64, 64)))
    drawn = np.asarray(run.show_regions(picture))
    assert drawn.shape == (384, 384, 3)
    assert tuple(drawn[382, 60]) == figures._COLOURS[0]  # its lower edge
    with pytest.raises(unbleed.OutputError, match='image 1 has no regions; take a method that has some, such as "regions"'):
        run.region_masks(image=1)
    with pytest.raises(unbleed.OutputError, match="call 3; the pipeline was called 1 time inside the block"):
        run.region_masks(call=3)


# --------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run([str(a) for a in arguments])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def test_regions_are_in_the_recipe_and_replayed_to_the_bit(run: Any, tmp_path: Path) -> None:
    mask, first, again = png(tmp_path, half()), tmp_path / "first.png", tmp_path / "again.png"
    options = ("--region", f"car: {mask}", "--region", "red cat: 0.4,0.1,1,0.9", "--steps", 3, "--set", "candidates=1")
    code, _, said = run("generate", PROMPT, *options, "--out", first)
    assert code == 0, said
    recipe = read_recipe(first)
    assert recipe.method == "regions"
    assert recipe.regions["red cat"] == "0.4,0.1,1,0.9"
    assert torch.equal(region_of_text(recipe.regions["car"]).where, torch.from_numpy(half()) / 255)
    mask.unlink()
    code, _, said = run("generate", "--replay", first, "--out", again)
    assert code == 0, said
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(again)))
    assert read_recipe(again) == recipe


def test_a_lora_of_the_command_line_acts_in_the_region_that_names_it_and_is_replayed(run: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    pipe = unbleed.load("emoji")
    pipe.unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_v"], init_lora_weights=False))
    weights = peft.get_peft_model_state_dict(pipe.unet)
    pipe.save_lora_weights(tmp_path, unet_lora_layers=weights, weight_name="Style.v1.safetensors")
    options = ("--lora", tmp_path / "Style.v1.safetensors", "--steps", 2, "--set", "candidates=1", "--set", "step_size=0")
    pictures = {}
    for where in ("left", "left, adapter=Style_v1", "everywhere, adapter=Style_v1"):
        path = tmp_path / f"{len(pictures)}.png"
        code, _, said = run("generate", PROMPT, "--region", f"cat: {where}", *options, "--out", path)
        assert code == 0, said
        pictures[where] = np.asarray(Image.open(path))
    assert read_recipe(tmp_path / "1.png").regions == {"cat": "left,adapter=Style_v1"}
    all_, limited, _ = pictures.values()
    assert not np.array_equal(all_, limited)
    code, _, said = run("generate", "--replay", tmp_path / "1.png", "--out", tmp_path / "again.png")
    assert code == 0, said
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again.png")), limited)
    code, _, said = run("generate", PROMPT, "--region", "cat: left, adapter=style", *options, "--out", path)
    assert (code, said.count("\n")) == (2, 1)
    assert 'the region of "cat" names the adapter "style"; known: "Style_v1"' in said


def test_a_comparison_shows_the_regions(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    grid = figures.grid
    monkeypatch.setattr(figures, "grid", lambda rows, **rest: made.update(rows=rows, **rest) or grid(rows, **rest))
    options = ("--region", "cat: left", "--steps", 2, "--set", "candidates=1", "--set", "step_size=0")
    code, told, said = run("generate", PROMPT, *options, "--compare", "--json", "--out", tmp_path)
    assert code == 0, said
    assert made["columns"][:2] == ["picture", "regions"]
    assert made["rows"][0][1] is None  # the unguided picture has none
    assert made["rows"][1][1].size == made["rows"][1][0].size
    guided = json.loads(told)["images"][1]
    assert guided["regions"] == {"red cat": [0.0, 0.0, 0.5, 1.0], "blue car": guided["regions"]["blue car"]}


def test_recipes_without_regions_are_still_read(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (8, 8)), Recipe(PROMPT), tmp_path / "old.png")
    from PIL import PngImagePlugin

    values = json.loads(Image.open(path).text["unbleed"])  # pyright: ignore[reportAttributeAccessIssue]
    del values["regions"]
    info = PngImagePlugin.PngInfo()
    info.add_itxt("unbleed", json.dumps(values))
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    assert read_recipe(path) == Recipe(PROMPT)


BOMB = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgABhqAAAYagCAAAAACNOVQUAAAADElEQVR4nGNgoD0AAABkAAGGZDw1"
)  # the beginning of a PNG that says it has 100000x100000 grey pixels


@pytest.mark.parametrize(
    ("regions", "line"),
    [
        (["red cat"], '"red cat" is not a region of a phrase; expected PHRASE: WHERE'),
        ([": left"], '": left" is not a region of a phrase'),
        (["cat:"], '"cat:" is not a region of a phrase'),
        (["cat: 0,0,64,128"], "is outside of the picture; its numbers are fractions of it, from 0 to 1"),
        (["cat: 0.5,0,0.5,1"], "is empty; expected left < right and top < bottom"),
        (["cat: 0,0,1"], "is not a box; expected four numbers: left, top, right, bottom"),
        (["cat: nan,0,1,1"], "is not a box; expected four numbers"),
        (["cat: a,b,c,d"], '"a,b,c,d" is not a box; expected four numbers'),
        (["cat: lefd"], 'the region of "cat" cannot be: "lefd" is not a region; did you mean "left"?'),
        (["cat: sideways"], '"sideways" is not a region; known: left, right, top, bottom, center'),
        (["dog: left"], '"dog"'),
        (["cat: left", "Cat: right"], '"Cat" is given two regions; give it one'),
        (["cat: left", "red cat: right"], '"red cat" is given two regions; give it one'),
        (["cat: {tmp}/none.png"], "none.png cannot be used: no such file"),
        (["cat: {tmp}"], "is not a region"),
        (["cat: {tmp}/folder.png"], "folder.png is not a file; name a PNG that marks the region in white"),
        (["cat: {tmp}/text.png"], "text.png cannot be used: it cannot be read as a picture"),
        (["cat: {tmp}/short.png"], "short.png cannot be used: it cannot be read as a picture"),
        (["cat: {tmp}/black.png"], "a mask is empty: nothing of it is above 0; mark the region in white"),
        (["cat: {tmp}/large.png"], "large.png has 5000x8 pixels; expected at most 4096x4096"),
        (["cat: {tmp}/bomb.png"], "bomb.png"),
        (["cat: data:image/png;base64,%%%"], "the mask cannot be used: its text is not base64"),
        (["cat: left, adapter="], '"left, adapter=" names no adapter; expected a LoRA'),
        (["cat: left, adapter=a, adapter=b"], "names 2 adapters; a region takes one"),
        (["cat: left, adapter=a"], 'the region of "cat" names the adapter "a"; known: none. A LoRA is named by its file'),
        (["cat: 0,0,1,1", "car: background"], "nothing is left for the background"),
    ],
)
def test_bad_regions_are_one_line(run: Any, tmp_path: Path, regions: list[str], line: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    png(tmp_path, half(), "short.png")
    (tmp_path / "short.png").write_bytes((tmp_path / "short.png").read_bytes()[:60])
    png(tmp_path, half() * 0, "black.png")
    png(tmp_path, half(5000, 8), "large.png")
    (tmp_path / "bomb.png").write_bytes(BOMB)
    options = [part for text in regions for part in ("--region", text.replace("{tmp}", str(tmp_path)))]
    code, told, said = run("generate", PROMPT, *options, "--out", tmp_path / "new.png")
    assert (code, told) == (2, "")
    assert line in said
    assert said.count("\n") == 1
    assert not (tmp_path / "new.png").exists()


def test_a_method_without_regions_is_refused_before_anything_is_loaded(run: Any, tmp_path: Path) -> None:
    options = ("--method", "syngen", "--region", "cat: left", "--model", tmp_path)
    code, _, said = run("generate", PROMPT, *options, "--out", tmp_path)
    assert code == 2
    assert said == 'unbleed: regions were given, but syngen does not use them; take the method "regions"\n'


def test_a_mask_of_other_proportions_is_one_line_on_the_command_line(run: Any, tmp_path: Path) -> None:
    path = png(tmp_path, half(64, 32))
    code, _, said = run("generate", PROMPT, "--region", f"cat: {path}", "--steps", 2, "--out", tmp_path)
    assert code == 2
    assert "a mask of 64x32 pixels has other proportions than the picture" in said
    assert said.count("\n") == 1


def test_a_recipe_with_a_bad_region_is_not_taken(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (8, 8)), Recipe(PROMPT, method="regions", regions={"cat": "left"}), tmp_path / "a.png")
    data = path.read_bytes()
    assert read_recipe(path).regions == {"cat": "left"}
    for where, line in (("gone", "is not a region"), ("a.png", "is the name of a file")):
        with pytest.raises(unbleed.PromptError, match=line):
            Recipe(PROMPT, regions={"cat": where})
    from PIL import PngImagePlugin

    values = json.loads(Image.open(io.BytesIO(data)).text["unbleed"])  # pyright: ignore[reportAttributeAccessIssue]
    for bad in ({"cat": "/etc/mask.png"}, {"cat": 5}, ["cat"]):  # a recipe of a stranger opens no file
        info = PngImagePlugin.PngInfo()
        info.add_itxt("unbleed", json.dumps({**values, "regions": bad}))
        Image.new("RGB", (8, 8)).save(path, pnginfo=info)
        with pytest.raises(unbleed.OutputError, match="cannot be understood"):
            read_recipe(path)


def test_a_mask_of_a_file_is_read_as_the_mask_itself(tmp_path: Path) -> None:
    assert torch.equal(mask_file(png(tmp_path, half())), torch.from_numpy(half()) / 255)
