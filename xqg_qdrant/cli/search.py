"""``xqg search``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from xqg_qdrant.cli import options
from xqg_qdrant.client import Client
from xqg_qdrant.corpus.jsonl import STDIN, decode_line, read_lines
from xqg_qdrant.engine.base import MAX_LIMIT
from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.records import Hit

_FILTER = re.compile(r"([^<>=]+?)\s*(<=|>=|=|<|>)\s*(.*)", re.DOTALL)
_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def _filters(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE``, ``KEY>=NUMBER`` …; a key given twice with ``=`` means either value."""
    filters: dict[str, Any] = {}
    for text in values:
        match = _FILTER.fullmatch(text)
        if not match:
            raise click.BadParameter(f"{text!r}: write KEY=VALUE, or KEY>=NUMBER")
        key, sign, raw = match[1].strip(), match[2], match[3].strip()
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            value = raw
        if sign == "=":
            either = filters.setdefault(key, [])
            if not isinstance(either, list):
                raise click.BadParameter(f"{key!r} has bounds and a value: give one of them")
            either.extend(value if isinstance(value, list) else [value])
        else:
            bounds = filters.setdefault(key, {})
            if not isinstance(bounds, dict):
                raise click.BadParameter(f"{key!r} has bounds and a value: give one of them")
            bounds[_BOUNDS[sign]] = value
    return filters


def _weights(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> dict[str, float] | None:
    """Parse ``CODE=NUMBER,…``."""
    if value is None:
        return None
    weights = {}
    for part in value.split(","):
        code, _, number = part.partition("=")
        try:
            weights[normalize_language(code.strip())] = float(number)
        except InputError as error:
            raise click.BadParameter(str(error)) from None
        except ValueError:
            raise click.BadParameter(f"{part!r}: write CODE=NUMBER, as in de=1,en=0.5") from None
    return weights


@click.command()
@click.argument("question")
@options.location("--from")
@options.collection(required=False)
@click.option(
    "--lang",
    metavar="CODE",
    callback=options.language,
    help="Language of the question.  [default: detected]",
)
@click.option(
    "-k",
    "--limit",
    type=click.IntRange(1, MAX_LIMIT),
    default=5,
    show_default=True,
    help="Most hits.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_filters,
    help="On metadata: topic=geology, 'year>=1900', author.name=Mozart. May be repeated: all "
    "must hold; the same KEY= twice means either value.",
)
@click.option(
    "--passage-lang",
    metavar="CODES",
    callback=options.languages,
    help="Only passages in these languages.",
)
@click.option("--plain", is_flag=True, help="Leave out the generated queries.")
@click.option(
    "--hybrid/--no-hybrid",
    default=None,
    help="Fuse with the lexical ranking, or not.  [default: where the collection can]",
)
@click.option(
    "--alpha",
    type=float,
    callback=options.checked_alpha,
    help="Weight of each query's vector, 0 to 1, in a 'tunable' collection.  [default: its own]",
)
@click.option(
    "--language-weights",
    metavar="CODE=NUMBER,…",
    callback=_weights,
    help="Weights of each language's queries in a 'tunable' collection, as in de=1,en=0.5.  "
    "[default: 1 for the question's language]",
)
@options.encoder("the one that the collection was built with")
@options.threads
@options.api_key
@options.as_json
def search(
    question: str,
    location: str,
    collection: str | None,
    lang: str | None,
    limit: int,
    filters: dict[str, Any],
    passage_lang: tuple[str, ...],
    plain: bool,
    hybrid: bool | None,
    alpha: float | None,
    language_weights: dict[str, float] | None,
    encoder: str | None,
    threads: int | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Find the passages that answer QUESTION.

    QUESTION '-' reads questions from standard input, one a line. The collection can be left out
    where there is only one.

    \b
    Examples:
      xqg search "Mto mrefu zaidi Afrika ni upi?" --from ./library -c wiki --lang sw
      xqg search "Wer erfand den Buchdruck?" --filter topic=inventions --filter 'year<1600'
    """
    texts = [question]
    if question == STDIN:
        texts = [decode_line(line, where).strip() for where, line in read_lines(STDIN)]
    if not texts or not all(text.strip() for text in texts):
        raise click.UsageError("the question is empty: give one")
    with Client(location, api_key=api_key, encoder=encoder, threads=threads) as client:
        name = collection or _only_collection(client)
        found = client.search_batch(
            name,
            texts,
            lang=lang,
            limit=limit,
            filters=filters,
            passage_lang=passage_lang,
            augmented=not plain,
            hybrid=hybrid,
            alpha=alpha,
            language_weights=language_weights,
        )
    if as_json:
        rows = [
            {"question": text, "hits": [asdict(hit) for hit in hits]}
            for text, hits in zip(texts, found, strict=True)
        ]
        options.print_json(rows if question == "-" else rows[0]["hits"])
        return
    for text, hits in zip(texts, found, strict=True):
        if question == "-":
            click.echo(f"\n{text}")
        print_hits(hits)


def print_hits(hits: Sequence[Hit]) -> None:
    """Hits for people: rank, score, id and title, then the text."""
    if not hits:
        click.echo("no hits")
    for rank, hit in enumerate(hits, start=1):
        name, title = options.printable(hit.id), options.printable(hit.title)
        click.echo(f"{rank}. {hit.score:.3f}  {title or name}  [{name}]")
        text = hit.text if len(hit.text) <= 240 else hit.text[:239].rsplit(" ", 1)[0] + "…"
        text = options.printable(text)
        click.echo(click.wrap_text(text, 96, initial_indent="   ", subsequent_indent="   "))


def _only_collection(client: Client) -> str:
    names = client.collections()
    if len(names) != 1:
        there = ", ".join(names) or "none"
        raise InputError(
            f"name a collection with --collection (collections at {client.location}: {there})"
        )
    return names[0]
