"""What all of ``xqg eval`` shares: options of measuring, and how figures are printed and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from xqg_qdrant.cli import options
from xqg_qdrant.corpus.catalogue import CATALOGUE
from xqg_qdrant.corpus.trec import read_run, write_qrels, write_run
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.comparison import LEVEL, Comparison, PValues, compare
from xqg_qdrant.evaluation.measures import (
    AVERAGE,
    MEASURES,
    JudgedRun,
    Row,
    Scores,
    parse_measures,
    rows_of,
    score,
)
from xqg_qdrant.evaluation.report import Report, write_report
from xqg_qdrant.evaluation.statistics import RESAMPLES, SEED

PLAIN = "plain"

detect = click.option(
    "--detect", is_flag=True, help="Detect the questions' language, do not tell it."
)
location = click.option(
    "--to",
    "location",
    metavar="PATH_OR_URL",
    help="Keep the collections there.  [default: a temporary folder]",
)
queries = click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False),
    help="JSONL of generated queries that augment the passages, as 'xqg ingest' takes it.",
)


def baseline(
    *choices: str, file: str = "a run in TREC's format"
) -> Callable[[options.Command], options.Command]:
    """``--baseline``: one of these systems, or a file of what another found."""
    named = ", ".join(choices)

    def check(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is None or value in choices or Path(value).is_file():
            return value
        raise click.BadParameter(f"{value!r} is no file" + "".join(f", nor {c!r}" for c in choices))

    return click.option(
        "--baseline",
        metavar="|".join((*choices, "FILE")),
        callback=check,
        help=f"Compare with {named + ', or with ' if named else ''}{file}: differences, "
        "intervals and corrected p-values.",
    )


def _measures(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    try:
        return tuple(parse_measures(value))
    except InputError as error:
        raise click.BadParameter(str(error)) from None


def measures_option(default: str) -> Callable[[options.Command], options.Command]:
    """``--measures``."""
    return click.option(
        "--measures",
        metavar="NAMES",
        default=default,
        show_default=True,
        callback=_measures,
        help="As ir-measures writes them: R@100,MRR@10,nDCG@10,mAP,Success@5.",
    )


resamples_option = click.option(
    "--resamples",
    type=click.IntRange(min=0),
    default=RESAMPLES,
    show_default=True,
    help="Bootstrap samples behind the 95 % intervals, and random assignments behind a "
    "randomisation test; 0 for neither intervals nor comparison.",
)
report_option = click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write a page there, report.html, and the rows as JSON and CSV.",
)
_measures_option = measures_option(",".join(MEASURES))
_OUTPUT = (resamples_option, report_option, options.as_json)
_SAVED = (
    click.option(
        "--save-run",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write what was found there, in TREC's run format.",
    ),
    click.option(
        "--save-qrels",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the judgements there, in TREC's qrels format.",
    ),
)


def output(command: options.Command) -> options.Command:
    """The options of :class:`Output`, those that keep what was found included."""
    for option in reversed((_measures_option, *_SAVED, *_OUTPUT)):
        command = option(command)
    return command


def showing(command: options.Command) -> options.Command:
    """The options of :class:`Output` for what is measured in one way alone."""
    for option in reversed(_OUTPUT):
        command = option(command)
    return command


def measuring(command: options.Command) -> options.Command:
    """The options of :class:`Output` for what was found elsewhere."""
    for option in reversed((_measures_option, *_OUTPUT)):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class About:
    """What a report says of a measurement.

    Attributes:
        name: of the data set, as in 'xqg data list' where it is there.
        settings: how it was measured, by name.
    """

    name: str
    settings: Mapping[str, str]

    @classmethod
    def of(cls, name: str, **settings: object) -> About:
        """Settings that are not None, as they were given."""
        kept = {key: value for key, value in settings.items() if value not in (None, (), False)}
        return cls(name, {key.replace("_", " "): _said(value) for key, value in kept.items()})


@dataclass(frozen=True, slots=True)
class Output:
    """What is measured, and where figures go.

    Attributes:
        resamples: of bootstrap and randomisation.
        report: folder of the report.
        as_json: print JSON.
        measures: their names.
        save_run: file for the run.
        save_qrels: file for the judgements.
    """

    resamples: int
    report: Path | None
    as_json: bool
    measures: tuple[str, ...] = MEASURES
    save_run: Path | None = None
    save_qrels: Path | None = None

    def finish(
        self, about: About, judged: JudgedRun, baseline: JudgedRun | None, pool: str
    ) -> None:
        """Measure a run, keep what is to be kept, and print the figures."""
        if self.save_run is not None:
            write_run(self.save_run, judged.run, judged.system)
        if self.save_qrels is not None:
            write_qrels(self.save_qrels, judged.qrels)
        other = None if baseline is None else score(baseline, self.measures)
        self.show(about, score(judged, self.measures), other, pool)

    def show(
        self,
        about: About,
        scores: Scores,
        baseline: Scores | None,
        pool: str,
        extra: Sequence[Sequence[Row]] = ((), ()),
    ) -> None:
        """Print the figures of a system, and of a baseline; in front ``extra`` ones of each."""
        rows = [*extra[0], *rows_of(scores, resamples=self.resamples)]
        others: list[Row] = []
        compared: list[Comparison] = []
        if baseline is not None:
            others = [*extra[1], *rows_of(baseline, resamples=self.resamples)]
            if self.resamples:
                compared = compare(scores, baseline, resamples=self.resamples)
        if self.report is not None:
            settings = {
                "system": scores.system,
                **({} if baseline is None else {"baseline": baseline.system}),
                **about.settings,
                "data": pool,
                "resamples": f"{self.resamples:,}, seed {SEED}",
            }
            title = f"{scores.system} on {about.name}"
            data = next((each for each in CATALOGUE if each.name == about.name), None)
            page = write_report(
                self.report, Report(title, [*others, *rows], compared, settings, data=data)
            )
            click.echo(f"Report: {page}", err=True)
        if baseline is None:
            if self.as_json:
                options.print_json([row.to_json() for row in rows])
                return
            click.echo(f"{scores.system}: {pool}\n")
            print_measures({"": rows})
            _print_missing(scores)
            return
        if self.as_json:
            options.print_json(
                {
                    "rows": [row.to_json() for row in (*rows, *others)],
                    "comparisons": [each.to_json() for each in compared],
                    "seed": SEED,
                    "resamples": self.resamples,
                }
            )
            return
        for system, figures in ((baseline, others), (scores, rows)):
            click.echo(f"{system.system}: {pool}\n")
            print_measures({"": figures})
            _print_missing(system)
            click.echo()
        print_comparisons(compared)


def require_queries(queries: str | None, baseline: str | None) -> None:
    """Refuse a plain baseline where the system itself is plain."""
    if baseline == PLAIN and queries is None:
        raise click.UsageError("--baseline plain is the search without --queries: give queries")


def baseline_of(
    baseline: str | None, judged: JudgedRun, measured: JudgedRun | None
) -> JudgedRun | None:
    """The baseline that was asked for: what was measured here for it, or a run file."""
    if baseline is None or measured is not None:
        return measured
    return _run_file(baseline, judged)


def _run_file(path: str, judged: JudgedRun) -> JudgedRun:
    """A run file beside a run: over the same questions and judgements.

    Raises:
        InputError: the file is no run, or finds nothing for any of the questions.
    """
    run = read_run(path)
    asked = {qrel.question_id for qrel in judged.qrels}
    if not asked & run.ranked.keys():
        example = next(iter(judged.qrels)).question_id
        raise InputError(
            f"{path}: none of its questions is among those judged here, which are called like "
            f"{example!r}: it is the run of other data"
        )
    name = Path(path).name if run.name == judged.system else run.name
    return replace(judged, system=name, run=run.ranked)


def print_measures(systems: Mapping[str, Sequence[Row]]) -> None:
    """A table of figures: a line a language, the systems side by side."""
    first = next(iter(systems.values()))
    found = dict.fromkeys(row.language for row in first)
    languages = [*(each for each in found if each != AVERAGE), *([AVERAGE] * (AVERAGE in found))]
    counts = {row.language: row.n for row in first}
    everything = sum(n for language, n in counts.items() if language != AVERAGE)
    left_out = " (not en)" if counts.get(AVERAGE, everything) < everything else ""
    rows = {
        (system, row.language, row.measure): row for system, each in systems.items() for row in each
    }
    measures = list(dict.fromkeys(row.measure for row in first))
    columns = [(measure, system) for measure in measures for system in systems]
    options.print_table(
        ["language", "questions", *(f"{measure} {system}".strip() for measure, system in columns)],
        [
            [
                f"{language}{left_out}" if language == AVERAGE else language,
                f"{counts[language]:,}",
                *(_figure(rows.get((system, language, measure))) for measure, system in columns),
            ]
            for language in languages
        ],
    )


def print_comparisons(compared: Sequence[Comparison]) -> None:
    """A table a measure and pair of systems: differences with intervals, and p-values."""
    pairs = dict.fromkeys((each.measure, each.system, each.baseline) for each in compared)
    for pair in pairs:
        taken = [each for each in compared if (each.measure, each.system, each.baseline) == pair]
        measure = pair[0]
        click.echo(f"{measure}: {taken[0].system} minus {taken[0].baseline}\n")
        options.print_table(
            [
                "language",
                "difference",
                "95 % interval",
                "better",
                "worse",
                *(f"{test} {kind}" for test in ("t-test", "random.") for kind in KINDS),
            ],
            [
                [
                    each.language,
                    f"{each.difference:+.3f}",
                    f"{each.low:+.3f} to {each.high:+.3f}",
                    f"{each.better:,}",
                    f"{each.worse:,}",
                    *_p_values(each.t_test, each.language),
                    *_p_values(each.randomization, each.language),
                ]
                for each in taken
            ],
        )
        click.echo()
    if compared:
        number = len({each.language for each in compared} - {AVERAGE})
        click.echo(
            "p-values of the paired t-test and the paired randomisation test, two-sided: bare, "
            f"and corrected by Holm\nand by Bonferroni over {number} languages; * below {LEVEL}. "
            "The average is a test of its own."
        )


KINDS = ("p", "Holm", "Bonf.")


def _p_values(values: PValues, language: str) -> list[str]:
    if language == AVERAGE:
        return [_p(values.p), "-", "-"]
    return [_p(values.p), _p(values.holm), _p(values.bonferroni)]


def _p(p: float) -> str:
    return f"{p:.4f}{'*' if p < LEVEL else ' '}"


def _figure(row: Row | None) -> str:
    if row is None:
        return "-"
    if row.low is None or row.high is None:
        return f"{row.value:.3f}"
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def _print_missing(scores: Scores) -> None:
    missing = int(scores.missing.sum())
    if missing:
        click.echo(
            f"\n{missing:,} of {len(scores.questions):,} questions found nothing: they count as 0"
        )


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "yes" if value is True else str(value)


def output_of(arguments: Mapping[str, Any]) -> Output:
    """The :class:`Output` of a command's arguments."""
    return Output(**arguments)
