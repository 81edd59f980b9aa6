"""``xqg eval beir``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli.evaluate import shared
from xqg_qdrant.client import Client
from xqg_qdrant.corpus.beir import open_beir
from xqg_qdrant.engine import MEMORY
from xqg_qdrant.evaluation.asking import retrieve
from xqg_qdrant.evaluation.measures import depth_of
from xqg_qdrant.models.manifest import DEFAULT_ENCODER


def collection_slug(path: Path) -> str:
    """A data set's name as collections may be called."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", path.resolve().name).strip("-") or "data"


@click.command("beir")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.encoder(DEFAULT_ENCODER)
@click.option("--split", default="test", show_default=True, help="Use qrels/SPLIT.tsv.")
@click.option(
    "--lang",
    default="en",
    show_default=True,
    callback=options.language,
    help="Language of queries that name none in a field 'lang' or 'language'.",
)
@shared.queries
@options.layout
@options.hybrid
@options.alpha
@shared.detect
@shared.baseline(shared.PLAIN)
@shared.location
@options.threads
@options.api_key
@shared.output
@options.quiet
def beir(
    folder: Path,
    encoder: str | None,
    split: str,
    lang: str,
    queries: str | None,
    layout: str,
    hybrid: bool,
    alpha: float | None,
    detect: bool,
    baseline: str | None,
    location: str | None,
    threads: int | None,
    api_key: str | None,
    quiet: bool,
    **output: Any,
) -> None:
    """Any data set in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv.

    The queries that are judged are asked, the whole corpus is the pool. Documents without any text
    are skipped and counted.

    \b
    Examples:
      xqg eval beir scifact/ --measures nDCG@10,R@100
      xqg eval beir fiqa/ --split dev --queries generated.jsonl --baseline plain
    """
    to = shared.output_of(output)
    shared.require_queries(queries, baseline)
    data = open_beir(folder, split=split, lang=lang)
    with (
        Client(location or MEMORY, api_key=api_key, encoder=encoder, threads=threads) as client,
        options.progress_bar(quiet=quiet) as show,
    ):
        judged, plain = retrieve(
            client,
            f"beir-{collection_slug(folder)}",
            data.passages,
            queries or (),
            data.questions,
            data.qrels,
            layout=layout,
            hybrid=hybrid,
            alpha=alpha,
            depth=depth_of(to.measures),
            detect_language=detect,
            plain=baseline == shared.PLAIN,
            progress=show,
        )
    skipped = f"; {data.passages.skipped:,} documents without text skipped"
    to.finish(
        shared.About.of(
            f"beir-{folder.resolve().name}",
            folder=folder,
            split=split,
            queries=queries,
            layout=layout,
            hybrid=hybrid,
            alpha="the layout's default" if alpha is None else alpha,
            detect=detect,
        ),
        judged,
        shared.baseline_of(baseline, judged, plain),
        f"{data.passages.count:,} passages in the pool{skipped if data.passages.skipped else ''}",
    )
