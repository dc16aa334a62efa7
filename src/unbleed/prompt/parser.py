"""The parser: the embedded one, or any spaCy pipeline of the user's."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .entities import Parsed
from .grammar import Tree, entities_of, tree_of
from .words import Readable, readable

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

WEIGHTS = Path(__file__).parent / "weights"
BATCH = 64


@dataclass(frozen=True)
class Parser:
    """A spaCy pipeline and how its trees are read."""

    pipeline: Language
    tree: Tree

    def read(self, prompts: Iterable[str]) -> Iterator[Parsed]:
        """Yield what each prompt says."""
        texts = [readable(prompt) for prompt in prompts]
        docs = self.pipeline.pipe((text.text for text in texts), batch_size=BATCH)
        for text, doc in zip(texts, docs, strict=True):
            yield self._parsed(text, doc)

    def _parsed(self, text: Readable, doc: Doc) -> Parsed:
        join_hyphens(doc)
        return entities_of(doc, self.tree, text)


def join_hyphens(doc: Doc) -> None:
    """Make one word of what hyphens join: "t-shirt" is one thing, however the pipeline cuts it."""
    with doc.retokenize() as retokenizer:
        start = 0
        while start < len(doc):
            end = start + 1
            while end < len(doc) and not doc[end - 1].whitespace_ and "-" in (doc[end - 1].text, doc[end].text):
                end += 1
            if end - start > 1:
                retokenizer.merge(doc[start:end])
            start = end


@functools.cache
def load(name: str | None = None) -> Parser:
    """Return the embedded parser, or the spaCy pipeline called `name`: an installed package or a folder.

    Raises `ModelError` when it cannot be loaded, or when it has no dependency parser.
    """
    import spacy

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # another patch release than the one it was trained with
            pipeline = spacy.load(name or WEIGHTS, exclude=["ner"])
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f'parser "{name}" cannot be loaded ({reason}); name an installed spaCy pipeline or its folder'
        ) from error
    return of(pipeline)


def of(pipeline: Any) -> Parser:
    """Return the parser that a spaCy pipeline is."""
    if "parser" not in pipeline.pipe_names:
        raise ModelError(
            f"the pipeline has {', '.join(pipeline.pipe_names) or 'nothing'} and no parser; expected a dependency parser"
        )
    return Parser(pipeline, tree_of(frozenset(pipeline.get_pipe("parser").labels)))
