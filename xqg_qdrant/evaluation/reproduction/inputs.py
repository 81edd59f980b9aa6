"""What of the paper's inputs is in a folder, and how to get what is not."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xqg_qdrant.corpus.catalogue import data_set_named
from xqg_qdrant.corpus.jsonl import read_queries
from xqg_qdrant.corpus.xor_tydi import (
    XorCorpus,
    read_answered_questions,
    read_predictions,
    read_ranking,
    texts_of,
)
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.answers import span_answers
from xqg_qdrant.evaluation.predicting import DEPTH
from xqg_qdrant.evaluation.reproduction.paper import (
    PASSAGES_MILLIONS,
    QUERIES,
    QUESTIONS,
    REPOSITORY,
    ROWS,
    SHARDS,
    SOURCE,
    PaperEncoder,
    PaperRow,
    settings,
)
from xqg_qdrant.export.presets import generator_preset
from xqg_qdrant.models.manifest import MANIFEST_FILE, EncoderManifest, read_encoder_manifest
from xqg_qdrant.records import AnsweredQuestion, GeneratedQuery, Prediction

QUESTIONS_FILE = data_set_named("xor-tydi").files[0].path
CORPUS_FILE = data_set_named("xor-tydi-corpus").files[0].path
AUGMENTED_FOLDER = "xor-tydi-xqg-augmented"
QUERIES_FILE = "queries.jsonl"
ENCODERS_FOLDER = "encoders"
GENERATOR_FOLDER = "generator"
PREDICTIONS_FOLDER = "predictions"
RUNS_FOLDER = "runs"

_GENERATOR = generator_preset("xqg").models[0]


@dataclass(frozen=True, slots=True)
class Missing:
    """An input that is not there.

    Attributes:
        what: it is.
        path: where it is looked for.
        commands: that get or make it, one after the other; those of another way follow on "or".
        note: what else there is to know.
    """

    what: str
    path: str
    commands: tuple[str, ...]
    note: str = ""


class FirstQueries:
    """The first queries of each passage and language in a file, streamed anew each time.

    Args:
        path: JSONL, a passage's queries together, as ``xqg generate`` writes them.
        first: so many of each passage and language.
        passages: ids whose queries are taken; all when None.
    """

    def __init__(self, path: Path, first: int, passages: Collection[str] | None = None) -> None:
        self._path = path
        self._first = first
        self._passages = passages

    def __iter__(self) -> Iterator[GeneratedQuery]:
        passage, counts = None, Counter[str]()
        for _, query in read_queries(self._path):
            if query.passage_id != passage:
                passage, counts = query.passage_id, Counter()
            counts[query.lang] += 1
            known = self._passages is None or passage in self._passages
            if known and counts[query.lang] <= self._first:
                yield query


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was found.

    Attributes:
        folder: that was looked into.
        questions: of XOR-TyDi's development set; None where they are not there.
        corpus: None where it is not there.
        queries_file: queries for a corpus that has none of its own.
        encoders: manifests of the exported encoders, by the paper's names.
        found_elsewhere: by the names of rows, files of what was found for the questions elsewhere:
            predictions in the official format (``.json``), or runs of the authors (``.tsv``).
        limit: the first so many passages alone; all when None.
    """

    folder: Path
    questions: tuple[AnsweredQuestion, ...] | None
    corpus: XorCorpus | None
    queries_file: Path | None
    encoders: dict[str, EncoderManifest]
    found_elsewhere: dict[str, Path]
    limit: int | None = None

    @property
    def has_queries(self) -> bool:
        """Whether there are generated queries for the corpus."""
        if self.corpus is None:
            return False
        return self.corpus.is_published or self.queries_file is not None

    def queries(self, first: int = QUERIES) -> Iterable[GeneratedQuery]:
        """The first queries of each passage and language.

        Raises:
            InputError: there are none.
        """
        assert self.corpus is not None
        published = self.corpus.queries(first=first)
        if published is not None:
            return published
        if self.queries_file is None:
            raise InputError(f"{self.folder}: there are no generated queries")
        known = None if self.limit is None else {passage.id for passage in self.corpus}
        return FirstQueries(self.queries_file, first, known)

    def file_of(self, row: PaperRow) -> Path | None:
        """What was found elsewhere for a row that cannot be measured from the start."""
        path = self.found_elsewhere.get(row.name)
        if self.questions is None or not self._missing_for(row):
            return None
        return None if path is None or (_is_run(path) and self.corpus is None) else path

    def missing_for(self, row: PaperRow) -> list[Missing]:
        """What a row of the table needs and is not there."""
        return [] if self.file_of(row) is not None else self._missing_for(row)

    def _missing_for(self, row: PaperRow) -> list[Missing]:
        """What it needs to be measured from the start."""
        found = [] if self.questions is not None else [self._questions()]
        if self.corpus is None:
            found.append(self._corpus(augmented=row.augmented))
        elif row.augmented and not self.has_queries:
            found.append(self._queries())
        if row.encoder.name not in self.encoders:
            found.append(self._encoder(row.encoder))
        return found

    def predictions(self, rows: Sequence[PaperRow]) -> dict[str, list[Prediction]]:
        """What was found elsewhere for these rows, by their names.

        The texts of all runs are taken from the corpus in one pass.

        Raises:
            InputError: a file is malformed, or of other questions or of another corpus.
        """
        assert self.questions is not None
        languages = {each.question.id: each.question.lang for each in self.questions}
        found, runs = {}, {}
        for row in rows:
            path = self.found_elsewhere[row.name]
            if _is_run(path):
                runs[row.name] = read_ranking(path, depth=DEPTH)
                strange = [each for each in runs[row.name] if each not in languages]
                if strange:
                    raise InputError(f"{path}: no question {strange[0]!r} in {QUESTIONS_FILE}")
            else:
                found[row.name] = read_predictions(path)
        if runs:
            assert self.corpus is not None
            ids = {each for run in runs.values() for ranked in run.values() for each in ranked}
            texts = texts_of(self.corpus.whole(), ids)
            for name, run in runs.items():
                found[name] = [
                    Prediction(question, languages[question], tuple(texts[each] for each in ranked))
                    for question, ranked in run.items()
                ]
        return found

    def missing_for_figures(self, rows: Sequence[PaperRow] = ROWS) -> list[Missing]:
        """What a figure needs and is not there: all of an augmented row.

        Args:
            rows: of the encoders that it may be of; the first that is at hand is taken.
        """
        names = {row.encoder.name for row in rows}
        able = [row for row in ROWS if row.augmented and row.encoder.name in names]
        at_hand = [row for row in able if row.encoder.name in self.encoders]
        return self._missing_for((at_hand or able)[0])

    def deviations(self, encoders: Iterable[PaperEncoder]) -> list[str]:
        """In what the inputs are not the paper's, so that figures cannot be compared."""
        found = []
        if self.questions is not None:
            there = Counter(
                each.question.lang for each in self.questions if span_answers(each.answers)
            )
            other = [
                f"{code} {there[code]:,} of {number}"
                for code, number in QUESTIONS.items()
                if there[code] != number
            ]
            if other:
                found.append(f"questions with an answer to look for: {', '.join(other)}")
        measured = [each for each in encoders if each.name in self.encoders]
        if not measured:
            return found
        if self.limit is not None:
            found.append(f"the first {self.limit:,} passages alone")
        if self.corpus is not None and self.corpus.is_published:
            if lost := _lost_shards(self.corpus):
                found.append(f"the augmented set is not whole: no {', '.join(lost)}")
        elif self.has_queries:
            found.append(f"queries of {QUERIES_FILE}, not the published ones")
        for encoder in measured:
            differences = _differences(self.encoders[encoder.name], encoder)
            found += [f"{encoder.title}: {each}" for each in differences]
        return found

    def _path(self, *parts: str) -> str:
        return str(self.folder.joinpath(*parts))

    def _questions(self) -> Missing:
        return Missing(
            "questions of XOR-TyDi, development set",
            self._path(QUESTIONS_FILE),
            (f"xqg data fetch xor-tydi --to {shlex.quote(str(self.folder))}",),
        )

    def _corpus(self, *, augmented: bool) -> Missing:
        fetch = f"xqg data fetch xor-tydi-corpus --to {shlex.quote(str(self.folder))}"
        generate = self._generate() if augmented and self.queries_file is None else ()
        return Missing(
            "the passages, with their generated queries" if augmented else "the passages",
            f"{self._path(AUGMENTED_FOLDER)}{'/'}, or {self._path(CORPUS_FILE)}"
            + (f" and {self._path(QUERIES_FILE)}" if augmented else ""),
            (self._download(), "or", fetch, *generate),
            "18 million passages, 67 GB with their queries, 13 GB without",
        )

    def _queries(self) -> Missing:
        return Missing(
            f"generated queries, {QUERIES} a language",
            f"{self._path(AUGMENTED_FOLDER)}{'/'}, or {self._path(QUERIES_FILE)}",
            (self._download(), "or", *self._generate()),
            "the published ones are the paper's own",
        )

    def _download(self) -> str:
        target = shlex.quote(self._path(AUGMENTED_FOLDER))
        return data_set_named("xor-tydi-xqg-augmented").fetch.removesuffix("DIR") + target

    def _generate(self) -> tuple[str, ...]:
        generator = shlex.quote(self._path(GENERATOR_FOLDER))
        export = f"xqg export {_GENERATOR} -o {generator} --allow-pickle {_GENERATOR}"
        generate = (
            f"xqg generate {shlex.quote(self._path(CORPUS_FILE))} --model {generator} "
            f"--per-language {QUERIES} -o {shlex.quote(self._path(QUERIES_FILE))}"
        )
        there = (self.folder / GENERATOR_FOLDER / MANIFEST_FILE).is_file()
        return (generate,) if there else (export, generate)

    def _encoder(self, encoder: PaperEncoder) -> Missing:
        target = self._path(ENCODERS_FOLDER, encoder.name)
        quoted = shlex.quote(target)
        preset = f"--preset {settings().name}"
        commands: tuple[str, ...] = (f"xqg export CHECKPOINT -o {quoted} {preset}",)
        note = (
            f"no checkpoint is known to be published: CHECKPOINT is {encoder.base}, trained with "
            f"Tevatron as {SOURCE} says"
        )
        if encoder.model:
            export = f"xqg export {encoder.model} -o {quoted} --allow-pickle {encoder.model}"
            commands = (export,)
            note = "its weights are pickled only: for those who trust its makers"
        folder = Path(target)
        if folder.is_dir() and any(folder.iterdir()):
            source = shlex.quote(f"{target}-checkpoint")
            commands = (f"mv {quoted} {source}", f"xqg export {source} -o {quoted} {preset}")
            note = "what is there is no exported encoder; if it is a checkpoint, export it"
        where = f"{target}/{MANIFEST_FILE}"
        names = [each.run for each in ROWS if each.encoder is encoder and each.run]
        if names:
            runs = ", ".join(self._path(RUNS_FOLDER, name) for name in names)
            where += f", or the authors' runs {runs}"
            clone = shlex.quote(self._path(REPOSITORY.split("/")[-1]))
            copy = f"cp -r {clone}/runs {shlex.quote(self._path(RUNS_FOLDER))}"
            commands += ("or", f"git clone {REPOSITORY} {clone}", copy)
        return Missing(f"encoder {encoder.title}", where, commands, note)


