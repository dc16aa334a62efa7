"""Small pieces of HTML, each text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ..errors import printable


def status(told: Mapping[str, Any]) -> str:
    """Return a line about a job, with a bar while it runs; an error is one line."""
    text = escape(printable(str(told.get("text", ""))))
    if told["state"] == "failed":
        return f'<div class="status"><span class="error" role="alert">{text}</span></div>'
    if told["state"] in ("waiting", "running"):
        share = 100 * float(told.get("share", 0))
        bar = f'<div class="track"><i style="width:{share:.1f}%"></i></div>'
        return f'<div class="status">{bar}<span class="said" role="status">{text}</span></div>'
    return f'<div class="status"><span class="good" role="status">{text}</span></div>'


def failed(text: str) -> str:
    """Return an error as one line."""
    return status({"state": "failed", "text": text})


def said(text: str) -> str:
    """Return a remark as one line."""
    return status({"state": "done", "text": text})


def facts(values: Mapping[str, Any]) -> str:
    """Return names and values in a row; empty values are left out."""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(printable(str(value)))}</dd></div>"
        for name, value in values.items()
        if value not in (None, "", 0, [])
    )
    return f'<dl class="facts">{rows}</dl>'
