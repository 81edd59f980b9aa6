"""``xqg eval``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click

from xqg_qdrant.cli import options
from xqg_qdrant.client import Client
from xqg_qdrant.corpus.afriqa import read_afriqa
from xqg_qdrant.corpus.xquad_r import read_xquad_r
from xqg_qdrant.engine import MEMORY
from xqg_qdrant.evaluation.afriqa import evaluate_afriqa
from xqg_qdrant.evaluation.measures import AVERAGE, MEASURES, Row
from xqg_qdrant.evaluation.xquad_r import AUGMENTS, Augment, evaluate_xquad_r
from xqg_qdrant.models.manifest import DEFAULT_ENCODER


@click.group("eval")
def evaluate() -> None:
    """Measure retrieval on a data set, through a real collection."""


def articles_span(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Callback of an option that takes ``FIRST-LAST``, or one number."""
    if value is None:
        return None
    first, _, last = value.partition("-")
    try:
        span = int(first), int(last or first)
    except ValueError:
        raise click.BadParameter(f"{value!r}: write FIRST-LAST, as in 17-24") from None
    if not 1 <= span[0] <= span[1]:
        raise click.BadParameter(f"{value!r}: articles count from 1, the first comes first")
    return span


_detect = click.option(
    "--detect", is_flag=True, help="Detect the questions' language, do not tell it."
)
_location = click.option(
    "--to",
    "location",
    metavar="PATH_OR_URL",
    help="Keep the collections there.  [default: a temporary folder]",
)


@evaluate.command("xquad-r")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.encoder(DEFAULT_ENCODER)
@click.option(
    "--augment",
    type=click.Choice(AUGMENTS),
    default="none",
    show_default=True,
    help="What stands in for generated queries. questions: other people's, in two folds, as a "
    "perfect generator would write them. sentences: the passage's own, the control.",
)
@options.layout
@options.alpha
@_detect
@click.option(
    "--articles",
    metavar="FIRST-LAST",
    callback=articles_span,
    help="Ask the questions of these articles only; all paragraphs stay in the pool. The bundled "
    "encoder was trained on articles 1-16.",
)
@click.option("--titles", is_flag=True, help="Give paragraphs their article's title.")
@_location
@options.threads
@options.api_key
@options.as_json
@options.quiet
def xquad_r(
    folder: Path,
    encoder: str | None,
    augment: str,
    layout: str,
    alpha: float | None,
    detect: bool,
    articles: tuple[int, int] | None,
    titles: bool,
    location: str | None,
    threads: int | None,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """XQuAD-R: questions in every language found, against the English paragraphs.

    FOLDER holds upstream's en.json, ar.json, …; paragraphs without questions stay in the pool.
    R@1, R@10 and MRR@10 per language, and averaged over the languages other than English.

    \b
    Examples:
      xqg eval xquad-r xquad-r/
      xqg eval xquad-r xquad-r/ --augment questions --layout per-language --json
    """
    data = read_xquad_r(folder, titles=titles)
    with (
        Client(location or MEMORY, api_key=api_key, encoder=encoder, threads=threads) as client,
        options.progress_bar(quiet=quiet) as show,
    ):
        rows = evaluate_xquad_r(
            client,
            data,
            augment=cast("Augment", augment),
            layout=layout,
            alpha=alpha,
            articles=articles,
            detect_language=detect,
            progress=show,
        )
    _print_rows(rows, f"{len(data.passages)} passages in the pool", as_json=as_json)


@evaluate.command("afriqa")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.encoder(DEFAULT_ENCODER)
@click.option("--split", help="Ask the questions of this split (test, dev, train).  [default: all]")
@click.option(
    "--languages",
    metavar="CODES",
    callback=options.languages,
    help="Ask the questions of these languages, as in ha,ig,sw.  [default: all]",
)
@_detect
@click.option("--titles", is_flag=True, help="Give passages their article's title.")
@_location
@options.threads
@options.api_key
@options.as_json
@options.quiet
def afriqa(
    folder: Path,
    encoder: str | None,
    split: str | None,
    languages: tuple[str, ...],
    detect: bool,
    titles: bool,
    location: str | None,
    threads: int | None,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """AfriQA: questions in African languages, against English gold passages.

    FOLDER holds upstream's gold_span_passages.afriqa.LANG.en.SPLIT.json, in folders of any depth.
    The pool is the gold passages of all files found, whichever questions are asked; rows without
    a passage are skipped and counted. R@1, R@10 and MRR@10 per language, and averaged.

    \b
    Examples:
      xqg eval afriqa afriqa/data/gold_passages --split test
      xqg eval afriqa gold_passages --split dev --languages ha,ig,sw,yo --json
    """
    data = read_afriqa(folder, split=split, languages=languages or None, titles=titles)
    with (
        Client(location or MEMORY, api_key=api_key, encoder=encoder, threads=threads) as client,
        options.progress_bar(quiet=quiet) as show,
    ):
        rows = evaluate_afriqa(client, data, detect_language=detect, progress=show)
    skipped = f"; {data.skipped} rows without a passage skipped" if data.skipped else ""
    _print_rows(rows, f"{len(data.passages):,} passages in the pool{skipped}", as_json=as_json)


def _print_rows(rows: Sequence[Row], pool: str, *, as_json: bool) -> None:
    if as_json:
        options.print_json([row.to_json() for row in rows])
        return
    click.echo(f"{rows[0].system}: {pool}\n")
    print_measures({"": rows})


def print_measures(systems: dict[str, Sequence[Row]]) -> None:
    """A table of figures: a line a language, the systems side by side."""
    first = next(iter(systems.values()))
    languages = list(dict.fromkeys(row.language for row in first))
    counts = {row.language: row.n for row in first}
    values = {
        (system, row.language, row.measure): row.value
        for system, rows in systems.items()
        for row in rows
    }
    columns = [(measure, system) for measure in MEASURES for system in systems]
    options.print_table(
        ["language", "questions", *(f"{measure} {system}".strip() for measure, system in columns)],
        [
            [
                f"{language} (not en)" if language == AVERAGE else language,
                f"{counts[language]:,}",
                *(f"{values[system, language, measure]:.3f}" for measure, system in columns),
            ]
            for language in languages
        ],
    )
