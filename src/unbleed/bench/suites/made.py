"""What a suite is that a rule makes: the same prompts everywhere, because chance comes from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..plan.cases import Case, Expected


@dataclass(frozen=True)
class Made:
    """A rule, and what is to be said of it."""

    about: str
    cases: Callable[[], Iterable[Case]]
    citation: str = ""
    first_seed: int = 0


def conjunction(entities: Sequence[Expected], groups: Sequence[str] = ()) -> Case:
    """Return the prompt "a X and an Y and ...", with its articles by the first letter.

    >>> conjunction([Expected("orange"), Expected("cat", ("red",))]).prompt
    'an orange and a red cat'
    """
    phrases = [str(entity) for entity in entities]
    prompt = " and ".join(f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}" for phrase in phrases)
    return Case(prompt, tuple(entities), tuple(groups))
