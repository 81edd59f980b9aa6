"""Spoil ingests in many ways, and see that nothing is lost in silence.

    python -m tests.faults --runs 50 --seed 1
    python -m tests.faults --runs 1 --seed 1 --first 17     # run 17 of them again

Every run kills, damages, removes, fills or doubles something, runs the same ingest again, and
compares ids, payloads, vectors and documents with those of an ingest that nobody disturbed. Exit
code 0: all were the same. 1: something was lost, or an error named no way out.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from tests.faults.runner import run_faults, summary


@click.command(help=__doc__)
@click.option("--runs", default=50, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True)
@click.option("--first", default=0, show_default=True, help="Number of the first run.")
@click.option("--only", default="", metavar="TEXT", help="Scenarios whose name holds TEXT.")
def main(runs: int, seed: int, first: int, only: str) -> None:
    """See the module."""
    with tempfile.TemporaryDirectory(prefix="xqg-faults-") as folder:
        results = run_faults(
            Path(folder), runs, seed, only=only, first=first, tell=lambda each: click.echo(each)
        )
    click.echo(f"\n{summary(results)}\n{sum(each.seconds for each in results):.0f} s")
    sys.exit(any(each.fault for each in results))


main()
