"""Screenshots of the studio for its documentation, at two widths, light and dark: docs/images/studio-*.webp.

    python tools/studio_pictures.py [RUN]      # RUN: the folder of a benchmark run, for the third tab

Needs Chromium and its driver. What is drawn is drawn by the embedded model.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.browser import chromium
from helpers.studio_page import StudioPage, studio_process

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"1280": (1280, 900), "390": (390, 844)}
QUALITY = 84
STEPS = 14  # enough for a picture, and quick
PROMPT, LABELS = "a red bench and a blue horse, cinematic lighting", ["red bench", "blue horse"]


def shoot(page: StudioPage, name: str, out: Path, *, from_top: bool = True) -> None:
    """Save what is seen of the page."""
    if from_top:
        page.browser.execute_script("scrollTo(0, 0)")
    time.sleep(1)
    with Image.open(io.BytesIO(page.browser.get_screenshot_as_png())) as image:
        image.convert("RGB").save(out / f"studio-{name}.webp", quality=QUALITY, method=6)


def show(page: StudioPage, selector: str) -> None:
    page.browser.execute_script("document.querySelector(arguments[0]).scrollIntoView({block: 'start'})", selector)


def tour(page: StudioPage, width: str, theme: str, out: Path, with_run: bool) -> None:
    """Draw, and shoot what is to be shown at this width and theme."""
    narrow, tail = width == "390", f"{width}-{theme}"
    page.open()
    page.prompt(PROMPT, LABELS)
    if not narrow and theme == "light":
        time.sleep(2)  # the last answer to what was typed
        page.click("#chips .word", 1)
        time.sleep(0.5)
        shoot(page, f"words-{tail}", out)
        page.click("#title")
    page.prompt(PROMPT.partition(",")[0], LABELS)
    page.steps(STEPS)
    page.less()
    page.draw()
    page.drag("#slider", (0.5, 0.5), (0.42, 0.5))
    if narrow:
        shoot(page, f"form-{tail}", out)
        show(page, "#results")
        shoot(page, f"draw-{tail}", out, from_top=False)
        return
    shoot(page, f"draw-{tail}", out)
    page.tab("Attention")
    page.until(lambda: page("document.querySelectorAll('#attention canvas').length === 2"), 30)
    shoot(page, f"attention-{tail}", out)
    if theme == "dark":
        page.tab("Code")
        time.sleep(1)
        shoot(page, f"code-{tail}", out)
        return
    page.tab("Regions")
    page.drag("#regions canvas", (0.08, 0.12), (0.62, 0.48))
    page.click("#regions .pick", 1)
    page.click("#regions .pick", 3)
    for height in (0.56, 0.65, 0.74, 0.83, 0.92):
        page.drag("#regions canvas", (0.52 + height / 8, height), (0.97 - height / 8, height))
    page.draw()
    shoot(page, f"regions-{tail}", out)
    for number in range(2):
        page.click("#regions .pick", number)
        page.click("#regions [data-clear]")
    page.tab("Compare methods")
    page.click("#compare")
    page.until(lambda: page("document.querySelectorAll('#matrix img').length") == 3)
    page.until(lambda: not page.running())
    shoot(page, f"compare-{tail}", out)
    if with_run:
        page.tab("Benchmark")
        time.sleep(1)
        shoot(page, f"bench-{tail}", out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument("--only", help="one width and theme, such as 390-dark")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    run = ["--bench", str(given.run)] if given.run else []
    with studio_process("--dtype", "bfloat16", *run) as url:  # about twice as fast on a processor
        for width, size in SIZES.items():
            for theme in ("light", "dark"):
                if given.only in (None, f"{width}-{theme}"):
                    with chromium(*size, dark=theme == "dark") as browser:
                        tour(StudioPage(browser, url), width, theme, given.out, given.run is not None)


if __name__ == "__main__":
    main()
