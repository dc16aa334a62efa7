"""The server of the rating page: the standard library's, one thread per connection.

    GET  /                                   the page, to join
    POST /join                               {} -> {"link": "/r/<token>"}
    GET  /r/<token>                          the page of a rater
    GET  /r/<token>/trials                   the question, and every trial with its answer
    POST /r/<token>/answers                  an answer -> {"version": its version}
    GET  /r/<token>/images/<trial>/<side>  an image

Nothing else is answered, and no part of an address becomes part of a path: an image is found by the rater's trial and side, so
its address says nothing of the method either. Requests are bounded in size and time. A request that names another host, or
comes from a page of another origin, is refused: a page somewhere on the web cannot answer for a rater.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .. import schema
from ..errors import OutputError, RatingError
from .answers import AnswerLog, ConflictError, FullError, Rater, check_answer
from .page import Page
from .study import read_png
from .trials import Trial, trials_of

logger = logging.getLogger(__name__)

MAX_BODY = 4_096  # bytes
MAX_CONNECTIONS = 256
TIMEOUT_S = 30.0
_TOKEN = "(?P<token>[0-9a-f]{32})"
_ROUTES = {
    ("GET", "/"): "_page",
    ("POST", "/join"): "_join",
    ("GET", f"/r/{_TOKEN}"): "_page",
    ("GET", f"/r/{_TOKEN}/trials"): "_trials",
    ("POST", f"/r/{_TOKEN}/answers"): "_answer",
    ("GET", f"/r/{_TOKEN}/images/(?P<trial>0|[1-9][0-9]{{0,5}})/(?P<side>left|right)"): "_image",
}


class RefusedError(Exception):
    """A request that is not answered, with the status and one line that says why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class RatingServer(ThreadingHTTPServer):
    """Serves one study; `log` is open for as long as it runs.

    Raises:
        RatingError: the address cannot be used.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, log: AnswerLog, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.folder, self.log, self.page = folder, log, Page(log.study.question)
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RatingError(f"{host}:{port} cannot be served ({reason}); choose another --port or --host") from error
        self.loopback = _is_loopback(self.server_address[0])

    @property
    def url(self) -> str:
        host, port = str(self.server_address[0]), self.server_address[1]
        if ip_address(host).is_unspecified:  # all addresses of this machine
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)  # the page tries again
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; anything else is a fault of this program."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            logger.exception("a request could not be answered")


class _Handler(BaseHTTPRequestHandler):
    server: RatingServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "unbleed", ""
    timeout = TIMEOUT_S
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        try:
            self._check_origin()
            for (method, pattern), name in _ROUTES.items():
                if method == self.command and (found := re.fullmatch(pattern, self.path, re.ASCII)):
                    getattr(self, name)(**found.groupdict())
                    return
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing at this address; open the link that you were given")
        except RefusedError as refused:
            self._refuse(refused.status, refused.why)
        except (OutputError, RatingError) as error:  # a full disk, an image that was changed: not for the rater to see
            logger.error(str(error))
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the server cannot do this now; tell whom you have the link from")

    # ------------------------------------------------------------------------------------------------- answers

    def _page(self, token: str = "") -> None:
        if token:
            self._rater(token)
        page = self.server.page
        self._send(page.html, "text/html; charset=utf-8", {"Content-Security-Policy": page.policy})

    def _join(self) -> None:
        self._body({})
        try:
            rater = self.server.log.join(trials_of)
        except FullError:
            raise RefusedError(HTTPStatus.CONFLICT, "as many people have joined as this study takes") from None
        self._send_json({"link": f"/r/{rater.token}"})

    def _trials(self, token: str) -> None:
        rater, study = self._rater(token), self.server.log.study
        trials = []
        for number, trial in enumerate(rater.trials):
            answer = rater.answers.get(number)
            shown = (study.catches if trial.kind == "catch" else study.pairs)[trial.index]
            trials.append(
                {
                    "prompt": shown.prompt,
                    "answer": answer.answer if answer else None,
                    "version": answer.version if answer else 0,
                }
            )
        self._send_json({"break_every": study.break_every, "trials": trials})

    def _answer(self, token: str) -> None:
        rater = self._rater(token)
        body = self._body()
        try:
            answer = check_answer(len(rater.trials), body)
        except schema.SchemaError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from None
        try:
            self.server.log.answer(rater, answer)
        except ConflictError:
            raise RefusedError(HTTPStatus.CONFLICT, "this pair was answered in another window; load the page again") from None
        self._send_json({"version": answer.version})

    def _image(self, token: str, trial: str, side: str) -> None:
        rater = self._rater(token)
        if int(trial) >= len(rater.trials):
            raise RefusedError(HTTPStatus.NOT_FOUND, f"there is no pair {trial}")
        name = shown_image(self.server, rater.trials[int(trial)], side)
        png = read_png(self.server.folder, name)
        self._send(png, "image/png", {"Cache-Control": "private, max-age=86400, immutable"})

    def _rater(self, token: str) -> Rater:
        rater = self.server.log.rater(token)
        if rater is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is no rater of this link; check that it is complete")
        return rater

    # ------------------------------------------------------------------------------------------------- what comes in

    def _check_origin(self) -> None:
        host = self.headers.get("Host", "")
        if self.server.loopback and not _is_loopback(_name_of(host)):
            raise RefusedError(HTTPStatus.FORBIDDEN, "this server answers under its own address alone")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise RefusedError(HTTPStatus.FORBIDDEN, "this server takes no request from a page of another origin")

    def _body(self, only: Any = None) -> Any:
        """Return the JSON document of a request; where `only` is given, any other is refused."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length) or "Transfer-Encoding" in self.headers:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "the length of the request is missing")
        if int(length) > MAX_BODY:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length} bytes; expected at most {MAX_BODY}")
        if self.headers.get_content_type() != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        data = self.rfile.read(int(length))
        self._read = True
        try:
            value = schema.parse(data)
        except (schema.SchemaError, RecursionError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the request is not JSON: {error}") from None
        if only is not None and value != only:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "expected {}")
        return value

    # ------------------------------------------------------------------------------------------------- what goes out

    _read = False

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        if not self._read and self.command == "POST":
            self.close_connection = True  # the rest of it would be taken for the next request
        if self.command == "GET" and "text/html" in self.headers.get("Accept", ""):  # a person opened the address
            page, policy = self.server.page.refusal(why)
            self._send(page, "text/html; charset=utf-8", {"Content-Security-Policy": policy}, status=status)
            return
        self._send(json.dumps({"error": why}).encode(), "application/json", status=status)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the standard library refuses by itself: in one line, as everything else."""
        self.close_connection = True
        status = HTTPStatus(code)
        self.request_version = "HTTP/1.1"  # a line that was not understood would be answered without headers
        self._send(json.dumps({"error": status.phrase.lower()}).encode(), "application/json", status=status)

    def _send_json(self, value: Any) -> None:
        self._send(json.dumps(value, ensure_ascii=False).encode(), "application/json")

    def _send(
        self, body: bytes, kind: str, headers: dict[str, str] | None = None, *, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self.send_response(status)
        base = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if self.close_connection:
            base["Connection"] = "close"
        for name, value in {**base, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        self._read = False

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


def shown_image(server: RatingServer, trial: Trial, side: str) -> str:
    """Return the name of the image on a side of a trial."""
    study = server.log.study
    images = (study.catches if trial.kind == "catch" else study.pairs)[trial.index].images
    return images[trial.left if side == "left" else 1 - trial.left]


def _name_of(host: str) -> str:
    """Return the name or number in a Host header, without the port."""
    found = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d{1,5})?|([^:/\s]+)(?::\d{1,5})?", host, re.ASCII)
    return (found[1] or found[2]) if found else ""


def _is_loopback(host: Any) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
