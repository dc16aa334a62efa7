"""Studies without a run, raters without a browser, and answers of simulated people."""

from __future__ import annotations

import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image

from unbleed.rating.answers import open_log
from unbleed.rating.server import RatingServer
from unbleed.rating.study import Catch, Pair, Study, image_name, image_path, write_study

SCRAMBLED = 99  # stands in an image where a method's number is in others
SIDE = 48  # pixels


def png_of(method: int, prompt: int, seed: int) -> bytes:
    """Return an image that says what it is: the red, green and blue of all pixels but those of a frame."""
    image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    image.paste((40 + 2 * method, prompt % 256, seed % 256), (4, 4, SIDE - 4, SIDE - 4))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def method_shown(png: bytes) -> int:
    """Return the method that an image of `png_of` says."""
    with Image.open(io.BytesIO(png)) as image:
        red = image.convert("RGB").getpixel((SIDE // 2, SIDE // 2))[0]  # type: ignore[index]
    return (red - 40) // 2


def write_a_study(
    folder: Path, *, prompts: int = 20, seeds: int = 1, methods: int = 2, catches: int = 2, **changes: Any
) -> Study:
    """Write a study of made-up images; `changes` are fields of `Study`."""

    def kept(*what: int) -> str:
        png = png_of(*what)
        path = image_path(folder, image_name(png))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        return image_name(png)

    names = {(m, p, s): kept(m, p, s) for m in range(methods) for p in range(prompts) for s in range(seeds)}
    study = Study(
        title="made up",
        question="Which picture shows the prompt better?",
        methods=("none", "syngen", "a-star", "initno")[:methods],
        pairs=tuple(
            Pair(p, f"a red cat and {p} blue cars", s, (first, second), (names[first, p, s], names[second, p, s]))
            for p in range(prompts)
            for s in range(seeds)
            for first, second in combinations(range(methods), 2)
        ),
        catches=tuple(Catch(f"a catch {n}", (names[0, n, 0], kept(SCRAMBLED, n, 0))) for n in range(catches)),
        pairs_per_rater=prompts * seeds * methods * (methods - 1) // 2,
        repeats=2,
        break_every=40,
        max_raters=50,
        seed=0,
        identical=0,
        created="2026-01-01T00:00:00+00:00",
    )
    study = replace(study, **changes)
    write_study(folder, study)
    return study


@contextmanager
def served(folder: Path, study: Study) -> Iterator[RatingServer]:
    """Serve a study from a thread of this process."""
    with open_log(folder, study) as log, RatingServer(folder, log) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Client:
    """A rater without a browser: one connection that is kept open."""

    def __init__(self, port: int, link: str = "") -> None:
        self.port, self.link = port, link
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Return status and body of the reply."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None:
            headers = {"Content-Type": "application/json", **headers}
        self._connection.request(method, path, data, headers)
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, data = self.send(method, path, body)
        assert status == 200, (status, data)
        return json.loads(data)

    def join(self) -> None:
        self.link = self.json("POST", "/join", {})["link"]

    def trials(self) -> list[dict[str, Any]]:
        return self.json("GET", f"{self.link}/trials")["trials"]

    def image(self, trial: int, side: str) -> bytes:
        status, png = self.send("GET", f"{self.link}/images/{trial}/{side}")
        assert status == 200
        return png

    def answer(self, trial: int, answer: str, version: int = 1) -> tuple[int, bytes]:
        body = {"trial": trial, "version": version, "answer": answer, "seconds": 1.5}
        return self.send("POST", f"{self.link}/answers", body)

    def close(self) -> None:
        self._connection.close()


def rate_all(port: int, say: Callable[[int], str], link: str = "") -> str:
    """Join, look at every pair, answer it as `say(trial)` does, and return the link."""
    client = Client(port, link)
    if not link:
        client.join()
    for number, trial in enumerate(client.trials()):
        if trial["answer"] is None:
            client.image(number, "left")
            client.image(number, "right")
            status, data = client.answer(number, say(number))
            assert status == 200, data
    client.close()
    return client.link
