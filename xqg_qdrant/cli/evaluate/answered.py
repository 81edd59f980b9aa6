"""``xqg eval xor-tydi`` and ``xqg eval mkqa``: questions whose answers are texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli.evaluate import shared
from xqg_qdrant.client import Client
from xqg_qdrant.corpus.mkqa import read_mkqa
from xqg_qdrant.corpus.xor_tydi import (
    XorCorpus,
    read_answered_questions,
    read_predictions,
    writing_predictions,
)
from xqg_qdrant.engine import MEMORY
from xqg_qdrant.evaluation.answers import measure_answers
from xqg_qdrant.evaluation.predicting import DEPTH, predict
from xqg_qdrant.evaluation.words import word_tokenizer
from xqg_qdrant.models.manifest import DEFAULT_ENCODER
from xqg_qdrant.records import AnsweredQuestion

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option("--predictions", type=_FILE, help="Score these, in XOR-TyDi's official format."),
    click.option(
        "--corpus",
        type=click.Path(exists=True, path_type=Path),
        help="Search these passages: TSV 'id TAB text TAB title', or the published augmented set "
        "(JSONL or Parquet, or the folder of its shards), whose queries then augment them.",
    ),
    click.option("--no-queries", is_flag=True, help="Leave the published set's queries out."),
    options.encoder(DEFAULT_ENCODER),
    shared.queries,
    options.layout,
    options.hybrid,
    options.alpha,
    click.option(
        "--depth",
        type=click.IntRange(min=1),
        default=DEPTH,
        show_default=True,
        help="Passages a question.",
    ),
    shared.detect,
    shared.baseline(shared.PLAIN, file="predictions"),
    shared.location,
    options.threads,
    options.api_key,
    click.option(
        "--save-predictions",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write what was found there, in the official format.",
    ),
    shared.showing,
    options.quiet,
)


def _searching(command: options.Command) -> options.Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("xor-tydi")
@click.argument("questions", type=_FILE)
@_searching
def xor_tydi(questions: Path, **arguments: Any) -> None:
    """XOR-TyDi retrieve: is an answer in the first two and five thousand words found?

    QUESTIONS is upstream's JSONL. 'official' figures are those of the official script: over the
    questions that were predicted. R@2kt and R@5kt beside them are over all questions with an answer
    to look for: those not predicted are misses. Needs the eval extra.

    \b
    Examples:
      xqg eval xor-tydi xor_dev_retrieve_eng_span_v1_1.jsonl --predictions theirs.json
      xqg eval xor-tydi dev.jsonl --corpus psgs_w100.tsv --queries generated.jsonl --baseline plain
      xqg eval xor-tydi dev.jsonl --corpus augmented.jsonl.gz --save-predictions ours.json
    """
    _evaluate("xor-tydi", read_answered_questions(questions), **arguments)


@click.command("mkqa")
@click.argument("questions", type=_FILE)
@click.option(
    "--languages",
    metavar="CODES",
    callback=options.languages,
    help="Ask in these languages, as in ar,sw,zh.  [default: all]",
)
@_searching
def mkqa(questions: Path, languages: tuple[str, ...], **arguments: Any) -> None:
    """MKQA: the same questions in 26 languages, against any corpus of English passages.

    QUESTIONS is upstream's mkqa.jsonl.gz, or JSONL like it. Scored as XOR-TyDi is, by the English
    answers and their aliases; questions without a text as an answer are left out. Needs the eval
    extra.

    \b
    Examples:
      xqg eval mkqa mkqa.jsonl.gz --corpus psgs_w100.tsv --languages ar,sw,ko
    """
    _evaluate("mkqa", read_mkqa(questions, languages=languages or None), **arguments)


def _evaluate(
    collection: str,
    questions: Sequence[AnsweredQuestion],
    *,
    predictions: Path | None,
    corpus: Path | None,
    no_queries: bool,
    encoder: str | None,
    queries: str | None,
    layout: str,
    hybrid: bool,
    alpha: float | None,
    depth: int,
    detect: bool,
    baseline: str | None,
    location: str | None,
    threads: int | None,
    api_key: str | None,
    save_predictions: Path | None,
    quiet: bool,
    **output: Any,
) -> None:
    to = shared.output_of(output)
    if (predictions is None) == (corpus is None):
        raise click.UsageError("give --predictions to score, or --corpus to search: one of them")
    if predictions is not None and (save_predictions or queries or baseline == shared.PLAIN):
        raise click.UsageError("--predictions are scored as they are: nothing is searched")
    word_tokenizer()  # what is missing is said before hours of work, not after
    answered = [each for each in questions if each.answers]
    if predictions is not None:
        systems = [(predictions.name, iter(read_predictions(predictions)))]
        measured = [measure_answers(*each, questions) for each in systems]
    else:
        assert corpus is not None
        passages = XorCorpus(corpus)
        added = None if no_queries else passages.queries()
        if queries is not None and added is not None:
            raise click.UsageError("--corpus has queries of its own: give --no-queries too")
        if baseline == shared.PLAIN and queries is None and added is None:
            shared.require_queries(None, baseline)
        with (
            Client(location or MEMORY, api_key=api_key, encoder=encoder, threads=threads) as client,
            options.progress_bar(quiet=quiet) as show,
        ):
            systems = predict(
                client,
                collection,
                passages,
                queries or added or (),
                answered,
                layout=layout,
                hybrid=hybrid,
                alpha=alpha,
                depth=depth,
                detect_language=detect,
                plain=baseline == shared.PLAIN,
                progress=show,
            )
            if save_predictions is not None:
                name, found = systems[0]
                systems[0] = name, writing_predictions(save_predictions, found)
            measured = [measure_answers(*each, questions) for each in systems]
    if baseline is not None and baseline != shared.PLAIN:
        path = Path(baseline)
        measured.append(measure_answers(path.name, read_predictions(path), questions))
    to.show(
        shared.About.of(
            collection,
            corpus=corpus,
            predictions=predictions,
            queries=queries,
            layout=layout,
            hybrid=hybrid,
            alpha="the layout's default" if alpha is None else alpha,
            depth=depth,
            detect=detect,
        ),
        measured[0][0],
        measured[1][0] if len(measured) > 1 else None,
        f"{len(measured[0][0].questions):,} of {len(questions):,} questions have answers to "
        "look for",
        extra=[rows for _, rows in measured],
    )
