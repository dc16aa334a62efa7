"""Weights in a prompt, as A1111 and compel write them: what the words were when a prompt was encoded elsewhere."""

from __future__ import annotations

import re

from ..errors import PromptError

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)"
_END = r"(?=[\s,.;:!?)\]]|$)"

_SEVERAL = re.compile(r"\)\s*\.(?:blend|and|or)\(|\.swap\(|\bBREAK\b|(?<!\\)\[[^\[\]]*[:|][^\[\]]*\]")
_A1111 = re.compile(rf"(?<!\\):\s*{_NUMBER}\s*\)")  # (red:1.2)
_COMPEL = re.compile(rf"(?<!\\)\)(?:{_NUMBER}|\++|-+){_END}|(?<=\w)(?:\+\++|--+){_END}")  # (red)1.2, (red)+, red++
_PERHAPS = re.compile(rf"(?<!\\)[()\[\]]|(?<=\w)[+-]{_END}")  # (red), [red], red+


def without_weights(prompt: str) -> str:
    r"""Return the words of a prompt that was encoded with weights, without these.

    >>> without_weights("a ((red:1.2)) [old] cat"), without_weights("a (red cat)1.3 and a blue dog++")
    ('a red old cat', 'a red cat and a blue dog')
    >>> without_weights(r"a cat \(sitting\), t-shirt")
    'a cat (sitting), t-shirt'

    Raises `PromptError` for signs that make several prompts of it, and for those that may be weights or text.
    """
    if several := _SEVERAL.search(prompt):
        raise PromptError(
            f'prompts= has "{several.group()}", which makes several texts of "{prompt}", so its words have no one position; '
            "give the words of one text, as they were encoded"
        )
    if _A1111.search(prompt):
        words = re.sub(rf"(?<!\\)(?::\s*{_NUMBER}\s*(?=\))|[()\[\]])", "", prompt)
    elif _COMPEL.search(prompt):
        signs = rf"(?<!\\)\)(?:{_NUMBER}{_END}|\++{_END}|-+{_END})?|(?<!\\)\(|(?<=\w)(?:\++|-+){_END}"
        words = re.sub(signs, "", prompt)
    elif perhaps := _PERHAPS.search(prompt):
        raise PromptError(
            f'"{perhaps.group()}" in prompts= may be a weight or a part of the text: "{prompt}"; give the words as they were '
            "encoded, and without such signs"
        )
    else:
        words = prompt
    return re.sub(r"\\(?=[()\[\]])", "", words)
