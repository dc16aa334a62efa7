"""The server: what it answers, keeps and refuses."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest

from helpers.rating import SCRAMBLED, Client, method_shown, rate_all, served, write_a_study
from unbleed.errors import RatingError
from unbleed.rating.answers import journal_of, open_log, read_raters
from unbleed.rating.server import MAX_BODY, RatingServer


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in journal_of(folder).read_text().splitlines()]


def test_a_rater_sees_every_pair_with_names_that_tell_nothing_and_goes_on_where_the_server_stopped(tmp_path: Path) -> None:
    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server:
        client = Client(server.server_port)
        client.join()
        trials = client.trials()
        assert len(trials) == study.trials_per_rater == 24
        assert {*trials[0]} == {"prompt", "answer", "version"}
        for number in range(10):
            assert client.answer(number, "left")[0] == 200
        shown = [(method_shown(client.image(n, "left")), method_shown(client.image(n, "right"))) for n in range(24)]
        assert Counter(frozenset(pair) for pair in shown) == {frozenset((0, 1)): 22, frozenset((0, SCRAMBLED)): 2}
        assert b"syngen" not in server.page.html + json.dumps(trials).encode()
        client.close()
    with served(tmp_path, study) as server:
        client = Client(server.server_port, client.link)
        assert [trial["answer"] for trial in client.trials()] == ["left"] * 10 + [None] * 14
        assert [(method_shown(client.image(n, "left")), method_shown(client.image(n, "right"))) for n in range(24)] == shown
        client.close()


def test_an_answer_sent_twice_is_kept_once_and_one_that_is_changed_has_the_next_version(tmp_path: Path) -> None:
    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server:
        client = Client(server.server_port)
        client.join()
        for _ in range(3):  # the reply was lost on the way
            assert client.answer(0, "left") == (200, b'{"version": 1}')
        assert client.answer(0, "tie", version=2)[0] == 200
        status, said = client.answer(0, "right", version=1)  # an older window
        assert (status, json.loads(said)["error"][:29]) == (409, "this pair was answered in ano")
        assert client.answer(0, "right", version=4)[0] == 409
        client.close()
    assert [(line["version"], line["answer"]) for line in lines(tmp_path)[1:]] == [(1, "left"), (2, "tie")]
    assert read_raters(tmp_path, study)[0].answers[0].answer == "tie"


def test_20_raters_at_once_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    study = write_a_study(tmp_path, prompts=10)
    with served(tmp_path, study) as server:
        raters = [threading.Thread(target=rate_all, args=(server.server_port, lambda n: "left")) for _ in range(20)]
        for rater in raters:
            rater.start()
        for rater in raters:
            rater.join()
    kept = Counter((line["rater"], line["trial"]) for line in lines(tmp_path) if line["event"] == "answered")
    assert kept == {(rater, trial): 1 for rater in range(20) for trial in range(14)}


def test_an_answer_that_comes_by_many_connections_at_once_is_kept_once(tmp_path: Path) -> None:
    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server:
        first = Client(server.server_port)
        first.join()
        clients = [Client(server.server_port, first.link) for _ in range(8)]
        replies: list[int] = []

        def send(client: Client) -> None:
            replies.extend(client.answer(trial, "left")[0] for trial in range(20))
            client.close()

        threads = [threading.Thread(target=send, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first.close()
    assert replies == [200] * 160
    assert [line["trial"] for line in lines(tmp_path)[1:]] == list(range(20))


def test_no_more_people_join_than_the_study_takes(tmp_path: Path) -> None:
    study = write_a_study(tmp_path, max_raters=1)
    with served(tmp_path, study) as server:
        client = Client(server.server_port)
        client.join()
        assert client.send("POST", "/join", {}) == (409, b'{"error": "as many people have joined as this study takes"}')
        client.close()


# ------------------------------------------------------------------------------------------------ hostile requests

ANSWER = {"trial": 0, "version": 1, "answer": "left", "seconds": 1.0}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "said"),
    [
        ("GET", "/../../../../etc/passwd", None, {}, 404, "there is nothing at this address"),
        ("GET", "LINK/images/%2e%2e%2f%2e%2e%2fstudy.json/left", None, {}, 404, "there is nothing at this address"),
        ("GET", "LINK/images/0/../../../study.json", None, {}, 404, "there is nothing at this address"),
        ("GET", "/study.json", None, {}, 404, "there is nothing at this address"),
        ("GET", "/answers.jsonl", None, {}, 404, "there is nothing at this address"),
        ("GET", "LINK/images/99999/left", None, {}, 404, "there is no pair 99999"),
        ("GET", f"/r/{'0' * 32}", None, {}, 404, "there is no rater of this link"),
        ("GET", "LINK/answers", None, {}, 404, "there is nothing at this address"),
        ("POST", "LINK/answers", ANSWER | {"trial": 10**30}, {}, 400, "trial is 1000000000000000000000000000000; expected"),
        ("POST", "LINK/answers", ANSWER | {"trial": -1}, {}, 400, "trial is -1; expected 0 to 23"),
        ("POST", "LINK/answers", ANSWER | {"trial": "../../x"}, {}, 400, 'trial is "../../x"; expected a whole number'),
        ("POST", "LINK/answers", ANSWER | {"answer": "<script>"}, {}, 400, 'answer is "<script>"; expected "left" or'),
        ("POST", "LINK/answers", ANSWER | {"version": True}, {}, 400, "version is true; expected a whole number"),
        ("POST", "LINK/answers", ANSWER | {"seconds": -1}, {}, 400, "seconds is -1; expected 0 to 86400"),
        ("POST", "LINK/answers", ANSWER | {"rater": 0}, {}, 400, "rater is unknown"),
        ("POST", "LINK/answers", [], {}, 400, "it is a list of 0; expected an object"),
        ("POST", "LINK/answers", b'{"seconds": NaN}', {}, 400, "the request is not JSON"),
        ("POST", "LINK/answers", b"[" * 4000, {}, 400, "the request is not JSON"),
        ("POST", "LINK/answers", b"\xff\xfe", {}, 400, "the request is not JSON"),
        ("POST", "LINK/answers", b" " * (MAX_BODY + 1), {}, 413, "4097 bytes; expected at most 4096"),
        ("POST", "LINK/answers", ANSWER, {"Content-Type": "text/plain"}, 415, "expected application/json"),
        ("POST", "LINK/answers", ANSWER, {"Origin": "http://evil.example"}, 403, "this server takes no request from a page"),
        ("POST", "LINK/answers", ANSWER, {"Origin": "null"}, 403, "this server takes no request from a page"),
        ("POST", "LINK/answers", ANSWER, {"Host": "evil.example"}, 403, "this server answers under its own address alone"),
        ("GET", "LINK/trials", None, {"Host": "127.0.0.1.evil.example:80"}, 403, "this server answers under its own address"),
        ("POST", "/join", {"trials": []}, {}, 400, "expected {}"),
        ("PUT", "LINK/answers", ANSWER, {}, 501, "not implemented"),
        ("DELETE", "LINK", None, {}, 501, "not implemented"),
    ],
)
def test_hostile_requests_are_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, method: str, path: str, body: object, headers: dict[str, str], status: int, said: str
) -> None:
    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server:
        client = Client(server.server_port)
        client.join()
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        path = path.replace("LINK", client.link)
        found, data = client.send(method, path, body, **headers)
        reply = json.loads(data)
        assert (found, reply.keys()) == (status, {"error"})
        assert reply["error"].startswith(said)
        assert "\n" not in reply["error"]
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        client.close()
        again = Client(server.server_port, client.link)
        assert again.answer(0, "left")[0] == 200  # it still serves
        again.close()


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        reply = b""
        while part := connection.recv(4096):
            reply += part
    return reply


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"POST /join HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"411"),
        (b"POST /join HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\nContent-Type: application/json\r\n\r\n{}", b"411"),
        (b"GET / HTTP/1.0\r\n\r\n", b"403"),
        (b"GET /r/\xd9\xa3\x00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"404"),
        (b"\x00\x01\x02 / HTTP/9.9\r\n\r\n", b"505"),
    ],
)
def test_requests_that_are_not_http_end_the_connection(tmp_path: Path, request_: bytes, status: bytes) -> None:
    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server:
        reply = raw(server.server_port, request_)
        head, _, body = reply.partition(b"\r\n\r\n")
        assert head.split()[1] == status
        assert [*json.loads(body)] == ["error"]
        assert b"Content-Length: " + str(len(body)).encode() in head


def test_only_this_machine_reaches_the_server_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.loopback
        client = Client(server.server_port)
        assert client.send("GET", "/", Host="localhost:1")[0] == 200
        client.close()


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.2", True), ("::1", True), ("0.0.0.0", False)])
def test_an_address_that_others_reach_is_taken_when_it_is_named(tmp_path: Path, host: str, loopback: bool) -> None:
    study = write_a_study(tmp_path)
    with open_log(tmp_path, study) as log:
        try:
            server = RatingServer(tmp_path, log, host=host)
        except RatingError:
            pytest.skip(f"this machine has no {host}")
        with server:
            named = {"127.0.0.2": "127.0.0.2", "::1": "[::1]", "0.0.0.0": socket.gethostname()}[host]
            assert (server.loopback, server.url) == (loopback, f"http://{named}:{server.server_address[1]}/")


def test_a_picture_that_was_changed_is_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = write_a_study(tmp_path, prompts=1, catches=0, repeats=0)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"x")
    with served(tmp_path, study) as server:
        client = Client(server.server_port)
        client.join()
        status, said = client.send("GET", f"{client.link}/images/0/left")
        client.close()
    assert (status, "cannot do this now" in said.decode(), str(tmp_path) in said.decode()) == (500, True, False)
    assert "was changed after the study began" in caplog.text


def test_a_browser_runs_the_pages_own_script_alone(tmp_path: Path) -> None:
    study = write_a_study(tmp_path, question="<script>alert(1)</script>?")
    with served(tmp_path, study) as server:
        assert b"&lt;script&gt;alert(1)&lt;/script&gt;?" in server.page.html
        assert "script-src 'sha256-" in server.page.policy
        assert "unsafe" not in server.page.policy


def test_a_person_who_opens_a_broken_link_gets_a_page_and_a_program_one_line(tmp_path: Path) -> None:
    def opened(path: str, accept: str) -> tuple[int, str | None, str]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if accept != "*/*":
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        return answer.status, answer.headers["Content-Type"], text

    browser = "text/html,application/xhtml+xml,*/*;q=0.8"
    with served(tmp_path, write_a_study(tmp_path)) as server:
        for path, why in (("/r/" + "0" * 32, "no rater of this link"), ("/r/0123", "open the link that you were given")):
            status, kind, text = opened(path, browser)
            assert (status, kind) == (404, "text/html; charset=utf-8")
            assert why in text
            assert "width=device-width" in text
            status, kind, text = opened(path, "*/*")
            assert (status, kind) == (404, "application/json")
            assert why in json.loads(text)["error"]


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server, pytest.raises(RatingError, match=r"cannot be served .*; choose another --port"):
        RatingServer(tmp_path, server.log, port=server.server_port)
