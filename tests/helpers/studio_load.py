"""Clients of a studio over HTTP, without a browser: what a drawing is asked for with, and what comes back."""

from __future__ import annotations

import io
import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote

from PIL import Image

from unbleed.recipes import Recipe, recipe_in, texts_of
from unbleed.studio.form import FIELDS

WAIT_S = 900.0


def values(**changes: Any) -> list[Any]:
    """Return the inputs of the page in their order: an unguided picture of two steps, with some changes."""
    plain = {
        "prompt": "a red cat and a blue bench",
        "entities": {"entities": None},
        "method": "none",
        "settings": {"changes": {}},
        "seed": 0,
        "seeds": 1,
        "steps": 2,
        "guidance_scale": 3,
        "width": 0,
        "height": 0,
        "negative_prompt": "",
        "regions": {"regions": {}},
        "attention": False,
    }
    return [(plain | changes)[name] for name in FIELDS]


def post(url: str, path: str, body: Any) -> tuple[int, Any]:
    """Return status and document of an answer."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def get(url: str, path: str) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    try:
        with urllib.request.urlopen(url + path, timeout=WAIT_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def draw(url: str, inputs: list[Any]) -> list[Any]:
    """Ask for a drawing as any program can, and return the last values of the page's components."""
    status, said = post(url, "/gradio_api/call/draw", {"data": inputs})
    if status != 200:
        raise RuntimeError(f"{status} {said}")
    with urllib.request.urlopen(f"{url}/gradio_api/call/draw/{said['event_id']}", timeout=WAIT_S) as stream:
        event, data = "", "null"
        for line in stream.read().decode().splitlines():
            name, _, rest = line.partition(": ")
            if name == "event":
                event = rest
            elif name == "data" and event in ("complete", "error", "generating"):
                data = rest
    return [event, json.loads(data)]


def texts_of_answer(found: Any) -> list[str]:
    """Return every text in an answer, also in lists and objects."""
    if isinstance(found, str):
        return [found]
    inside = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return [text for one in inside for text in texts_of_answer(one)]


def recipe_of_answer(url: str, found: Any) -> Recipe | None:
    """Return the recipe in the picture that an answer names; None if it names none."""
    for text in texts_of_answer(found):
        if text.startswith(f"{url}/gradio_api/file=") and text.endswith(".png"):
            data = get("", text)[1]
            with Image.open(io.BytesIO(data)) as image:
                image.load()
            return recipe_in(texts_of(io.BytesIO(data), unquote(text)), "the picture")
    return None


def draw_at_once(url: str, seeds: list[int]) -> tuple[list[int], list[float]]:
    """Let one client for each seed ask at the same time; return the seeds of the pictures that came, and the seconds waited."""
    drawn: list[int] = []
    waited: list[float] = []
    lock = threading.Lock()

    def client(seed: int) -> None:
        begun = time.perf_counter()
        recipe = recipe_of_answer(url, draw(url, values(seed=seed)))
        with lock:
            waited.append(time.perf_counter() - begun)
            if recipe is not None:
                drawn.append(recipe.seed)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return drawn, waited
