"""Drawing, cancelling, keeping; code and recipes that make the same picture to the bit."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.studio import PROMPT, finished, png_with
from unbleed import cli
from unbleed.errors import PromptError
from unbleed.recipes import as_png, read_recipe
from unbleed.regions.masks import as_data
from unbleed.studio import handlers
from unbleed.studio.code import as_command, as_python
from unbleed.studio.form import Form, House, recipes_of
from unbleed.studio.studio import Pair, Studio

pytestmark = pytest.mark.slow


def form(**values: object) -> Form:
    return Form(**{"prompt": PROMPT, "steps": 3, "guidance_scale": 3.0, "attention": False} | values)  # type: ignore[arg-type]


def pixels(source: Path | io.BytesIO) -> np.ndarray:
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def test_a_picture_with_its_unguided_twin(studio: Studio) -> None:
    job = finished(studio.draw("a", form(seed=5, attention=True)))
    (pair,) = job.results
    guided, plain = studio.store.get(pair.guided), studio.store.get(str(pair.plain))
    assert (job.state, job.share) == ("done", 1.0)
    assert guided is not None
    assert plain is not None
    assert guided.cost == "6 forwards + 1 evaluation of 1.96 + 7 readings of 0.95 = 15 forwards"
    assert plain.cost == "6 forwards"
    assert guided.entities == ["red cat", "blue bench"]
    assert guided.maps is not None
    assert guided.maps["words"] == PROMPT.split()
    assert guided.maps["entities"] == [-1, 0, 0, -1, -1, 1, 1]
    height, width = guided.maps["grid"]
    sheet = pixels(io.BytesIO(base64.b64decode(guided.maps["sheet"].partition(",")[2])))
    assert sheet.shape[:2] == (3 * height, 7 * width)
    assert sheet.max() == 255
    assert read_recipe(studio.store.path(guided)) == guided.recipe


def test_a_picture_that_has_gone_from_the_disk_is_drawn_again(studio: Studio) -> None:
    for name in ("facts.json", "*.png"):
        pair = finished(studio.draw("a", form(seed=7, method="none"))).results[0]
        for path in (studio.folder / pair.guided).glob(name):
            path.unlink()
        assert studio.store.get(pair.guided) is None
        again = finished(studio.draw("a", form(seed=7, method="none")))
        assert (again.state, again.error) == ("done", "")
        assert studio.store.get(pair.guided) is not None


def test_the_same_recipe_is_drawn_once(studio: Studio) -> None:
    first = finished(studio.draw("a", form(seed=6))).results
    begun = time.monotonic()
    assert finished(studio.draw("a", form(seed=6))).results == first
    assert time.monotonic() - begun < 1


def test_the_oldest_pictures_go(studio: Studio) -> None:
    (old,) = finished(studio.draw("a", form(seed=7, method="none", steps=1))).results
    for seed in range(20, 26):
        finished(studio.draw("a", form(seed=seed, method="none", steps=1)))
    assert studio.store.get(old.guided) is None
    assert len(studio.store) == 6 == len(list(studio.folder.iterdir()))
    assert handlers.shown(studio, Pair(old.guided, None))["status"].count("no longer kept") == 1
    assert studio.store.get("../../etc/passwd") is None


def test_cancelling_takes_less_than_a_step_and_leaves_no_hook(studio: Studio) -> None:
    denoiser = studio.samplers[0].pipe.unet
    job = studio.draw("a", form(seed=8, steps=150))
    while "step 2" not in job.note:
        time.sleep(0.005)
    studio.jobs.cancel("a")
    assert finished(job).state == "cancelled"
    assert int(job.note.split("step ")[1].split()[0]) <= 4
    assert not denoiser._forward_pre_hooks
    assert not denoiser._forward_hooks


def test_one_request_has_a_bounded_cost(studio: Studio) -> None:
    job = finished(studio.draw("a", form(method="attend-and-excite@paper", steps=150, settings={"max_refinements": 10_000})))
    assert job.state == "failed"
    assert job.error.startswith("this picture may cost ")
    with pytest.raises(PromptError, match=r"^width 1024; this model's pictures"):
        studio.draw("a", form(width=1024))


MASK = torch.zeros(32, 64)
MASK[:, :14] = 1
FORMS = [
    form(seed=3),
    form(
        seed=2**40,
        settings={"candidates": 2},
        entities="bench; cat",
        regions={"bench": as_data(MASK), "cat": "0.5,0.2,1,1"},
        negative_prompt='a "quoted" dog',
        width=128,
        height=64,
    ),
    form(
        seed=4, method="syngen + 0.5*overlap-iou", settings={"overlap-iou.floor": 1e-5, "direction": "unit", "step_size": 0.5}
    ),
    form(seed=4, method="none", prompt='-- a "red" cat; $(a) `horse` \\ \' and'),
]


@pytest.mark.parametrize("values", FORMS)
def test_python_and_command_line_repeat_it_to_the_bit(
    studio: Studio, values: Form, tmp_path: Path, monkeypatch: object
) -> None:
    import shlex

    (pair,) = finished(studio.draw("a", values)).results
    drawn = studio.store.get(pair.guided)
    assert drawn is not None
    monkeypatch.chdir(tmp_path)  # type: ignore[attr-defined]
    exec(compile(as_python(drawn.recipe, device="cpu"), "copied", "exec"), {})
    wanted = pixels(studio.store.path(drawn))
    assert (pixels(tmp_path / "picture.png") == wanted).all()
    (tmp_path / "picture.png").unlink()
    assert cli.main(shlex.split(as_command(drawn.recipe, device="cpu"))[1:]) == 0
    assert (pixels(tmp_path / "picture.png") == wanted).all()
    assert read_recipe(tmp_path / "picture.png") == drawn.recipe


def dropped(data: bytes) -> dict[str, str]:
    return {"name": "dropped.png", "data": base64.b64encode(data).decode()}


def test_a_dropped_picture_is_drawn_again(studio: Studio) -> None:
    (pair,) = finished(studio.draw("a", form(seed=9, settings={"candidates": 2}))).results
    drawn = studio.store.get(pair.guided)
    assert drawn is not None
    replay = handlers.replayed(studio, dropped(studio.store.path(drawn).read_bytes()))
    assert (replay.recipe, replay.note) == (drawn.recipe, "")
    assert replay.form == form(seed=9, settings={"candidates": 2}, attention=True)
    job = finished(studio.replay("a", drawn.recipe, maps=False))
    assert handlers.verdict(studio, replay, job.results[0].guided) == "Drawn again: the same to the bit."
    changed = Image.open(studio.store.path(drawn)).convert("RGB")
    changed.putpixel((0, 0), (0, 0, 0))
    replay = handlers.replayed(studio, dropped(as_png(changed, drawn.recipe)))
    assert handlers.verdict(studio, replay, job.results[0].guided).startswith("Drawn again: it differs, by at most ")


def test_another_model_or_precision_is_told(studio: Studio) -> None:
    (recipe,) = recipes_of(form(), House(model="someone/model", dtype="bfloat16"))
    replay = handlers.replayed(studio, dropped(as_png(Image.new("RGB", (128, 128)), recipe)))
    assert replay.recipe is None
    assert "model someone/model (here emoji), dtype bfloat16 (here float32): expect another picture" in replay.note
    assert replay.form.prompt == PROMPT


def test_a_picture_of_another_program(studio: Studio) -> None:
    settings = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 12, Size: 512x512, Model: x"
    lines = f"a red cat and a dog\nNegative prompt: bird\n{settings}"
    replay = handlers.replayed(studio, dropped(png_with(parameters=lines)))
    assert (replay.recipe, replay.form.prompt, replay.form.seed, replay.form.steps) == (None, "a red cat and a dog", 12, 20)
    assert replay.note.startswith("Made by AUTOMATIC1111")
    assert "model x" in replay.note.lower()


def test_the_methods_of_a_comparison(studio: Studio) -> None:
    job = finished(studio.compare("a", form(regions={"red cat": "left"}, seeds=2, steps=2), ["none", "syngen", "regions"]))
    found = [studio.store.get(pair.guided) for pair in job.results]
    assert [(one.recipe.method, one.recipe.seed, len(one.recipe.regions)) for one in found if one] == [
        (method, seed, int(method == "regions")) for seed in (0, 1) for method in ("none", "syngen", "regions")
    ]
