"""API keys: where they may go, and that they are shown nowhere."""

from __future__ import annotations

import io
import json
import logging
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from click.testing import CliRunner
from qdrant_client import QdrantClient

from xqg_qdrant import Client, InputError, XqgError
from xqg_qdrant.cli import main
from xqg_qdrant.credentials import (
    ApiKey,
    check_api_key,
    check_url,
    hide_keys,
    is_local,
    require_private,
    safe_cause,
)
from xqg_qdrant.engine import connecting, open_engine
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.engine.server_calls import translated
from xqg_qdrant.errors import EngineError
from xqg_qdrant.queries.endpoint import EndpointSource

KEY = "sentinel-0123456789-key"

LOCAL = ["localhost", "api.localhost", "127.0.0.1", "127.8.9.1", "[::1]"]
OTHERS = [
    "example.org",
    "10.0.0.1",
    "192.168.1.7",
    "0.0.0.0",
    "2130706433",
    "localhost.example.org",
    "127.0.0.1.example.org",
    "[::2]",
    "[::ffff:10.0.0.1]",
    "qdrant",
]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that any library logs, at the most talkative level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    names = ("", "httpx", "httpcore", "hpack", "h2", "grpc", "openai", "qdrant_client", "urllib3")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class Echo:
    """An HTTP server that answers every request with its headers, the key among them."""

    def __init__(self, status: int) -> None:
        self.keys: list[str] = []
        echo = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                key = self.headers.get("api-key") or self.headers.get("authorization") or ""
                echo.keys.append(key)
                data = json.dumps({"status": {"error": f"what is {key}?"}}).encode()
                self.send_response(status, f"no {key}")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("X-Echo", key)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture(params=[400, 401, 503])
def echo(request: pytest.FixtureRequest, quick: list[float]) -> Iterator[Echo]:
    running = Echo(request.param)
    yield running
    running.close()


def _all_of(error: BaseException) -> str:
    """The error and its traceback, as logging shows them, with every cause."""
    return "".join(traceback.format_exception(error)) + str(error) + repr(error)


@pytest.mark.parametrize("host", LOCAL)
def test_a_key_goes_to_this_machine_over_plain_http(host: str) -> None:
    require_private(check_url(f"http://{host}:6333", example=""), check_api_key(KEY))


@pytest.mark.parametrize("host", OTHERS)
def test_a_key_goes_to_another_machine_over_https_alone(host: str) -> None:
    key = check_api_key(KEY)
    parts = urlsplit(f"http://{host}:6333")
    with pytest.raises(InputError, match=r"unencrypted.*use https.*--allow-insecure-api-key"):
        require_private(parts, key)
    require_private(urlsplit(f"https://{host}:6333"), key)
    require_private(parts, None)
    require_private(parts, check_api_key(KEY, allow_insecure=True))


REFUSING: dict[str, Callable[[str], object]] = {
    "open_engine": lambda url: open_engine(url, api_key=KEY),
    "Client": lambda url: Client(url, api_key=KEY),
    "connect": lambda url: ServerEngine.connect(url, api_key=KEY),
    "EndpointSource": lambda url: EndpointSource(url, "m", languages=["sw"]),
}


