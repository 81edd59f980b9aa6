"""``xqg eval afriqa``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli.evaluate import shared
from xqg_qdrant.client import Client
from xqg_qdrant.corpus.afriqa import read_afriqa
from xqg_qdrant.engine import MEMORY
from xqg_qdrant.evaluation.afriqa import retrieve_afriqa
from xqg_qdrant.models.manifest import DEFAULT_ENCODER


@click.command("afriqa")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.encoder(DEFAULT_ENCODER)
@click.option("--split", help="Ask the questions of this split (test, dev, train).  [default: all]")
@click.option(
    "--languages",
    metavar="CODES",
    callback=options.languages,
    help="Ask the questions of these languages, as in ha,ig,sw.  [default: all]",
)
@shared.queries
@options.layout
@options.hybrid
@options.alpha
@shared.detect
@click.option("--titles", is_flag=True, help="Give passages their article's title.")
@shared.baseline(shared.PLAIN)
@shared.location
@options.threads
@options.api_key
@shared.output
@options.quiet
def afriqa(
    folder: Path,
    encoder: str | None,
    split: str | None,
    languages: tuple[str, ...],
    queries: str | None,
    layout: str,
    hybrid: bool,
    alpha: float | None,
    detect: bool,
    titles: bool,
    baseline: str | None,
    location: str | None,
    threads: int | None,
    api_key: str | None,
    quiet: bool,
    **output: Any,
) -> None:
    """AfriQA: questions in African languages, against English gold passages.

    FOLDER holds upstream's gold_span_passages.afriqa.LANG.en.SPLIT.json, in folders of any depth.
    The pool is the gold passages of all files found, whichever questions are asked; rows without
    a passage are skipped and counted. Figures per language, and averaged.

    \b
    Examples:
      xqg eval afriqa afriqa/data/gold_passages --split test
      xqg eval afriqa gold_passages --split dev --languages ha,ig,sw,yo --json
      xqg eval afriqa gold_passages --queries generated.jsonl --baseline plain
    """
    to = shared.output_of(output)
    shared.require_queries(queries, baseline)
    data = read_afriqa(folder, split=split, languages=languages or None, titles=titles)
    with (
        Client(location or MEMORY, api_key=api_key, encoder=encoder, threads=threads) as client,
        options.progress_bar(quiet=quiet) as show,
    ):
        judged, plain = retrieve_afriqa(
            client,
            data,
            queries or (),
            layout=layout,
            hybrid=hybrid,
            alpha=alpha,
            measures=to.measures,
            detect_language=detect,
            plain=baseline == shared.PLAIN,
            progress=show,
        )
    skipped = f"; {data.skipped} rows without a passage skipped" if data.skipped else ""
    to.finish(
        shared.About.of(
            "afriqa",
            folder=folder,
            split=split,
            languages=languages,
            queries=queries,
            layout=layout,
            hybrid=hybrid,
            alpha="the layout's default" if alpha is None else alpha,
            detect=detect,
            titles=titles,
        ),
        judged,
        shared.baseline_of(baseline, judged, plain),
        f"{len(data.passages):,} passages in the pool{skipped}",
    )
