"""``xqg filter``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from xqg_qdrant.cli import options
from xqg_qdrant.corpus.jsonl import read_passages, read_queries
from xqg_qdrant.models.manifest import DEFAULT_ENCODER
from xqg_qdrant.queries.filtering import Criteria, FilterReport, filter_queries
from xqg_qdrant.queries.side_file import read_side_file, write_side_file


@click.command("filter")
@click.argument("queries", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--passages",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="The passages that the queries are about, JSONL.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the queries that are kept, JSONL; their score is the similarity.",
)
@options.encoder(DEFAULT_ENCODER)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of each language's queries to keep, the best by similarity to their passages. "
    "Doc2Query-- found 0.7 good.",
)
@click.option("--min-score", type=float, help="Least similarity of a query and its passage.")
@click.option(
    "--round-trip",
    type=click.IntRange(min=1),
    metavar="K",
    help="The query, asked, must find its passage among K. Holds all passages' vectors in memory.",
)
@click.option(
    "--check-language", is_flag=True, help="Leave out queries that are not in their language."
)
@click.option("--force", is_flag=True, help="Replace the output file.")
@options.threads
@options.as_json
@options.quiet
def filter_(
    queries: str,
    passages: str,
    output: Path,
    encoder: str | None,
    keep: float | None,
    min_score: float | None,
    round_trip: int | None,
    check_language: bool,
    force: bool,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Keep the generated QUERIES that fit their passages.

    Generators write queries that the passage does not answer, and those do harm (Doc2Query--).
    All criteria that are given must hold. QUERIES and --passages are the files that 'xqg ingest'
    takes; '-' is standard input. What 'xqg generate' wrote beside QUERIES goes along.

    \b
    Examples:
      xqg filter queries.jsonl --passages passages.jsonl --keep 0.7 -o kept.jsonl
      xqg filter queries.jsonl --passages passages.jsonl --round-trip 10 --check-language -o k.jsonl
    """
    from xqg_qdrant.models.encoder import Encoder

    criteria = Criteria(keep, min_score, round_trip, check_language)
    if criteria == Criteria():
        raise click.UsageError(
            "nothing to filter by: give --keep, --min-score, --round-trip or --check-language"
        )
    if queries == "-" and passages == "-":
        raise click.UsageError("only one of QUERIES and --passages can be standard input")
    if output.exists() and not force:
        raise click.UsageError(f"{output} is there already: choose another file, or give --force")
    with options.progress_bar(quiet=quiet) as show:
        report = filter_queries(
            read_passages(passages),
            read_queries(queries),
            output,
            encoder=Encoder.load(encoder or DEFAULT_ENCODER, threads=threads),
            criteria=criteria,
            progress=show,
        )
    if (known := read_side_file(queries)) is not None:
        told: dict[str, object] = {"filter": {**asdict(criteria), **asdict(report)}}
        told |= {name: known[name] for name in ("generator", "configuration") if name in known}
        write_side_file(output, told)
    if as_json:
        options.print_json(asdict(report))
        return
    _print(report, output)


def _print(report: FilterReport, output: Path) -> None:
    total, kept = sum(report.read.values()), sum(report.kept.values())
    options.print_table(
        ["language", "queries", "kept", "lowest score"],
        [
            [
                code,
                f"{count:,}",
                f"{report.kept[code]:,}",
                f"{report.lowest[code]:.3f}" if code in report.lowest else "-",
            ]
            for code, count in report.read.items()
        ],
    )
    reasons = "".join(f"; {count:,} {reason}" for reason, count in report.dropped.items())
    click.echo(f"\n{kept:,} of {total:,} queries kept in {output}{reasons}")
    if report.undetectable:
        click.echo(
            f"Not checked, as no detector knows them: {', '.join(report.undetectable)}", err=True
        )
