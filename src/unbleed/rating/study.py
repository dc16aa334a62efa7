"""The study: which pairs of images are rated, and the question. It is written once and never changed.

    study.json             the plan
    images/<name>.png    copies of the run's images without metadata; the name is the hash of the file
    answers.jsonl          who joined and what they answered (see `answers`)

The folder needs nothing else: it can be served where the run, and the models, are not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import RatingError
from ..files import atomic_write, read_bytes, read_json, understanding
from ..schema import SchemaError

QUESTIONS = {"prompt": "Which picture shows the prompt better?", "looks": "Which picture looks better?"}
MAX_QUESTION = 200  # characters
MAX_PROMPT = 20_000
MAX_PAIRS = 100_000
MAX_TRIALS = 2_000  # of a rater
MAX_RATERS = 1_000
REMEDY = "name another --study"


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt and seed, by two methods.

    Args:
        case: index of the prompt in its suite.
        methods: indices of the methods in `Study.methods`.
        images: names of the two images, in the order of the methods.
    """

    case: int
    prompt: str
    seed: int
    methods: tuple[int, int]
    images: tuple[str, str]


@dataclass(frozen=True)
class Catch:
    """A pair with a known answer: an image, and the same image cut into tiles that are shuffled."""

    prompt: str
    images: tuple[str, str]  # the whole one first


@dataclass(frozen=True)
class Study:
    """Everything that is decided before the first rater comes.

    Args:
        pairs_per_rater: how many of `pairs` one rater sees once.
        repeats: how many of these are shown a second time, with sides exchanged.
        catches: every rater sees each of them.
        break_every: trials after which the page offers a break.
        max_raters: how many people can join.
        seed: of the order and sides of every rater.
    """

    title: str
    question: str
    methods: tuple[str, ...]
    pairs: tuple[Pair, ...]
    catches: tuple[Catch, ...]
    pairs_per_rater: int
    repeats: int
    break_every: int
    max_raters: int
    seed: int
    identical: int  # pairs of equal images, which are not shown
    created: str  # UTC

    def check(self) -> None:
        """Raise `SchemaError` for values that no study can have."""
        for name, value, low, high in (
            ("the number of pairs", len(self.pairs), 1, MAX_PAIRS),
            ("the number of methods", len(self.methods), 2, MAX_PAIRS),
            ("the length of question", len(self.question), 1, MAX_QUESTION),
            ("pairs_per_rater", self.pairs_per_rater, 1, len(self.pairs)),
            ("repeats", self.repeats, 0, self.pairs_per_rater),
            ("trials of a rater", self.trials_per_rater, 1, MAX_TRIALS),
            ("break_every", self.break_every, 1, MAX_TRIALS),
            ("max_raters", self.max_raters, 1, MAX_RATERS),
        ):
            if not low <= value <= high:
                raise SchemaError(f"is {value}; expected {low} to {high}").inside(f".{name}")
        for number, pair in enumerate(self.pairs):
            if not all(0 <= index < len(self.methods) for index in pair.methods) or pair.methods[0] == pair.methods[1]:
                raise SchemaError(f"is {list(pair.methods)}; expected two of {len(self.methods)} methods").inside(
                    f".pairs[{number}].methods"
                )
        for kind, of in (("pairs", self.pairs), ("catches", self.catches)):
            for number, shown in enumerate(of):
                if len(shown.prompt) > MAX_PROMPT:
                    raise SchemaError(f"has {len(shown.prompt)} characters; expected at most {MAX_PROMPT}").inside(
                        f".{kind}[{number}].prompt"
                    )
                if not all(re.fullmatch("[0-9a-f]{32}", name) for name in shown.images):
                    raise SchemaError("is not a name of 32 hexadecimal digits").inside(f".{kind}[{number}].images")

    @property
    def trials_per_rater(self) -> int:
        return self.pairs_per_rater + self.repeats + len(self.catches)


def question_of(text: str) -> str:
    """Return the question that a user's text means: one of `QUESTIONS` by its name, or the text itself."""
    question = " ".join(QUESTIONS.get(text, text).split())
    if not 1 <= len(question) <= MAX_QUESTION or not question.isprintable():
        raise RatingError(f"a question of {len(question)} characters; expected 1 to {MAX_QUESTION}, in one line")
    return question


def is_study(folder: Path) -> bool:
    return (folder / "study.json").exists()


def write_study(folder: Path, study: Study) -> None:
    path = folder / "study.json"
    with understanding(path, error=RatingError, remedy="choose other numbers"):
        study.check()
    atomic_write(path, json.dumps(asdict(study), ensure_ascii=False, indent=1) + "\n", REMEDY)


def read_study(folder: Path) -> Study:
    """Return the study in a folder.

    Raises:
        RatingError: there is none, or it cannot be understood.
    """
    path = folder / "study.json"
    try:
        study = read_json(path, Study, error=RatingError, remedy=REMEDY)
    except FileNotFoundError:
        raise RatingError(
            f"{folder} has no study.json; expected the folder of a study: begin one with unbleed rate RUN --methods A,B"
        ) from None
    with understanding(path, error=RatingError, remedy=REMEDY):
        study.check()
    return study


def check_images(folder: Path, study: Study) -> None:
    """Raise `RatingError` before anybody comes if an image is gone: a rater could not go on from its pair."""
    wanted = {name for shown in (*study.pairs, *study.catches) for name in shown.images}
    gone = sorted(name for name in wanted if not image_path(folder, name).is_file())
    if gone:
        raise RatingError(
            f"{len(gone)} of {len(wanted)} pictures of {folder} are gone, such as {image_path(folder, gone[0])}; put them back "
            "or begin the study again in another folder"
        )


def image_path(folder: Path, name: str) -> Path:
    return folder / "images" / f"{name}.png"


def image_name(png: bytes) -> str:
    return hashlib.sha256(png).hexdigest()[:32]


def read_png(folder: Path, name: str) -> bytes:
    """Return an image of the study as PNG; raise `RatingError` when it is gone or was changed."""
    path = image_path(folder, name)
    again = "begin the study again in another folder"
    try:
        png = read_bytes(path, error=RatingError, remedy=again)
    except FileNotFoundError:
        raise RatingError(f"{path} is gone; {again}") from None
    if image_name(png) != name:
        raise RatingError(f"{path} was changed after the study began; {again}")
    return png


def compared(study: Study) -> Sequence[tuple[int, int]]:
    """Return the pairs of methods that are compared, in the order of the study's methods."""
    return sorted({pair.methods for pair in study.pairs})
