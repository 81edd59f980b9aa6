"""The proxies' faults are real: seen from both sides, with a plain HTTP server behind."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import (
    Answer,
    CutReply,
    Delay,
    DrawnFaults,
    Drop,
    Fault,
    Hang,
    HttpProxy,
    TcpProxy,
)
from tests.faults.upstream import Request, Upstream, upstream


def _echo(request: Request) -> tuple[int, object]:
    return (201, {"path": request.path, "body": request.body, "number": request.number})


@pytest.fixture
def behind() -> Iterator[Upstream]:
    with upstream(_echo) as running:
        yield running


@pytest.fixture
def proxy(behind: Upstream) -> Iterator[HttpProxy]:
    with HttpProxy(behind.url) as running:
        yield running


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)


def _ask(connection: http.client.HTTPConnection) -> tuple[int, bytes, dict[str, str]]:
    connection.request("PUT", "/a/b?wait=true", b'{"x": 1}', {"api-key": "k"})
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_without_faults_all_is_passed_on_over_one_connection(
    proxy: HttpProxy, behind: Upstream
) -> None:
    connection = _connect(proxy.url)
    for number in range(3):
        status, body, headers = _ask(connection)
        assert status == 201
        assert body == b'{"path": "/a/b", "body": {"x": 1}, "number": %d}' % number
        assert headers["Content-Type"] == "application/json"
    connection.close()
    assert [(e.method, e.path, e.body, e.status) for e in proxy.exchanges] == [
        ("PUT", "/a/b?wait=true", b'{"x": 1}', 201)
    ] * 3
    assert len(behind.requests) == 3
    assert len(proxy.carried_out("PUT", "/b")) == 3


@pytest.mark.parametrize(
    "fault", [Answer(429, {"Retry-After": "7"}), Answer(500), Answer(503)], ids=str
)
def test_an_answer_of_the_proxy_itself_never_reaches_the_server(
    proxy: HttpProxy, behind: Upstream, fault: Answer
) -> None:
    proxy.rule = lambda method, path: fault
    connection = _connect(proxy.url)
    status, body, headers = _ask(connection)
    assert status == fault.status
    assert b"fault" in body
    assert headers.get("Retry-After") == fault.headers.get("Retry-After")
    proxy.rule = lambda method, path: None
    assert _ask(connection)[0] == 201  # the connection is as good as before
    connection.close()
    assert len(behind.requests) == 1
    assert [e.status for e in proxy.exchanges] == [None, 201]


@pytest.mark.parametrize("fault", [Drop(), CutReply(), CutReply(sent=3)], ids=str)
def test_a_connection_is_reset_before_or_after_the_request_was_carried_out(
    proxy: HttpProxy, behind: Upstream, fault: Fault
) -> None:
    proxy.rule = lambda method, path: fault
    connection = _connect(proxy.url)
    with pytest.raises((ConnectionError, http.client.HTTPException)) as caught:
        _ask(connection)
    if fault == CutReply(sent=3):
        assert isinstance(caught.value, ConnectionResetError | http.client.IncompleteRead)
    connection.close()
    carried_out = not isinstance(fault, Drop)
    assert len(behind.requests) == carried_out
    assert len(proxy.carried_out("PUT", "/b")) == carried_out


def test_an_answer_is_delayed(proxy: HttpProxy, behind: Upstream) -> None:
    proxy.rule = lambda method, path: Delay(0.3)
    began = time.monotonic()
    assert _ask(_connect(proxy.url))[0] == 201
    assert time.monotonic() - began >= 0.3


def test_an_answer_never_comes(proxy: HttpProxy, behind: Upstream) -> None:
    proxy.rule = lambda method, path: Hang()
    parts = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=0.5)
    with pytest.raises(TimeoutError):
        _ask(connection)
    connection.close()
    assert len(behind.requests) == 1


def test_a_server_that_is_gone_is_a_bad_gateway() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with HttpProxy(f"http://127.0.0.1:{port}") as proxy:
        assert _ask(_connect(proxy.url))[0] == 502


def test_drawn_faults_leave_room_to_succeed_and_are_the_same_for_a_seed() -> None:
    def drawn() -> list[Fault | None]:
        rule = DrawnFaults(random.Random(3), [Drop(), Answer(503)], share=0.9, row=3)
        return [rule("GET", "/") for _ in range(200)]

    faults = drawn()
    assert faults == drawn()
    rows = "".join("x" if each else " " for each in faults)
    assert "xxx" in rows
    assert "xxxx" not in rows
    assert {type(each) for each in faults if each} == {Drop, Answer}


def test_bytes_of_any_protocol_are_passed_on_refused_and_cut() -> None:
    """A server that sends back what it gets, in its own time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_send_back, args=(peer,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        with TcpProxy("127.0.0.1", listener.getsockname()[1]) as proxy:
            one = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
            one.sendall(b"x" * 1000)
            assert _read(one, 1000) == b"x" * 1000
            proxy.cut_after = 1500
            one.sendall(b"y" * 400)
            assert _read(one, 400) == b"y" * 400
            one.sendall(b"z" * 400)
            with pytest.raises(ConnectionResetError):
                _read(one, 400)
            assert proxy.cuts == 1
            two = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
            two.sendall(b"x" * 9000)  # cut once only
            assert _read(two, 9000) == b"x" * 9000
            proxy.cut_all()
            with pytest.raises(ConnectionResetError):
                _read(two, 1)
            proxy.refuse = True
            with pytest.raises(ConnectionError):
                three = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
                three.sendall(b"x")
                assert _read(three, 1) != b"x"
            assert proxy.cuts == 3


def _send_back(peer: socket.socket) -> None:
    with peer:
        while piece := peer.recv(65536):
            peer.sendall(piece)


def _read(connection: socket.socket, number: int) -> bytes:
    data = b""
    while len(data) < number:
        piece = connection.recv(number - len(data))
        if not piece:
            raise ConnectionResetError("ended")
        data += piece
    return data
