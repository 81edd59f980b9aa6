"""``xqg eval run``."""

from __future__ import annotations

from typing import Any

import click

from xqg_qdrant.cli.evaluate import shared
from xqg_qdrant.corpus.trec import read_qrels, read_run, read_topics
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.measures import ALL, JudgedRun

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)


@click.command("run")
@click.option(
    "--qrels",
    required=True,
    type=_FILE,
    help="Judgements, in TREC's format or as BEIR's TSV.",
)
@click.option("--run", "run_file", required=True, type=_FILE, help="The run, in TREC's format.")
@click.option(
    "--topics",
    type=_FILE,
    help="TSV 'id TAB language TAB text': figures by language. Without it, all questions are one.",
)
@shared.baseline()
@shared.measuring
def run(qrels: str, run_file: str, topics: str | None, baseline: str | None, **output: Any) -> None:
    """A run file in TREC's format, of this system or any other, against judgements.

    All judged questions count: those that the run says nothing of score 0. Hits are ordered as
    trec_eval orders them: by score, and by id from the last to the first where scores are the same.

    \b
    Examples:
      xqg eval run --qrels qrels.txt --run xqg.run --measures R@100,nDCG@10,mAP
      xqg eval run --qrels test.tsv --run xqg.run --baseline plain.run --topics topics.tsv
    """
    to = shared.output_of(output)
    judged = tuple(qrel for _, qrel in read_qrels(qrels))
    found = read_run(run_file)
    ids = {qrel.question_id for qrel in judged}
    languages = dict.fromkeys(ids, ALL)
    if topics is not None:
        languages = {question.id: question.lang for _, question in read_topics(topics)}
        if unknown := sorted(ids - languages.keys()):
            raise InputError(f"{topics}: no topic {unknown[0]!r}, which {qrels} judges")
    system = JudgedRun(found.name, judged, found.ranked, languages)
    if judged and not ids & found.ranked.keys():
        raise InputError(
            f"{run_file}: none of its questions is judged in {qrels}: they belong to other data"
        )
    strangers = len(found.ranked.keys() - ids)
    unjudged = f"; {strangers:,} questions of the run are not judged" if strangers else ""
    to.finish(
        shared.About.of(qrels, run=run_file, qrels=qrels, topics=topics, baseline=baseline),
        system,
        shared.baseline_of(baseline, system, None),
        f"{len(judged):,} judgements{unjudged}",
    )
