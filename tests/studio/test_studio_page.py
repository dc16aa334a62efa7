"""The page in a browser: type, overrule a chip, draw, slide, draw a region, cancel, copy as Python, replay a picture."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.browser import chromium
from helpers.faults import wire
from helpers.studio_page import SOURCE, StudioPage, studio_process
from unbleed.recipes import read_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page() -> Iterator[StudioPage]:
    with studio_process() as url, chromium(1280, 900) as browser:
        page = StudioPage(browser, url)
        page.open()
        yield page


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def recipe_of(data: bytes, folder: Path) -> object:
    path = folder / "saved.png"
    path.write_bytes(data)
    return read_recipe(path)


def test_nothing_is_asked_of_another_machine(page: StudioPage) -> None:
    assert page.complaints() == []
    assert [address for address in page.asked() if not address.startswith((page.url, "data:", "blob:"))] == []


def test_type_overrule_draw_and_slide(page: StudioPage, tmp_path: Path) -> None:
    page.prompt("a red cat and a blue bench, 35mm", ["red cat", "blue bench"])
    page.click("#chips .word", 1)  # red
    page.until(lambda: page("!!document.querySelector('#chips .menu')"), 10)
    choices = page("[...document.querySelectorAll('#chips .choice')].map(one => one.innerText.trim())")
    assert choices == ["Leave out “red”", "“red” is an entity", "“red” describes “bench”"]
    page.click("#chips .choice", 2)
    page.until(lambda: page.labels() == ["cat", "red blue bench"], 20)
    page.steps(4)
    page.draw()
    assert page.text("#status .error") == ""
    data = page.download()
    recipe = recipe_of(data, tmp_path)
    assert (recipe.entities, recipe.steps, recipe.seed) == ("cat; red blue bench", 4, 1)  # type: ignore[attr-defined]
    assert "8 forwards" in page.text("#facts")
    handle = "document.querySelector('#slider [role=slider], #slider .inner').getBoundingClientRect()"
    before = page(f"{handle}.left")
    page.drag("#slider", (0.5, 0.5), (0.8, 0.5))
    assert page(f"{handle}.left") > before + 50
    page.click("#chips [data-reset]")
    page.until(lambda: page.labels() == ["red cat", "blue bench"], 20)
    assert page.complaints() == []


def test_a_region_that_is_drawn_is_given(page: StudioPage, tmp_path: Path) -> None:
    page.tab("Regions")
    page.click("#regions .pick", 1)  # the bench
    page.drag("#regions canvas", (0.1, 0.5), (0.6, 0.9))
    page.click("#regions .pick", 0)
    page.click("#regions .pick", 3)  # the brush
    page.drag("#regions canvas", (0.3, 0.2), (0.8, 0.2))
    page.draw()
    recipe = recipe_of(page.download(), tmp_path)
    regions = recipe.regions  # type: ignore[attr-defined]
    assert regions["red cat"].startswith("data:image/png;base64,")
    assert [float(x) for x in regions["blue bench"].split(",")] == pytest.approx([0.1, 0.5, 0.6, 0.9], abs=0.02)
    page.click("#regions [data-clear]")
    page.click("#regions .pick", 1)
    page.click("#regions [data-clear]")
    assert page.complaints() == []


def test_attention_of_a_word_at_a_step(page: StudioPage) -> None:
    page.tab("Attention")
    page.until(lambda: page("document.querySelectorAll('#attention canvas').length === 2"), 20)
    shown = "document.querySelectorAll('#attention canvas')[1].toDataURL()"
    first = page(shown)
    page.browser.execute_script(
        "const s = document.querySelector('#attention input'); s.value = 3; s.dispatchEvent(new Event('input'))"
    )
    assert page.text("#attention output") == "step 3"
    later = page(shown)
    page.click("#attention .bar button", 5)
    assert len({first, later, page(shown)}) == 3
    page.tab("Loss")
    assert page("document.querySelectorAll('#loss circle').length") >= 1


def test_copied_python_makes_the_same_picture(page: StudioPage, tmp_path: Path) -> None:
    page.tab("Code")
    page.until(lambda: "image.save" in page.text("#python"), 20)
    code = page("[...document.querySelectorAll('#python .cm-line')].map(line => line.textContent).join('\\n')")
    (tmp_path / "copied.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "copied.py"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    page.tab("Picture")
    assert (pixels((tmp_path / "picture.png").read_bytes()) == pixels(page.download())).all()


def test_four_seeds_in_a_gallery(page: StudioPage) -> None:
    page.click("#seeds input", 2)
    page.steps(2)
    page.draw()
    page.until(lambda: page("document.querySelectorAll('#gallery img').length") == 4, 20)
    page.click("#gallery button:has(img)", 2)
    page.until(lambda: "seed 3" in " ".join(page.text("#facts").split()), 20)
    page.click("#seeds input", 0)


def test_cancel_stops_at_once(page: StudioPage) -> None:
    page.steps(150)
    page.click("#draw")
    page.until(lambda: "step 2 of 150" in page.says() or "step 3 of 150" in page.says())
    begun = time.monotonic()
    page.click("#cancel")
    page.until(lambda: page.says() == "Cancelled.", 30)
    assert time.monotonic() - begun < 10
    page.steps(2)


def test_a_dropped_picture_is_replayed(page: StudioPage, tmp_path: Path) -> None:
    page.prompt("a red cat and a blue bench, 35mm", ["red cat", "blue bench"])
    page.steps(2)
    page.draw()
    data = page.download()
    page.prompt("a green dog", ["green dog"])
    page.drop("kept.png", data)
    page.until(lambda: page.says() == "Drawn again: the same to the bit.")
    assert page.labels() == ["red cat", "blue bench"]
    assert page("document.querySelector('#prompt textarea').value") == "a red cat and a blue bench, 35mm"
    assert (pixels(page.download()) == pixels(data)).all()


def test_methods_side_by_side(page: StudioPage) -> None:
    page.tab("Compare methods")
    page.click("#compare")
    page.until(lambda: page("document.querySelectorAll('#matrix img').length") == 3)
    page.until(lambda: not page.running())
    page.click("#matrix button:has(img)", 1)
    page.until(lambda: page("document.querySelector('#method input').value") == "syngen", 20)


def test_an_error_is_one_line(page: StudioPage) -> None:
    page.tab("Draw")
    for dropped, says in (
        (b"no picture", '"x.png" cannot be read as a picture'),
        (b"<script>alert(1)</script>", '"x.png" cannot be read as a picture'),
    ):
        page.drop("x.png", dropped)
        page.until(lambda says=says: page.text("#status .error").startswith(says), 20)
    page.write("#seed input", "")
    page.click("#draw")
    page.until(lambda: page.text("#status .error") == "seed is null; expected a whole number", 20)
    assert "Traceback" not in page("document.body.innerText")
    assert "\n" not in page.text("#status .error")


def test_a_page_that_hears_nothing_more_says_so(page: StudioPage) -> None:
    with wire(page.url) as line:
        other = StudioPage(page.browser, line.url)
        other.open()
        other.steps(4)
        other.click("#draw")
        other.until(lambda: "step" in other.says())
        assert line.silence("/gradio_api/queue/data") == 1
        other.until(lambda: other.text("#status .error").startswith("This page lost its connection while it was drawing"))
        assert other("!document.querySelector('#draw').disabled && document.querySelector('#cancel').disabled")
    page.open()
    page.steps(2)
    page.write("#seed input", "22")
    page.draw()
    assert page.text("#status .error") == ""


def test_a_drop_while_a_picture_is_drawn_is_refused_and_the_drawing_goes_on(page: StudioPage) -> None:
    page.steps(2)
    page.write("#seed input", "23")
    page.draw()
    data = page.download()
    page.steps(150)
    page.click("#draw")
    page.until(lambda: "step" in page.says())
    page.drop("kept.png", data)
    page.until(lambda: page("document.querySelector('#steps input[type=number]').value") == "2", 30)  # the form is filled
    time.sleep(1)
    assert page.running()
    assert page("document.querySelector('#draw').disabled && !document.querySelector('#cancel').disabled")
    page.click("#cancel")
    page.until(lambda: page.says() == "Cancelled.", 30)
