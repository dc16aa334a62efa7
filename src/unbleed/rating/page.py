"""The pages as they are sent: HTML documents, and policies under which a browser runs nothing but the page's own script."""

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
        self.style = theme + _REFUSAL_STYLE
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

    def refusal(self, why: str) -> tuple[bytes, str]:
        """Return the page that says why an address cannot be opened, and its policy."""
        text = _REFUSAL.replace("<!-- style -->", self.style).replace("<!-- why -->", html.escape(why[:1].upper() + why[1:]))
        return text.encode(), f"default-src 'none'; img-src data:; style-src {_hash_of('style', text)}; frame-ancestors 'none'"


_REFUSAL_STYLE = "body { display: grid; justify-content: center; padding: 8vh 20px; } p { max-width: 40ch; font-size: 20px; }"
_REFUSAL = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>This address cannot be opened</title>
<link rel="icon" href="data:,">
<style><!-- style --></style>
<p role="alert"><!-- why -->.</p>
</html>
"""


def _hash_of(tag: str, text: str) -> str:
    """Return the source expression that allows the one element of a tag and no other."""
    found = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"the page has {len(found)} <{tag}>; expected one")
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()}'"
