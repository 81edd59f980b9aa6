"""``xqg data``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from xqg_qdrant.cli import options
from xqg_qdrant.corpus.catalogue import CATALOGUE, DataSet, data_set_named
from xqg_qdrant.corpus.fetching import fetch
from xqg_qdrant.errors import InputError


@click.group("data", invoke_without_command=True)
@click.pass_context
def data(ctx: click.Context) -> None:
    """Data sets to measure on: licences, sources, and how to get them.

    Without a command, lists them.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


def _named(ctx: click.Context, param: click.Parameter, value: str) -> DataSet:
    try:
        return data_set_named(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from None


@data.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the data sets that 'xqg eval' reads.

    None is part of this package. Licences are the data sets' own and travel with what is derived.
    """
    if as_json:
        options.print_json([asdict(each) for each in CATALOGUE])
        return
    for each in CATALOGUE:
        click.echo(f"{each.name}: {each.title}")
        fields: dict[str, object] = {
            "  languages": " ".join(each.languages),
            "  licence": each.licence,
            "  source": each.source,
            "  paper": each.paper,
            "  fetch": each.fetch,
            "  evaluate": each.evaluate,
        }
        if each.note:
            fields["  note"] = each.note
        options.print_fields(fields)
        click.echo()


@data.command("fetch")
@click.argument("name", callback=_named)
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that the files go to; it is made.",
)
@click.option("--force", is_flag=True, help="Fetch files anew that are there already.")
@options.as_json
@options.quiet
def fetch_(name: DataSet, folder: Path, force: bool, as_json: bool, quiet: bool) -> None:
    """Fetch data set NAME from its publisher.

    A file appears once it is whole, and right where upstream says what it should be.

    \b
    Examples:
      xqg data fetch xquad-r --to xquad-r
      xqg data fetch beir-scifact --to beir
    """
    if not as_json:
        click.echo(f"{name.title}\nlicence: {name.licence}\nsource:  {name.source}\n", err=True)
    with options.progress_bar(quiet=quiet) as show:
        fetched = fetch(name, folder, force=force, progress=show)
    if as_json:
        options.print_json([{**asdict(each), "path": str(each.path)} for each in fetched])
        return
    options.print_table(
        ["file", "bytes", "sha256", ""],
        [
            [str(each.path), f"{each.bytes:,}", each.sha256, "was there" if each.kept else ""]
            for each in fetched
        ],
    )
    click.echo(f"\nMeasure on it with:  {name.evaluate}")
