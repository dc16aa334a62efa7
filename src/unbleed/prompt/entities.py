"""What a parsed prompt is made of: plain data, no grammar and no tokenizer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Span:
    """A piece of the prompt: characters `start` to `end` (exclusive), reading `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Entity:
    """A noun that should appear in the image, with its modifiers.

    >>> import unbleed
    >>> entity = unbleed.parse("two red cats").entities[0]
    >>> entity.noun, entity.modifiers, entity.count
    ('cats', ['red'], 2)

    Args:
        noun_span: The noun in the prompt.
        modifier_spans: Its modifiers in the prompt.
        count: How many the prompt asks for; None if it does not say.
        weight: Weight in the prompt, as in "(red cat:1.3)"; None without one.
        alternatives: Words given in place of one of its words, such as "dog" in "[cat|dog]".
    """

    noun_span: Span
    modifier_spans: tuple[Span, ...] = ()
    count: int | None = None
    weight: float | None = None
    alternatives: tuple[Span, ...] = ()

    @property
    def noun(self) -> str:
        return self.noun_span.text

    @property
    def modifiers(self) -> list[str]:
        return [span.text for span in self.modifier_spans]

    def __str__(self) -> str:
        return " ".join((*self.modifiers, self.noun))


@dataclass(frozen=True)
class Parsed:
    """A prompt and its entities, in the order of their nouns."""

    prompt: str
    entities: list[Entity]
    left_out: tuple[tuple[Span, str], ...] = ()  # what is not an entity, each with the reason
    learnt: tuple[str, ...] = ()  # words of textual inversion that count as one, see `parse`
    absent: tuple[Span, ...] = ()  # nouns that the picture should not show: "without a hat", "--no hat"
    written: tuple[Span, ...] = ()  # text that should be written in the picture: 'a sign that reads "open"'
    language: str | None = None  # that the prompt seems to be in, where the parser does not read it
