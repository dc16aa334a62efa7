"""The parser: the embedded one, or any spaCy pipeline of the user's."""

from __future__ import annotations

import functools
import gc
import warnings
from collections.abc import Callable, Sequence
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

    def read(self, prompts: Sequence[str], learnt: Sequence[str] = ()) -> list[Parsed]:
        """Return what each prompt says."""
        found: list[Parsed] = []
        for first in range(0, len(prompts), BATCH):
            texts = [readable(prompt, learnt) for prompt in prompts[first : first + BATCH]]
            docs = self.pipeline.pipe([text.text for text in texts], batch_size=BATCH)
            found += [entities_of(doc, self.tree, text) for text, doc in zip(texts, docs, strict=True)]
            self.characters += sum(len(text.text) for text in texts)
            if self.loaded and self.characters > MOST:
                self.pipeline, self.characters = self.loaded(), 0
                gc.collect()  # the old one refers to itself
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
    return replace(of(pipeline), loaded=loaded)


def of(pipeline: Any) -> Parser:
    """Return the parser that a spaCy pipeline is."""
    if "parser" not in pipeline.pipe_names:
        raise ModelError(
            f"the pipeline has {', '.join(pipeline.pipe_names) or 'nothing'} and no parser; expected a dependency parser"
        )
    return Parser(pipeline, tree_of(frozenset(pipeline.get_pipe("parser").labels)))
