"""``xqg backup``, ``xqg restore`` and ``xqg push``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from xqg_qdrant.cli import options
from xqg_qdrant.client import Client
from xqg_qdrant.loader.copying import CopyReport

Command = TypeVar("Command", bound=Callable[..., Any])

_AGAIN = "Interrupted. What is copied stays: run the same command again to go on."


def _building(command: Command) -> Command:
    """Options of what makes a collection that takes a name at the end."""
    for option in (
        click.option(
            "--restart", is_flag=True, help="Begin a copy that was cut off again, from nothing."
        ),
        options.drop_previous,
        click.option(
            "--replace",
            is_flag=True,
            help="Take the name of a collection that differs; it is kept as NAME.previous.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.location("--from")
@options.collection()
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option(
    "--native",
    is_flag=True,
    help="Write a server's own snapshot, with its graphs; servers alone restore it, by --native.",
)
@options.api_key
@options.as_json
@options.quiet
def backup(
    file: Path,
    location: str,
    collection: str,
    force: bool,
    native: bool,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a collection to FILE, which 'xqg restore' reads on every engine.

    FILE appears whole or not at all. In a folder, it is named NAME.xqg.tar.

    \b
    Example:
      xqg backup wiki.xqg.tar --from ./library -c wiki
    """
    with (
        options.interruptible("Interrupted. No backup was written."),
        Client(location, api_key=api_key) as client,
        options.progress_bar(quiet=quiet) as show,
    ):
        report = client.backup(collection, file, overwrite=force, native=native, progress=show)
    if as_json:
        options.print_json(report.to_json())
        return
    options.print_fields(
        {
            "backup": report.path,
            "of": report.source,
            "points": f"{report.points:,}",
            "size": f"{report.bytes / 2**20:,.1f} MiB",
            "sha256": report.sha256,
        }
    )


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options.location("--to")
@options.collection()
@_building
@click.option("--native", is_flag=True, help="FILE is a server's own snapshot.")
@options.api_key
@options.as_json
@options.quiet
def restore(
    file: Path,
    location: str,
    collection: str,
    replace: bool,
    drop_previous: bool,
    restart: bool,
    native: bool,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a collection from FILE, which 'xqg backup' wrote, on any engine.

    FILE is checked whole first. The collection has its name once it is whole and compared. A run
    that was cut off goes on: run the same command again.

    \b
    Example:
      xqg restore wiki.xqg.tar --to http://localhost:6333 -c wiki
    """
    options.check_drop_previous(replace, drop_previous)
    with (
        options.interruptible(_AGAIN),
        Client(location, api_key=api_key) as client,
        options.progress_bar(quiet=quiet) as show,
    ):
        report = client.restore(
            file,
            collection,
            replace=replace,
            drop_previous=drop_previous,
            restart=restart,
            native=native,
            progress=show,
        )
    _print(report, as_json=as_json)


@click.command()
@click.option(
    "--from",
    "source",
    metavar="PATH_OR_URL",
    required=True,
    help="Where the collection is: a folder, or a server.",
)
@options.location("--to")
@options.collection()
@click.option("--as", "name", metavar="NAME", help="Name of the copy.  [default: the same]")
@_building
@options.api_key
@click.option(
    "--from-api-key",
    envvar="QDRANT_FROM_API_KEY",
    show_envvar=True,
    metavar="KEY",
    callback=options.checked_key,
    help="API key of the server to copy from; --api-key is for the one to copy to.",
)
@options.as_json
@options.quiet
def push(
    source: str,
    location: str,
    collection: str,
    name: str | None,
    replace: bool,
    drop_previous: bool,
    restart: bool,
    api_key: str | None,
    from_api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Copy a collection to another place: from a folder to a server, or any other way.

    Vectors, payloads, manifest and statistics are copied as they are, nothing is encoded. The copy
    has its name once it is whole and was compared. A run that was cut off goes on: run the same
    command again.

    \b
    Examples:
      xqg push --from ./library --to http://localhost:6333 -c wiki
      xqg push --from http://localhost:6333 --to ./library -c wiki --as wiki-copy
    """
    options.check_drop_previous(replace, drop_previous)
    with ExitStack() as stack:
        stack.enter_context(options.interruptible(_AGAIN))
        target = stack.enter_context(Client(location, api_key=api_key))
        origin = target
        if source != location:
            origin = stack.enter_context(Client(source, api_key=from_api_key))
        show = stack.enter_context(options.progress_bar(quiet=quiet))
        report = origin.push(
            collection,
            target,
            name=name,
            replace=replace,
            drop_previous=drop_previous,
            restart=restart,
            progress=show,
        )
    _print(report, as_json=as_json)


def _print(report: CopyReport, *, as_json: bool) -> None:
    if as_json:
        options.print_json(report.to_json())
        return
    fields: dict[str, object] = {
        "collection": f"{report.collection} at {report.location}",
        "copy of": report.source,
        "points": f"{report.points:,}",
    }
    if report.points and report.resumed_at == report.points:
        fields["copied"] = "all of it was there already"
    elif report.resumed_at:
        fields["resumed after"] = f"{report.resumed_at:,} points"
    if report.previous is not None:
        fields["replaced"] = f"what there was is kept as {report.previous}"
    fields["time"] = f"{report.seconds:.1f} s"
    options.print_fields(fields)
