"""The command line, ``xqg``: parse, call, print.

Results go to standard output, progress and messages to standard error. Exit codes: 0 done,
1 failed, 2 wrong usage.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import click

from xqg_qdrant import __version__
from xqg_qdrant.errors import XqgError


class XqgGroup(click.Group):
    """A group whose commands report our errors as messages, without tracebacks."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our errors end it with a message and exit code 1."""
        try:
            return super().invoke(ctx)
        except XqgError as error:
            raise click.ClickException(str(error)) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Commands in the order of the work, not of the alphabet."""
        return list(self.commands)


@click.group(
    cls=XqgGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with:  xqg demo",
)
@click.version_option(__version__, prog_name="xqg")
@click.option("-v", "--verbose", is_flag=True, help="Say what is retried and why.")
def main(verbose: bool) -> None:
    """Cross-lingual search: ask in any language, find English passages.

    Passages are indexed with queries in the users' languages (xQG), on ONNX encoders and Qdrant:
    embedded in a folder, or a server. COMMAND --help has examples.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s: %(message)s"
    )
    for noisy in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    warnings.simplefilter("default" if verbose else "ignore")


def _register() -> None:
    from xqg_qdrant.cli import (
        collections,
        copying,
        data,
        demo,
        evaluate,
        export,
        filtering,
        generate,
        ingest,
        models,
        replacing,
        reproduce,
        search,
    )
    from xqg_qdrant.cli.experiments import compare, sweep

    main.add_command(demo.demo)
    main.add_command(export.export)
    main.add_command(generate.generate)
    main.add_command(filtering.filter_)
    main.add_command(ingest.ingest)
    main.add_command(search.search)
    main.add_command(collections.info)
    main.add_command(collections.dump)
    main.add_command(collections.delete)
    main.add_command(replacing.rollback)
    main.add_command(replacing.alias)
    main.add_command(copying.backup)
    main.add_command(copying.restore)
    main.add_command(copying.push)
    main.add_command(models.models)
    main.add_command(evaluate.evaluate)
    main.add_command(sweep.sweep)
    main.add_command(compare.compare)
    main.add_command(reproduce.reproduce_)
    main.add_command(data.data)


_register()