def open_inputs(
    folder: Path, *, limit: int | None = None, rows: Sequence[PaperRow] = ROWS
) -> Inputs:
    """Look into a folder; what is there is read and checked, but for the corpus and its queries.

    Args:
        folder: with any of the files that the constants here name, and ``encoders/NAME/``.
        limit: the first so many passages alone, for a sample.
        rows: whose encoders are looked for.

    Raises:
        InputError: a file is there but malformed; it names file and line.
        ModelError: an encoder's manifest is malformed.
    """
    questions = folder / QUESTIONS_FILE
    augmented = folder / AUGMENTED_FOLDER
    path = augmented if augmented.is_dir() else _there(folder / CORPUS_FILE)
    encoders = {}
    for name in dict.fromkeys(row.encoder.name for row in rows):
        encoder = folder / ENCODERS_FOLDER / name
        if (encoder / MANIFEST_FILE).is_file():
            encoders[name] = read_encoder_manifest(encoder)
    return Inputs(
        folder,
        tuple(read_answered_questions(questions)) if questions.is_file() else None,
        None if path is None else XorCorpus(path, limit=limit),
        _there(folder / QUERIES_FILE),
        encoders,
        {row.name: path for row in rows if (path := _found_elsewhere(folder, row)) is not None},
        limit,
    )


