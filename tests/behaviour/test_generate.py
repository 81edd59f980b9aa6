"""``xqg generate`` as a user meets it: written, killed, gone on with, and ingested."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.conftest import XQG, Run, write_corpus
from tests.queries import endpoint_server as server
from tests.queries.endpoint_server import EndpointServer
from xqg_qdrant.corpus.jsonl import read_queries

KILLS = int(os.environ.get("XQG_KILLS", "4"))
"""Runs killed at random moments; set XQG_KILLS for more."""


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    path = tmp_path / "p.jsonl"
    rows = [
        {"id": f"p{n}", "text": f"River {n} is long. It ends in lake {n}.", "lang": "en"}
        for n in range(5)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "published.jsonl"
    rows = [
        {"docid": f"p{n}", "generated_queries": {"sw": [f"Mto {n}?", f"Ziwa {n}?"], "ja": ["川？"]}}
        for n in range(1, 7)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_sentences_to_a_file_that_ingest_takes(xqg: Run, passages: Path, tmp_path: Path) -> None:
    done = xqg("generate", passages, "--sentences", "-o", "q.jsonl")
    assert done.returncode == 0, done.stderr
    assert "en 10" in done.stdout
    assert "queries/s" in done.stdout
    assert "passages/s" in done.stderr
    assert "10 queries" in done.stderr
    assert len(list(read_queries(tmp_path / "q.jsonl"))) == 10
    done = xqg("ingest", passages, "--queries", "q.jsonl", "--to", "d", "-c", "c", "--json")
    assert json.loads(done.stdout)["queries"] == {"en": 10}
    assert re.search(r"generator: +sentences", xqg("info", "--from", "d", "-c", "c").stdout)


def test_what_the_user_says_goes_before_the_side_file(xqg: Run, passages: Path) -> None:
    xqg("generate", passages, "--sentences", "-o", "q.jsonl", "-q")
    arguments = ("--queries", "q.jsonl", "--to", "d", "-c", "c", "--generator", "mine")
    assert xqg("ingest", passages, *arguments).returncode == 0
    assert re.search(r"generator: +mine", xqg("info", "--from", "d", "-c", "c").stdout)


def test_the_generators_name_survives_filtering(xqg: Run, passages: Path) -> None:
    xqg("generate", passages, "--sentences", "-o", "q.jsonl", "-q")
    done = xqg("filter", "q.jsonl", "--passages", passages, "--keep", "0.5", "-o", "kept.jsonl")
    assert done.returncode == 0, done.stderr
    xqg("ingest", passages, "--queries", "kept.jsonl", "--to", "d", "-c", "c")
    assert re.search(r"generator: +sentences", xqg("info", "--from", "d", "-c", "c").stdout)


def test_published_queries_are_counted(xqg: Run, passages: Path, published: Path) -> None:
    arguments = ("--published", published, "--languages", "sw", "--per-language", "1")
    done = xqg("generate", passages, *arguments, "-o", "q.jsonl", "--json", "-q")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["queries"] == {"sw": 4}
    assert report["missing"] == {"sw": 1}
    assert report["counts"] == {
        "passages found in the files": 4,
        "passages not in the files": 1,
        "passages of the files that are not in the input": 2,
    }
    assert done.stderr == ""


def test_passages_come_from_standard_input(xqg: Run, passages: Path, tmp_path: Path) -> None:
    text = passages.read_text()
    done = xqg("generate", "-", "--sentences", "-o", "q.jsonl", input=text)
    assert done.returncode == 0, done.stderr
    again = xqg("generate", "-", "--sentences", "-o", "q.jsonl", "--force", input="{broken")
    assert again.returncode == 1
    assert "standard input, line 1" in again.stderr
    assert len(list(read_queries(tmp_path / "q.jsonl"))) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --model, --sentences, --published, --endpoint"),
        (["--sentences", "--model", "m"], "not --model and --sentences"),
        (["--sentences", "--seed", "1"], "--seed goes with --model or --endpoint"),
        (["--sentences", "--threads", "1"], "--threads goes with --model, not with --sentences"),
        (["--endpoint", "http://localhost/v1", "--languages", "sw"], "needs --endpoint-model"),
        (["--endpoint", "http://localhost/v1", "--endpoint-model", "m"], "needs --languages"),
        (
            ["--endpoint", "http://localhost/v1", "--endpoint-model", "m", "--top-k", "3"],
            "--top-k goes with --model, not with --endpoint",
        ),
        (["--sentences", "--languages", "sw,ha"], "takes one code"),
        (["--model", "m", "--price-in", "1"], "--price-in goes with --endpoint"),
        (["--model", "m", "--top-p", "0"], "top-p"),
        (["--model", "m", "--languages", "xx"], "unknown language code"),
        (["--sentences", "-o", "q.jsonl.gz"], "the output is a plain file"),
        (["--sentences", "-o", "-"], "the output is a plain file"),
    ],
)
def test_wrong_usage_is_told(
    xqg: Run, passages: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    output = [] if "-o" in arguments else ["-o", "q.jsonl"]
    done = xqg("generate", passages, *arguments, *output)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert {path.name for path in tmp_path.iterdir()} == {"p.jsonl"}


def test_an_older_file_is_not_replaced_unasked(xqg: Run, passages: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("older")
    done = xqg("generate", passages, "--sentences", "-o", "q.jsonl")
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (tmp_path / "q.jsonl").read_text() == "older"
    assert xqg("generate", passages, "--sentences", "-o", "q.jsonl", "--force").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "absent"],
        ["--published", "p.jsonl"],
        ["--sentences", "-o", "absent/q.jsonl"],
    ],
)
def test_failures_have_no_traceback(xqg: Run, passages: Path, arguments: list[str]) -> None:
    output = [] if "-o" in arguments else ["-o", "q.jsonl"]
    done = xqg("generate", passages, *arguments, *output)
    assert done.returncode == 1
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_endpoint_writes_and_its_cost_is_told(xqg: Run, passages: Path, tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="needs the endpoint extra")
    key = {"OPENAI_API_KEY": "sk-very-secret"}
    (tmp_path / "prompt.txt").write_text(server.PROMPT)
    with EndpointServer() as endpoint:
        arguments: list[Any] = [passages, "--endpoint", endpoint.url, "--endpoint-model", "tiny-1"]
        arguments += ["--languages", "sw,ha", "--per-language", "2", "--prompt", "prompt.txt"]
        arguments += ["--price-in", "2", "--price-out", "10", "--seed", "5"]
        done = xqg("generate", *arguments, "-o", "q.jsonl", env=key)
        assert done.returncode == 0, done.stderr
        assert re.search(r"prompt tokens: +1,000", done.stdout)
        assert re.search(r"cost: +0\.0040", done.stdout)
        assert {request.body["seed"] for request in endpoint.requests} == {5}
        done = xqg("generate", *arguments, "-o", "q2.jsonl", "--json", "-q", env=key)
        report = json.loads(done.stdout)
        assert report["cost"] == pytest.approx(0.004)
        assert report["queries"] == {"ha": 10, "sw": 10}
        endpoint.rule = lambda request: (401, server.error("wrong key sk-very-secret"))
        failed = xqg("-v", "generate", *arguments, "-o", "q3.jsonl", env=key)
    assert failed.returncode == 1
    assert "set OPENAI_API_KEY" in failed.stderr
    assert "sk-very-secret" not in failed.stdout + failed.stderr
    for path in tmp_path.iterdir():
        assert "sk-very-secret" not in path.read_text(), path
    assert not list(tmp_path.glob("q3*"))


def test_a_model_that_was_not_trained_on_a_language_is_told(
    xqg: Run, passages: Path, tiny_generator_folder: Path
) -> None:
    arguments = ("--model", tiny_generator_folder, "--languages", "sw,ja", "--max-length", "4")
    done = xqg("generate", passages, *arguments, "-o", "q.jsonl", "--per-language", "1")
    assert done.returncode == 0, done.stderr
    assert "tiny-generator was not trained on ja" in done.stderr


@pytest.fixture
def generation(tmp_path: Path, tiny_generator_folder: Path) -> tuple[str, ...]:
    passages, _ = write_corpus(tmp_path, 2000)
    model = ("--model", str(tiny_generator_folder), "--threads", "1")
    return (
        str(passages),
        *model,
        "--languages",
        "ar,sw",
        "--per-language",
        "3",
        "--max-length",
        "9",
    )


def _start(
    generation: tuple[str, ...], environment: dict[str, str], folder: Path
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*XQG, "generate", *generation, "-o", "killed.jsonl"],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _same(folder: Path) -> bool:
    return all(
        (folder / f"killed.jsonl{end}").read_bytes() == (folder / f"whole.jsonl{end}").read_bytes()
        for end in ("", ".meta.json")
    )


def _finished(folder: Path) -> bool:
    left = list(folder.glob("killed.jsonl.[jp]*"))
    return (folder / "killed.jsonl").exists() and not left


@pytest.mark.slow
def test_killed_at_random_moments(
    xqg: Run, generation: tuple[str, ...], environment: dict[str, str], tmp_path: Path
) -> None:
    began = time.monotonic()
    assert xqg("generate", *generation, "-o", "whole.jsonl", "-q").returncode == 0
    lasts = time.monotonic() - began
    seed = random.randrange(2**32)
    print(f"seed {seed}, an uninterrupted run lasts {lasts:.1f} s")
    rng = random.Random(seed)
    killed = 0
    for _ in range(KILLS):
        if _finished(tmp_path):  # the last one was killed when all was done
            break
        process = _start((*generation, "-q"), environment, tmp_path)
        try:
            process.communicate(timeout=rng.uniform(0.2, 0.8) * lasts)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
    assert killed
    if not _finished(tmp_path):
        done = xqg("generate", *generation, "-o", "killed.jsonl")
        assert done.returncode == 0, done.stderr
    assert _same(tmp_path)
    assert _finished(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_good_order(
    xqg: Run,
    generation: tuple[str, ...],
    environment: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    process = _start(generation, environment, tmp_path)
    assert process.stderr is not None
    told = ""
    while not re.search(r"Generating:.* [1-9]\d*/2000 ", told):
        letter = process.stderr.read(1)
        assert letter, told
        told += letter
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    assert out == ""
    done = xqg("generate", *generation, "--seed", "1", "-o", "killed.jsonl")
    assert done.returncode == 1
    assert "had seed 0 (now 1)" in done.stderr
    done = xqg("generate", *generation, "-o", "killed.jsonl")
    assert done.returncode == 0, done.stderr
    assert "resumed after" in done.stdout
    assert xqg("generate", *generation, "-o", "whole.jsonl", "-q").returncode == 0
    assert _same(tmp_path)
