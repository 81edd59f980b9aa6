"""The run around every source: journal, resume, files that appear whole."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_qdrant import GeneratedQuery, Passage
from xqg_qdrant.corpus.jsonl import read_queries
from xqg_qdrant.errors import InputError, StorageError, UnfinishedGeneration
from xqg_qdrant.queries.generation import GenerationReport, generate_queries
from xqg_qdrant.queries.journal import journal_path, part_path
from xqg_qdrant.queries.sentences import SentenceSource
from xqg_qdrant.queries.side_file import read_side_file, side_file
from xqg_qdrant.queries.source import Source
from xqg_qdrant.records import Progress

PASSAGES = [
    Passage(f"p{number}", f"Satz {number}. Noch {number}! NOCH  {number}! Ende?", lang="de")
    for number in range(20)
]


def run(
    out: Path,
    source: Source | None = None,
    passages: Sequence[Passage] = PASSAGES,
    *,
    window: int = 3,
    progress: Callable[[Progress], None] | None = None,
    force: bool = False,
    restart: bool = False,
) -> GenerationReport:
    return generate_queries(
        ((f"line {number}", passage) for number, passage in enumerate(passages)),
        source or SentenceSource(),
        out,
        window=window,
        force=force,
        restart=restart,
        progress=progress,
    )


def stop_after(passages: int) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        if progress.stage == "generating" and progress.done >= passages:
            raise KeyboardInterrupt

    return show


def cut_off(out: Path, passages: int = 6) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stop_after(passages))
    assert not out.exists()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "queries.jsonl"


def test_queries_come_in_the_order_of_passages_and_are_readable(out: Path) -> None:
    report = run(out)
    queries = [query for _, query in read_queries(out)]
    assert queries == [
        GeneratedQuery(passage.id, "de", text)
        for number, passage in enumerate(PASSAGES)
        for text in (f"Satz {number}.", f"Noch {number}!", "Ende?")
    ]
    assert report.queries == {"de": 60}
    assert (report.passages, report.duplicates, report.written) == (20, 20, 60)
    assert names(out.parent) == {"queries.jsonl", "queries.jsonl.meta.json"}


def test_the_side_file_says_once_what_wrote_the_queries(out: Path) -> None:
    run(out, SentenceSource(per_passage=2))
    told = read_side_file(out)
    assert told is not None
    assert told["generator"] == "sentences"
    assert told["configuration"] == {"source": "sentences", "language": None, "per_language": 2}
    assert (told["passages"], told["queries"]) == (20, {"de": 40})
    assert told["bytes"] == out.stat().st_size
    assert set(told["versions"]) == {"xqg-qdrant", "sentencex"}
    assert read_side_file(out.with_name("queries.jsonl.gz")) == told


def test_a_damaged_side_file_is_told(out: Path) -> None:
    side_file(out).write_text("[1]")
    with pytest.raises(InputError, match="expected a JSON object"):
        read_side_file(out)
    side_file(out).write_text("{}")
    with pytest.raises(InputError, match="no field 'generator'"):
        read_side_file(out)
    assert read_side_file("-") is None


def test_repeated_passages_are_done_once(out: Path) -> None:
    report = run(out, passages=[*PASSAGES[:2], PASSAGES[0]])
    assert (report.passages, report.repeated) == (2, 1)
    assert len(list(read_queries(out))) == 6


def test_all_input_is_checked_before_anything_is_written(out: Path) -> None:
    def passages() -> Iterator[tuple[str, Passage]]:
        yield "line 1", PASSAGES[0]
        raise InputError("line 2: broken")

    with pytest.raises(InputError, match="line 2"):
        generate_queries(passages(), SentenceSource(), out)
    assert names(out.parent) == set()


@settings(max_examples=20)
@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8)), max_size=4),
)
def test_however_often_it_is_cut_off_the_files_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, window: int, stops: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole, cut = folder / "whole.jsonl", folder / "cut.jsonl"
    expected = run(whole, window=window)
    for passages, other_window in stops:
        try:
            run(cut, window=other_window, progress=stop_after(passages))
        except KeyboardInterrupt:
            continue
        break
    if not cut.exists():
        report = run(cut, window=window)
        assert report.queries == expected.queries
        assert report.duplicates == expected.duplicates
    assert cut.read_bytes() == whole.read_bytes()
    assert side_file(cut).read_bytes() == side_file(whole).read_bytes()
    assert len(names(folder)) == 4


def test_a_run_that_was_cut_off_says_how_far_it_came(out: Path) -> None:
    cut_off(out)
    assert json.loads(journal_path(out).read_text())["done"] == 6
    seen: list[Progress] = []
    report = run(out, progress=seen.append)
    assert report.resumed_at == 6
    assert report.written == 42
    assert report.queries == {"de": 60}
    assert seen[0] == Progress("generating", 6, 20, 18)
    assert seen[-1] == Progress("generating", 20, 20, 60)


def test_what_the_journal_does_not_know_is_cut_off(out: Path) -> None:
    run(out)
    whole = out.read_bytes()
    out.unlink()
    cut_off(out)
    with part_path(out).open("ab") as part:
        part.write(b'{"passage_id": "p6", "lang": "de", "te')
    run(out)
    assert out.read_bytes() == whole


def test_another_configuration_is_named(out: Path) -> None:
    cut_off(out)
    with pytest.raises(UnfinishedGeneration) as caught:
        run(out, SentenceSource(per_passage=2))
    assert "per_language null (now 2)" in str(caught.value)
    assert "6 of 20 passages" in str(caught.value)
    assert "--restart" in str(caught.value)
    report = run(out, SentenceSource(per_passage=2), restart=True)
    assert (report.resumed_at, report.queries) == (0, {"de": 40})


def test_other_passages_are_told(out: Path) -> None:
    cut_off(out)
    others = [*PASSAGES[:5], Passage("p5", "Anderes.", lang="de"), *PASSAGES[6:]]
    for passages in (others, PASSAGES[:5]):
        with pytest.raises(UnfinishedGeneration, match="those were others"):
            run(out, passages=passages)
    assert run(out).resumed_at == 6


def test_passages_may_have_come_to_the_end_of_the_input(out: Path) -> None:
    cut_off(out)
    longer = [*PASSAGES, Passage("p20", "Neu.", lang="de")]
    assert run(out, passages=longer).passages == 21
    other = out.with_name("other.jsonl")
    run(other, passages=longer)
    assert out.read_bytes() == other.read_bytes()


def test_a_run_that_did_nothing_leaves_nothing_and_binds_nobody(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stop_after(0))
    assert names(out.parent) == set()


def test_an_older_file_is_replaced_only_by_force_and_only_at_the_end(out: Path) -> None:
    out.write_text("older")
    with pytest.raises(InputError, match="is there already"):
        run(out)
    with pytest.raises(KeyboardInterrupt):
        run(out, force=True, progress=stop_after(6))
    assert out.read_text() == "older"
    with pytest.raises(InputError, match="is there already"):
        run(out)
    assert run(out, force=True).resumed_at == 6
    assert len(list(read_queries(out))) == 60


@pytest.mark.parametrize("named", [False, True])
def test_a_run_killed_at_the_very_end_is_finished(out: Path, named: bool) -> None:
    """Killed after the last entry of the journal: before, or after, the file had its name."""
    run(out)
    whole, told = out.read_bytes(), side_file(out).read_bytes()
    out.unlink()
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stop_after(20))
    journal = json.loads(journal_path(out).read_text())
    assert journal["done"] == 20
    journal_path(out).write_text(json.dumps({**journal, "complete": True}))
    if named:
        part_path(out).rename(out)
    else:
        side_file(out).unlink()
    report = run(out)
    assert (report.resumed_at, report.written, report.queries) == (20, 0, {"de": 60})
    assert out.read_bytes() == whole
    assert side_file(out).read_bytes() == told
    assert names(out.parent) == {"queries.jsonl", "queries.jsonl.meta.json"}


def test_a_journal_left_behind_does_not_cover_another_run(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stop_after(20))
    journal = json.loads(journal_path(out).read_text())
    journal_path(out).write_text(json.dumps({**journal, "complete": True}))
    part_path(out).rename(out)
    with pytest.raises(InputError, match="is there already"):
        run(out, SentenceSource(per_passage=1))
    assert len(list(read_queries(out))) == 60


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: journal_path(out).write_text("{"), "journal is damaged"),
        (lambda out: journal_path(out).write_text("{}"), "journal is damaged"),
        (lambda out: journal_path(out).unlink(), "part is there, its journal is not"),
        (lambda out: part_path(out).unlink(), "has 0 bytes, its journal says"),
        (lambda out: os.truncate(part_path(out), 10), "has 10 bytes, its journal says"),
    ],
)
def test_damage_is_told_and_restart_helps(
    out: Path, damage: Callable[[Path], object], message: str
) -> None:
    cut_off(out)
    damage(out)
    with pytest.raises(StorageError, match=message) as caught:
        run(out)
    assert "--restart" in str(caught.value)
    assert run(out, restart=True).resumed_at == 0


def test_two_runs_do_not_write_the_same_file(out: Path) -> None:
    cut_off(out)
    with part_path(out).open("rb+") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another run is writing it"):
            run(out)
    assert run(out).resumed_at == 6


def test_not_one_query_is_an_error(out: Path) -> None:
    source = SentenceSource()
    with pytest.raises(InputError, match="not one query came out for 1 passages"):
        run(out, source, [Passage("p", "\x01", lang="de")])
    assert names(out.parent) == set()


@pytest.mark.parametrize("where", ["absent/queries.jsonl", "."])
def test_an_output_that_cannot_be_is_told(tmp_path: Path, where: str) -> None:
    with pytest.raises(InputError, match=r"No such file|is a folder"):
        run(tmp_path / where)


def test_a_full_disk_keeps_what_is_done(small_disk: Path, tmp_path: Path) -> None:
    passages = [
        Passage(f"p{number}", f"{number} " + "wort " * 1_000, lang="de") for number in range(400)
    ]
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (63 * 2**20))
    out = small_disk / "queries.jsonl"
    with pytest.raises(StorageError, match="No space left") as caught:
        run(out, passages=passages)
    assert "run the same again to go on" in str(caught.value)
    assert not out.exists()
    filler.unlink()
    report = run(out, passages=passages)
    assert 0 < report.resumed_at < 400
    other = tmp_path / "other.jsonl"
    run(other, passages=passages)
    assert out.read_bytes() == other.read_bytes()
