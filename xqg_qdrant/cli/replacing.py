"""``xqg rollback`` and ``xqg alias``."""

from __future__ import annotations

import click

from xqg_qdrant.cli import options
from xqg_qdrant.engine import open_engine
from xqg_qdrant.engine.names import PREVIOUS
from xqg_qdrant.loader import replacing


@click.command()
@options.location("--from")
@options.collection()
@options.api_key
def rollback(location: str, collection: str, api_key: str | None) -> None:
    """Undo the last 'xqg ingest --replace': NAME and NAME.previous change places, in one step.

    Run it again to undo that. Where NAME itself was deleted, NAME.previous takes its name.

    \b
    Example:
      xqg rollback --from ./library -c wiki
    """
    with open_engine(location, api_key=api_key) as engine:
        replacing.rollback(engine, collection)
        there = engine.exists(collection + PREVIOUS)
    kept = f", and what it was is {collection}{PREVIOUS}" if there else ""
    click.echo(f"{collection} is again what it was before{kept}.", err=True)


@click.command()
@click.argument("alias")
@options.location("--from")
@options.collection()
@options.api_key
def alias(alias: str, location: str, collection: str, api_key: str | None) -> None:
    """Let ALIAS be one more name of a collection.

    \b
    Example:
      xqg alias wiki --from http://localhost:6333 -c wiki-kept
    """
    with open_engine(location, api_key=api_key) as engine:
        replacing.set_alias(engine, alias, collection)
    click.echo(f"{alias} is a name of {collection}.", err=True)