@pytest.mark.parametrize("call", REFUSING)
def test_every_way_in_refuses_before_anything_is_sent(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for url in ("http://192.0.2.1:6333", "HTTP://192.0.2.1:6333"):
        with pytest.raises(InputError, match="unencrypted") as caught:
            REFUSING[call](url)
        assert KEY not in _all_of(caught.value)


ALLOWING: dict[str, Callable[[str], object]] = {
    "open_engine": lambda url: open_engine(url, api_key=KEY, allow_insecure_api_key=True),
    "Client": lambda url: Client(url, api_key=KEY, allow_insecure_api_key=True),
    "the key": lambda url: Client(url, api_key=check_api_key(KEY, allow_insecure=True)),
}


@pytest.mark.parametrize("call", ALLOWING)
def test_it_goes_where_it_is_allowed_to_and_nobody_warns(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EngineError) as caught:  # nobody is there: it was tried
            ALLOWING[call]("http://192.0.2.1:6333")
    assert KEY not in _all_of(caught.value)


def test_the_endpoint_may_be_allowed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    url = "http://192.0.2.1/v1"
    EndpointSource(url, "m", languages=["sw"], allow_insecure_api_key=True).close()


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{KEY}@localhost:6333",
        f"http://{KEY}@localhost:6333",
        f"http://localhost:6333?api-key={KEY}",
        f"http://localhost:6333#{KEY}",
        f"http://me:{KEY}@localhost:port",
        f"http://[::1:{KEY}",
    ],
)
def test_secrets_in_a_url_are_refused_unshown(url: str) -> None:
    for call in (
        lambda: open_engine(url),
        lambda: Client(url),
        lambda: EndpointSource(url, "m", languages=["sw"]),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert KEY not in _all_of(caught.value)
    done = CliRunner().invoke(main, ["info", "--from", url])
    assert (done.exit_code, KEY in done.output) == (1, False)


@pytest.mark.parametrize("key", [f"{KEY}\n{KEY}", f"{KEY} x", f"{KEY}ü", f"{KEY}\0", "\ud800"])
def test_what_no_header_can_carry_is_refused_unshown(key: str) -> None:
    with pytest.raises(InputError, match="copy it again") as caught:
        open_engine("http://localhost:9", api_key=key)
    assert KEY not in _all_of(caught.value)
    with pytest.raises(InputError, match="must be a string, not a bytes"):
        open_engine("http://localhost:9", api_key=key.encode("utf-8", "replace"))  # type: ignore[arg-type]


def test_blanks_around_a_key_go_and_an_empty_one_is_none() -> None:
    assert check_api_key(f" {KEY}\r\n") == KEY
    assert check_api_key("") is check_api_key(" \n") is check_api_key(None) is None


def test_a_key_does_not_show_itself() -> None:
    key = check_api_key(KEY)
    assert key == KEY
    assert KEY not in repr(key)
    assert KEY not in repr({"api_key": key})
    assert hide_keys(f"a {KEY} b") == "a *** b"


def test_a_cause_that_shows_a_key_is_left_out() -> None:
    check_api_key(KEY)
    harmless = ValueError("harmless")
    assert safe_cause(harmless) is harmless
    assert safe_cause(ValueError(f"no {KEY}")) is None
    try:
        try:
            raise KeyError(KEY)
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as outer:
        assert safe_cause(outer) is None


def test_a_server_that_echoes_the_key_cannot_make_us_tell_it(
    echo: Echo, logged: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(XqgError) as caught:
        Client(echo.url, api_key=KEY)
    shown = _all_of(caught.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = QdrantClient(url=echo.url, check_compatibility=False, api_key=ApiKey(KEY))
    with ServerEngine(client, echo.url) as engine:
        calls: list[Callable[[], object]] = [
            engine.collections,
            lambda: engine.exists("c"),
            lambda: engine.create("c", {"v": 4}),
            lambda: engine.write_document("c", "manifest", {"a": 1}),
        ]
        for call in calls:
            with pytest.raises(XqgError) as caught:
                call()
            logging.getLogger("an application").exception("failed", exc_info=caught.value)
            shown += _all_of(caught.value)
        shown += repr(engine) + repr(Client(engine)) + engine.location
    assert set(echo.keys) == {KEY}
    assert KEY not in shown
    assert "Retrying" in logged.getvalue() or "an application" in logged.getvalue()
    assert KEY not in logged.getvalue()


def test_an_echo_over_grpc_is_hidden_too(logged: io.StringIO) -> None:
    seen: list[str] = []

    class Echoing(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            def fail(request: Any, context: grpc.ServicerContext) -> None:
                metadata = {each.key: each.value for each in context.invocation_metadata()}
                seen.append(metadata["api-key"])
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no {metadata['api-key']}")

            return grpc.unary_unary_rpc_method_handler(fail)

    rpc = grpc.server(ThreadPoolExecutor(2))
    rpc.add_generic_rpc_handlers((Echoing(),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    try:
        check_api_key(KEY)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = QdrantClient(
                url="http://127.0.0.1:1",
                grpc_port=port,
                prefer_grpc=True,
                api_key=KEY,
                check_compatibility=False,
            )
        with pytest.raises(EngineError) as caught:
            translated("there", client.get_collections)
        client.close()
    finally:
        rpc.stop(None)
    assert seen == [KEY]
    assert "no ***" in str(caught.value)
    assert KEY not in _all_of(caught.value) + logged.getvalue()


@pytest.mark.parametrize("flag", [True, False])
def test_the_command_line_shows_no_key(echo: Echo, logged: io.StringIO, flag: bool) -> None:
    given = ["--api-key", KEY] if flag else []
    env = {"QDRANT_API_KEY": "" if flag else KEY}
    for command in (["info"], ["search", "x"], ["dump", "-c", "c"], ["delete", "-c", "c"]):
        done = CliRunner().invoke(
            main, ["-v", *command, "--from", echo.url, *given], env=env, catch_exceptions=False
        )
        assert done.exit_code == 1, done.output
        assert KEY not in done.output
    assert set(echo.keys) == {KEY}
    assert KEY not in logged.getvalue()


def _commands(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*prefix, name), command
        if hasattr(command, "commands"):
            yield from _commands(command, (*prefix, name))


def test_no_help_shows_a_key_and_every_key_has_its_permission() -> None:
    for path, command in _commands(main):
        env = {"QDRANT_API_KEY": KEY, "OPENAI_API_KEY": KEY}
        done = CliRunner().invoke(main, [*path, "--help"], env=env)
        assert done.exit_code == 0
        assert KEY not in done.output, path
        flags = {flag for parameter in command.params for flag in parameter.opts}
        if "--api-key" in flags or "--endpoint" in flags:
            assert "--allow-insecure-api-key" in flags, path


def test_the_command_line_refuses_and_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 1)
    asked = ["info", "--from", "http://192.0.2.1:6333", "--api-key", KEY]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1
    assert "unencrypted" in done.output
    assert "--allow-insecure-api-key" in done.output
    done = CliRunner().invoke(main, [*asked, "--allow-insecure-api-key"])
    assert done.exit_code == 1
    assert "no answer from the Qdrant server" in done.output
    # In whatever order.
    done = CliRunner().invoke(main, ["info", "--allow-insecure-api-key", *asked[1:]])
    assert "no answer from the Qdrant server" in done.output
    done = CliRunner().invoke(main, ["info", "--api-key", f"{KEY} {KEY}"])
    assert done.exit_code == 2
    assert KEY not in done.output
    passages = tmp_path / "p.jsonl"
    passages.write_text('{"id": "a", "text": "b"}\n')
    # fmt: off
    asked = ["generate", str(passages), "-o", str(tmp_path / "q"), "--endpoint",
             "http://192.0.2.1/v1", "--endpoint-model", "m", "--languages", "sw"]
    # fmt: on
    done = CliRunner().invoke(main, asked, env={"OPENAI_API_KEY": KEY})
    assert done.exit_code == 1
    assert "unencrypted" in done.output
    more = ["--allow-insecure-api-key", "--max-retries", "0", "--timeout", "0.2"]
    done = CliRunner().invoke(main, [*asked, *more], env={"OPENAI_API_KEY": KEY})
    assert done.exit_code == 1
    assert "unencrypted" not in done.output
    assert KEY not in done.output
    done = CliRunner().invoke(
        main, ["generate", str(passages), "-o", "q", "--sentences", "--allow-insecure-api-key"]
    )
    assert done.exit_code == 2
    for path in tmp_path.iterdir():
        assert KEY not in path.read_text(), path


def test_nothing_that_is_written_holds_a_key(
    tmp_path: Path, tiny_encoder: Any, logged: io.StringIO
) -> None:
    """A key that is given where none is needed is not kept with the collection."""
    with Client(tmp_path / "data", api_key=KEY, encoder=tiny_encoder) as client:
        report = client.ingest("c", [{"id": "a", "text": "water"}], hybrid=True)
        hits = client.search("c", "water")
        shown = repr(client) + repr(report) + repr(hits) + repr(client.info("c"))
    assert KEY not in shown + logged.getvalue()
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_local_hosts() -> None:
    assert [host for host in LOCAL if not is_local(host.strip("[]"))] == []
    assert [host for host in OTHERS if is_local(host.strip("[]"))] == []
