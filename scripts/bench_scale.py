"""Measure how a collection grows on the embedded engine: 10,000, 100,000, 1,000,000 passages.

Passages are real sentences put together anew: neighbours in a text, a few at a time, each passage
with a translation of one of its sentences as its query. Questions are real ones. All are encoded
once, in runs that can be cut off, and kept as ``.npy`` files; then every size is loaded with
vectors that exist, with and without int8, each in a process of its own, and searched in another,
so that memory is that step's alone (read from Linux's /proc). What the process that optimises
allocates is counted by itself.

Texts: a folder of TSV files, in subfolders or not: English TAB translation [TAB kind], the file
named by the translation's language; rows of kind ``q`` are questions, kinds ``s`` and ``p`` (or
none) sentences. JSONL files beside them give more English sentences by ``text`` or ``passage``.

Results go to ``results.jsonl`` in the work folder; what is there is not measured again. Prints the
Markdown tables of ``docs/scale.md``.

\b
Example:
  python scripts/bench_scale.py --texts parallel/ --work /tmp/scale --sizes 10000,100000
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from xqg_qdrant import Client, Encoder, GeneratedQuery, Passage, Storage
from xqg_qdrant.collection import KEYWORD_INDEXES
from xqg_qdrant.corpus.jsonl import read_passages, read_queries
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.edge_models import to_config, to_point
from xqg_qdrant.engine.points import Point, ScoredPoint
from xqg_qdrant.loader import ingest
from xqg_qdrant.models.encoder import Encoded, passage_text

NAME = "c"
USING = "fused"
SENTENCES = 4
NEIGHBOURHOOD = 200
QUESTIONS = 200
EFS = (64, 128, 256, 512)
CHUNK = 4_096
BARE = 20_000
BATCH = 128


class Text(NamedTuple):
    """An English sentence, with what it is in other languages."""

    english: str
    translations: tuple[tuple[str, str], ...]


class Question(NamedTuple):
    """A question as somebody asked it."""

    lang: str
    text: str


@click.command()
@click.option(
    "--texts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of the texts.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/scale"),
    show_default=True,
    help="Folder for vectors, collections and results: 6 GB a million passages.",
)
@click.option("--sizes", default="10000,100000,1000000", show_default=True)
@click.option("--quantizations", default="none,int8", show_default=True)
@click.option("--encoder", default="mini-static", show_default=True)
@click.option("--threads", type=int, default=1, show_default=True, help="Of the encoder.")
@click.option("--keep", is_flag=True, help="Leave the collections in the work folder.")
@click.option("--step", type=click.Choice(["load", "search"]), hidden=True)
def main(
    texts: Path,
    work: Path,
    sizes: str,
    quantizations: str,
    encoder: str,
    threads: int,
    keep: bool,
    step: str | None,
) -> None:
    """Print tables of rate, memory, disk, recall and speed by number of passages."""
    work.mkdir(parents=True, exist_ok=True)
    if step is not None:
        size, storage = int(sizes), Storage(quantization=quantizations)
        measure = _load if step == "load" else _search
        click.echo(json.dumps(measure(work, size, storage, encoder, threads)))
        return
    corpus = Corpus(texts)
    wanted = sorted({int(size) for size in sizes.split(",")})
    click.echo(f"{len(corpus.sentences):,} English sentences", err=True)
    store = Store(work)
    store.extend(corpus, Encoder.load(encoder, threads=threads), wanted[-1])
    results = work / "results.jsonl"
    lines = results.read_text().splitlines() if results.exists() else []
    rows = [json.loads(line) for line in lines]
    for size in wanted:
        for quantization in quantizations.split(","):
            key = {"passages": size, "quantization": quantization}
            if any(key.items() <= row.items() for row in rows):
                continue
            row = dict(key)
            for each in ("load", "search"):
                click.echo(f"{size:,} {quantization}: {each}", err=True)
                row |= _in_a_process_of_its_own(each, texts, work, key, encoder, threads)
            if not keep:
                shutil.rmtree(_folder(work, size, quantization))
            rows.append(row)
            with results.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
    rows.sort(key=lambda row: (row["passages"], row["quantization"] == "int8"))
    _print([row for row in rows if row["passages"] in wanted], store)


class Corpus:
    """Passages, their queries, and questions; the first ones are the same whatever the number."""

    def __init__(self, folder: Path) -> None:
        translations: dict[str, dict[str, str]] = {}
        questions: set[Question] = set()
        for path in sorted(folder.rglob("*.tsv")):
            for line in path.read_text(encoding="utf-8").splitlines():
                english, other, kind, *_ = [*line.split("\t"), "s", "s", "s"]
                if kind == "q" and 15 <= len(other) <= 200:
                    questions.add(Question(path.stem, other))
                elif kind in ("s", "p") and 20 <= len(english) <= 400 and other != "s":
                    translations.setdefault(english, {})[path.stem] = other
        for path in sorted(folder.rglob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                for sentence in str(row.get("text") or row.get("passage") or "").split(". "):
                    if row.keys() & {"title", "pid"} and 20 <= len(sentence) <= 400:
                        translations.setdefault(sentence, {})
        self.sentences = [
            Text(english, tuple(sorted(others.items()))) for english, others in translations.items()
        ]
        ordered = sorted(questions)
        random.Random(3).shuffle(ordered)
        self.questions = ordered[:QUESTIONS]

    def pairs(self, first: int, last: int) -> Iterator[tuple[Passage, GeneratedQuery | None]]:
        """Passages ``first`` to ``last - 1``, each with its query, if any sentence has one."""
        for number in range(first, last):
            rng = random.Random(number)
            middle = rng.randrange(len(self.sentences))
            near = range(
                max(0, middle - NEIGHBOURHOOD), min(len(self.sentences), middle + NEIGHBOURHOOD)
            )
            chosen = [self.sentences[place] for place in rng.sample(near, SENTENCES)]
            text = " ".join(sentence.english.rstrip(".") + "." for sentence in chosen)
            passage = Passage(f"p{number}", text, lang="en", metadata={"number": number})
            options = [each for sentence in chosen for each in sentence.translations]
            if not options:
                yield passage, None
                continue
            lang, translation = rng.choice(options)
            yield passage, GeneratedQuery(passage.id, lang, translation)


class Store:
    """Texts and vectors on disk; a run that was cut off goes on behind the last whole chunk."""

    def __init__(self, work: Path) -> None:
        self.folder = work
        self.state = work / "encoded.json"
        self.done = {"passages": 0, "queries": 0, "seconds": 0.0, "bytes": {}, "dimension": 0}
        if self.state.exists():
            self.done |= json.loads(self.state.read_text())

    def vectors(self, kind: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(passages or queries, dimension), read from disk as needed."""
        flat = np.memmap(self.folder / f"{kind}.f32", dtype=np.float32, mode="r")
        return flat.reshape(-1, self.done["dimension"])

    def passages(self, size: int) -> Iterator[tuple[str, Passage]]:
        """The first ones."""
        return islice(read_passages(self.folder / "passages.jsonl"), size)

    def queries(self, size: int) -> Iterator[tuple[str, GeneratedQuery]]:
        """Those of the first passages."""
        return takewhile(
            lambda each: int(each[1].passage_id[1:]) < size,
            read_queries(self.folder / "queries.jsonl"),
        )

    def questions(self) -> list[Question]:
        """All of them."""
        return [Question(*row) for row in json.loads((self.folder / "questions.json").read_text())]

    def extend(self, corpus: Corpus, encoder: Encoder, size: int) -> None:
        """Write what is missing of the first ``size`` passages, and their vectors."""
        (self.folder / "questions.json").write_text(json.dumps(corpus.questions))
        self.done["dimension"] = encoder.dimension
        for start in range(self.done["passages"], size, CHUNK):
            pairs = list(corpus.pairs(start, min(start + CHUNK, size)))
            queries = [query for _, query in pairs if query is not None]
            began = time.perf_counter()
            texts = [passage_text(passage) for passage, _ in pairs]
            encoded = encoder.encode(texts, "passage").vectors
            asked = encoder.encode([query.text for query in queries], "query").vectors
            self.done["seconds"] += time.perf_counter() - began
            self._append("passages.f32", encoded.tobytes())
            self._append("queries.f32", asked.tobytes())
            self._append("passages.jsonl", _lines(passage for passage, _ in pairs))
            self._append("queries.jsonl", _lines(queries))
            self.done["passages"] += len(pairs)
            self.done["queries"] += len(queries)
            self.state.write_text(json.dumps(self.done))
            click.echo(f"encoded {self.done['passages']:,} of {size:,}", err=True)

    def _append(self, name: str, data: bytes) -> None:
        path, sizes = self.folder / name, self.done["bytes"]
        with path.open("r+b" if path.exists() else "wb") as stream:
            stream.seek(sizes.get(name, 0))
            stream.truncate()
            stream.write(data)
            sizes[name] = stream.tell()


