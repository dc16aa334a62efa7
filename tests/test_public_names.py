"""Every public name, method and loss has a docstring that describes its arguments, and an example that the doctests run."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

import unbleed
from unbleed import losses
from unbleed.losses.base import RenormalisingLoss
from unbleed.methods import METHODS

BASES = (losses.Loss, RenormalisingLoss)


def public_objects() -> dict[str, Any]:
    names = {f"unbleed.{name}": getattr(unbleed, name) for name in unbleed.__all__ if name not in ("__version__", "METHODS")}
    kinds = {f"methods.{kind.__name__}": kind for kind in METHODS.values()}
    own = {f"losses.{name}": getattr(losses, name) for name in losses.__all__}
    return {**names, **kinds, **{name: kind for name, kind in own.items() if isinstance(kind, type) and kind not in BASES}}


PUBLIC = public_objects()
every_name = pytest.mark.parametrize("name", PUBLIC)


def arguments(of: Any) -> list[str]:
    if is_dataclass(of):
        return [field.name for field in fields(of) if field.init]
    if isinstance(of, type) and (issubclass(of, Exception) or inspect.isabstract(of)):
        return []
    own = inspect.signature(of).parameters.values()
    return [one.name for one in own if one.kind is not one.VAR_KEYWORD]


@every_name
def test_a_public_name_has_a_docstring_with_an_example(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert text.splitlines()[0].endswith((".", ":")), "begin with a sentence"
    assert ">>> " in text, "add an example"


@every_name
def test_a_public_name_describes_its_arguments(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    missing = [argument for argument in arguments(PUBLIC[name]) if f"{argument}:" not in text and f"`{argument}`" not in text]
    assert not missing


def test_a_setting_goes_into_the_docstring_of_its_class() -> None:
    text = inspect.getdoc(METHODS["syngen"]) or ""
    assert "    step_size: Step size of the update of the latents. Default: 20.0 (authors' code, constant)." in text


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_says_what_it_does_and_where_its_default_comes_from(name: str) -> None:
    rows = METHODS[name]().describe()
    assert not [row.name for row in rows if not (row.help and row.source)]
