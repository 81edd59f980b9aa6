"""What the experiments share: their data, their options, and how they are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli.evaluate.shared import (
    KINDS,
    measures_option,
    report_option,
    resamples_option,
)
from xqg_qdrant.cli.evaluate.xquad_r import articles_option
from xqg_qdrant.corpus.catalogue import CATALOGUE
from xqg_qdrant.evaluation.bench import Bench
from xqg_qdrant.evaluation.comparison import LEVEL, Comparison
from xqg_qdrant.evaluation.experiments import (
    FUSED,
    MEASURES,
    PER_LANGUAGE,
    Experiment,
)
from xqg_qdrant.evaluation.measures import AVERAGE, Row
from xqg_qdrant.evaluation.report import Report, write_report
from xqg_qdrant.evaluation.statistics import SEED
from xqg_qdrant.evaluation.trials import open_trial
from xqg_qdrant.models.manifest import DEFAULT_ENCODER

layout = click.option(
    "--layout",
    type=click.Choice([PER_LANGUAGE, FUSED]),
    default=PER_LANGUAGE,
    show_default=True,
    help="per-language: the asker's queries alone. fused: those of all languages, as in the paper.",
)

_OPTIONS = (
    click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    options.encoder(DEFAULT_ENCODER),
    click.option(
        "--queries",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="JSONL of generated queries. Without them XQuAD-R's own questions augment, in two "
        "folds: none meets itself.",
    ),
    articles_option,
    click.option("--split", help="Of AfriQA or BEIR: ask the questions of this split."),
    measures_option(",".join(MEASURES)),
    resamples_option,
    report_option,
    options.threads,
    options.as_json,
    options.quiet,
)


def experiment(command: options.Command) -> options.Command:
    """The options of :class:`Setup`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Setup:
    """An experiment's data and output.

    Attributes:
        folder: of the data set.
        encoder: its name or folder.
        queries: file of generated queries.
        articles: of XQuAD-R, whose questions are asked.
        split: of AfriQA or BEIR.
        measures: their names; the first is what settings are chosen by.
        resamples: of intervals and tests.
        report: folder of the report.
        threads: of the encoder.
        as_json: print JSON.
        quiet: no progress bar.
    """

    folder: Path
    encoder: str | None
    queries: Path | None
    articles: tuple[int, int] | None
    split: str | None
    measures: tuple[str, ...]
    resamples: int
    report: Path | None
    threads: int | None
    as_json: bool
    quiet: bool

    def run(
        self,
        title: str,
        find: Callable[[Bench], Experiment],
        *,
        sentences: bool = False,
        translations: bool = False,
    ) -> None:
        """Encode the data once, run an experiment, and print what it found."""
        from xqg_qdrant.models.encoder import Encoder

        trial = open_trial(
            self.folder,
            queries=self.queries,
            articles=self.articles,
            split=self.split,
            sentences=sentences,
            translations=translations,
        )
        encoder = Encoder.load(self.encoder or DEFAULT_ENCODER, threads=self.threads)
        with options.progress_bar(quiet=self.quiet) as show:
            bench = Bench(encoder, trial, progress=show)
        found = find(bench)
        settings = {
            "experiment": found.title,
            "encoder": f"{encoder.name} ({encoder.fingerprint[:12]})",
            "data set": f"{trial.name} at {self.folder}",
            "passages": f"{len(trial.passages):,}",
            "questions": f"{len(trial.asked):,}",
            "queries": f"{len(trial.queries):,}, "
            + ("of the data set, in two folds" if self.queries is None else str(self.queries)),
            "articles": "all" if self.articles is None else "{}-{}".format(*self.articles),
            "search": "exact, in memory",
            "resamples": f"{self.resamples:,}, seed {SEED}",
        }
        if self.report is not None:
            data = next((each for each in CATALOGUE if each.name == trial.name), None)
            page = write_report(
                self.report,
                Report(
                    f"{title}: {encoder.name} on {trial.name}",
                    found.rows,
                    found.comparisons,
                    settings,
                    found.curves,
                    found.notes,
                    data,
                ),
            )
            click.echo(f"Report: {page}", err=True)
        if self.as_json:
            options.print_json(
                {
                    "settings": settings,
                    "rows": [row.to_json() for row in found.rows],
                    "comparisons": [row.to_json() for row in found.comparisons],
                    "notes": list(found.notes),
                }
            )
            return
        click.echo(
            f"{encoder.name} on {trial.name}: {found.title}; {len(trial.asked):,} questions, "
            f"{len(trial.passages):,} passages\n"
        )
        _print_systems(found.rows, self.measures)
        _print_differences(found.comparisons, self.measures[0])
        for note in found.notes:
            click.echo(f"\n{note}")


def setup(arguments: dict[str, Any]) -> Setup:
    """The :class:`Setup` of a command's arguments."""
    return Setup(**arguments)


def _print_systems(rows: Sequence[Row], measures: Sequence[str]) -> None:
    """A line a system: averages of all measures, and the first one by language."""
    first = measures[0]
    values = {(row.system, row.language, row.measure): row for row in rows}
    languages = [each for each in dict.fromkeys(row.language for row in rows) if each != AVERAGE]
    averaged = any(row.language == AVERAGE for row in rows)
    shown = [(AVERAGE, measure) for measure in measures] if averaged else []
    shown += [(language, first) for language in languages]
    options.print_table(
        [
            "system",
            *(
                f"average {measure}" if language == AVERAGE else language
                for language, measure in shown
            ),
        ],
        [
            [
                system,
                *(
                    f"{values[system, language, measure].value:.3f}"
                    if (system, language, measure) in values
                    else "-"
                    for language, measure in shown
                ),
            ]
            for system in dict.fromkeys(row.system for row in rows)
        ],
    )
    click.echo(f"\nBy language: {first}. The average is over languages other than English.\n")


def _print_differences(compared: Sequence[Comparison], measure: str) -> None:
    """A line a pair of systems: the average, and the languages that differ significantly."""
    pairs = dict.fromkeys((each.system, each.baseline) for each in compared)
    lines = []
    for pair in pairs:
        taken = [
            each
            for each in compared
            if (each.system, each.baseline) == pair and each.measure == measure
        ]
        whole = next((each for each in taken if each.language == AVERAGE), taken[0])
        sure = [each for each in taken if each is not whole and each.t_test.holm < LEVEL]
        lines.append(
            [
                " minus ".join(pair),
                f"{whole.difference:+.3f}",
                f"{whole.low:+.3f} to {whole.high:+.3f}",
                *(
                    f"{p:.4f}{'*' if p < LEVEL else ' '}"
                    for test in (whole.t_test, whole.randomization)
                    for p in (test.p, test.holm, test.bonferroni)
                ),
                " ".join(each.language for each in sure if each.difference > 0) or "-",
                " ".join(each.language for each in sure if each.difference < 0) or "-",
            ]
        )
    if not lines:
        return
    tests = [f"{test} {kind}" for test in ("t-test", "random.") for kind in KINDS]
    options.print_table(
        [f"{measure}, average", "difference", "95 % interval", *tests, "better in", "worse in"],
        lines,
    )
    click.echo(
        "\np-values of the paired t-test and the paired randomisation test, two-sided: bare, and "
        "corrected by Holm\nand by Bonferroni over the systems compared with one baseline; * below "
        f"{LEVEL}. Better and worse in:\nlanguages where the t-test, by Holm over languages, is "
        "below that."
    )
