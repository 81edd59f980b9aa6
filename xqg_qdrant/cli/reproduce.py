"""``xqg reproduce``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
from tqdm import tqdm

from xqg_qdrant.cli import options
from xqg_qdrant.cli.evaluate import shared
from xqg_qdrant.client import Client
from xqg_qdrant.corpus.catalogue import data_set_named
from xqg_qdrant.engine import MEMORY
from xqg_qdrant.evaluation.experiments import Curve
from xqg_qdrant.evaluation.measures import AVERAGE
from xqg_qdrant.evaluation.report import Report, make_folder, write_report
from xqg_qdrant.evaluation.reproduction.cells import NOTE, Cell, cells_of, table_of
from xqg_qdrant.evaluation.reproduction.inputs import Inputs, Missing, open_inputs
from xqg_qdrant.evaluation.reproduction.paper import (
    ALPHA,
    FIGURES,
    LAYOUT,
    MEASURES,
    PAPER,
    QUERIES,
    ROWS,
    SOURCE,
    PaperRow,
)
from xqg_qdrant.evaluation.reproduction.running import Reproduction, reproduce
from xqg_qdrant.evaluation.statistics import SEED

TABLE = "table"
_NOT_COMPARABLE = "Not comparable with the published values"


@click.command("reproduce")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([TABLE, *(row.name for row in ROWS), *FIGURES]),
    help="This alone; may be given several times. alpha and queries are the paper's figures.  "
    "[default: table]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="PASSAGES",
    help="Try it out on the first so many passages: figures are then no reproduction.",
)
@shared.location
@options.threads
@options.api_key
@shared.showing
@options.quiet
def reproduce_(
    folder: Path,
    only: tuple[str, ...],
    limit: int | None,
    location: str | None,
    threads: int | None,
    api_key: str | None,
    resamples: int,
    report: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """The xQG paper's table and figures, measured here beside the published values.

    FOLDER holds the inputs, as far as they are at hand; what is missing is named, with the command
    that gets or makes it, and the rest is measured. An empty FOLDER lists them all.

    \b
      xor_dev_retrieve_eng_span_v1_1.jsonl     questions
      xor-tydi-xqg-augmented/                  passages with generated queries, or else
      enwiki_20190201_w100.tsv, queries.jsonl  passages, and queries of 'xqg generate'
      encoders/mbert/, encoders/xlm-r/         encoders, of 'xqg export'
      predictions/mbert.json, runs/            or what was found elsewhere: predictions in the
                                               official format, or the authors' run files

    Settings are the paper's: alpha .01, one fused vector, 5 queries a language, exact search. With
    all 18 million passages it takes core-months: give --to, so that a run that was cut off goes
    on. Exit code 1 if nothing can be measured. Needs the eval extra.

    \b
    Examples:
      xqg reproduce paper/
      xqg reproduce paper/ --only mbert --only mbert-xqg --to collections --report report/
      xqg reproduce paper/ --limit 10000 --only table --only alpha --only queries
    """
    chosen = only or (TABLE,)
    rows = [row for row in ROWS if TABLE in chosen or row.name in chosen]
    inputs = open_inputs(folder, limit=limit, rows=rows or ROWS)
    missing = {row.name: inputs.missing_for(row) for row in rows}
    wanted = [name for name in FIGURES if name in chosen]
    missing.update({name: inputs.missing_for_figures(rows or ROWS) for name in wanted})
    lost = {name: each for name, each in missing.items() if each}
    feasible = [row for row in rows if row.name not in lost]
    figures = [name for name in wanted if name not in lost]
    found = Reproduction()
    if feasible or figures:
        if report is not None:
            make_folder(report)  # what is wrong with it is said before days of work

        def say(text: str) -> None:
            if not quiet:
                tqdm.write(text, file=sys.stderr)  # above the bar, if there is one

        again = "Interrupted." + ("" if location is None else " The same command goes on.")
        with options.interruptible(again), options.progress_bar(quiet=quiet) as show:
            found = reproduce(
                inputs,
                feasible,
                figures,
                lambda encoder: Client(
                    location or MEMORY, api_key=api_key, encoder=encoder, threads=threads
                ),
                resamples=resamples,
                progress=show,
                say=say,
            )
    shown = [row for row in ROWS if row in rows or row.name in found.table]
    cells = cells_of(shown, found)
    settings = _settings(inputs, found, resamples)
    if report is not None and found.table:
        page = write_report(report, _report(shown, cells, found, settings, lost, resamples))
        click.echo(f"Report: {page}", err=True)
    if as_json:
        options.print_json(_as_json(cells, found, settings, lost, resamples))
    else:
        _print(shown, cells, found, lost)
    if not found.table:
        raise click.ClickException(
            f"{folder}: nothing of what was asked for can be measured; what is missing is listed "
            "with the commands that get it"
        )


def _settings(inputs: Inputs, found: Reproduction, resamples: int) -> dict[str, str]:
    corpus = inputs.corpus
    return {
        "paper": PAPER,
        "published values": SOURCE,
        "folder": str(inputs.folder),
        "questions": f"{len(inputs.questions or ()):,}",
        **({"passages": f"{found.passages:,}"} if found.passages else {}),
        "queries": f"the first {QUERIES} a language, "
        + ("published" if corpus is not None and corpus.is_published else "of 'xqg generate'"),
        "alpha": f"{ALPHA:g}",
        "layout": LAYOUT,
        **{
            f"encoder {name}": f"{each.name} ({each.fingerprint[:12]})"
            for name, each in inputs.encoders.items()
        },
        "resamples": f"{resamples:,}, seed {SEED}",
    }


def _report(
    rows: Sequence[PaperRow],
    cells: Sequence[Cell],
    found: Reproduction,
    settings: Mapping[str, str],
    missing: Mapping[str, Sequence[Missing]],
    resamples: int,
) -> Report:
    figures = [row for each in found.table.values() for row in each.rows(resamples)]
    notes = [f"{_NOT_COMPARABLE}: {each}." for each in found.deviations]
    notes += found.notes
    notes += [
        f"{name} was not measured, for want of: {'; '.join(each.what for each in lost)}."
        for name, lost in missing.items()
    ]
    first, *others = [
        table_of(measure, rows, cells, comparable=not found.deviations) for measure in MEASURES
    ]
    return Report(
        "The xQG paper, reproduced" + (" (not comparable)" if found.deviations else ""),
        [*figures, *found.figures],
        [*found.comparisons, *found.figure_comparisons],
        settings,
        found.curves,
        notes,
        data_set_named("xor-tydi"),
        tables=[replace(first, note=NOTE), *others],
    )


def _as_json(
    cells: Sequence[Cell],
    found: Reproduction,
    settings: Mapping[str, str],
    missing: Mapping[str, Sequence[Missing]],
    resamples: int,
) -> dict[str, object]:
    figures = [row for each in found.table.values() for row in each.rows(resamples)]
    compared = [*found.comparisons, *found.figure_comparisons]
    return {
        "comparable": bool(found.table) and not found.deviations,
        "deviations": found.deviations,
        "cells": [each.to_json() for each in cells],
        "missing": {name: [asdict(each) for each in lost] for name, lost in missing.items()},
        "rows": [row.to_json() for row in (*figures, *found.figures)],
        "comparisons": [each.to_json() for each in compared],
        "curves": [asdict(each) for each in found.curves],
        "notes": found.notes,
        "settings": dict(settings),
        "seed": SEED,
        "resamples": resamples,
    }


def _print(
    rows: Sequence[PaperRow],
    cells: Sequence[Cell],
    found: Reproduction,
    missing: Mapping[str, Sequence[Missing]],
) -> None:
    if found.table and rows:
        for measure in MEASURES:
            table = table_of(measure, rows, cells, comparable=not found.deviations)
            click.echo(f"{table.title}\n")
            options.print_table(table.header, table.lines)
            click.echo()
        click.echo(click.wrap_text(NOTE, 100))
    for curve in found.curves:
        _print_curve(curve)
    for note in found.notes:
        click.echo("\n" + click.wrap_text(note, 100))
    if found.deviations:
        click.echo(f"\n{_NOT_COMPARABLE}:")
        for each in found.deviations:
            click.echo(f"  - {each}")
    if missing:
        _print_missing(missing)


def _print_curve(curve: Curve) -> None:
    """A line a point, the average last."""
    names = [*(name for name in curve.lines if name != AVERAGE), AVERAGE]
    click.echo(f"\n{curve.title}, percent\n")
    values = {name: dict(curve.lines[name]) for name in names}
    options.print_table(
        [curve.x, *names],
        [[f"{x:g}", *(f"{100 * values[name][x]:.2f}" for name in names)] for x in values[AVERAGE]],
    )


def _print_missing(missing: Mapping[str, Sequence[Missing]]) -> None:
    """Each input once, with what needs it."""
    needed: dict[Missing, list[str]] = {}
    for name, lost in missing.items():
        for each in lost:
            needed.setdefault(each, []).append(name)
    click.echo(f"\nNot measured: {', '.join(missing)}. Missing:")
    for each, names in needed.items():
        click.echo(f"\n{each.what} (for {', '.join(names)})\n  {each.path}")
        for command in each.commands:
            click.echo(f"  {command}" if command == "or" else f"    {command}")
        if each.note:
            click.echo(f"  {each.note}")
