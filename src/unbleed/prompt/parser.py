"""The parser: the embedded one, a spaCy pipeline of the user's, or a function."""

from __future__ import annotations

import functools
import gc
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, PromptError
from .entities import Parsed
from .grammar import NOTHING, Read
from .grammar import read as read_tree
from .languages import language_of
from .lexicon import ADJECTIVES
from .mentions import assemble
from .named import Named, named_entities
from .schemes import Tree, tree_of
from .segments import Segments, Unit, segments, whole
from .style_words import KINDS
from .syntax import Readable, readable

if TYPE_CHECKING:
    from spacy.language import Language

WEIGHTS = Path(__file__).parent / "weights"
BATCH = 64
ROUNDS = 4  # of joining pieces that are half of something, the last of which joins no more
MOST = 1_000_000  # characters that a pipeline reads before it is loaded anew


@dataclass
class Parser:
    """A spaCy pipeline and how its trees are read.

    spaCy keeps every word that it ever met. A pipeline that was loaded here is therefore loaded again after `MOST` characters,
    half a second in some twenty for the embedded one; a pipeline of the user's is left as it is.
    """

    pipeline: Language
    tree: Tree
    loaded: Callable[[], Language] | None = None  # how to load it again
    characters: int = 0  # that it has read
    english: bool = True

    def read(self, prompts: Sequence[str], learnt: Sequence[str] = ()) -> list[Parsed]:
        """Return what each prompt says."""
        found: list[Parsed] = []
        for first in range(0, len(prompts), BATCH):
            texts = [readable(prompt, learnt) for prompt in prompts[first : first + BATCH]]
            found += self._read(texts)
            self.characters += sum(len(text.text) for text in texts)
            if self.loaded and self.characters > MOST:
                self.pipeline, self.characters = self.loaded(), 0
                gc.collect()  # the old one refers to itself
        return found

    def _read(self, texts: Sequence[Readable]) -> list[Parsed]:
        languages = [language_of(text.text) if self.english else None for text in texts]
        parted = [
            Segments() if language else segments(text) if self.english else whole(text)
            for text, language in zip(texts, languages, strict=True)
        ]
        rows: list[list[tuple[Unit, Read | None]]] = [
            [(unit, NOTHING if unit.looks else None) for unit in one.units] for one in parted
        ]
        for _ in range(ROUNDS):
            waiting = [(text, unit) for text, row in zip(texts, rows, strict=True) for unit, read in row if read is None]
            if not waiting:
                break
            pieces = [_uncapitalised(text.text[unit.start : unit.end]) for text, unit in waiting]
            docs = self.pipeline.pipe(pieces, batch_size=BATCH)
            trees = iter([read_tree(doc, self.tree) for doc in docs])
            rows = [[(unit, read or next(trees)) for unit, read in row] for row in rows]
            rows = [_joined(row) for row in rows]
        return [
            replace(assemble(text, one, [(unit, read) for unit, read in row if read]), language=language)
            for text, one, row, language in zip(texts, parted, rows, languages, strict=True)
        ]


_NO_NAMES = ADJECTIVES | KINDS
_FIRST = re.compile(r"([A-Z][a-z]+) (?=[a-z])")


def _uncapitalised(piece: str) -> str:
    """Return a piece that begins with an adjective in small letters, which the tagger takes for a name otherwise."""
    first = _FIRST.match(piece)
    return piece[0].lower() + piece[1:] if first and first[1].lower() in _NO_NAMES else piece


def _joined(row: list[tuple[Unit, Read | None]]) -> list[tuple[Unit, Read | None]]:
    """Join a piece that ends in the middle of a noun phrase with the next one, to be read again: "a big" and "red ball"."""
    found: list[tuple[Unit, Read | None]] = []
    for unit, read in row:
        before, said = found[-1] if found else (None, None)
        if before and said and said.unfinished and before.sentence == unit.sentence and not before.looks:
            found[-1] = (replace(before, end=unit.end), None)
        else:
            found.append((unit, read))
    return found


@functools.cache
def load(name: str | None = None) -> Parser:
    """Return the embedded parser, or the spaCy pipeline called `name`: an installed package or a folder.

    Raises `ModelError` when it cannot be loaded, or when it has no dependency parser.
    """
    import spacy

    def loaded() -> Language:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # another patch release than the one it was trained with
            return spacy.load(name or WEIGHTS, exclude=["ner"])

    try:
        pipeline = loaded()
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f'parser "{name}" cannot be loaded ({reason}); name an installed spaCy pipeline or its folder'
        ) from error
    return replace(_of_pipeline(pipeline), loaded=loaded)


@dataclass(frozen=True)
class FunctionParser:
    """A function of the user's that says what a prompt names."""

    function: Callable[[str], Any]

    def read(self, prompts: Sequence[str], learnt: Sequence[str] = ()) -> list[Parsed]:
        """Return what the function says of each prompt, every word looked up in it."""
        return [self._read(prompt, tuple(learnt)) for prompt in prompts]

    def _read(self, prompt: str, learnt: tuple[str, ...]) -> Parsed:
        said: Named | Parsed | None = self.function(prompt)
        if isinstance(said, Parsed):
            return said
        try:
            named, found = named_entities(prompt, said or [], learnt)
        except PromptError as error:
            raise PromptError(f"the parser function {_name(self.function)} answered what cannot be meant: {error}") from None
        return Parsed(prompt, sorted([*named, *found], key=lambda entity: entity.noun_span), learnt=learnt)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def of(parser: Any) -> Parser | FunctionParser:
    """Return the parser that a spaCy pipeline or a function is."""
    if not hasattr(parser, "pipe_names"):
        if not callable(parser):
            raise ModelError(
                f"the parser is a {type(parser).__name__}, {parser!r}; expected the name of a spaCy pipeline, a pipeline, or "
                f"a "
                "function from a prompt to its entities"
            )
        return FunctionParser(parser)
    return _of_pipeline(parser)


def _of_pipeline(pipeline: Language) -> Parser:
    if "parser" not in pipeline.pipe_names:
        raise ModelError(
            f"the pipeline has {', '.join(pipeline.pipe_names) or 'nothing'} and no parser; expected a dependency parser"
        )
    labels = frozenset(pipeline.get_pipe("parser").labels)  # type: ignore[attr-defined]
    return Parser(pipeline, tree_of(labels), english=pipeline.lang == "en")
