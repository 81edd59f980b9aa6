"""Measure every layout, dense and hybrid: quality, index size, ingest rate, query latency.

Quality is on XQuAD-R, as ``scripts/measure_xquad_r.py`` has it: the questions of articles 17-24,
all paragraphs in the pool and augmented, in two folds, through real collections and the product's
own search; and on AfriQA dev, whose passages have no queries. Size, rate and latency are on
AfriQA's passages, each with two questions of XQuAD-R in each of three languages for queries, on
the embedded engine, with a fast encoder, so that the engine shows; searches of all layouts take
turns, one question each.

Takes some ten minutes on two cores an encoder. Prints Markdown tables for ``docs/layouts.md``.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
import numpy as np
from measure_xquad_r import Remembering

from xqg_qdrant import Client, Encoder, GeneratedQuery
from xqg_qdrant.cli.evaluate.xquad_r import articles_span
from xqg_qdrant.corpus.afriqa import AfriQA, read_afriqa
from xqg_qdrant.corpus.xquad_r import XquadR, read_xquad_r
from xqg_qdrant.evaluation.afriqa import retrieve_afriqa
from xqg_qdrant.evaluation.measures import AVERAGE, JudgedRun, rows_of, score
from xqg_qdrant.evaluation.xquad_r import retrieve_xquad_r
from xqg_qdrant.layouts import LAYOUTS

LANGUAGES = ("ar", "sw", "zh")
PER_LANGUAGE = 2


class System(NamedTuple):
    """A way to load and to ask."""

    name: str
    augment: str
    layout: str
    hybrid: bool
    alpha: float | None = None


SYSTEMS = [
    System("no queries", "none", "per-language", False),
    System("no queries", "none", "per-language", True),
    *(
        System(name, "questions", name, hybrid)
        for name in ("fused", "per-language", "tunable", "multivector")
        for hybrid in (False, True)
    ),
    System("per-language, alpha 0", "questions", "per-language", True, 0.0),
    System("per-language, alpha .05", "questions", "per-language", True, 0.05),
    System("per-language, alpha .1", "questions", "per-language", True, 0.1),
]


@click.command()
@click.argument("xquad", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--afriqa", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--encoder", "encoders", multiple=True, default=["mini", "mini-static"])
@click.option("--articles", default="17-24", show_default=True, callback=articles_span)
@click.option("--split", default="dev", show_default=True, help="Of AfriQA.")
@click.option("--quality/--no-quality", default=True, help="Measure what is found.")
@click.option("--speed/--no-speed", default=True, help="Measure size, rate and latency too.")
@click.option("--rounds", default=3, show_default=True, help="Searches of each question, timed.")
def main(
    xquad: Path,
    afriqa: Path | None,
    encoders: Sequence[str],
    articles: tuple[int, int],
    split: str,
    quality: bool,
    speed: bool,
    rounds: int,
) -> None:
    """Print the tables, for XQuAD-R in XQUAD."""
    data = read_xquad_r(xquad)
    african = None if afriqa is None else read_afriqa(afriqa, split=split)
    for name in encoders if quality else ():
        encoder = Remembering.of(name)
        _print_xquad(data, encoder, articles)
        if african is not None:
            _print_afriqa(african, encoder, split)
    if speed:
        assert african is not None, "sizes and times are measured on AfriQA's passages: --afriqa"
        _print_speed(african, data, rounds)


def _print_xquad(data: XquadR, encoder: Remembering, articles: tuple[int, int]) -> None:
    middle = sum(articles) // 2
    click.echo(f"\n{encoder.name}, XQuAD-R, articles {articles[0]}-{articles[1]}, MRR@10:\n")
    languages = [AVERAGE, *data.languages]
    halves = [f"{articles[0]}-{middle}", f"{middle + 1}-{articles[1]}"]
    header = ["layout", "", "R@1", "R@10", *languages, *halves]
    click.echo(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for system in SYSTEMS:
        with Client(":memory:", encoder=encoder) as client:
            judged = retrieve_xquad_r(
                client,
                data,
                augment=system.augment,  # type: ignore[arg-type]
                layout=system.layout,
                alpha=system.alpha,
                articles=articles,
                hybrid=system.hybrid,
            )
        figures = _figures(judged)
        cells = [system.name, "hybrid" if system.hybrid else "dense"]
        cells += [f"{figures[AVERAGE, each]:.3f}" for each in ("R@1", "R@10")]
        cells += [f"{figures[language, 'MRR@10']:.3f}" for language in languages]
        for first, last in ((articles[0], middle), (middle + 1, articles[1])):
            cells.append(f"{_figures(_part(judged, first, last))[AVERAGE, 'MRR@10']:.3f}")
        click.echo(f"| {' | '.join(cells)} |")


def _part(judged: JudgedRun, first: int, last: int) -> JudgedRun:
    kept = tuple(
        qrel for qrel in judged.qrels if first <= int(qrel.passage_id.split("-")[0]) + 1 <= last
    )
    ids = {qrel.question_id for qrel in kept}
    run = {question: hits for question, hits in judged.run.items() if question in ids}
    return replace(judged, qrels=kept, run=run)


def _figures(judged: JudgedRun) -> Mapping[tuple[str, str], float]:
    rows = rows_of(score(judged))
    return {(row.language, row.measure): row.value for row in rows}


def _print_afriqa(data: AfriQA, encoder: Remembering, split: str) -> None:
    click.echo(f"\n{encoder.name}, AfriQA {split}, {len(data.passages):,} passages, no queries:\n")
    figures = {}
    for hybrid in (False, True):
        with Client(":memory:", encoder=encoder) as client:
            judged, _ = retrieve_afriqa(client, data, hybrid=hybrid)
        figures[hybrid] = _figures(judged)
    languages = list(dict.fromkeys(language for language, _ in figures[True]))
    click.echo(f"| measure | | {' | '.join(languages)} |\n|{'---|' * (2 + len(languages))}")
    for name in ("MRR@10", "R@10"):
        for hybrid, found in figures.items():
            cells = " | ".join(f"{found[language, name]:.3f}" for language in languages)
            click.echo(f"| {name} | {'hybrid' if hybrid else 'dense'} | {cells} |")


def _print_speed(data: AfriQA, xquad: XquadR, rounds: int) -> None:
    encoder = Encoder.load("mini-static", threads=1)
    texts: dict[str, list[str]] = defaultdict(list)
    for placed in xquad.questions:
        texts[placed.question.lang].append(placed.question.text)
    texts["sw"] = [asked.question.text for asked in data.questions]
    queries = [
        GeneratedQuery(passage.id, lang, texts[lang][(number * PER_LANGUAGE + more) % len(pool)])
        for number, passage in enumerate(data.passages)
        for lang in LANGUAGES
        for pool in [texts[lang]]
        for more in range(PER_LANGUAGE)
    ]
    asked = [(lang, text) for lang in LANGUAGES for text in texts[lang][-60:]]
    ways: list[tuple[str, dict[str, Any], Sequence[GeneratedQuery]]] = [
        ("plain: fused at alpha 0", {"layout": "fused", "alpha": 0.0}, queries),
        ("no queries, dense", {"layout": "fused"}, ()),
        ("no queries, hybrid", {"layout": "fused", "hybrid": True}, ()),
    ]
    for layout in LAYOUTS:
        for hybrid in (False, True):
            name = f"{layout}, {'hybrid' if hybrid else 'dense'}"
            ways.append((name, {"layout": layout, "hybrid": hybrid}, queries))
    click.echo(
        f"\n{encoder.name}, {len(data.passages):,} passages with {PER_LANGUAGE} queries in each "
        f"of {len(LANGUAGES)} languages; one thread; ratio: to plain search\n"
    )
    click.echo(
        "| layout | MiB | passages/s | p50 ms | p95 ms | p50 ratio |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        rates, clients = {}, {}
        for name, options, augmenting in ways:
            clients[name] = Client(Path(folder) / name, encoder=encoder, threads=1)
            began = time.perf_counter()
            clients[name].ingest("c", data.passages, augmenting, **options)
            rates[name] = len(data.passages) / (time.perf_counter() - began)
        times = _search_times(clients, asked, rounds)
        plain = median(times[ways[0][0]])
        for name, _, _ in ways:
            clients[name].close()
            size = sum(path.stat().st_blocks for path in (Path(folder) / name).rglob("*")) / 2**11
            cells = [f"{size:.1f}", f"{rates[name]:,.0f}", f"{1e3 * median(times[name]):.2f}"]
            cells += [f"{1e3 * float(np.quantile(times[name], 0.95)):.2f}"]
            cells += [f"{median(times[name]) / plain:.2f}"]
            click.echo(f"| {name} | {' | '.join(cells)} |")


def _search_times(
    clients: Mapping[str, Client], asked: Sequence[tuple[str, str]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each search; in every round each question meets all clients, in any order."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    names, rng = list(clients), random.Random(0)
    for turn in range(rounds + 1):
        for lang, text in asked:
            rng.shuffle(names)  # who comes after a costly one finds the caches cold
            for name in names:
                began = time.perf_counter()
                clients[name].search("c", text, lang=lang)
                if turn:  # the first round warms up
                    times[name].append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
