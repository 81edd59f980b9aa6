"""Loading: what ends up in a collection, and what is refused before anything does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xqg_qdrant import Encoder, GeneratedQuery, Passage
from xqg_qdrant.collection import point_id
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.points import Point
from xqg_qdrant.errors import (
    CollectionExists,
    CollectionLocked,
    CollectionMismatch,
    EngineUnavailable,
    InputError,
    PartialIngest,
    StorageError,
    UnfinishedIngest,
)
from xqg_qdrant.fusion import fuse
from xqg_qdrant.loader import Progress, ingest, running
from xqg_qdrant.loader.documents import Statistics, read_journal, read_manifest, read_statistics
from xqg_qdrant.models.encoder import passage_text

LANGUAGES = ("ar", "sw")


def passages(number: int = 10) -> list[tuple[str, Passage]]:
    return [
        (
            f"passage {n}",
            Passage(
                f"p{n}", f"text number {n} " * 3, f"Title {n}" if n % 2 else "", "en", {"n": n}
            ),
        )
        for n in range(number)
    ]


def queries(number: int = 10) -> list[tuple[str, GeneratedQuery]]:
    return [
        (f"query {n}{lang}{k}", GeneratedQuery(f"p{n}", lang, f"{lang} question {k} of {n}", 0.5))
        for n in range(number)
        for lang in LANGUAGES
        for k in range(n % 3)
    ]


def dump(engine: Engine, name: str = "c") -> list[tuple[str, Any, dict[str, bytes]]]:
    return [
        (point.id, point.payload, {key: each.tobytes() for key, each in point.vectors.items()})
        for point in engine.scroll(name, with_vectors=True)
    ]


@pytest.mark.parametrize("layout", ["fused", "per-language"])
def test_points_hold_the_fused_vectors_and_the_whole_payload(
    engine: Engine, tiny_encoder: Encoder, layout: str
) -> None:
    report = ingest(
        engine, "c", passages(), queries(), encoder=tiny_encoder, layout=layout, alpha=0.3
    )
    assert (report.passages, report.points) == (10, 10)
    assert report.queries == {"ar": 9, "sw": 9}
    stored = {point.id: point for point in engine.scroll("c", with_vectors=True)}
    plain_names = ["passage"] if layout == "per-language" else []
    for _, passage in passages():
        point = stored[point_id(passage.id)]
        own = [query for _, query in queries() if query.passage_id == passage.id]
        assert point.payload == {
            "passage_id": passage.id,
            "title": passage.title,
            "text": passage.text,
            "lang": "en",
            "metadata": dict(passage.metadata),
            "queries": [{"lang": q.lang, "text": q.text, "score": 0.5} for q in own],
        }
        plain = tiny_encoder.encode_passages([passage_text(passage)])[0]
        groups = {"fused": own}
        if layout == "per-language":
            groups = {f"fused-{lang}": [q for q in own if q.lang == lang] for lang in LANGUAGES}
            np.testing.assert_allclose(point.vectors["passage"], plain, atol=1e-6)
        for name, group in groups.items():
            expected = fuse(plain, tiny_encoder.encode_queries([q.text for q in group]), 0.3)
            np.testing.assert_allclose(point.vectors[name], expected, atol=1e-6)
        assert set(point.vectors) == {*groups, *plain_names}


def test_loading_twice_changes_nothing(engine: Engine, tiny_encoder: Encoder) -> None:
    first = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder)
    before, statistics = dump(engine), read_statistics(engine, "c")
    second = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder)
    assert dump(engine) == before
    assert read_statistics(engine, "c") == statistics
    assert (first.points, second.points, second.resumed_at) == (10, 10, 0)


def test_what_was_loaded_whole_is_found(engine: Engine, tiny_encoder: Encoder) -> None:
    def again(**more: Any) -> int:
        more = {"passages": passages(), "queries": queries(), "reload": False, **more}
        more["layout"] = "fused"
        return ingest(engine, "c", encoder=tiny_encoder, **more).resumed_at

    assert again() == 0
    before, statistics = dump(engine), read_statistics(engine, "c")
    assert again() == again() == 10
    assert dump(engine) == before
    assert read_statistics(engine, "c") == statistics
    # Another language needs vectors of its own; other input is no longer what is there.
    assert again(languages=["zu"]) == 0
    assert again(passages=passages(5), queries=()) == 0
    assert again() == 0


def test_what_lost_points_is_loaded_anew(engine: Engine, tiny_encoder: Encoder) -> None:
    ingest(engine, "c", passages(), queries(), encoder=tiny_encoder)
    documents = {key: engine.read_document("c", key) or {} for key in ("manifest", "journal")}
    manifest = read_manifest(engine, "c")
    engine.delete("c")
    engine.create("c", dict.fromkeys(manifest.vector_names, manifest.dimension), (), documents)
    report = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, reload=False)
    assert (report.resumed_at, report.points) == (0, 10)


def test_more_passages_join_a_collection(engine: Engine, tiny_encoder: Encoder) -> None:
    ingest(engine, "c", passages(5), queries(5), encoder=tiny_encoder)
    report = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder)
    assert report.points == 10
    assert read_statistics(engine, "c") == Statistics(10, {"ar": 9, "sw": 9})
    alone = ingest(engine, "alone", passages(), queries(), encoder=tiny_encoder)
    assert alone.points == 10
    assert dump(engine) == dump(engine, "alone")


def test_queries_may_come_in_any_order(engine: Engine, tiny_encoder: Encoder) -> None:
    ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, layout="fused")
    ingest(engine, "d", passages(), reversed(queries()), encoder=tiny_encoder, layout="fused")
    for one, other in zip(
        engine.scroll("c", with_vectors=True), engine.scroll("d", with_vectors=True), strict=True
    ):
        np.testing.assert_allclose(one.vectors["fused"], other.vectors["fused"], atol=1e-6)


def test_a_passage_without_queries_in_a_language_is_found_in_it(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    ingest(engine, "c", passages(), queries(), encoder=tiny_encoder)
    question = tiny_encoder.encode_queries(["text number 0"])[0]
    (hits,) = engine.search("c", [question], using=["fused-sw"], limit=10)
    assert {hit.payload["passage_id"] for hit in hits} == {f"p{n}" for n in range(10)}


def test_repeated_passages_are_counted_and_dropped(engine: Engine, tiny_encoder: Encoder) -> None:
    report = ingest(engine, "c", [*passages(), *passages(3)], encoder=tiny_encoder)
    assert (report.passages, report.duplicates, report.points) == (10, 3, 10)


def test_cut_texts_are_counted(engine: Engine, tiny_encoder: Encoder) -> None:
    long = [("here", Passage("long", "x" * 1000)), ("there", Passage("short", "x"))]
    asked = [("q", GeneratedQuery("short", "sw", "y" * 500))]
    report = ingest(engine, "c", long, asked, encoder=tiny_encoder)
    assert (report.truncated_passages, report.truncated_queries) == (1, 1)


BAD_INPUT: dict[str, tuple[Any, Any, str]] = {
    "no passages": ([], [], "no passages"),
    "differing duplicates": (
        [("line 1", Passage("a", "one")), ("line 2", Passage("a", "two"))],
        [],
        r"line 2.*'a'.*line 1",
    ),
    "query of an unknown passage": (
        passages(),
        [("line 1", GeneratedQuery("p1", "sw", "x")), ("line 2", GeneratedQuery("q", "sw", "x"))],
        r"line 2.*unknown passage 'q'",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
@pytest.mark.parametrize("existing", [False, True])
def test_bad_input_is_refused_before_anything_is_written(
    engine: Engine, tiny_encoder: Encoder, case: str, existing: bool
) -> None:
    if existing:
        ingest(engine, "c", passages(2), encoder=tiny_encoder, languages=["sw"])
    rows, asked, message = BAD_INPUT[case]
    with pytest.raises(InputError, match=message):
        ingest(engine, "c", rows, asked, encoder=tiny_encoder)
    assert engine.exists("c") == existing
    if existing:
        assert engine.count("c") == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"layout": "other"}, "layout"),
        ({"batch_size": 0}, "batch_size"),
        ({"languages": ["klingonese"]}, "klingonese"),
    ],
)
def test_settings_out_of_range_are_refused(
    engine: Engine, tiny_encoder: Encoder, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ingest(engine, "c", passages(), encoder=tiny_encoder, **settings)
    assert not engine.exists("c")


def test_a_dry_run_writes_nothing(engine: Engine, tiny_encoder: Encoder) -> None:
    report = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, dry_run=True)
    assert report.dry_run
    assert report.points is None
    assert not engine.exists("c")
    ingest(engine, "c", passages(2), encoder=tiny_encoder)
    before = dump(engine)
    ingest(engine, "c", passages(), encoder=tiny_encoder, dry_run=True)
    assert dump(engine) == before
    with pytest.raises(CollectionMismatch):
        ingest(engine, "c", passages(), encoder=tiny_encoder, alpha=0.9, dry_run=True)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"alpha": 0.9}, "alpha"),
        ({"layout": "fused"}, "layout"),
        ({"languages": "fi"}, "languages"),
    ],
)
def test_other_settings_than_the_collections_are_refused(
    engine: Engine, tiny_encoder: Encoder, settings: dict[str, Any], field: str
) -> None:
    ingest(engine, "c", passages(3), queries(3), encoder=tiny_encoder, alpha=0.1)
    before = dump(engine)
    wanted: dict[str, Any] = {"alpha": 0.1, **settings}
    with pytest.raises(CollectionMismatch, match=rf"built with another.*{field}"):
        ingest(engine, "c", passages(3), queries(3), encoder=tiny_encoder, **wanted)
    assert dump(engine) == before


def test_new_languages_join_a_fused_collection(engine: Engine, tiny_encoder: Encoder) -> None:
    ingest(engine, "c", passages(3), queries(3), encoder=tiny_encoder, layout="fused")
    finnish = [("here", GeneratedQuery("p0", "fi", "kysymys"))]
    ingest(engine, "c", passages(1), finnish, encoder=tiny_encoder, layout="fused")
    assert read_manifest(engine, "c").languages == ("ar", "fi", "sw")


def test_languages_can_be_kept_room_for(engine: Engine, tiny_encoder: Encoder) -> None:
    ingest(engine, "c", passages(3), queries(3), encoder=tiny_encoder, languages=["fi", "swa"])
    assert read_manifest(engine, "c").languages == ("ar", "fi", "sw")
    finnish = [("here", GeneratedQuery("p0", "fi", "kysymys"))]
    assert ingest(engine, "c", passages(1), finnish, encoder=tiny_encoder).points == 3


def test_a_collection_of_somebody_elses_is_left_alone(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    engine.create("c", {"v": 4})
    with pytest.raises(CollectionMismatch, match="did not make it"):
        ingest(engine, "c", passages(), encoder=tiny_encoder, restart=True)
    assert engine.info("c").dimensions == {"v": 4}


def test_progress_is_told_from_first_to_last(engine: Engine, tiny_encoder: Encoder) -> None:
    told: list[Progress] = []
    ingest(engine, "c", passages(), encoder=tiny_encoder, batch_size=4, progress=told.append)
    assert [(each.stage, each.done) for each in told] == [
        ("loading", 0),
        ("loading", 4),
        ("loading", 8),
        ("loading", 10),
        ("optimizing", 10),
    ]


class _CutOff(Exception):
    """Stands for the end of the process: nothing catches it, nothing is tidied up after it."""


def cut_off(
    engine: Engine, encoder: Encoder, after: int, error: Exception | None = None, **settings: Any
) -> None:
    """An ingest whose engine fails after some batches."""
    real, calls = engine._upsert, itertools.count()

    def failing(name: str, points: Any) -> None:
        if next(calls) >= after:
            raise error or _CutOff
        real(name, points)

    engine._upsert = failing  # type: ignore[method-assign]
    try:
        ingest(engine, "c", passages(), queries(), encoder=encoder, batch_size=3, **settings)
    finally:
        engine._upsert = real  # type: ignore[method-assign]


@pytest.fixture(params=["noted", "not noted"])
def journal_lag(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the journal is kept after every batch, or lags behind what is in."""
    seconds = 0.0 if request.param == "noted" else 3600.0
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", seconds)
    lag: str = request.param
    return lag


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_run_cut_off_goes_on_and_ends_as_if_it_had_not_been(
    engine: Engine, tiny_encoder: Encoder, after: int, journal_lag: str
) -> None:
    with pytest.raises(_CutOff):
        cut_off(engine, tiny_encoder, after)
    report = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3)
    assert report.resumed_at == 3 * after
    found = dump(engine)
    engine.delete("c")
    ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3)
    assert found == dump(engine)
    journal = read_journal(engine, "c")
    assert journal is not None
    assert journal.complete


