"""Every edit describes its settings."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from unbleed import edits
from unbleed.errors import MethodError


@pytest.mark.parametrize("name", edits.__all__)
def test_every_setting_of_an_edit_says_what_it_does(name: str) -> None:
    edit = getattr(edits, name)
    text = inspect.getdoc(edit) or ""
    assert ">>> " in text
    assert all(f"    {field.name}: " in text for field in fields(edit))


@pytest.mark.parametrize(("name", "bad"), [("ApartEdit", {"share": 1.5}), ("RegionEdit", {"candidates": 0})])
def test_settings_of_an_edit_are_checked(name: str, bad: dict[str, float]) -> None:
    with pytest.raises(MethodError, match=f"{next(iter(bad))} of {name} is"):
        getattr(edits, name)(**bad)
