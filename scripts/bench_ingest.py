"""Measure how ingesting and searching scale on the embedded engine, in time, memory and disk.

Each size runs in a process of its own, so that peak memory is that size's alone: what the process
allocated, and its resident size with the collection's mapped files, which the system takes back
when it needs the memory (read from Linux's /proc). Beside each rate stands the ratio to the
alternative measured in the same run: the engine's own bulk rate, with the same vectors already
made, and searches of the plain passages, turn about. Passages are sentences of the bundled sample
corpus, drawn anew.

Needs nothing but the package; the default sizes take about four minutes on two cores. Prints a
Markdown table for ``docs/performance.md``.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click
import numpy as np

from xqg_qdrant import Client, Encoder, GeneratedQuery, Passage
from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_passages, read_queries, read_questions
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.layouts import LAYOUTS
from xqg_qdrant.models.encoder import Encoded

LANGUAGES = ("ar", "sw", "zh")
PER_LANGUAGE = 2
BATCH = 128


@click.command()
@click.option(
    "--sizes", default="1000,3000,10000,30000", show_default=True, help="Numbers of passages."
)
@click.option("--layout", type=click.Choice(list(LAYOUTS)), default="per-language")
@click.option(
    "--encoder",
    default="mini-static",
    show_default=True,
    help="The fast one by default: what is measured is the loader.",
)
@click.option("--hybrid", is_flag=True, help="With lexical vectors, and fused searches.")
@click.option(
    "--vectors-exist", is_flag=True, help="Encode before the clock starts: the loader alone."
)
@click.option("--one", type=int, hidden=True, help="Measure one size in this process.")
def main(
    sizes: str, layout: str, encoder: str, hybrid: bool, vectors_exist: bool, one: int | None
) -> None:
    """Print a table of rates, memory and disk by number of passages."""
    if one is not None:
        click.echo(json.dumps(_measure(one, layout, encoder, hybrid=hybrid, known=vectors_exist)))
        return
    click.echo(
        f"encoder {encoder}{', vectors exist' * vectors_exist}, layout {layout}"
        f"{', hybrid' * hybrid}, {len(LANGUAGES)} languages "
        f"with {PER_LANGUAGE} queries a passage each\n"
    )
    click.echo(
        "| passages | ingest, passages/s | of the engine's bulk rate | allocated, MiB "
        "| with mapped files, MiB | disk, MiB | search p50 / p95, ms | plain p50 ratio |"
    )
    click.echo("|---|---|---|---|---|---|---|---|")
    for size in sizes.split(","):
        done = subprocess.run(
            [
                *(sys.executable, __file__, "--one", size, "--layout", layout),
                *("--encoder", encoder, *(["--hybrid"] * hybrid)),
                *(["--vectors-exist"] * vectors_exist),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        row = json.loads(done.stdout)
        click.echo(
            f"| {row['passages']:,} | {row['rate']:,.0f} | {row['share']:.2f} | {row['anon']:,.0f} "
            f"| {row['rss']:,.0f} | {row['disk']:,.0f} "
            f"| {row['p50']:.2f} / {row['p95']:.2f} | {row['ratio']:.2f} |"
        )


def _measure(
    size: int, layout: str, encoder: str, *, hybrid: bool, known: bool
) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="xqg-bench-"))
    loaded = Encoder.load(encoder)
    encode = loaded.encode
    if known:
        _remember(loaded, size)
    try:
        with Client(folder / "client", encoder=loaded) as client, _watched() as allocated:
            began = time.perf_counter()
            client.ingest("c", _passages(size), _queries(size), layout=layout, hybrid=hybrid)
            rate = size / (time.perf_counter() - began)
            loaded.encode = encode  # type: ignore[method-assign]
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            times, plain = _search_times(client, layout)
        disk = sum(path.stat().st_blocks for path in folder.rglob("*")) * 512 / 2**20
        share = rate / _bulk_rate(folder)
    finally:
        shutil.rmtree(folder)
    return {
        "passages": size,
        "rate": rate,
        "share": share,
        "anon": max(allocated),
        "rss": rss,
        "disk": disk,
        "p50": 1000 * median(times),
        "p95": 1000 * float(np.quantile(times, 0.95)),
        "ratio": median(times) / median(plain),
    }


def _remember(encoder: Encoder, size: int) -> None:
    """Encode all texts, and have the encoder answer with those vectors from now on."""
    queries = encoder.encode_queries([query.text for query in _queries(size)])
    stores = {
        "passage": encoder.encode_passages([passage.text for passage in _passages(size)]),
        "query": queries,
    }
    places = {"passage": 0, "query": 0}

    def encode(texts: list[str], kind: str, **_: object) -> Encoded:
        start = places[kind]
        places[kind] += len(texts)
        return Encoded(stores[kind][start : start + len(texts)], 0)

    encoder.encode = encode  # type: ignore[method-assign, assignment]


@contextmanager
def _watched() -> Iterator[list[float]]:
    """MiB that this process has allocated, read fifty times a second meanwhile."""
    readings: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            readings.append(int(status.partition("RssAnon:")[2].split()[0]) / 1024)
            if done.wait(0.02):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield readings
    finally:
        done.set()
        thread.join()


def _bulk_rate(folder: Path) -> float:
    """Points a second that the engine itself takes, the same ones, and indexes."""
    with EdgeEngine(folder / "client") as source, EdgeEngine(folder / "bulk") as target:
        points = list(source.scroll("c", with_vectors=True))
        began = time.perf_counter()
        shape = source.info("c").shape
        target.create(
            "c",
            shape.dimensions,
            ("passage_id", "lang", "queries[].lang"),
            multivectors=shape.multivectors,
            sparse=shape.sparse,
        )
        for start in range(0, len(points), BATCH):
            target.upsert("c", points[start : start + BATCH])
        target.optimize("c")
        return len(points) / (time.perf_counter() - began)


def _search_times(client: Client, layout: str) -> tuple[list[float], list[float]]:
    """Seconds of some searches, encoding included: augmented and plain, after a warm-up."""
    asked = [question for _, (question, _) in read_questions(samples.QUESTIONS)]
    asked = [question for question in asked if question.lang in LANGUAGES]
    times: dict[bool, list[float]] = {True: [], False: []}
    for number, question in enumerate([*asked, *asked]):
        for augmented in (True, False) if number % 2 else (False, True):
            began = time.perf_counter()
            client.search(
                "c", question.text, lang=question.lang, augmented=augmented or layout == "fused"
            )
            times[augmented].append(time.perf_counter() - began)
    return times[True][len(asked) :], times[False][len(asked) :]


def _passages(size: int) -> Iterator[Passage]:
    rng = random.Random(0)
    sentences = [
        sentence.strip()
        for _, passage in read_passages(samples.PASSAGES)
        for sentence in passage.text.split(". ")
    ]
    for number in range(size):
        text = ". ".join(rng.choices(sentences, k=4)) + "."
        yield Passage(f"p{number}", text, lang="en", metadata={"number": number})


def _queries(size: int) -> Iterator[GeneratedQuery]:
    rng = random.Random(1)
    texts: dict[str, list[str]] = {lang: [] for lang in LANGUAGES}
    for _, query in read_queries(samples.QUERIES):
        texts.get(query.lang, []).append(query.text)
    for number in range(size):
        for lang in LANGUAGES:
            for text in rng.choices(texts[lang], k=PER_LANGUAGE):
                yield GeneratedQuery(f"p{number}", lang, text)


if __name__ == "__main__":
    main()
