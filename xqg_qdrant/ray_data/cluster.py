"""A Ray cluster: where it is, how much of it to take, and being connected to it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqg_qdrant.errors import InputError, RayError
from xqg_qdrant.models.session import check_threads
from xqg_qdrant.ray_data.failures import in_words

LOCAL = "local"
AUTO = "auto"
MAX_WORKERS = 10_000
CONNECT_SECONDS = 10.0
"""For so long a cluster may take to answer at all; Ray itself would ask for minutes."""

WATCH_SECONDS = 10.0
"""Between two looks whether the head node is there."""

log = logging.getLogger(__name__)

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+):(\d{1,5})", re.ASCII)

_NO_TELEMETRY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_USAGE_DISABLED": "1"}
"""Of what this process does; a cluster's own is its operator's affair."""

_OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory of a local Ray; what is beyond goes to the temporary folder."""

_SHORT = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108
"""Paths of sockets may have 107 bytes at most, and Ray's are long."""


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Which Ray cluster, and how much of it to take.

    Attributes:
        address: ``local`` starts Ray on this machine and stops it afterwards; ``auto`` is the
            cluster that this machine belongs to, or that of ``RAY_ADDRESS``; or ``HOST:PORT``.
        workers: processes, each with a model of its own; as many as there are CPUs for when None.
        threads: threads of each worker's model, and CPUs that it takes of the cluster.
        quiet: keep Ray's own messages from this process's standard error, as a command does.
    """

    address: str = LOCAL
    workers: int | None = None
    threads: int = 1
    quiet: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: one is out of its range, or Ray Data cannot work through this address.
        """
        check_address(self.address)
        workers = self.workers
        if workers is not None and (isinstance(workers, bool) or not 1 <= workers <= MAX_WORKERS):
            raise InputError(f"workers is {workers!r}: give a number from 1 to {MAX_WORKERS:,}")
        check_threads(self.threads)


def check_address(address: str) -> str:
    """Check the address of a cluster, and return it.

    Raises:
        InputError: it is none, or one of Ray Client, which Ray Data cannot work through.
    """
    if not isinstance(address, str):
        raise InputError(f"{address!r} is no address of a Ray cluster: give a string")
    if address.startswith("ray://"):
        raise InputError(
            f"{address}: Ray Data does not work over ray://. Run on a node of the cluster, with "
            "the address auto or HOST:PORT, or submit the command with 'ray job submit'"
        )
    found = _HOST_AND_PORT.fullmatch(address)
    if address not in (LOCAL, AUTO) and not (found and 0 < int(found[2]) < 2**16):
        raise InputError(
            f"{address!r} is no address of a Ray cluster: give local, auto or HOST:PORT"
        )
    return address


class Connection:
    """This process, connected to a cluster; make one with :meth:`open`.

    Attributes:
        cluster: which it is.
        workers: that there will be.
        threads: of each.
    """

    def __init__(self, cluster: RayCluster, workers: int, ending: contextlib.ExitStack) -> None:
        self.cluster = cluster
        self.workers = workers
        self.threads = cluster.threads
        self._ending = ending

    @classmethod
    def open(cls, cluster: RayCluster) -> Connection:
        """Connect. Where this process is connected to Ray already, that connection is taken.

        Raises:
            InputError: Ray is not installed, or no node has so many CPUs.
            RayError: the cluster cannot be reached, or is of another release.
        """
        with contextlib.ExitStack() as stack:
            ray = stack.enter_context(_connected(cluster))
            cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
            room = sum(count // cluster.threads for count in cpus)
            if not room:
                raise InputError(
                    f"{cluster.threads} threads a worker: no node of the Ray cluster at "
                    f"{cluster.address} has so many CPUs, the largest has {max(cpus, default=0)}"
                )
            return cls(cluster, cluster.workers or room, stack.pop_all())

    def close(self) -> None:
        """Let go of the cluster; a local one stops."""
        self._ending.close()


@contextlib.contextmanager
def _connected(cluster: RayCluster) -> Iterator[Any]:
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    for name, off in _NO_TELEMETRY.items():
        os.environ.setdefault(name, off)
    address = _resolved(cluster.address)
    with contextlib.ExitStack() as stack:
        if address == LOCAL:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="xqg-ray-", dir=_SHORT, ignore_cleanup_errors=True
                )
            )
            settings: dict[str, Any] = {
                # So many as are asked for; else Ray counts those of this machine.
                "num_cpus": cluster.workers and cluster.workers * cluster.threads,
                "object_store_memory": _OBJECT_STORE,
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        else:
            _require_answer(address)
            settings = {}
        stack.callback(ray.shutdown)
        try:
            with _own_signals(), _quiet() if cluster.quiet else contextlib.nullcontext():
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **settings,
                )
        except Exception as error:
            raise RayError(
                f"the Ray cluster at {address} cannot be used: {in_words(error)}"
            ) from error
        stack.enter_context(_watched(ray.get_runtime_context().gcs_address))
        yield ray


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f"working on Ray needs Ray Data ({error}): pip install 'xqg-qdrant[ray]'"
        ) from None
    return ray


def _resolved(address: str) -> str:
    """What ``auto`` stands for, where the environment says it."""
    named = os.environ.get("RAY_ADDRESS") if address == AUTO else None
    try:
        return check_address(named) if named else address
    except InputError as error:
        raise InputError(f"RAY_ADDRESS: {error}") from None


def _require_answer(address: str) -> None:
    """See within seconds whether something answers that may be Ray: a gRPC server."""
    if address == AUTO or os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    import grpc

    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        raise RayError(
            f"no Ray cluster answers at {address} within {CONNECT_SECONDS:.0f} s: give the host "
            "and port of its head node, as 'ray start --head' shows them (6379 is usual)"
        ) from None
    finally:
        channel.close()


@contextlib.contextmanager
def _watched(head: str) -> Iterator[None]:
    """Say so when the head node is gone: Ray ends this process then, after a minute of silence."""
    host, _, port = head.rpartition(":")
    done = threading.Event()

    def watch() -> None:
        missed = 0
        while not done.wait(WATCH_SECONDS):
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
                missed = 0
            except OSError:
                missed += 1
            if missed == 2:
                log.error(
                    "the head node of the Ray cluster at %s does not answer any more, and Ray will "
                    "end this run. What is done stays: run the same again to go on",
                    head,
                )

    threading.Thread(target=watch, name="xqg-ray-watch", daemon=True).start()
    try:
        yield
    finally:
        done.set()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does upon SIGTERM: Ray would have it exit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # not of Python's making
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from standard error, for good: what its messages mean is told by our errors."""
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":  # Ray's; those to files, and an application's own, stay
            handler.setLevel(logging.CRITICAL + 1)
    name = "RAY_BACKEND_LOG_LEVEL"
    if name in os.environ:
        yield
        return
    os.environ[name] = "fatal"
    stderr = os.dup(2)
    try:
        # That it has this level is the one thing that its C++ side says even so.
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        del os.environ[name]
