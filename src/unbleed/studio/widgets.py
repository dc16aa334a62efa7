"""The page's own components: a script each in `assets/`, data in and out, no markup from data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

_ASSETS = Path(__file__).with_name("assets")


@cache
def _text(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def style() -> str:
    """Return the style of the page."""
    return _text("style.css")


def widget(name: str, kind: str, value: Any, **options: Any) -> gr.HTML:
    """Return the component of the script `assets/NAME.js`, whose root element has the classes `own` and `kind`."""
    return gr.HTML(
        value,
        html_template=f'<div class="own {kind}"></div>',
        js_on_load=_text("common.js") + _text(f"{name}.js"),
        apply_default_css=False,
        elem_id=name,
        **options,
    )
