"""The endpoint source against a real HTTP server, through the official client."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.queries import endpoint_server as server
from tests.queries.endpoint_server import PROMPT, EndpointServer, Reply, Request
from xqg_qdrant import Passage
from xqg_qdrant.corpus.jsonl import read_queries
from xqg_qdrant.errors import EndpointError, InputError, PartialGeneration
from xqg_qdrant.queries.endpoint import EndpointSource
from xqg_qdrant.queries.generation import generate_queries
from xqg_qdrant.queries.side_file import side_file
from xqg_qdrant.queries.source import Tally, Written

pytest.importorskip("openai", reason="needs the endpoint extra")

KEY = "sk-very-secret-0123456789"
PASSAGES = [Passage(f"p{number}", f"text{number}") for number in range(12)]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def endpoint() -> Iterator[EndpointServer]:
    with EndpointServer() as running:
        yield running


def source(endpoint: EndpointServer, **settings: Any) -> EndpointSource:
    settings = {
        "languages": ["sw", "ha"],
        "per_language": 2,
        "prompt": PROMPT,
        "timeout": 20.0,
        **settings,
    }
    return EndpointSource(endpoint.url, "tiny-1", **settings)


def write(endpoint: EndpointServer, **settings: Any) -> list[Written]:
    passages = settings.pop("passages", PASSAGES)
    with source(endpoint, **settings) as made:
        return list(made.write(passages))


def total(written: list[Written]) -> Tally:
    tally = Tally()
    for each in written:
        tally += each.tally
    return tally


def test_queries_come_in_the_order_of_passages_and_languages(endpoint: EndpointServer) -> None:
    written = write(endpoint)
    assert [[(each.lang, each.text) for each in queries] for queries, _ in written] == [
        [
            (lang, f"{name} {passage.text} {number}?")
            for lang, name in (("sw", "Swahili"), ("ha", "Hausa"))
            for number in range(2)
        ]
        for passage in PASSAGES
    ]
    assert len(endpoint.requests) == 24
    tally = total(written)
    assert source(endpoint).counts(tally) == {
        "requests answered": 24,
        "requests refused": 0,
        "answers malformed": 0,
        "prompt tokens": 2400,
        "completion tokens": 480,
    }


def test_what_is_sent(endpoint: EndpointServer) -> None:
    write(endpoint, passages=PASSAGES[:1], languages=["sw"], seed=7, temperature=0.5, top_p=0.9)
    [request] = endpoint.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.prompt == "Swahili|2|text0"
    body = request.body
    assert (body["model"], body["seed"], body["temperature"], body["top_p"]) == (
        "tiny-1",
        7,
        0.5,
        0.9,
    )
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["queries"]["items"] == {"type": "string"}


def test_what_is_not_given_is_not_sent(endpoint: EndpointServer) -> None:
    endpoint.rule = lambda request: (200, server.queries("Nini?", "Wapi?"))
    write(endpoint, passages=PASSAGES[:1], languages=["sw"], prompt=None)
    [request] = endpoint.requests
    assert not {"seed", "temperature", "top_p"} & set(request.body)
    assert "2 different questions in Swahili" in request.prompt


def test_no_more_requests_run_at_a_time_than_may(endpoint: EndpointServer) -> None:
    endpoint.delay = 0.05
    write(endpoint, concurrency=3)
    assert 1 < endpoint.most_running <= 3


@pytest.mark.parametrize("refused", [("json_schema",), ("json_schema", "json_object")])
def test_a_server_without_schemas_is_asked_otherwise(
    endpoint: EndpointServer, refused: tuple[str, ...]
) -> None:
    def rule(request: Request) -> Reply:
        if request.format in refused:
            return 400, server.error(f"response_format {request.format} is not supported")
        return server.numbered(request)

    endpoint.rule = rule
    written = write(endpoint, concurrency=1)
    assert total(written).queries == {"sw": 24, "ha": 24}
    # It is asked once, not for every passage again.
    formats = Counter(request.format for request in endpoint.requests)
    assert all(formats[name] == 1 for name in refused)


def test_answers_in_fences_and_with_talk_are_read(endpoint: EndpointServer) -> None:
    answers = iter(
        [
            'Here you are [2]:\n```json\n{"queries": ["Nini?", "Wapi?"]}\n```',
            '["Lini?", "Nani?"]',
            '{"queries": ["A\\nb", "\\u0000", "C?"], "more": 1} thanks',
        ]
    )
    endpoint.rule = lambda request: (200, server.completion(next(answers)))
    written = write(endpoint, languages=["sw"], passages=PASSAGES[:3], concurrency=1)
    assert [[each.text for each in queries] for queries, _ in written] == [
        ["Nini?", "Wapi?"],
        ["Lini?", "Nani?"],
        ["A b", "C?"],
    ]


@pytest.mark.parametrize(
    "malformed",
    [
        "no JSON",
        '{"queries": "Nini?"}',
        '{"queries": [1, 2]}',
        '{"queries": ["cut o',
        "",
        None,
        "[" * 5_000,
    ],
)
def test_a_malformed_answer_is_asked_for_again(
    endpoint: EndpointServer, malformed: str | None
) -> None:
    def rule(request: Request) -> Reply:
        if request.number == 0:
            return 200, server.completion(malformed, finish_reason="length")
        return server.numbered(request)

    endpoint.rule = rule
    [(queries, tally)] = write(endpoint, languages=["sw"], passages=PASSAGES[:1], seed=3)
    assert len(queries) == 2
    assert tally.other["answers malformed"] == 1
    assert [request.body["seed"] for request in endpoint.requests] == [3, 4]


@pytest.mark.parametrize(
    "shape", [{}, {"choices": []}, {"choices": None}, {"error": {"message": "?"}}, b"<html>", []]
)
def test_an_answer_of_another_shape_is_malformed(endpoint: EndpointServer, shape: Any) -> None:
    endpoint.rule = lambda request: (200, shape)
    [(queries, tally)] = write(endpoint, languages=["sw"], passages=PASSAGES[:1])
    assert queries == []
    assert tally.missing == {"sw": 2}
    assert tally.other["answers malformed"] == 3


def test_an_endpoint_that_never_answers_as_asked_is_given_up(endpoint: EndpointServer) -> None:
    endpoint.rule = lambda request: (200, server.completion(f"I am {KEY}, hello"))
    with pytest.raises(EndpointError, match="the last 20 answers were not the JSON") as caught:
        write(endpoint)
    assert "I am ***, hello" in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        (200, server.completion(None, refusal="I cannot help with that.")),
        (200, server.completion("", finish_reason="content_filter")),
        (400, server.error("filtered", code="content_filter")),
    ],
)
def test_a_refusal_is_counted_and_the_run_goes_on(endpoint: EndpointServer, reply: Reply) -> None:
    endpoint.rule = lambda request: (
        reply if request.passage == "text1" else server.numbered(request)
    )
    written = write(endpoint, passages=PASSAGES[:3])
    assert [len(queries) for queries, _ in written] == [4, 0, 4]
    tally = written[1].tally
    assert tally.other["requests refused"] == 2
    assert tally.missing == {"sw": 2, "ha": 2}


def test_repeated_queries_are_asked_for_again(endpoint: EndpointServer) -> None:
    answers = iter([("Nini?", "nini?"), ("NINI?",), ("Wapi?",)])
    endpoint.rule = lambda request: (200, server.queries(*next(answers)))
    [(queries, tally)] = write(endpoint, languages=["sw"], passages=PASSAGES[:1])
    assert [query.text for query in queries] == ["Nini?", "Wapi?"]
    assert (tally.duplicates, tally.replaced, tally.missing) == (2, 1, {})
    assert [request.prompt.split("|")[1] for request in endpoint.requests] == ["2", "1", "1"]


def test_more_queries_than_asked_for_are_left_out(endpoint: EndpointServer) -> None:
    endpoint.rule = lambda request: (200, server.queries("a?", "b?", "c?"))
    [(queries, tally)] = write(endpoint, languages=["sw"], passages=PASSAGES[:1])
    assert [query.text for query in queries] == ["a?", "b?"]
    assert tally.duplicates == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(endpoint: EndpointServer, status: int) -> None:
    def rule(request: Request) -> Reply:
        if request.number < 2:
            return status, server.error("slow down"), {"Retry-After": "0.01"}
        return server.numbered(request)

    endpoint.rule = rule
    written = write(endpoint, languages=["sw"], passages=PASSAGES[:2], concurrency=1)
    assert total(written).queries == {"sw": 4}
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((500, server.error("broken")), r"failed after 1 retries: .*broken"),
        ((429, server.error("quota")), r"failed after 1 retries: .*quota"),
        ((401, server.error(f"wrong key {KEY}")), r"set OPENAI_API_KEY .*wrong key \*\*\*"),
        ((403, server.error("not you")), "set OPENAI_API_KEY"),
        ((404, server.error("no such model")), "check the model's name, and the URL"),
        ((400, server.error("context too long")), "context too long"),
        ((402, server.error("pay")), "pay"),
        (None, "cannot be reached"),
    ],
)
def test_a_failing_endpoint_is_named_with_the_passage(
    endpoint: EndpointServer, reply: Reply | None, message: str
) -> None:
    if reply is not None and reply[0] in (429, 500):
        reply = (*reply[:2], {"Retry-After": "0.01"})
    endpoint.rule = lambda request: reply
    with pytest.raises(EndpointError, match=message) as caught:
        write(endpoint, passages=PASSAGES[:1], languages=["sw"], max_retries=1)
    assert "tiny-1 at 127.0.0.1:" in str(caught.value)
    assert "passage 'p0'" in str(caught.value)
    assert KEY not in repr(caught.value)


def test_an_endpoint_that_does_not_answer_in_time(endpoint: EndpointServer) -> None:
    endpoint.delay = 1.0
    with pytest.raises(EndpointError, match=r"no answer within 0\.1 s, 0 retries"):
        write(endpoint, passages=PASSAGES[:1], timeout=0.1, max_retries=0)


def test_an_endpoint_that_is_not_there() -> None:
    with EndpointServer() as gone:
        pass
    with (
        EndpointSource(gone.url, "m", languages=["sw"], max_retries=0) as made,
        pytest.raises(EndpointError, match="cannot be reached"),
    ):
        list(made.write(PASSAGES[:1]))


def _generate(endpoint: EndpointServer, out: Path, **settings: Any) -> Any:
    with source(endpoint, **{"max_retries": 0, "concurrency": 1, **settings}) as made:
        return generate_queries([("", each) for each in PASSAGES], made, out)


def test_what_was_done_before_a_failure_stays_and_is_not_asked_for_again(
    endpoint: EndpointServer, tmp_path: Path
) -> None:
    out, whole = tmp_path / "queries.jsonl", tmp_path / "whole.jsonl"
    _generate(endpoint, whole)
    endpoint.rule = lambda request: (
        (500, server.error("broken")) if request.passage == "text7" else server.numbered(request)
    )
    with pytest.raises(PartialGeneration) as caught:
        _generate(endpoint, out)
    assert (caught.value.done, caught.value.total) == (7, 12)
    assert "passage 'p7'" in str(caught.value)
    assert "7 of 12 passages are in" in str(caught.value)
    assert "run the same again to go on" in str(caught.value)
    assert not out.exists()
    endpoint.rule = server.numbered
    endpoint.requests.clear()
    report = _generate(endpoint, out)
    assert report.resumed_at == 7
    assert {each.passage for each in endpoint.requests} == {f"text{n}" for n in range(7, 12)}
    assert out.read_bytes() == whole.read_bytes()
    assert side_file(out).read_bytes() == side_file(whole).read_bytes()
    assert report.counts["prompt tokens"] == 2400
    assert len(list(read_queries(out))) == 48


def test_an_endpoint_that_fails_at_once_leaves_nothing(
    endpoint: EndpointServer, tmp_path: Path
) -> None:
    endpoint.rule = lambda request: (401, server.error("no"))
    with pytest.raises(PartialGeneration, match="set OPENAI_API_KEY"):
        _generate(endpoint, tmp_path / "queries.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_the_key_stands_nowhere(
    endpoint: EndpointServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "queries.jsonl"
    _generate(endpoint, out)
    for path in tmp_path.iterdir():
        assert KEY not in path.read_text(encoding="utf-8"), path
    with source(endpoint) as made:
        assert KEY not in repr(made) + json.dumps(dict(made.configuration)) + made.name
    assert KEY not in caplog.text


def test_a_server_without_keys_is_asked_without_one(
    endpoint: EndpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    write(endpoint, passages=PASSAGES[:1])
    assert KEY not in str(endpoint.requests)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/v1", "would go to example.org unencrypted, for all on the way"),
        ("http://10.0.0.1:8000/v1", "unencrypted"),
        ("http://localhost.example.org/v1", "unencrypted"),
        ("https://me:secret@example.org/v1", "without user, password, query"),
        ("https://example.org/v1?key=secret", "without user, password, query"),
        ("ftp://example.org", "is no URL"),
        ("example.org/v1", "is no URL"),
        ("http://[::1", "malformed"),
        ("http://localhost:port/v1", "malformed"),
    ],
)
def test_a_url_that_the_key_may_not_go_to(url: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        EndpointSource(url, "m", languages=["sw"])
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.5", "[::1]", "api.localhost"])
def test_a_key_may_go_to_this_machine(host: str) -> None:
    EndpointSource(f"http://{host}:8000/v1", "m", languages=["sw"]).close()
    EndpointSource("https://example.org/v1", "m", languages=["sw"]).close()


def test_plain_http_without_a_key_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    EndpointSource("http://example.org/v1", "m", languages=["sw"]).close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"languages": []}, "no languages"),
        ({"per_language": 0}, "per_language is 0"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"prompt": "{language}"}, "has no {passage}"),
        ({"prompt": "{passage}"}, "has no {language}"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    endpoint: EndpointServer, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        source(endpoint, **settings)
    assert message in str(caught.value)


def test_without_the_client_it_says_what_to_install(
    endpoint: EndpointServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"pip install 'xqg-qdrant\[endpoint\]'"):
        source(endpoint)


def test_it_works_where_a_loop_runs_already(endpoint: EndpointServer) -> None:
    """As in a notebook."""
    import asyncio

    async def inside() -> list[Written]:
        return write(endpoint, passages=PASSAGES[:2])

    assert total(asyncio.run(inside())).queries == {"sw": 4, "ha": 4}


def test_closing_twice_and_in_the_middle_is_fine(endpoint: EndpointServer) -> None:
    endpoint.delay = 0.1
    made = source(endpoint)
    stream = made.write(PASSAGES)
    next(stream)
    made.close()
    made.close()
    assert len(endpoint.requests) < 24
