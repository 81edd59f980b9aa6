"""``xqg eval xquad-r``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli.evaluate import shared
from xqg_qdrant.client import Client
from xqg_qdrant.corpus.xquad_r import read_xquad_r
from xqg_qdrant.corpus.xquad_r_sentences import read_xquad_r_sentences
from xqg_qdrant.engine import MEMORY
from xqg_qdrant.evaluation.measures import JudgedRun
from xqg_qdrant.evaluation.sentences import sentence_scores
from xqg_qdrant.evaluation.xquad_r import AUGMENTS, Augment, retrieve_xquad_r
from xqg_qdrant.models.manifest import DEFAULT_ENCODER

CONTROL = "sentences"
TASKS = ("paragraphs", "sentences")


def articles_span(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Callback of an option that takes ``FIRST-LAST``, or one number."""
    if value is None:
        return None
    first, _, last = value.partition("-")
    try:
        span = int(first), int(last or first)
    except ValueError:
        raise click.BadParameter(f"{value!r}: write FIRST-LAST, as in 17-24") from None
    if not 1 <= span[0] <= span[1]:
        raise click.BadParameter(f"{value!r}: articles count from 1, the first comes first")
    return span


articles_option = click.option(
    "--articles",
    metavar="FIRST-LAST",
    callback=articles_span,
    help="Ask the questions of these articles only; all paragraphs stay in the pool. The bundled "
    "encoder was trained on articles 1-16.",
)


@click.command("xquad-r")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.encoder(DEFAULT_ENCODER)
@click.option(
    "--task",
    type=click.Choice(TASKS),
    default=TASKS[0],
    show_default=True,
    help="paragraphs: find the English paragraph. sentences: LAReQA's task, mAP over the sentences "
    "of all languages in three settings; nothing is augmented there.",
)
@click.option(
    "--augment",
    type=click.Choice(AUGMENTS),
    default="none",
    show_default=True,
    help="What stands in for generated queries. questions: other people's, in two folds, as a "
    "perfect generator would write them. sentences: the passage's own, the control.",
)
@click.option(
    "--two-fold",
    is_flag=True,
    help="Spell out how --augment questions works: even questions of a paragraph augment while "
    "odd ones ask, then the other way round; none ever meets itself.",
)
@options.layout
@options.hybrid
@options.alpha
@shared.detect
@articles_option
@click.option("--titles", is_flag=True, help="Give paragraphs their article's title.")
@shared.baseline(shared.PLAIN, CONTROL)
@shared.location
@options.threads
@options.api_key
@shared.output
@options.quiet
def xquad_r(
    folder: Path,
    encoder: str | None,
    task: str,
    augment: str,
    two_fold: bool,
    layout: str,
    hybrid: bool,
    alpha: float | None,
    detect: bool,
    articles: tuple[int, int] | None,
    titles: bool,
    baseline: str | None,
    location: str | None,
    threads: int | None,
    api_key: str | None,
    quiet: bool,
    **output: Any,
) -> None:
    """XQuAD-R: questions in every language found, against English paragraphs or all sentences.

    FOLDER holds upstream's en.json, ar.json, …; paragraphs without questions stay in the pool.
    Figures per language, and averaged over the languages other than English.

    \b
    Examples:
      xqg eval xquad-r xquad-r/
      xqg eval xquad-r xquad-r/ --augment questions --layout per-language --json
      xqg eval xquad-r xquad-r/ --augment questions --baseline plain --measures MRR@10,nDCG@10
      xqg eval xquad-r xquad-r/ --task sentences
    """
    to = shared.output_of(output)
    if two_fold and augment != "questions":
        raise click.UsageError("--two-fold says how --augment questions works: give that too")
    if task == "sentences":
        if augment != "none" or baseline is not None or titles:
            raise click.UsageError("--task sentences takes no --augment, --baseline or --titles")
        _sentences(folder, encoder, threads, articles, to, quiet=quiet)
        return
    data = read_xquad_r(folder, titles=titles)
    with (
        Client(location or MEMORY, api_key=api_key, encoder=encoder, threads=threads) as client,
        options.progress_bar(quiet=quiet) as show,
    ):

        def retrieve(augment: str) -> JudgedRun:
            return retrieve_xquad_r(
                client,
                data,
                augment=cast("Augment", augment),
                layout=layout,
                hybrid=hybrid,
                alpha=alpha,
                articles=articles,
                measures=to.measures,
                detect_language=detect,
                progress=show,
            )

        judged = retrieve(augment)
        other = None
        if baseline in (shared.PLAIN, CONTROL):
            other = retrieve("none" if baseline == shared.PLAIN else CONTROL)
    to.finish(
        shared.About.of(
            "xquad-r",
            folder=folder,
            augment=augment,
            layout=layout,
            hybrid=hybrid,
            alpha="the layout's default" if alpha is None else alpha,
            detect=detect,
            articles="all" if articles is None else "{}-{}".format(*articles),
            titles=titles,
        ),
        judged,
        shared.baseline_of(baseline, judged, other),
        f"{len(data.passages)} passages in the pool",
    )


def _sentences(
    folder: Path,
    encoder: str | None,
    threads: int | None,
    articles: tuple[int, int] | None,
    to: shared.Output,
    *,
    quiet: bool,
) -> None:
    from xqg_qdrant.models.encoder import Encoder

    data = read_xquad_r_sentences(folder, articles=articles)
    with options.progress_bar(quiet=quiet) as show:
        scores = sentence_scores(
            Encoder.load(encoder or DEFAULT_ENCODER, threads=threads), data, progress=show
        )
    about = shared.About.of("xquad-r", folder=folder, task="sentences", articles=articles)
    to.show(about, scores, None, f"{len(data.sentences):,} sentences in the pool")
