"""Measure an encoder on XQuAD-R, plain, augmented and with the control, over a range of alpha.

Needs XQuAD-R's ``en.json``, ``ar.json``, … (github.com/google-research-datasets/lareqa) and takes
about two minutes on two cores. Prints Markdown tables for ``docs/evaluation.md``; ``--articles``
asks a part of the questions (all of them augment, the pool stays whole), ``--reference`` writes the
figures that ``xqg demo`` shows beside its own.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from xqg_qdrant.cli.evaluate import articles_span
from xqg_qdrant.client import Client
from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.xquad_r import XquadR, read_xquad_r
from xqg_qdrant.evaluation.measures import AVERAGE, MEASURES, Row
from xqg_qdrant.evaluation.xquad_r import evaluate_xquad_r
from xqg_qdrant.layouts import DEFAULT_LAYOUT
from xqg_qdrant.models.encoder import BATCH_SIZE, Encoded, Encoder, Kind
from xqg_qdrant.models.manifest import DEFAULT_ENCODER

ALPHAS = {
    "per-language": (0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    "fused": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
}


class Remembering(Encoder):
    """An encoder that keeps every vector: the same texts come back at every alpha."""

    @classmethod
    def of(cls, name_or_folder: str) -> Remembering:
        """Load one."""
        encoder = cls.load(name_or_folder)
        assert isinstance(encoder, cls)
        encoder.kept = {}
        return encoder

    kept: dict[tuple[Kind, str], NDArray[np.float32]]

    def stream(
        self, texts: Iterable[str], kind: Kind, *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Encoded]:
        """All vectors at once, those that are new encoded first."""
        asked = list(texts)
        new = list(dict.fromkeys(text for text in asked if (kind, text) not in self.kept))
        made = [part.vectors for part in super().stream(new, kind, batch_size=batch_size)]
        for text, vector in zip(new, itertools.chain.from_iterable(made), strict=True):
            self.kept[kind, text] = vector
        if asked:
            yield Encoded(np.array([self.kept[kind, text] for text in asked]), 0)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--encoder", default=DEFAULT_ENCODER, show_default=True)
@click.option(
    "--articles",
    default="17-24",
    show_default=True,
    callback=articles_span,
    help="First and last, from 1.",
)
@click.option("--reference", is_flag=True, help="Write the figures that the demo shows.")
def main(folder: Path, encoder: str, articles: tuple[int, int], reference: bool) -> None:
    """Print the table of figures on XQuAD-R in FOLDER."""
    data = read_xquad_r(folder)
    remembering = Remembering.of(encoder)
    span = "{}-{}".format(*articles)
    click.echo(
        f"{encoder}; questions of articles {span}: {len(data.of_articles(articles)):,} in "
        f"{len(data.languages)} languages; pool: {len(data.passages)} paragraphs\n"
    )
    runs: list[dict[str, Any]] = [{"augment": "none"}]
    runs += [{"augment": "sentences", "alpha": alpha} for alpha in ALPHAS["per-language"]]
    for layout, alphas in ALPHAS.items():
        runs += [{"augment": "questions", "layout": layout, "alpha": alpha} for alpha in alphas]
    click.echo(f"| system | {' | '.join(MEASURES)} | {' | '.join(f'en {m}' for m in MEASURES)} |")
    click.echo("|---" * (1 + 2 * len(MEASURES)) + "|")
    shown = []
    for run in runs:
        with Client(":memory:", encoder=remembering) as client:
            rows = evaluate_xquad_r(client, data, articles=articles, **run)
            default = client.default_alpha()
        figures = {(row.language, row.measure): row.value for row in rows}
        cells = [
            f"{figures[language, name]:.3f}" for language in (AVERAGE, "en") for name in MEASURES
        ]
        click.echo(f"| {rows[0].system} | {' | '.join(cells)} |")
        if _is_default(run, default):
            shown.append(rows)
    click.echo("\nBy language, at the defaults, MRR@10:\n")
    _print_languages(shown)
    click.echo("\nWhat the rest of the pool does, per-language, MRR@10:\n")
    _print_pools(data, remembering, articles)
    if reference:
        _write_reference(shown, encoder, span, len(data.passages))


def _print_pools(data: XquadR, encoder: Encoder, articles: tuple[int, int]) -> None:
    """Gains among the asked paragraphs alone, with others that have queries, and with such as not.

    A passage without queries loses alpha of its vector and gains nothing, so a pool that is only
    partly augmented flatters the augmented part.
    """
    asked = data.of_articles(articles)
    own = {placed.passage_id for placed in asked}
    alone = tuple(passage for passage in data.passages if passage.id in own)
    pools = {
        "the asked paragraphs alone, all augmented": replace(data, passages=alone, questions=asked),
        "all paragraphs, all augmented": data,
        "all paragraphs, the asked ones augmented": replace(data, questions=asked),
    }
    alphas = ALPHAS["per-language"]
    click.echo(f"| pool | passages | plain | {' | '.join(f'alpha {a:g}' for a in alphas)} |")
    click.echo("|---" * (3 + len(alphas)) + "|")
    for name, pool in pools.items():
        cells = []
        for alpha in (None, *alphas):
            with Client(":memory:", encoder=encoder) as client:
                rows = evaluate_xquad_r(
                    client,
                    pool,
                    augment="none" if alpha is None else "questions",
                    alpha=alpha,
                    articles=articles,
                )
            figures = {(row.language, row.measure): row.value for row in rows}
            cells.append(f"{figures[AVERAGE, 'MRR@10']:.3f}")
        click.echo(f"| {name} | {len(pool.passages)} | {' | '.join(cells)} |")


def _is_default(run: dict[str, Any], alpha: float) -> bool:
    """Whether it is none, or layout ``per-language`` (or the control) at the default alpha."""
    if run["augment"] == "none":
        return True
    return run.get("layout", DEFAULT_LAYOUT) == DEFAULT_LAYOUT and run["alpha"] == alpha


def _print_languages(systems: list[list[Row]]) -> None:
    languages = list(dict.fromkeys(row.language for row in systems[0]))
    click.echo("| system | " + " | ".join(languages) + " |")
    click.echo("|---" * (1 + len(languages)) + "|")
    for rows in systems:
        values = {row.language: row.value for row in rows if row.measure == "MRR@10"}
        cells = " | ".join(f"{values[language]:.3f}" for language in languages)
        click.echo(f"| {rows[0].system} | {cells} |")


def _write_reference(systems: list[list[Row]], encoder: str, articles: str, pool: int) -> None:
    reference = {
        "what": f"XQuAD-R, questions of articles {articles}, {pool} English paragraphs, mean of "
        "ten languages; 'questions' stand for a perfect generator, 'sentences' are the control",
        "command": f"scripts/measure_xquad_r.py XQUAD-R --articles {articles} --reference",
        "encoder": encoder,
        "encoder_fingerprint": Encoder.load(encoder).fingerprint,
        "rows": [
            {
                "system": rows[0].system,
                "figures": {
                    row.measure: round(row.value, 4) for row in rows if row.language == AVERAGE
                },
            }
            for rows in systems
        ],
    }
    samples.REFERENCE.write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")
    click.echo(f"\nwrote {samples.REFERENCE}", err=True)


if __name__ == "__main__":
    main()
