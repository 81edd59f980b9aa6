"""Honest proxies between a client and a server, which do harm to what they pass on.

:class:`HttpProxy` knows where a request ends and where an answer begins, so that it can answer by
itself, or cut the connection after a request was carried out and before the client hears of it. It
passes on HTTP/1.1 (Qdrant's REST). :class:`TcpProxy` passes on bytes of any protocol (Qdrant's
gRPC), and can refuse, delay and cut connections.

Neither knows anything of Qdrant.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
_UPSTREAM_SECONDS = 60.0
_TICK = 0.02


@dataclass(frozen=True, slots=True)
class Delay:
    """The answer comes late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The proxy answers by itself; the server never hears of the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """As Qdrant shapes its errors."""
        return json.dumps({"status": {"error": f"fault {self.status}"}, "time": 0.0}).encode()


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is reset; the server never hears of the request."""


@dataclass(frozen=True, slots=True)
class CutReply:
    """The server carries the request out; the connection is reset before its answer is through.

    Attributes:
        sent: bytes of the answer's body that the client still gets; None: not even a status.
    """

    sent: int | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """The server carries the request out; the client waits for the answer in vain."""

    seconds: float = 30.0


Fault = Delay | Answer | Drop | CutReply | Hang


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that came, and what became of it.

    Attributes:
        method: of the request.
        path: of the request, with its parameters.
        body: of the request.
        fault: what was done to it; None: nothing.
        status: that the server answered; None: it was never asked.
    """

    method: str
    path: str
    body: bytes
    fault: Fault | None
    status: int | None


Rule = Callable[[str, str], Fault | None]
"""Method and path of a request to what is done to it."""


def no_faults(method: str, path: str) -> Fault | None:
    """The rule of a proxy that does no harm."""
    return None


class DrawnFaults:
    """A rule: a share of requests is harmed, never too many in a row.

    Args:
        rng: to draw by.
        faults: to draw from.
        share: of the requests.
        row: most harmed requests one after the other.
    """

    def __init__(
        self, rng: random.Random, faults: list[Fault], *, share: float = 0.4, row: int = 3
    ) -> None:
        self._rng = rng
        self._faults = faults
        self._share = share
        self._row = row
        self._harmed = 0
        self._lock = threading.Lock()

    def __call__(self, method: str, path: str) -> Fault | None:
        with self._lock:
            if self._harmed >= self._row or self._rng.random() >= self._share:
                self._harmed = 0
                return None
            self._harmed += 1
            return self._rng.choice(self._faults)


class HttpProxy:
    """A proxy for HTTP/1.1 to one server.

    Attributes:
        url: where it listens.
        rule: what is done to which request; may be set at any time.
        exchanges: all that came, in the order in which they were over.

    Args:
        upstream: ``http://HOST:PORT`` of the server.
    """

    def __init__(self, upstream: str) -> None:
        self.rule: Rule = no_faults
        self.exchanges: list[Exchange] = []
        self._closing = threading.Event()
        there = urlsplit(upstream)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy.rule(self.command, self.path)
                asked = not isinstance(fault, Answer | Drop)
                status, headers, answer = self._ask(body) if asked else (None, {}, b"")
                # Noted before the client hears of it, and may look.
                proxy.exchanges.append(Exchange(self.command, self.path, body, fault, status))
                if isinstance(fault, Answer):
                    self._reply(fault.status, dict(fault.headers), fault.body())
                elif status is None or isinstance(fault, CutReply | Hang):
                    if isinstance(fault, Hang):
                        proxy._closing.wait(fault.seconds)
                    elif isinstance(fault, CutReply) and fault.sent is not None:
                        self._reply(status or 0, headers, answer, sent=fault.sent)
                    self._reset()
                else:
                    if isinstance(fault, Delay):
                        proxy._closing.wait(fault.seconds)
                    self._reply(status, headers, answer)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = pass_on  # noqa: N815

            def _ask(self, body: bytes) -> tuple[int | None, dict[str, str], bytes]:
                connection = http.client.HTTPConnection(
                    there.hostname or "", there.port, timeout=_UPSTREAM_SECONDS
                )
                with contextlib.closing(connection):
                    headers = {
                        name: value
                        for name, value in self.headers.items()
                        if name.lower() not in _HOP_BY_HOP
                    }
                    try:
                        connection.request(self.command, self.path, body or None, headers)
                        answer = connection.getresponse()
                        content = answer.read()
                    except OSError:  # as any gateway says it
                        return 502, {}, b""
                    kept = {
                        name: value
                        for name, value in answer.getheaders()
                        if name.lower() not in {*_HOP_BY_HOP, "content-length"}
                    }
                    return answer.status, kept, content

            def _reply(
                self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None
            ) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if sent is None else body[:sent])

            def _reset(self) -> None:
                self.wfile.flush()
                self.close_connection = True
                reset(self.connection)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def carried_out(self, method: str, path_end: str) -> list[Exchange]:
        """Requests that the server answered with success, whatever the client heard."""
        return [
            each
            for each in self.exchanges
            if each.method == method
            and urlsplit(each.path).path.endswith(path_end)
            and each.status is not None
            and each.status < 300
        ]


class TcpProxy:
    """A proxy for any protocol over TCP to one server.

    Attributes:
        port: on 127.0.0.1, where it listens.
        refuse: connections are reset as soon as they are made.
        delay: seconds that every piece of an answer is held back.
        cut_after: bytes of answers after which a connection is reset, once for every time that
            this is set; None: never.
        cuts: connections that were reset so far.

    Args:
        host: of the server.
        port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self.refuse = False
        self.delay = 0.0
        self.cut_after: int | None = None
        self.cuts = 0
        self._upstream = (host, port)
        self._generation = 0
        self._open: list[int] = []  # the generation of each
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Reset all connections that are open now, and wait until they are."""
        with self._lock:
            self._generation += 1
        deadline = time.monotonic() + 10
        while self._old() and time.monotonic() < deadline:
            time.sleep(_TICK)

    def _old(self) -> bool:
        with self._lock:
            return any(each < self._generation for each in self._open)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                self.cuts += 1
                reset(client)
                continue
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, timeout=10)
        except OSError:
            reset(client)
            return
        server.settimeout(None)
        with self._lock:
            mine = self._generation
            self._open.append(mine)
        answered = 0
        with client, server, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [], _TICK)
                if mine < self._generation:
                    self.cuts += 1
                    reset(client)
                    break
                if client in ready:
                    piece = client.recv(65536)
                    if not piece:
                        break
                    server.sendall(piece)
                if server in ready:
                    piece = server.recv(65536)
                    if not piece:
                        break
                    if self.delay:
                        time.sleep(self.delay)
                    answered += len(piece)
                    if self.cut_after is not None and answered > self.cut_after:
                        self.cut_after = None
                        self.cuts += 1
                        reset(client)
                        break
                    client.sendall(piece)
        with self._lock:
            self._open.remove(mine)


def reset(connection: socket.socket) -> None:
    """Close a connection hard: the other side gets a reset, not an end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def faults_of_all_kinds(*, delay: float = 0.05) -> list[Any]:
    """One of each, as a busy and broken network has them."""
    return [
        Delay(delay),
        Answer(429),
        Answer(429, {"Retry-After": "1"}),
        Answer(500),
        Answer(503),
        Answer(503, {"Retry-After": "1"}),
        Drop(),
        CutReply(),
        CutReply(sent=3),
    ]
