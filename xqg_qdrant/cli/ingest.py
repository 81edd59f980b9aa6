"""``xqg ingest``."""

from __future__ import annotations

from collections.abc import Mapping

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli import ray as ray_options
from xqg_qdrant.cli.storage import storage_options
from xqg_qdrant.client import Client
from xqg_qdrant.corpus.jsonl import STDIN
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.loader import IngestReport
from xqg_qdrant.loader.ingestion import BATCH_SIZE, MAX_BATCH_SIZE
from xqg_qdrant.models.manifest import DEFAULT_ENCODER, FAST_ENCODER
from xqg_qdrant.queries.side_file import read_side_file


@click.command()
@click.argument("passages", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Generated queries, JSONL: passage_id, lang, text, score?.",
)
@options.location("--to")
@options.collection()
@options.encoder(f"{DEFAULT_ENCODER}; {FAST_ENCODER} is less good and far faster")
@options.layout
@options.hybrid
@options.alpha
@click.option(
    "--languages",
    metavar="CODES",
    callback=options.languages,
    help="Languages that later ingests will bring queries in, beside those of --queries.",
)
@click.option(
    "--generator",
    metavar="TEXT",
    help="What wrote the queries; kept in the manifest.  [default: what QUERIES.meta.json says, "
    "which 'xqg generate' writes]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, MAX_BATCH_SIZE),
    default=BATCH_SIZE,
    show_default=True,
    help="Passages encoded and written at a time.",
)
@click.option(
    "--restart",
    is_flag=True,
    help="Begin an ingest that was cut off again, from its first passage. If it had made the "
    "collection, the collection is made anew.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Build a new collection beside the one of that name, verify it, and let it take the name "
    "in one step. The old one serves until then, and is kept as NAME.previous.",
)
@options.drop_previous
@storage_options
@click.option("--dry-run", is_flag=True, help="Check input and settings, write nothing.")
@ray_options.ray
@options.threads
@options.api_key
@options.as_json
@options.quiet
def ingest(
    passages: str,
    queries: str | None,
    location: str,
    collection: str,
    encoder: str | None,
    layout: str,
    hybrid: bool,
    alpha: float | None,
    languages: tuple[str, ...],
    generator: str | None,
    batch_size: int,
    storage: Storage,
    restart: bool,
    replace: bool,
    drop_previous: bool,
    dry_run: bool,
    ray: str | None,
    ray_workers: int | None,
    threads: int | None,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Load PASSAGES, augmented with generated queries, into a collection.

    PASSAGES is JSONL ('-' is standard input, .gz is unpacked), one object a line: id, text,
    title?, lang?, metadata?. All input is checked before anything is written. A run that was cut
    off goes on where it stopped: run the same command again. Loading twice changes nothing.

    \b
    Examples:
      xqg ingest passages.jsonl --queries queries.jsonl --to ./library -c wiki
      xqg ingest passages.jsonl --queries queries.jsonl --to ./library -c wiki --hybrid
      xqg ingest passages.jsonl --queries better.jsonl --to ./library -c wiki --replace
      xqg ingest passages.jsonl --queries queries.jsonl --to ./library -c wiki --ray auto
      zcat corpus.gz | xqg ingest - --to http://localhost:6333 -c wiki --layout fused
      xqg ingest passages.jsonl --to http://localhost:6333 -c wiki --shards 6 --replication-factor 2
    """
    if passages == STDIN and queries == STDIN:
        raise click.UsageError("only one of PASSAGES and --queries can be standard input")
    options.check_drop_previous(replace, drop_previous)
    cluster = ray_options.cluster(ray, ray_workers, threads)
    if generator is None and queries is not None:
        generator = (read_side_file(queries) or {}).get("generator")
    again = "Interrupted. What is in stays in: run the same command again to go on."
    if replace:
        again += f" {collection!r} stays as it was."
    with (
        options.interruptible(again),
        Client(location, api_key=api_key, encoder=encoder, threads=threads) as client,
        options.progress_bar(quiet=quiet) as show,
    ):
        report = client.ingest(
            collection,
            passages,
            queries or (),
            layout=layout,
            hybrid=hybrid,
            alpha=alpha,
            languages=languages,
            generator=generator,
            storage=storage,
            batch_size=batch_size,
            restart=restart,
            replace=replace,
            drop_previous=drop_previous,
            dry_run=dry_run,
            ray=cluster,
            progress=show,
        )
    _warn_of_truncation(report)
    if as_json:
        options.print_json(report.to_json())
    else:
        options.print_fields(_summary(report))


def _warn_of_truncation(report: IngestReport) -> None:
    for count, kind in (
        (report.truncated_passages, "passages"),
        (report.truncated_queries, "queries"),
    ):
        if count:
            click.echo(
                f"Warning: {count:,} {kind} were longer than {report.encoder} takes; "
                "their vectors stand for their beginnings",
                err=True,
            )


def _summary(report: IngestReport) -> Mapping[str, object]:
    loaded = report.passages - report.resumed_at
    fields: dict[str, object] = {
        "collection": f"{report.collection} at {report.location}",
        "passages": f"{report.passages:,}",
    }
    if report.duplicates:
        fields["duplicates dropped"] = f"{report.duplicates:,}"
    if report.resumed_at:
        fields["resumed after"] = f"{report.resumed_at:,} passages"
    fields["queries"] = (
        ", ".join(f"{lang} {count:,}" for lang, count in report.queries.items()) or "none"
    )
    fields["layout"] = report.layout + (", hybrid" if report.hybrid else "")
    fields["alpha"] = options.shown_alpha(report.layout, report.alpha, report.query_share)
    fields["encoder"] = report.encoder
    if report.dry_run:
        fields["dry run"] = "all input is fine; nothing was written"
    else:
        fields["points"] = f"{report.points:,}"
        if report.previous is not None:
            fields["replaced"] = f"what there was is kept as {report.previous}"
        fields["time"] = f"{report.seconds:.1f} s ({loaded / report.seconds:,.0f} passages/s)"
    return fields
