"""``xqg compare``."""

from __future__ import annotations

from typing import Any

import click

from xqg_qdrant.cli.experiments import shared
from xqg_qdrant.corpus.xquad_r import POOL_LANGUAGE
from xqg_qdrant.evaluation.augmentations import compare_augmentations


@click.command("compare")
@shared.layout
@click.option(
    "--hybrid/--no-hybrid",
    default=True,
    show_default=True,
    help="Each of them fused with the lexical ranking too.",
)
@shared.experiment
def compare(layout: str, hybrid: bool, **arguments: Any) -> None:
    """Ways to augment, side by side: none, own sentences, queries, translated passages, both.

    Queries are summed (--layout), summed with weights for the other languages' (tunable), or the
    best of them counts (multivector); and all of it stands there with the lexical ranking too.

    Own sentences are the control that costs nothing: what queries gain must be held against it.
    On XQuAD-R its human translations stand for a perfect translator, and other people's questions
    for a perfect generator; elsewhere queries come from --queries. How strongly each augments is
    cross-validated, so no question is answered with a setting that was chosen on it.

    \b
    Examples:
      xqg compare xquad-r/ --articles 17-24 --report report/
      xqg compare scifact/ --queries generated.jsonl --measures nDCG@10,R@100
    """
    to = shared.setup(arguments)
    to.run(
        "Ways to augment",
        lambda bench, _: compare_augmentations(
            bench,
            layout=layout,
            hybrid=hybrid,
            measures=to.measures,
            resamples=to.resamples,
        ),
        sentences=True,
        translations=(to.folder / f"{POOL_LANGUAGE}.json").is_file(),
    )