def test_a_failing_engine_says_how_much_is_in(engine: Engine, tiny_encoder: Encoder) -> None:
    with pytest.raises(
        PartialIngest, match=r"gone away[\s\S]*6 of 10.*run the same again"
    ) as caught:
        cut_off(engine, tiny_encoder, 2, EngineUnavailable("the server has gone away"))
    assert (caught.value.done, caught.value.total) == (6, 10)
    assert isinstance(caught.value.__cause__, EngineUnavailable)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.9}, "alpha"),
        ({"layout": "fused"}, "layout"),
        ({"batch_size": 4}, "batch size 3"),
        ({"passages": passages(9), "queries": queries(9)}, "other passages or queries"),
        ({"queries": queries()[:-1]}, "other passages or queries"),
    ],
)
def test_resuming_with_changed_settings_is_refused_unless_restarted(
    engine: Engine, tiny_encoder: Encoder, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(_CutOff):
        cut_off(engine, tiny_encoder, 2)
    settings: dict[str, Any] = {"batch_size": 3, **change}
    rows, asked = settings.pop("passages", passages()), settings.pop("queries", queries())
    with pytest.raises(UnfinishedIngest, match=message) as caught:
        ingest(engine, "c", rows, asked, encoder=tiny_encoder, **settings)
    assert "--restart" in str(caught.value)
    report = ingest(engine, "c", rows, asked, encoder=tiny_encoder, restart=True, **settings)
    assert report.resumed_at == 0
    assert report.points == len(rows)
    found = dump(engine)
    ingest(engine, "fresh", rows, asked, encoder=tiny_encoder, **settings)
    assert found == dump(engine, "fresh")


def test_restarting_an_addition_keeps_what_was_complete_before(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    other = [("here", Passage("other", "an earlier passage"))]
    ingest(engine, "c", other, encoder=tiny_encoder, languages=LANGUAGES)
    with pytest.raises(_CutOff):
        cut_off(engine, tiny_encoder, 1)
    with pytest.raises(CollectionMismatch):
        ingest(engine, "c", passages(), encoder=tiny_encoder, alpha=0.7, restart=True)
    report = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, restart=True)
    assert report.points == 11


def test_points_lost_since_are_loaded_again(engine: Engine, tiny_encoder: Encoder) -> None:
    """Somebody removed points behind our back: the journal's word is checked by a count."""
    with pytest.raises(_CutOff):
        cut_off(engine, tiny_encoder, 2)
    documents = {key: engine.read_document("c", key) or {} for key in ("manifest", "journal")}
    manifest = read_manifest(engine, "c")
    engine.delete("c")
    engine.create("c", dict.fromkeys(manifest.vector_names, manifest.dimension), (), documents)
    report = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3)
    assert (report.resumed_at, report.points) == (0, 10)


