"""The page as it is sent: one HTML document, and a policy under which a browser runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path


class Page:
    """The page with its style, script and question inside."""

    def __init__(self, question: str) -> None:
        here = Path(__file__).parent
        theme = (here.parent / "bench" / "reporting" / "theme.css").read_text(encoding="utf-8")
        text = (here / "page.html").read_text(encoding="utf-8")
        text = text.replace("/* theme */", theme).replace("<!-- question -->", html.escape(question))
        self.html = text.encode()
        self.policy = "; ".join(
            [
                "default-src 'none'",
                "img-src 'self' data:",
                "connect-src 'self'",
                f"style-src {_hash_of('style', text)}",
                f"script-src {_hash_of('script', text)}",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            ]
        )


def _hash_of(tag: str, text: str) -> str:
    """Return the source expression that allows the one element of a tag and no other."""
    found = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"the page has {len(found)} <{tag}>; expected one")
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()}'"
