"""Encoders: passages a second and time of a query, beside torch, sentence-transformers, fastembed.

All run the same weights on the same threads, with batches of 32. Torch and fastembed fill up
batches of passages as they come, and so do the rows "padded batches", on the product's own files:
what else is in the list does not matter, and they take the next batch of it each round.
Sentence-transformers and the product itself sort the list by length first, and take all of it.
Tokenising counts everywhere.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import click

from inference import encoder_systems, texts
from inference.checkpoints import PASSAGE_TOKENS, EncoderShape, bundled_tokenizer
from inference.encoder_systems import (
    BATCH,
    FASTEMBED,
    FASTEMBED_INT8,
    OURS,
    OURS_INT8,
    PADDED,
    PADDED_INT8,
    TORCH,
    Encode,
    Way,
)
from inference.timing import System, goals, progress, rate, ratios, spread, table, times, turn_about


def measure(
    shape: EncoderShape,
    work: Path,
    *,
    threads: int,
    rounds: int,
    passages: int,
    queries: int,
    file: Path | None,
) -> None:
    """Print the table of one shape on some threads."""
    folders = encoder_systems.prepare(shape, work, fresh=False)
    found = texts.passages(passages, file)
    asked = texts.queries(bundled_tokenizer(), queries)
    systems = encoder_systems.ways(shape, folders, threads)
    _check_same(systems, found[:BATCH])
    figures = turn_about(
        [System(way.name, rate(_work(way, found)), way.every) for way in systems],
        rounds,
        warm=False,
    )
    asking = {way.name: way.query for way in systems if way.query is not None}
    latencies: dict[str, list[float]] = {name: [] for name in asking}
    speeds = turn_about(
        [
            System(name, partial(_ask, query, asked, latencies[name]))
            for name, query in asking.items()
        ],
        max(rounds, 5),
    )
    lengths = [len(each.ids) for each in bundled_tokenizer().encode_batch(found)]
    click.echo(f"### {shape.label}, {threads} thread{'s' if threads > 1 else ''}\n")
    click.echo(
        f"{len(found)} passages of {min(lengths)} to {max(lengths)} tokens (median "
        f"{median(lengths):.0f}), cut at {PASSAGE_TOKENS}; batches of {BATCH}, {rounds} rounds; "
        f"single queries of {texts.QUERY_TOKENS[0]} to {texts.QUERY_TOKENS[1]} tokens\n"
    )
    rows = []
    for way in systems:
        row = [
            way.name,
            spread(figures[way.name], 1),
            times(figures[way.name], figures[TORCH]),
            times(figures[way.name], figures[FASTEMBED]),
        ]
        if way.query is None:
            row += ["", ""]
        else:
            row.append(spread([1e3 * each for each in latencies[way.name]], 2))
            row.append(times(speeds[way.name], speeds[TORCH]))
        rows.append(row)
    heads = ["system", "passages/s", "of torch", "of fastembed fp32", "query, ms", "torch's / its"]
    table(heads, rows)
    sorting = {
        name: spread(ratios(figures[name], figures[padded]), 2)
        for name, padded in ((OURS, PADDED), (OURS_INT8, PADDED_INT8))
    }
    click.echo(f"- sorted against padded: {', '.join(f'{k} {v}' for k, v in sorting.items())}")
    goals(
        figures,
        [
            ("passages", OURS_INT8, TORCH, 3),
            ("passages", OURS_INT8, FASTEMBED, 1.5),
            ("passages", OURS_INT8, FASTEMBED_INT8, 1.5),
        ],
    )
    goals(speeds, [("queries", OURS_INT8, TORCH, 5)])


def _work(way: Way, passages: Sequence[str]) -> Callable[[], float]:
    """Encode the whole list, or its next batch."""
    starts = itertools.cycle(range(0, len(passages) - BATCH + 1, BATCH))

    def work() -> float:
        start = next(starts)
        return len(way.passages(passages if way.sorts else passages[start : start + BATCH]))

    return work


def _ask(query: Encode, asked: Sequence[str], latencies: list[float]) -> float:
    """Ask one by one; queries a second at the median time."""
    taken = []
    for text in asked:
        began = time.perf_counter()
        query([text])
        taken.append(time.perf_counter() - began)
    latencies += taken
    return 1 / median(taken)


def _check_same(systems: Sequence[Way], some: Sequence[str]) -> None:
    """Check that all make the same vectors of the same texts, so that all do the same work."""
    expected = systems[0].passages(some)
    for way in systems[1:]:
        least = float((expected * way.passages(some)).sum(axis=1).min())
        if least < (0.9 if "int8" in way.name else 0.9999):
            raise click.ClickException(f"{way.name} makes other vectors than torch: cosine {least}")
        progress(f"{way.name}: least cosine to torch {least:.6f}")
