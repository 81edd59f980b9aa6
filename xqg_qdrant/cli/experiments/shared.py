"""What the experiments share: their data, their options, and how they are printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from xqg_qdrant.cli import options
from xqg_qdrant.cli.evaluate.shared import (
    KINDS,
    measures_option,
    report_option,
    resamples_option,
)
from xqg_qdrant.cli.evaluate.xquad_r import articles_option
from xqg_qdrant.corpus.catalogue import CATALOGUE
from xqg_qdrant.engine import open_engine
from xqg_qdrant.evaluation.bench import Bench
from xqg_qdrant.evaluation.comparison import LEVEL, Comparison
from xqg_qdrant.evaluation.experiments import (
    FUSED,
    MEASURES,
    PER_LANGUAGE,
    Experiment,
    told,
)
from xqg_qdrant.evaluation.measures import AVERAGE, Row
from xqg_qdrant.evaluation.report import Report, write_report
from xqg_qdrant.evaluation.statistics import SEED
from xqg_qdrant.evaluation.stored import Stored, read_manifests, read_stored
from xqg_qdrant.evaluation.trials import Trial, open_trial
from xqg_qdrant.models.manifest import DEFAULT_ENCODER, MANIFEST_FILE

if TYPE_CHECKING:
    from xqg_qdrant.models.encoder import Encoder

layout = click.option(
    "--layout",
    type=click.Choice([PER_LANGUAGE, FUSED]),
    default=PER_LANGUAGE,
    show_default=True,
    help="per-language: the asker's queries alone. fused: those of all languages, as in the paper.",
)

hybrid = click.option(
    "--hybrid/--no-hybrid",
    default=None,
    help="Fuse with the lexical ranking.  [default: as the collection is; no without one]",
)

_OPTIONS = (
    click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    click.option(
        "-c",
        "--collection",
        "collections",
        multiple=True,
        metavar="NAME",
        help="Read passages and queries from this collection of the data set's passages, encode "
        "the questions alone. Give one a fold where the data set's own questions augment.",
    ),
    options.location("--from"),
    options.api_key,
    options.encoder(f"the collection's; else {DEFAULT_ENCODER}"),
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
        collections: that passages and queries are read from, one a fold; encoded without any.
        location: of the collections.
        api_key: of a server.
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
        hybrid: fused with the lexical ranking; as the collection is when None.
    """

    folder: Path
    collections: tuple[str, ...]
    location: str
    api_key: str | None
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
    hybrid: bool | None = None

    def run(
        self,
        title: str,
        find: Callable[[Bench, bool], Experiment],
        *,
        singles: bool = False,
        sentences: bool = False,
        translations: bool = False,
    ) -> None:
        """Encode or read the data once, run an experiment, and print what it found.

        Args:
            title: of the report.
            find: the experiment, told whether it is hybrid.
            singles: it needs each query's own vector.
            sentences: it needs the passages' own sentences.
            translations: it needs the passages in the askers' languages.
        """
        trial = open_trial(
            self.folder,
            queries=self.queries,
            articles=self.articles,
            split=self.split,
            augmented=not self.collections,
            sentences=sentences,
            translations=translations,
        )
        encoder, stored = self._read(trial, singles=singles)
        trial = trial if stored is None else stored.trial
        with options.progress_bar(quiet=self.quiet) as show:
            bench = Bench(encoder, trial, stored=stored, progress=show)
        hybrid = self.hybrid
        if hybrid is None:
            hybrid = stored is not None and stored.hybrid
        if hybrid and stored is not None:
            stored.lexical.require_known(self.collections[0])
        found = find(bench, hybrid)
        settings = {
            "experiment": found.title,
            "encoder": f"{encoder.name} ({encoder.fingerprint[:12]})",
            "data set": f"{trial.name} at {self.folder}",
            "passages": f"{len(trial.passages):,}",
            "questions": f"{len(trial.asked):,}",
            "queries": f"{len(trial.queries):,}, {self._source(stored)}",
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
                    **({"alphas": found.alphas} if found.alphas else {}),
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
        if found.alphas:
            said = json.dumps({"alphas": found.alphas})
            click.echo(f"\nFor the encoder's {MANIFEST_FILE}: {said.removeprefix('{')[:-1]}")

    def _read(self, trial: Trial, *, singles: bool) -> tuple[Encoder, Stored | None]:
        """The encoder, and what the collections keep where there are any."""
        from xqg_qdrant.models.encoder import Encoder

        if not self.collections:
            return Encoder.load(self.encoder or DEFAULT_ENCODER, threads=self.threads), None
        with open_engine(self.location, api_key=self.api_key) as engine:
            manifest = read_manifests(engine, self.collections, singles=singles)[0]
            encoder = Encoder.load(self.encoder or manifest.encoder, threads=self.threads)
            return encoder, read_stored(engine, self.collections, trial, encoder, singles=singles)

    def _source(self, stored: Stored | None) -> str:
        """Where queries are from."""
        if stored is None:
            return "of the data set, in two folds" if self.queries is None else str(self.queries)
        layout = told(stored.manifests[0].layout, hybrid=stored.hybrid)
        source = f"read from {', '.join(self.collections)} ({layout}) at {self.location}"
        if not stored.met:
            return source
        return f"{source}; {stored.met:,} questions are word for word among those of their passage"


def setup(arguments: dict[str, Any]) -> Setup:
    """The :class:`Setup` of a command's arguments.

    Raises:
        UsageError: options that do not go together were given.
    """
    made = Setup(**arguments)
    given = click.get_current_context().get_parameter_source("location")
    if given is ParameterSource.COMMANDLINE and not made.collections:
        raise click.UsageError("--from says where --collection is: give that too")
    if made.collections and made.queries is not None:
        raise click.UsageError("--collection has queries of its own: leave --queries out")
    return made


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