def strange_size(passages: int) -> str:
    """What to say of a corpus that is not of the paper's size; "" where it is."""
    if round(passages / 1e6) == PASSAGES_MILLIONS:
        return ""
    return f"{passages:,} passages, the paper's corpus has {PASSAGES_MILLIONS} million"


def _there(path: Path) -> Path | None:
    """The file, or the same gzipped."""
    return next((p for p in (path, path.with_name(f"{path.name}.gz")) if p.is_file()), None)


def _found_elsewhere(folder: Path, row: PaperRow) -> Path | None:
    predictions = folder / PREDICTIONS_FOLDER / f"{row.name}.json"
    if predictions.is_file():
        return predictions
    return _there(folder / RUNS_FOLDER / row.run) if row.run else None


def _is_run(path: Path) -> bool:
    return ".tsv" in path.suffixes


def _lost_shards(corpus: XorCorpus) -> list[str]:
    """Shards that are not there; none where the set was converted to other files."""
    there = {file.name.removesuffix(".gz") for file in corpus.files}
    if not any(name.startswith("shard_") for name in there):
        return []
    names = [f"shard_{number}.jsonl" for number in range(SHARDS)]
    return [name for name in names if name not in there]


def _differences(manifest: EncoderManifest, encoder: PaperEncoder) -> list[str]:
    """In what an encoder is used otherwise than the paper's."""
    paper = settings()
    pairs = {
        "pooling": (manifest.pooling, paper.pooling),
        "similarity": (manifest.similarity, "cosine" if paper.normalize else "dot"),
        "query length": (manifest.query.max_length, paper.query_length),
        "passage length": (manifest.passage.max_length, paper.passage_length),
        "query prefix": (manifest.query.prefix, paper.query_prefix),
        "passage prefix": (manifest.passage.prefix, paper.passage_prefix),
        "precision": (manifest.precision, "fp32"),
    }
    found = [
        f"{name} is {is_!r}, the paper's {should!r}"
        for name, (is_, should) in pairs.items()
        if is_ != should
    ]
    source = str(manifest.source.get("model", ""))
    if encoder.model and source.split("/")[-1] != encoder.model.split("/")[-1]:
        found.append(f"made from {source or 'an unknown model'}, the paper's is {encoder.model}")
    return found
