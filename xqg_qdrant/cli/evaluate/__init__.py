"""``xqg eval``: one file a data set."""

from __future__ import annotations

import click

from xqg_qdrant.cli.evaluate import afriqa, answered, beir, runs, xquad_r
from xqg_qdrant.cli.evaluate.shared import print_measures
from xqg_qdrant.cli.evaluate.xquad_r import articles_span

__all__ = ["articles_span", "evaluate", "print_measures"]


@click.group("eval")
def evaluate() -> None:
    """Measure retrieval on a data set, through a real collection; or a run file."""


evaluate.add_command(xquad_r.xquad_r)
evaluate.add_command(afriqa.afriqa)
evaluate.add_command(beir.beir)
evaluate.add_command(answered.xor_tydi)
evaluate.add_command(answered.mkqa)
evaluate.add_command(runs.run)
