"""``xqg sweep``."""

from __future__ import annotations

from typing import Any

import click

from xqg_qdrant.cli.experiments import shared
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.defaults import recommend_alphas
from xqg_qdrant.evaluation.experiments import (
    ALPHAS,
    sweep_alpha,
    sweep_languages,
    sweep_queries,
)
from xqg_qdrant.fusion import check_alpha


@click.group("sweep")
def sweep() -> None:
    """Vary alpha, the number of queries, or their languages: encoded once, scored exactly.

    FOLDER is XQuAD-R, or with --queries also AfriQA or any data set in BEIR's layout. With
    --collection passages and queries are not even encoded, but read from a collection of the data
    set's passages: one of layout tunable, per-language or multivector; the number of queries can
    be varied in multivector alone.
    """


def _alphas(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(check_alpha(float(part)) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: write numbers, as in 0,0.05,0.1") from None
    except InputError as error:
        raise click.BadParameter(str(error)) from None


_alphas_option = click.option(
    "--alphas",
    metavar="NUMBERS",
    callback=_alphas,
    help=f"To try.  [default: {','.join(f'{alpha:g}' for alpha in ALPHAS)}]",
)
_alpha = click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    help="Weight of each query's vector.  [default: cross-validated]",
)


@sweep.command("alpha")
@shared.layout
@shared.hybrid
@_alphas_option
@shared.experiment
def alpha_(layout: str, alphas: tuple[float, ...] | None, **arguments: Any) -> None:
    """Every alpha, and what one chosen by cross-validation gains over none.

    Groups of questions (articles) are dealt to five folds; the questions of each are answered with
    the alpha that is best on the other four. The best over all questions is printed too: it is for
    other questions than these.

    \b
    Examples:
      xqg sweep alpha xquad-r/ --articles 17-24 --report report/
      xqg sweep alpha xquad-r/ --articles 17-24 --layout fused --hybrid
      xqg sweep alpha scifact/ --queries generated.jsonl --measures nDCG@10
      xqg sweep alpha scifact/ --from ./library --collection scifact-tunable
    """
    to = shared.setup(arguments)
    to.run(
        "Which alpha",
        lambda bench, hybrid: sweep_alpha(
            bench,
            layout=layout,
            hybrid=hybrid,
            alphas=alphas or ALPHAS,
            measures=to.measures,
            resamples=to.resamples,
        ),
    )


@sweep.command("queries")
@shared.layout
@shared.hybrid
@_alpha
@click.option(
    "--most", type=click.IntRange(min=1), help="Largest number to try.  [default: all there are]"
)
@shared.experiment
def queries_(layout: str, alpha: float | None, most: int | None, **arguments: Any) -> None:
    """The first 1, 2, … queries of each passage and language: do more help, from when on?

    --collection must be one of layout multivector, which keeps each query's own vector.

    \b
    Examples:
      xqg sweep queries xquad-r/ --articles 17-24
      xqg sweep queries scifact/ --queries generated.jsonl --most 5 --alpha 0.1
    """
    to = shared.setup(arguments)
    to.run(
        "How many queries",
        lambda bench, hybrid: sweep_queries(
            bench,
            layout=layout,
            hybrid=hybrid,
            alpha=alpha,
            most=most,
            measures=to.measures,
            resamples=to.resamples,
        ),
        singles=True,
    )


@sweep.command("languages")
@_alpha
@shared.hybrid
@shared.experiment
def languages_(alpha: float | None, **arguments: Any) -> None:
    """Whose queries help: the asker's language, English, all others, or all, as in the paper.

    \b
    Examples:
      xqg sweep languages xquad-r/ --articles 17-24 --report report/
    """
    to = shared.setup(arguments)
    to.run(
        "Whose queries",
        lambda bench, hybrid: sweep_languages(
            bench,
            hybrid=hybrid,
            alpha=alpha,
            measures=to.measures,
            resamples=to.resamples,
        ),
    )


@sweep.command("defaults")
@_alphas_option
@shared.experiment
def defaults_(alphas: tuple[float, ...] | None, **arguments: Any) -> None:
    """The default alphas of an encoder: the best ones for each layout, dense and hybrid.

    Give development questions, none that you will report figures on. Every alpha is tried; the
    best over all questions is the one to take, and what a cross-validated one gains over the
    present default says what to expect of it. The last line goes into the encoder's manifest.json,
    where 'xqg ingest' finds it; no hash and no vector changes by it.

    \b
    Examples:
      xqg sweep defaults xquad-r/ --articles 17-24 --encoder mini
      xqg sweep defaults scifact/ --split dev --queries generated.jsonl --encoder my-encoder/
    """
    to = shared.setup(arguments)
    to.run(
        "Default alphas",
        lambda bench, _: recommend_alphas(
            bench,
            alphas=alphas or ALPHAS,
            measures=to.measures,
            resamples=to.resamples,
        ),
    )
