"""A text under change, each of whose characters knows its place in the prompt."""

from __future__ import annotations

import re
from collections.abc import Callable

Range = tuple[int, int]
"""Characters of the prompt: the first, and the one after the last."""

Piece = str | tuple[int, int]
"""What takes the place of a match: a text, or the characters of the text that stay."""


class Edited:
    """A text under change."""

    def __init__(self, prompt: str) -> None:
        self.text, self.places = prompt, list(range(len(prompt)))

    def sub(self, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], Piece | list[Piece]]) -> bool:
        """Replace every match; return whether there was one."""
        text: list[str] = []
        places: list[int] = []
        at = 0
        for match in pattern.finditer(self.text):
            text.append(self.text[at : match.start()])
            places += self.places[at : match.start()]
            new = replace(match)
            for number, piece in enumerate(new if isinstance(new, list) else [new]):
                if isinstance(piece, str):
                    text.append(piece)
                    last = match.end() - match.start() - 1
                    own = [*(min(i, last) for i in range(len(piece) - 1)), last if number or len(piece) > 1 else 0][
                        : len(piece)
                    ]
                    places += [self.places[match.start() + i] for i in own]
                else:
                    text.append(self.text[piece[0] : piece[1]])
                    places += self.places[piece[0] : piece[1]]
            at = match.end()
        if not at:
            return False
        text.append(self.text[at:])
        places += self.places[at:]
        self.text, self.places = "".join(text), places
        return True

    def range(self, start: int, end: int) -> Range:
        """Return the characters of the prompt that characters of the text come from."""
        return (self.places[start], self.places[end - 1] + 1) if start < end else (0, 0)
