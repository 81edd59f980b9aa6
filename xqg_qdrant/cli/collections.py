"""``xqg info``, ``xqg dump`` and ``xqg delete``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli.storage import shown
from xqg_qdrant.client import Client
from xqg_qdrant.collection import CollectionReport
from xqg_qdrant.engine import open_engine
from xqg_qdrant.errors import CollectionLocked, EngineError, StorageError, XqgError
from xqg_qdrant.lexical import SparseVector


@click.command()
@options.location("--from")
@options.collection(required=False)
@options.api_key
@options.as_json
def info(location: str, collection: str | None, api_key: str | None, as_json: bool) -> None:
    """Say what collections there are, or what one of them was built with.

    \b
    Examples:
      xqg info --from ./library
      xqg info --from http://localhost:6333 -c wiki --json
    """
    with Client(location, api_key=api_key) as client:
        if collection is None:
            _list_collections(client, as_json=as_json)
            return
        report = client.info(collection)
    if as_json:
        options.print_json(report.to_json())
        return
    manifest = report.manifest
    fields: dict[str, object] = {
        "collection": f"{report.name} at {report.location}",
        "alias of": report.alias_of or "nothing, it is a collection itself",
        "points": f"{report.points:,}",
        "indexed vectors": f"{report.indexed:,} (the others are compared one by one)",
        "last ingest": _state(report),
        "encoder": f"{manifest.encoder} ({manifest.encoder_fingerprint[:12]}…)",
        "dimension": manifest.dimension,
        "similarity": manifest.similarity,
        "layout": manifest.layout,
        "lexical vectors": "none" if manifest.lexical is None else manifest.lexical.analyzer,
        "alpha": options.shown_alpha(manifest.layout, manifest.alpha, report.query_share),
        "languages": ", ".join(manifest.languages) or "none",
        "queries": ", ".join(f"{lang} {n:,}" for lang, n in report.queries.items()) or "none",
        "generator": manifest.generator or "not said",
        "storage": shown(report.storage),
        "schema version": manifest.schema_version,
    }
    options.print_fields(fields)


@click.command()
@options.location("--from")
@options.collection()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.  [default: standard output]",
)
@click.option("--no-vectors", is_flag=True, help="Leave the vectors out.")
@options.api_key
def dump(
    location: str, collection: str, output: Path | None, no_vectors: bool, api_key: str | None
) -> None:
    """Write every point as a line of JSON (id, payload, vectors), sorted by id.

    \b
    Example:
      xqg dump --from ./library -c wiki -o wiki.jsonl
    """
    with open_engine(location, api_key=api_key) as engine:
        engine.require(collection)
        collection = engine.resolve(collection)
        with _output(output) as stream:
            for point in engine.scroll(collection, with_vectors=not no_vectors):
                row: dict[str, object] = {"id": point.id, "payload": point.payload}
                if not no_vectors:
                    row["vectors"] = {
                        name: vector.to_json()
                        if isinstance(vector, SparseVector)
                        else vector.tolist()
                        for name, vector in sorted(point.vectors.items())
                    }
                stream.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


@click.command()
@options.location("--from")
@options.collection()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@options.api_key
def delete(location: str, collection: str, yes: bool, api_key: str | None) -> None:
    """Destroy a collection, and all that is in it.

    \b
    Example:
      xqg delete --from ./library -c wiki --yes
    """
    with open_engine(location, api_key=api_key) as engine:
        engine.require(collection)
        if not yes:
            try:
                points = f"its {engine.info(collection).points:,} points"
            except CollectionLocked:
                raise
            except EngineError as error:  # damaged: all the more reason to be rid of it
                click.echo(f"Warning: {error}", err=True)
                points = "all that is in it"
            click.confirm(
                f"Destroy collection {collection!r} at {location} with {points}?",
                abort=True,
                err=True,
            )
        engine.delete(collection)
    click.echo(f"Collection {collection!r} is gone.", err=True)


def _list_collections(client: Client, *, as_json: bool) -> None:
    reports: list[CollectionReport] = []
    for name in client.collections():
        try:
            reports.append(client.info(name))
        except XqgError as error:  # one that cannot be told of must not hide the others
            click.echo(f"Warning: {name}: {error}", err=True)
    if as_json:
        options.print_json([report.to_json() for report in reports])
    elif not reports:
        click.echo(f"no collections at {client.location}", err=True)
    else:
        alias = any(report.alias_of for report in reports)
        options.print_table(
            [
                "collection",
                *(["alias of"] if alias else []),
                *("points", "layout", "alpha", "languages", "encoder", "last ingest"),
            ],
            [
                [
                    report.name,
                    *([report.alias_of or "-"] if alias else []),
                    f"{report.points:,}",
                    report.manifest.layout,
                    f"{report.manifest.alpha:g}",
                    str(len(report.manifest.languages)),
                    report.manifest.encoder,
                    _state(report),
                ]
                for report in reports
            ],
        )


def _state(report: CollectionReport) -> str:
    if report.complete:
        return "complete"
    if not report.total:
        return "not known, its journal is missing: ingest the same again"
    return f"cut off after {report.loaded:,} of {report.total:,} passages"


@contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    try:
        with path.open("w", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