def test_ctrl_c_leaves_a_journal_to_go_on_from(engine: Engine, tiny_encoder: Encoder) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(engine, "c", passages(), encoder=tiny_encoder, batch_size=3, progress=interrupt)
    journal = read_journal(engine, "c")
    assert journal is not None
    assert (journal.done, journal.complete) == (6, False)


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_run_that_another_overtakes_ends(
    engine: Engine, tiny_encoder: Encoder, journal_lag: str, unfinished: bool
) -> None:
    """Two runs of the same on one engine: nothing locks them out of each other."""
    if not unfinished:
        ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3)
    overtaken: list[Progress] = []

    def overtake(progress: Progress) -> None:
        if progress.done == 6 and not overtaken:
            overtaken.append(progress)
            ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3)

    with pytest.raises(CollectionLocked, match=r"another ingest has begun.*run the same again"):
        ingest(
            *(engine, "c", passages(), queries()),
            encoder=tiny_encoder,
            batch_size=3,
            progress=overtake,
        )
    journal = read_journal(engine, "c")
    assert journal is not None
    assert journal.complete  # the word of the one that overtook stands
    found = dump(engine)
    engine.delete("c")
    ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3)
    assert found == dump(engine)


def test_a_collection_made_at_the_same_moment_is_anothers(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    real = engine._create

    def create(*arguments: Any) -> None:
        engine._create = real  # type: ignore[method-assign]
        ingest(engine, "c", passages(), encoder=tiny_encoder)
        raise CollectionExists("collection 'c' exists already")

    engine._create = create  # type: ignore[method-assign]
    with pytest.raises(CollectionLocked, match="run the same again"):
        ingest(engine, "c", passages(), encoder=tiny_encoder)
    assert ingest(engine, "c", passages(), encoder=tiny_encoder).points == 10


def test_a_hybrid_collection_without_its_mean_lengths_is_not_added_to(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    """Other lengths would be counted of the new passages, and mixed with the old ones."""
    ingest(engine, "c", passages(), encoder=tiny_encoder, hybrid=True)
    engine.write_document("c", "lexical", {})
    with pytest.raises(StorageError, match=r"mean lengths.*'xqg delete -c c'"):
        ingest(engine, "c", passages(5), encoder=tiny_encoder, hybrid=True)
    engine.delete("c")
    assert ingest(engine, "c", passages(), encoder=tiny_encoder, hybrid=True).points == 10


def test_a_damaged_journal_names_both_ways_out(tiny_encoder: Encoder, tmp_path: Path) -> None:
    with EdgeEngine(tmp_path / "e") as engine:
        with pytest.raises(_CutOff):
            cut_off(engine, tiny_encoder, 2)
        journal = engine.root / "c" / "documents" / "journal.json"
        journal.write_bytes(journal.read_bytes()[:-30])
        with pytest.raises(StorageError, match=r"'xqg delete -c c'.*--restart"):
            ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3)
        report = ingest(
            engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3, restart=True
        )
        assert (report.resumed_at, report.points) == (0, 10)
        found = dump(engine)
        ingest(engine, "fresh", passages(), queries(), encoder=tiny_encoder, batch_size=3)
        assert found == dump(engine, "fresh")


def test_a_server_that_is_gone_is_not_asked_to_note_it(
    engine: Engine, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be waited for a second time; the next run does the rest again."""
    monkeypatch.setattr(engine, "flush", lambda name: pytest.fail("asked again"))
    with pytest.raises(PartialIngest, match="6 of 10"):
        cut_off(engine, tiny_encoder, 2, EngineUnavailable("gone"))
    monkeypatch.undo()
    report = ingest(engine, "c", passages(), queries(), encoder=tiny_encoder, batch_size=3)
    assert report.points == 10


def test_input_is_a_stream(engine: Engine, tiny_encoder: Encoder) -> None:
    """A generator is enough; nobody asks for its length or reads it twice."""

    def stream() -> Iterator[tuple[str, Passage]]:
        yield from passages()

    assert ingest(engine, "c", stream(), iter(queries()), encoder=tiny_encoder).points == 10


def test_an_encoder_that_makes_other_vectors_is_refused(
    engine: Engine, tiny_encoder: Encoder, tmp_path: Any
) -> None:
    from tests.tiny import build_encoder

    ingest(engine, "c", passages(), encoder=tiny_encoder)
    other = Encoder.load(build_encoder(tmp_path / "other", seed=1))
    with pytest.raises(CollectionMismatch, match="encoder_fingerprint"):
        ingest(engine, "c", passages(), encoder=other)


def test_point_ids_never_change() -> None:
    """Collections hang on them: this value must stay as it is."""
    assert point_id("p0") == "26fa590b-53d2-5e35-a52c-0804dc277889"
    assert Point(point_id("p0"), {}).id != point_id("p1")