def _lines(records: Iterable[Passage | GeneratedQuery]) -> bytes:
    return "".join(
        json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records
    ).encode()


def _remembering(encoder: Encoder, store: Store) -> Encoder:
    """The encoder, with vectors that exist already, taken in the order of the corpus."""
    stores = {"passage": store.vectors("passages"), "query": store.vectors("queries")}
    places = {"passage": 0, "query": 0}

    def encode(texts: list[str], kind: str, **_: object) -> Encoded:
        start = places[kind]
        places[kind] += len(texts)
        return Encoded(np.array(stores[kind][start : start + len(texts)]), 0)

    encoder.encode = encode  # type: ignore[method-assign, assignment]
    return encoder


def _in_a_process_of_its_own(
    step: str, texts: Path, work: Path, key: dict[str, Any], encoder: str, threads: int
) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, __file__, "--step", step, "--texts", str(texts)),
            *("--work", str(work), "--sizes", str(key["passages"])),
            *("--quantizations", key["quantization"]),
            *("--encoder", encoder, "--threads", str(threads)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def _folder(work: Path, size: int, quantization: str | None) -> Path:
    return work / f"{size}-{quantization}"


def _load(work: Path, size: int, storage: Storage, encoder: str, threads: int) -> dict[str, Any]:
    store = Store(work)
    folder = _folder(work, size, storage.quantization)
    shutil.rmtree(folder, ignore_errors=True)
    remembering = _remembering(Encoder.load(encoder, threads=threads), store)
    engine = _Timed(folder)
    with engine, _watched() as watched:
        began, spent = time.perf_counter(), time.process_time()
        ingest(
            engine,
            NAME,
            store.passages(size),
            store.queries(size),
            encoder=remembering,
            layout="fused",
            storage=storage,
        )
        seconds = time.perf_counter() - began - engine.seconds
        cpu = time.process_time() - spent
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        indexed = engine.info(NAME).indexed
    disk = sum(path.stat().st_blocks for path in (folder / NAME).rglob("*")) * 512 / 2**20
    bare = _bare_cpu(folder / "bare", min(size, BARE))
    return {
        "load_seconds": seconds,
        "rate": size / seconds,
        "optimize_seconds": engine.seconds,
        "allocated": watched["self"],
        "allocated_optimizing": watched["child"],
        "load_rss": rss,
        "disk": disk,
        "indexed": indexed,
        "cpu_us": 1e6 * cpu / size,
        "bare_cpu_us": 1e6 * bare,
    }


class _Timed(EdgeEngine):
    """The engine, with a clock around optimising."""

    seconds = 0.0

    def optimize(self, name: str) -> None:
        began = time.perf_counter()
        super().optimize(name)
        self.seconds += time.perf_counter() - began


def _bare_cpu(folder: Path, size: int) -> float:
    """Seconds of processor a point that the engine itself takes, of ready points, unindexed."""
    import qdrant_edge as edge

    with EdgeEngine(folder.parent) as source:
        points = list(islice(source.scroll(NAME, with_vectors=True), size))
        config = to_config(source.info(NAME).shape, source.storage(NAME), quantized=False)
    folder.mkdir()
    shard = edge.EdgeShard.create(str(folder), config)
    for field in KEYWORD_INDEXES:
        keyword = edge.PayloadSchemaType.Keyword
        shard.update(edge.UpdateOperation.create_field_index(field, keyword))
    began = time.process_time()
    for start in range(0, len(points), BATCH):
        batch: list[Point] = points[start : start + BATCH]
        shard.update(edge.UpdateOperation.upsert_points([to_point(point) for point in batch]))
    shard.flush()
    spent = time.process_time() - began
    shard.close()
    shutil.rmtree(folder)
    return spent / len(points)


def _search(work: Path, size: int, storage: Storage, encoder: str, threads: int) -> dict[str, Any]:
    questions = Store(work).questions()
    loaded = Encoder.load(encoder, threads=threads)
    vectors = list(loaded.encode_queries([question.text for question in questions]))
    with EdgeEngine(_folder(work, size, storage.quantization)) as engine:
        client = Client(engine, encoder=loaded)
        base = _status("RssAnon")
        times: list[float] = []
        for number, question in enumerate([*questions[:50], *questions]):
            began = time.perf_counter()
            client.search(NAME, question.text, lang=question.lang)
            if number >= 50:  # the first ones warm up
                times.append(time.perf_counter() - began)
        anon, rss = _status("RssAnon"), _status("VmRSS")
        began = time.perf_counter()
        truth = [engine.search(NAME, [vector], using=[USING], exact=True)[0] for vector in vectors]
        exact = (time.perf_counter() - began) / len(vectors)
        by_ef = {}
        for ef in EFS:
            engine._storages[NAME] = replace(engine.storage(NAME), hnsw_ef=ef)
            began = time.perf_counter()
            found = [engine.search(NAME, [vector], using=[USING])[0] for vector in vectors]
            spent = (time.perf_counter() - began) / len(vectors)
            by_ef[ef] = (_recall(found, truth), 1e3 * spent)
    return {
        "p50": 1e3 * float(np.quantile(times, 0.5)),
        "p95": 1e3 * float(np.quantile(times, 0.95)),
        "exact_ms": 1e3 * exact,
        "recall": by_ef[Storage().resolved().hnsw_ef][0],
        "by_ef": by_ef,
        "search_allocated": anon,
        "search_added": anon - base,
        "search_rss": rss,
    }


def _recall(found: list[list[ScoredPoint]], truth: list[list[ScoredPoint]]) -> float:
    """Share of the exact hits that were found; one that scores as the last of them will do."""
    kept = 0
    for hits, best in zip(found, truth, strict=True):
        least = min(hit.score for hit in best) - 1e-6
        kept += min(len(best), sum(hit.score >= least for hit in hits))
    return kept / sum(map(len, truth))


@contextmanager
def _watched() -> Iterator[dict[str, float]]:
    """Most MiB that this process, and any child of it, allocated meanwhile."""
    most = {"self": 0.0, "child": 0.0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            most["self"] = max(most["self"], _status("RssAnon"))
            for thread in Path("/proc/self/task").iterdir():
                try:
                    for child in (thread / "children").read_text().split():
                        most["child"] = max(most["child"], _status("RssAnon", child))
                except (OSError, IndexError):
                    continue  # it has just ended

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def _status(field: str, process: str = "self") -> float:
    """A size from /proc, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def _print(rows: list[dict[str, Any]], store: Store) -> None:
    rate = store.done["passages"] / max(store.done["seconds"], 1e-9)
    click.echo(f"encoding: {rate:,.0f} passages with their queries a second\n")
    click.echo(
        "| passages | int8 | loaded, passages/s | optimised, s | of the engine's own rate: written "
        "/ searchable | allocated, MiB: loading / optimising | disk, bytes a passage |"
    )
    click.echo("|---|---|---|---|---|---|---|")
    for row in rows:
        written = row["bare_cpu_us"] / row["cpu_us"]
        own = row["load_seconds"] * written
        whole = (own + row["optimize_seconds"]) / (row["load_seconds"] + row["optimize_seconds"])
        click.echo(
            f"| {row['passages']:,} | {_yes(row)} | {row['rate']:,.0f} "
            f"| {row['optimize_seconds']:,.1f} | {written:.2f} / {whole:.2f} "
            f"| {row['allocated']:,.0f} / {row['allocated_optimizing']:,.0f} "
            f"| {row['disk'] * 2**20 / row['passages']:,.0f} |"
        )
    click.echo(
        "\n| passages | int8 | recall@10 | search p50 / p95, ms | exact, ms | allocated, MiB "
        "| with mapped files, MiB |"
    )
    click.echo("|---|---|---|---|---|---|---|")
    for row in rows:
        click.echo(
            f"| {row['passages']:,} | {_yes(row)} | {row['recall']:.3f} "
            f"| {row['p50']:.2f} / {row['p95']:.2f} | {row['exact_ms']:.1f} "
            f"| {row['search_allocated']:,.0f} | {row['search_rss']:,.0f} |"
        )
    click.echo(f"\n| passages | int8 | {' | '.join(f'ef {ef}' for ef in EFS)} |")
    click.echo("|---|---|" + "---|" * len(EFS))
    for row in rows:
        cells = (f"{recall:.3f}, {ms:.2f} ms" for recall, ms in row["by_ef"].values())
        click.echo(f"| {row['passages']:,} | {_yes(row)} | {' | '.join(cells)} |")


def _yes(row: dict[str, Any]) -> str:
    return "yes" if row["quantization"] == "int8" else "no"


if __name__ == "__main__":
    main()
