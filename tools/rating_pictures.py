"""Screenshots of the rating page for its documentation, at two widths, light and dark: docs/images/rating-*.webp.

    python tools/rating_pictures.py RUN METHODS       # RUN: the folder of a run that has pictures of these methods

Needs Chromium and its driver. The study is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from helpers.browser import chromium
from helpers.rating import served
from unbleed.rating.create import create

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"1280": (1280, 800), "390": (390, 844)}
QUALITY = 88


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("methods")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        study = create(given.run, Path(name), given.methods.split(","), pairs=40, break_every=4, partial=True)
        with served(Path(name), study) as server:
            for width, size in SIZES.items():
                for theme in ("light", "dark"):
                    with chromium(*size, dark=theme == "dark") as browser:

                        def shoot(what: str, browser: object = browser, name: str = f"{width}-{theme}") -> None:
                            time.sleep(1.5)
                            with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as image:  # type: ignore[attr-defined]
                                image.convert("RGB").save(IMAGES / f"rating-{what}-{name}.webp", quality=QUALITY, method=6)

                        browser.get(server.url)
                        if theme == "light":
                            shoot("begin")
                        ActionChains(browser).send_keys(Keys.ENTER).perform()
                        for key in (Keys.ARROW_LEFT, Keys.ARROW_DOWN, Keys.ARROW_RIGHT):
                            time.sleep(2)
                            ActionChains(browser).send_keys(key).perform()
                        shoot("pair")
                        if theme == "dark":
                            ActionChains(browser).send_keys(Keys.ARROW_LEFT).perform()
                            shoot("break")


if __name__ == "__main__":
    main()
