"""The outermost layer of the server: what may be asked for at all, and what the browser may do with the answer.

Gradio serves more than this page needs: uploads, a proxy, files by URL, editing by language models. What is not in the list
below is refused before Gradio sees it. Files are served from the studio's own folder only.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_log = logging.getLogger(__name__)
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_GET = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(?:assets|static|svelte)/[\w./@-]+"
    r"|/gradio_api/(?:info/?|startup-events|theme\.css|app_id/?|queue/(?:data|status)|heartbeat/\w+"
    r"|call/\w+/\w+)"
)
_POST = re.compile(r"/gradio_api/(?:queue/join|run/\w+|call/\w+|cancel|reset/?)")
_FILE = re.compile(r"/gradio_api/file=(.+)")
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'none'; frame-ancestors 'self'"
)
"""Gradio's page builds functions from text and sets styles inline. Nothing is loaded from, or sent to, another machine."""


class TooLarge(Exception):
    """A request is longer than the studio reads."""


class Guard:
    """ASGI middleware around Gradio.

    Args:
        app: The application.
        files: The only folder that files are served from.
        most: Bytes of a request.
        hosts: Names that a request may address; None for any. A page elsewhere can name an address of its own that leads here.
    """

    def __init__(self, app: Any, *, files: Path, most: int, hosts: frozenset[str] | None) -> None:
        self.app, self.files, self.most, self.hosts = app, files.resolve(), most, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            await _answer(send, *refusal)
            return
        size, begun = 0, False

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most:
                raise TooLarge
            return message

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message.get("headers", []), *_headers()]}
            await send(message)

        try:
            await self.app(scope, bounded, answer)
        except TooLarge:
            if not begun:
                await _answer(send, 413, f"the request is too large; expected at most {self.most} bytes")
        except Exception as error:  # of Gradio, at a request that no page makes
            if begun:
                raise
            _log.error("a request to %s failed: %s: %s", scope["path"], type(error).__name__, error)
            await _answer(send, 400, "this request cannot be understood; the page makes others")

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if self.hosts is not None and host not in self.hosts:
            return 403, f'this studio is not served as "{host[:80]}"; use the address that it printed'
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return 403, "requests from pages of other origins are refused"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.most:
            return 413, f"the request is too large; expected at most {self.most} bytes"
        path = scope["path"]
        if scope["method"] in ("GET", "HEAD"):
            file = _FILE.fullmatch(path)
            if file:
                return None if self._is_ours(file[1]) else (403, "only the studio's own pictures are served")
            known = _GET.fullmatch(path) is not None and ".." not in unquote(path)
        else:
            known = scope["method"] in ("POST", "OPTIONS") and _POST.fullmatch(path) is not None
        return None if known else (404, "there is nothing at this address; open the address that the studio printed")

    def _is_ours(self, name: str) -> bool:
        """Return whether a file is in the studio's folder; links are followed first."""
        if "\0" in name or "://" in name:
            return False
        return Path(os.path.realpath(name)).is_relative_to(self.files)


def _headers() -> list[tuple[bytes, bytes]]:
    named = {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
    }
    return [(name.encode(), value.encode()) for name, value in named.items()]


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_headers()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
