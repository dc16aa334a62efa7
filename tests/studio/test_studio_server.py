"""The server as any program on this machine can reach it: queue, files, and hostile requests, over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.studio_load import draw, draw_at_once, get, post, recipe_of_answer, texts_of_answer, values
from helpers.studio_page import studio_process
from unbleed import cli
from unbleed.errors import StudioError
from unbleed.studio.form import House
from unbleed.studio.serve import serving, unshared

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with studio_process() as address:
        yield address


def test_clients_at_once_get_their_own_pictures(url: str) -> None:
    drawn, _ = draw_at_once(url, list(range(10)))
    assert sorted(drawn) == list(range(10))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": "x" * 100_000}, "the prompt has 100000 characters; expected at most 2000"),
        ({"prompt": {"path": "/etc/passwd"}}, "prompt is an object; expected a text"),
        ({"method": "../../etc/passwd"}, 'there is no method "../../etc/passwd"'),
        ({"settings": {"changes": {"resolution": "/etc/passwd"}}}, "resolution of none is"),
        ({"regions": {"regions": {"red cat": "/etc/passwd.png"}}}, 'the region of "red cat" cannot be'),
        ({"regions": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}, ""),
        ({"steps": 10**12}, "steps is 1000000000000; expected 1 to 150"),
        ({"seeds": [1]}, "seeds is a list of 1; expected a whole number"),
        ({"entities": None}, "entities is"),
    ],
)
def test_hostile_values_over_the_api(url: str, changes: dict[str, Any], says: str) -> None:
    event, found = draw(url, values(**changes))
    errors = [text for text in texts_of_answer(found) if 'class="error"' in text]
    assert event in ("complete", "error")
    if says:
        assert len(errors) == 1
        assert says.replace('"', "&quot;") in errors[0]
    assert "root:" not in json.dumps(found)
    assert "Traceback" not in json.dumps(found)


def test_files_of_the_server_are_not_served(url: str, tmp_path: Path) -> None:
    event, found = draw(url, values(seed=77))
    assert event == "complete"
    recipe = recipe_of_answer(url, found)
    assert recipe is not None
    assert recipe.seed == 77
    served = next(text for text in texts_of_answer(found) if text.startswith(f"{url}/gradio_api/file="))
    folder = served.partition("file=")[2].rpartition("/served/")[0]
    (tmp_path / "secret").write_text("secret")
    for path in (
        "/gradio_api/file=/etc/passwd",
        f"/gradio_api/file={folder}/served/../../../etc/passwd",
        f"/gradio_api/file={folder}/pictures",
        f"/gradio_api/file={tmp_path}/secret",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/static/../../../../etc/passwd",
        "/gradio_api/custom_component/1/x/y/z",
        "/gradio_api/openapi.json",
    ):
        status, body = get(url, path)
        assert status in (403, 404), path
        assert b"\n" not in body.strip()
        assert b"root:" not in body
    assert post(url, "/gradio_api/upload", {})[0] == 404
    assert (
        post(url, "/gradio_api/component_server", {"fn_name": "ls", "component_id": 1, "session_hash": "x", "data": []})[0]
        == 404
    )


def test_what_only_the_page_may_call_and_what_is_no_request(url: str) -> None:
    for name, body in (
        ("draw", {"data": []}),
        ("draw", {"data": "x"}),
        ("draw", []),
        ("no_such", {"data": []}),
        ("predict", {"data": 1}),
    ):
        status, said = post(url, f"/gradio_api/call/{name}", body)
        if status == 200:  # taken into the queue: refused there
            event = get(url, f"/gradio_api/call/{name}/{said['event_id']}")[1].decode()
            assert "event: complete" not in event
            assert "Traceback" not in event
        else:
            assert 400 <= status < 500


def test_what_cannot_be_served_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, says in (
        (["--model", str(tmp_path / "none")], "cannot be loaded"),
        (["--bench", str(tmp_path)], "run.json"),
        (["--host", "203.0.113.7", "--device", "cpu"], "203.0.113.7:8428 cannot be served at"),
    ):
        assert cli.main(["studio", *arguments]) == 2
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == said.count("unbleed:") == 1


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unbleed.cli.common.load_pipeline", lambda *_, **__: pytest.fail("the model was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["studio", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"unbleed: 127.0.0.1:{port} cannot be served at (Address already in use); choose another --port or --host\n"
    )


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refused)
    says = r"^pictures cannot be kept in the temporary folder \(Read-only file system\); name another in TMPDIR$"
    with pytest.raises(StudioError, match=says), serving(House(), []):
        pass


def test_a_share_that_is_refused_is_one_line() -> None:
    said = "\nCould not create share link. Missing file: frpc. \n\nPlease check your internet connection.\n1. Download it"
    assert str(unshared(said)) == (
        "a public address cannot be opened (Could not create share link. Missing file: frpc); "
        "leave out --share, or use an SSH tunnel"
    )
