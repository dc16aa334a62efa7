"""The studio in a process of its own, and its page in Chromium."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

SOURCE = Path(__file__).parents[2] / "src"


@contextmanager
def studio_process(*arguments: str) -> Iterator[str]:
    """Serve a studio and give its address; its last output is shown if it ends too soon."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "unbleed", "studio", "--port", "0", "--device", "cpu", "--json", *arguments]
    with (
        tempfile.TemporaryFile("w+") as complaints,  # a pipe that nobody reads would stop the server once it is full
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=complaints, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            lines = []
            while not lines or lines[-1] != "}\n":
                lines.append(process.stdout.readline())
                if not lines[-1]:
                    complaints.seek(0)
                    raise AssertionError(complaints.read())
            yield json.loads("".join(lines))["url"]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


class StudioPage:
    """What a user does and sees."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser, self.url = browser, url

    def open(self, *, dark: bool | None = None) -> None:
        self.browser.get(self.url)
        self.until(lambda: self("document.querySelector('#chips .word') && document.querySelector('#draw')"))

    def __call__(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(f"return {script}", *arguments)

    def until(self, found: Callable[[], object], seconds: float = 900.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < end, f"it did not come about; the page says: {self.says()}"
            time.sleep(0.1)

    def says(self) -> str:
        return str(self("document.querySelector('#status')?.innerText ?? ''")).strip()

    def text(self, selector: str) -> str:
        return str(self("document.querySelector(arguments[0])?.innerText ?? ''", selector)).strip()

    def click(self, selector: str, number: int = 0) -> None:
        found = self("document.querySelectorAll(arguments[0])[arguments[1]]", selector, number)
        assert found is not None, selector
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        self.browser.execute_script("arguments[0].click()", found)

    def tab(self, name: str) -> None:
        """Open a tab, also one that is in the menu of a narrow page."""
        script = "[...document.querySelectorAll('button[role=tab]')].find(tab => tab.innerText.trim() === arguments[0])"
        if self(script, name) is None:
            self.click(".overflow-menu > button")
            self.until(lambda: self(f"{script.replace('button[role=tab]', '.overflow-dropdown button')}", name), 10)
            script = script.replace("button[role=tab]", ".overflow-dropdown button")
        self.browser.execute_script(f"({script}).click()", name)
        time.sleep(0.5)

    def write(self, selector: str, text: str) -> None:
        """Replace the text of an input as a user does."""
        field = self.browser.find_element(By.CSS_SELECTOR, selector)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text or Keys.DELETE)

    def more(self) -> None:
        """Open the rest of the form."""
        if not self("document.querySelector('#steps input[type=number]')?.offsetParent"):
            self.browser.execute_script(
                "[...document.querySelectorAll('button.label-wrap')].find(b => b.innerText.startsWith('More')).click()"
            )
            self.until(lambda: self("document.querySelector('#steps input[type=number]')?.offsetParent"), 10)

    def steps(self, count: int) -> None:
        self.more()
        self.write("#steps input[type=number]", str(count))
        self.browser.find_element(By.CSS_SELECTOR, "#steps input[type=number]").send_keys(Keys.TAB)

    def less(self) -> None:
        """Close the rest of the form."""
        self.browser.execute_script(
            "[...document.querySelectorAll('button.label-wrap')].find(b => b.innerText.startsWith('More')).click()"
        )

    def labels(self) -> list[str]:
        return list(self("[...document.querySelectorAll('#chips .chip:not(.gone)')].map(chip => chip.firstChild.textContent)"))

    def prompt(self, text: str, labels: list[str]) -> None:
        """Type a prompt and wait until these entities are read from it."""
        self.write("#prompt textarea", text)
        self.until(lambda: self.labels() == labels, 30)

    def running(self) -> bool:
        return bool(self("!!document.querySelector('#status .track')"))

    def draw(self) -> None:
        """Draw, and wait for the end."""
        before = self.saved()
        self.click("#draw")
        self.until(lambda: self.running() or self.saved() != before or self.text("#status .error"))
        self.until(lambda: not self.running())
        time.sleep(0.5)

    def saved(self) -> str:
        """Return the address of the picture that can be saved."""
        return str(self("[...document.querySelectorAll('#slider img')].at(-1)?.src ?? ''"))

    def download(self) -> bytes:
        """Return the bytes of the guided picture as the server serves them."""
        address = self("[...document.querySelectorAll('#slider img')].map(image => image.src)")
        with urllib.request.urlopen(address[-1]) as answer:
            return bytes(answer.read())

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag on an element, from and to fractions of it."""
        board = self.browser.find_element(By.CSS_SELECTOR, selector)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", board)
        time.sleep(0.2)
        wide, high = board.size["width"], board.size["height"]
        first, last = [(round((x - 0.5) * wide), round((y - 0.5) * high)) for x, y in (start, end)]
        chain = ActionChains(self.browser).move_to_element_with_offset(board, *first).click_and_hold()
        for k in range(1, 5):
            chain.move_to_element_with_offset(board, *(round(a + (b - a) * k / 4) for a, b in zip(first, last, strict=True)))
        chain.release().perform()
        time.sleep(0.3)

    def drop(self, name: str, data: bytes) -> None:
        """Drop a file on the page."""
        self.browser.execute_script(
            """const bytes = Uint8Array.from(atob(arguments[1]), c => c.charCodeAt(0)), files = new DataTransfer();
               files.items.add(new File([bytes], arguments[0], { type: "image/png" }));
               document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));""",
            name,
            base64.b64encode(data).decode(),
        )

    def complaints(self) -> list[str]:
        """Return what the browser's console has of errors."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def asked(self) -> list[str]:
        """Return the addresses that the page has asked for."""
        return list(self("performance.getEntriesByType('resource').map(entry => entry.name)"))
