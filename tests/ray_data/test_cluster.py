"""Finding a cluster, connecting to it, and saying within seconds that it cannot be."""

from __future__ import annotations

import io
import logging
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.ray_data.conftest import long
from xqg_qdrant.errors import InputError, RayError
from xqg_qdrant.ray_data import cluster as clusters
from xqg_qdrant.ray_data.cluster import Connection, RayCluster, check_address


@pytest.mark.parametrize("address", ["local", "auto", "head:6379", "10.0.0.1:6379", "[::1]:6379"])
def test_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "Ray Data does not work over ray://"),
        ("passages.jsonl", "'passages.jsonl' is no address of a Ray cluster"),
        ("", "'' is no address"),
        ("head", "give local, auto or HOST:PORT"),
        ("head:0", "no address"),
        ("head:65536", "no address"),
        ("http://head:8265", "no address"),
        ("a b:1", "no address"),
        ("head:6379\n", "no address"),
    ],
)
def test_what_is_no_address(address: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        RayCluster(address)
    assert message in str(caught.value)


def test_an_address_is_a_string() -> None:
    with pytest.raises(InputError, match="True is no address of a Ray cluster"):
        check_address(True)  # type: ignore[arg-type]


def test_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs the ray extra")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(InputError, match="RAY_ADDRESS: ray://head:10001: Ray Data does not work"):
        Connection.open(RayCluster("auto"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"workers": True}, "workers is True"),
        ({"workers": 10**6}, "workers is 1000000"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_numbers_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        RayCluster("auto", **settings)
    assert message in str(caught.value)


def test_without_the_extra() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; sys.modules['ray'] = None\n"
            "from xqg_qdrant.cli import main\n"
            "main(['ingest', '-', '--ray', 'auto', '--to', ':memory:', '-c', 'c'])",
        ],
        input='{"id": "a", "text": "b"}\n',
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'xqg-qdrant[ray]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs the ray extra")
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 1.0)


@pytest.mark.usefixtures("impatient")
def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RayError, match=f"no Ray cluster answers at {address}"):
        Connection.open(RayCluster(address))


@pytest.mark.usefixtures("impatient")
def test_something_else_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RayError, match=f"no Ray cluster answers at {address}"):
            Connection.open(RayCluster(address))


def test_a_lost_head_node_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clusters, "WATCH_SECONDS", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with clusters._watched(f"127.0.0.1:{port}"):
            server.accept()
            assert not caplog.messages
            server.close()
            while not caplog.messages:
                time.sleep(0.01)
            time.sleep(0.1)
    assert len(caplog.messages) == 1
    assert f"127.0.0.1:{port} does not answer any more" in caplog.messages[0]


def test_the_own_handler_of_signals_stays(ray_address: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    connection = Connection.open(RayCluster(ray_address, quiet=True))
    try:
        assert signal.getsignal(signal.SIGTERM) is before
        assert (connection.workers, connection.threads) == (2, 1)
    finally:
        connection.close()


def test_quiet_is_ray_and_not_who_listens_to_it(ray_address: str) -> None:
    log = logging.getLogger("ray.data")
    heard = io.StringIO()
    own = logging.StreamHandler(heard)
    Connection.open(RayCluster(ray_address)).close()  # Ray has its handlers from here on
    log.addHandler(own)
    try:
        Connection.open(RayCluster(ray_address, quiet=True)).close()
        levels = {handler.name: handler.level for handler in log.handlers}
        assert levels["console"] > logging.CRITICAL
        log.warning("a warning of Ray's")
    finally:
        log.removeHandler(own)
    assert heard.getvalue() == "a warning of Ray's\n"


def test_as_many_workers_as_there_are_cpus_for(ray_address: str) -> None:
    import ray

    connection = Connection.open(RayCluster(ray_address, threads=2, quiet=True))
    try:
        assert connection.workers == 1
        # Who is connected already stays so.
        second = Connection.open(RayCluster(ray_address, workers=7))
        assert second.workers == 7
        second.close()
        assert ray.is_initialized()
        with pytest.raises(InputError, match=r"3 threads a worker: .* the largest has 2"):
            Connection.open(RayCluster(ray_address, threads=3))
        assert ray.is_initialized()
    finally:
        connection.close()
    assert not ray.is_initialized()


@long
def test_a_wrong_token_is_told(ray_address: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import os; os.environ['RAY_AUTH_TOKEN'] = 'wrong' * 8\n"
            "from xqg_qdrant.cli import main\n"
            f"main(['ingest', '-', '--ray', '{ray_address}', '--to', ':memory:', '-c', 'c'])",
        ],
        input='{"id": "a", "text": "b"}\n',
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "RAY_AUTH_TOKEN" in done.stderr
    assert "wrongwrong" not in done.stderr
    assert "Traceback" not in done.stderr
