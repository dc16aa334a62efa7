"""The parser: the embedded one, or any spaCy pipeline of the user's."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .entities import Parsed
from .grammar import Tree, entities_of, tree_of
from .words import readable

if TYPE_CHECKING:
    from spacy.language import Language

WEIGHTS = Path(__file__).parent / "weights"
BATCH = 64
ZONE = 1024  # prompts after which words are forgotten


_LOCK = threading.Lock()


@dataclass(frozen=True)
class Parser:
    """A spaCy pipeline and how its trees are read."""

    pipeline: Language
    tree: Tree
    own: bool = False  # loaded here, and used by nobody else

    def read(self, prompts: Sequence[str], learnt: Sequence[str] = ()) -> list[Parsed]:
        """Return what each prompt says."""
        return [one for first in range(0, len(prompts), ZONE) for one in self._read(prompts[first : first + ZONE], learnt)]

    def _read(self, prompts: Sequence[str], learnt: Sequence[str]) -> list[Parsed]:
        texts = [readable(prompt, learnt) for prompt in prompts]
        with self._forgetting():
            docs = self.pipeline.pipe([text.text for text in texts], batch_size=BATCH)
            return [entities_of(doc, self.tree, text) for text, doc in zip(texts, docs, strict=True)]

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """Let spaCy forget the words that it meets, which it would otherwise keep for ever.

        Documents of the pipeline that somebody else makes meanwhile would break, so pipelines of the user's are left alone.
        """
        if not self.own:
            yield
            return
        with _LOCK, self.pipeline.memory_zone():
            yield


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
    return replace(of(pipeline), own=True)


def of(pipeline: Any) -> Parser:
    """Return the parser that a spaCy pipeline is."""
    if "parser" not in pipeline.pipe_names:
        raise ModelError(
            f"the pipeline has {', '.join(pipeline.pipe_names) or 'nothing'} and no parser; expected a dependency parser"
        )
    return Parser(pipeline, tree_of(frozenset(pipeline.get_pipe("parser").labels)))
