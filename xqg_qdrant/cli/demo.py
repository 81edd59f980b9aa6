"""``xqg demo``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli.evaluate import print_measures
from xqg_qdrant.cli.search import print_hits
from xqg_qdrant.client import Client
from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_questions
from xqg_qdrant.evaluation.measures import DEPTH, measure
from xqg_qdrant.records import Qrel, Question

COLLECTION = "encyclopaedia"
SHOWN_QUESTIONS = ("niger-river-ar", "cheetah-sw", "nowruz-ja")


@click.command()
@click.option(
    "--to",
    "location",
    metavar="PATH_OR_URL",
    default="xqg-demo",
    show_default=True,
    help="Where the collection is made.",
)
@options.api_key
@options.quiet
def demo(location: str, api_key: str | None, quiet: bool) -> None:
    """Ingest a small corpus, measure it with and without queries, and search it.

    Takes a few seconds and no network. The collection stays, to be played with.
    """
    asked = [pair for _, pair in read_questions(samples.QUESTIONS)]
    with Client(location, api_key=api_key) as client:
        click.echo("1. Ingest: English passages, with queries in eight languages\n")
        with options.progress_bar(quiet=quiet) as show:
            report = client.ingest(
                COLLECTION,
                samples.PASSAGES,
                samples.QUERIES,
                generator="hand-written sample",
                progress=show,
            )
        click.echo(
            f"   {report.passages} passages and {sum(report.queries.values())} queries "
            f"({', '.join(report.queries)}) in {report.seconds:.1f} s, encoder {report.encoder}\n"
        )
        _measure(client, asked)
        _search(client, asked)
    _report_reference()
    click.echo(
        f"\nThe collection {COLLECTION!r} lies at {location}. Try next:\n"
        f'  xqg search "¿Qué instrumento se toca con un arco?" --from {location}\n'
        f"  xqg info --from {location} -c {COLLECTION}\n"
        "  xqg ingest --help\n"
    )


def _measure(client: Client, asked: list[tuple[Question, Qrel]]) -> None:
    questions = [question for question, _ in asked]
    systems = {}
    for system, augmented in (("plain", False), ("xQG", True)):
        hits = client.search_batch(
            COLLECTION,
            [question.text for question in questions],
            lang=[question.lang for question in questions],
            limit=DEPTH,
            augmented=augmented,
            exact=True,
        )
        systems[system] = measure(
            system,
            [qrel for _, qrel in asked],
            {question.id: each for question, each in zip(questions, hits, strict=True)},
            {question.id: question.lang for question in questions},
        )
    click.echo("2. Measure: does the right passage come first, or among the first ten?\n")
    print_measures(dict(systems))
    click.echo(
        "\n   The passages, queries and questions of this sample are hand-written, one by one,\n"
        "   for this demonstration. The table shows that the machinery works; it is no benchmark."
    )


def _search(client: Client, asked: list[tuple[Question, Qrel]]) -> None:
    click.echo("\n3. Search: ask in any of the languages, the language is detected\n")
    by_id = {question.id: question for question, _ in asked}
    for shown in SHOWN_QUESTIONS:
        question = by_id[shown]
        click.echo(f"   {question.lang}: {question.text}")
        print_hits(client.search(COLLECTION, question.text, limit=2))
        click.echo()


def _report_reference() -> None:
    """Print the figures on XQuAD-R that were measured when the package was built."""
    reference = json.loads(Path(samples.REFERENCE).read_text(encoding="utf-8"))
    click.echo(f"The honest figures: {reference['what']}")
    for row in reference["rows"]:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in row["figures"].items())
        click.echo(f"  {row['system']}: {figures}")
    click.echo(f"  (measured by: {reference['command']})")
