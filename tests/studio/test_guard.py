"""The outermost layer of the server, without Gradio: what gets through, and where files come from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from unbleed.studio.guard import Guard

HOSTS = frozenset({"127.0.0.1", "localhost"})


async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An application that reads everything and answers "through"."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"through"})


def ask(
    folder: Path, method: str, path: str, *, body: bytes = b"", hosts: frozenset[str] | None = HOSTS, **headers: str
) -> tuple[int, str]:
    """Return status and body of an answer; every answer has the policy that keeps the browser on this machine."""
    sent: list[dict[str, Any]] = []
    named = {"host": "127.0.0.1:8428", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    parts = [body[i : i + 100] for i in range(0, len(body), 100)] or [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Guard(inner, files=folder / "served", most=1000, hosts=hosts)(scope, receive, send))
    assert any(name == b"content-security-policy" for name, _ in sent[0]["headers"])
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served" / "ab").mkdir(parents=True)
    (tmp_path / "served" / "ab" / "cat.png").write_bytes(b"png")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "served" / "link.png").symlink_to(tmp_path / "secret.txt")
    return tmp_path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/config"),
        ("GET", "/assets/index-AB_c.js"),
        ("GET", "/gradio_api/queue/data"),
        ("GET", "/gradio_api/heartbeat/abc123"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/draw"),
        ("GET", "/gradio_api/call/draw/0123abc"),
    ],
)
def test_what_the_page_needs_gets_through(folder: Path, method: str, path: str) -> None:
    assert ask(folder, method, path) == (200, "through")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/proxy=https://example.org/"),
        ("GET", "/gradio_api/file=https://example.org/a.png"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/vibe-edit/"),
        ("POST", "/gradio_api/process_recording"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/run-history/records"),
        ("GET", "/assets/../../secret.txt"),
        ("GET", "/static/%2e%2e/secret.txt"),
        ("POST", "/login"),
        ("PUT", "/gradio_api/queue/join"),
        ("DELETE", "/"),
    ],
)
def test_everything_else_is_refused_in_one_line(folder: Path, method: str, path: str) -> None:
    status, said = ask(folder, method, path)
    assert status in (403, 404)
    assert said.startswith('{"error": "')
    assert "\n" not in said


def test_files_come_from_one_folder(folder: Path) -> None:
    assert ask(folder, "GET", f"/gradio_api/file={folder}/served/ab/cat.png")[0] == 200
    for name in (
        "/etc/passwd",
        f"{folder}/secret.txt",
        f"{folder}/served/../secret.txt",
        f"{folder}/served/link.png",
        "secret.txt",
        "a\0b",
    ):
        assert ask(folder, "GET", f"/gradio_api/file={name}") == (
            403,
            '{"error": "only the studio\'s own pictures are served"}',
        )


def test_other_origins_and_hosts_are_refused(folder: Path) -> None:
    assert ask(folder, "POST", "/gradio_api/queue/join", origin="http://127.0.0.1:8428")[0] == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        assert ask(folder, "POST", "/gradio_api/queue/join", origin=origin)[0] == 403
    assert ask(folder, "GET", "/", host="evil.example:8428")[0] == 403
    assert ask(folder, "GET", "/", host="evil.example:8428", hosts=None)[0] == 200


def test_a_request_that_gradio_fails_at_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(scope: dict[str, Any], receive: Any, send: Any) -> None:
        raise KeyError("no such function")

    monkeypatch.setitem(globals(), "inner", failing)
    assert ask(folder, "POST", "/gradio_api/call/x", body=b"{}")[0] == 400


def test_long_requests_are_refused(folder: Path) -> None:
    join = "/gradio_api/queue/join"
    assert ask(folder, "POST", join, body=b"x" * 1000)[0] == 200
    assert ask(folder, "POST", join, body=b"x" * 1001)[0] == 413
    assert ask(folder, "POST", join, content_length="99999")[0] == 413
    assert ask(folder, "POST", join, content_length="-5")[0] == 413
