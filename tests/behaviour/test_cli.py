"""The command line as a user meets it: output, exit codes, messages."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from tests.afriqa import row, write_split
from tests.behaviour.conftest import XQG, Run, write_corpus
from tests.tiny import build_encoder
from tests.xquad import paragraph, write_language
from xqg_qdrant.cli import main
from xqg_qdrant.layouts import PerLanguageLayout

# fmt: off
COMMANDS = [
    "demo", "export", "generate", "filter", "ingest", "search", "info", "dump", "delete",
    "rollback", "alias", "backup", "restore", "push", "models",
    "eval", "eval afriqa", "eval beir", "eval mkqa", "eval run", "eval xor-tydi", "eval xquad-r",
    "sweep", "sweep alpha", "sweep defaults", "sweep languages", "sweep queries", "compare",
    "reproduce", "data", "data fetch", "data list",
]
# fmt: on


@pytest.fixture
def library(xqg: Run, tmp_path: Path) -> str:
    """A collection ``c`` of forty passages at ``library``."""
    passages, queries = write_corpus(tmp_path, 40)
    done = xqg("ingest", passages, "--queries", queries, "--to", "library", "-c", "c")
    assert done.returncode == 0, done.stderr
    return "library"


def _all_commands(group: click.Group, prefix: str = "") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        found.append((f"{prefix}{name}", command))
        if isinstance(command, click.Group):
            found += _all_commands(command, f"{prefix}{name} ")
    return found


def test_every_command_is_listed_and_has_help() -> None:
    commands = dict(_all_commands(main))
    assert sorted(commands) == sorted(COMMANDS)
    for name, command in commands.items():
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_shown(xqg: Run, command: str) -> None:
    done = xqg(*command.split(), "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


def test_the_version_is_shown(xqg: Run) -> None:
    from xqg_qdrant import __version__

    assert xqg("--version").stdout == f"xqg, version {__version__}\n"


def test_ingest_reports_on_standard_output_and_progress_on_standard_error(
    xqg: Run, tmp_path: Path
) -> None:
    passages, queries = write_corpus(tmp_path, 200)
    done = xqg("ingest", passages, "--queries", queries, "--to", "d", "-c", "c", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["passages"] == report["points"] == 200
    assert report["queries"] == {"sw": 400}
    assert report["encoder"] == "tiny"
    assert "passages/s" in done.stderr
    assert "<00:" in done.stderr  # time left
    again = xqg("ingest", passages, "--queries", queries, "--to", "d", "-c", "c", "-q")
    assert "passages/s" not in again.stderr
    assert "200 passages were longer than tiny takes" in again.stderr
    assert "points:" in again.stdout


@pytest.mark.parametrize("how", ["stdin", "gz", "queries from stdin"])
def test_input_from_a_pipe_or_packed(xqg: Run, tmp_path: Path, how: str) -> None:
    passages, queries = write_corpus(tmp_path, 20)
    arguments: list[Any] = [passages, "--queries", queries]
    text = None
    if how == "stdin":
        arguments[0], text = "-", passages.read_text()
    elif how == "gz":
        arguments[0] = tmp_path / "p.jsonl.gz"
        arguments[0].write_bytes(gzip.compress(passages.read_bytes()))
    else:
        arguments[2], text = "-", queries.read_text()
    done = xqg("ingest", *arguments, "--to", "d", "-c", "c", "--json", input=text)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["queries"] == {"sw": 40}


def test_a_dry_run_checks_and_writes_nothing(xqg: Run, tmp_path: Path) -> None:
    passages, _ = write_corpus(tmp_path, 20)
    done = xqg("ingest", passages, "--to", "d", "-c", "c", "--dry-run")
    assert done.returncode == 0
    assert "nothing was written" in done.stdout
    assert not (tmp_path / "d").exists()
    with passages.open("a") as stream:
        stream.write("{broken\n")
    done = xqg("ingest", passages, "--to", "d", "-c", "c", "--dry-run")
    assert done.returncode == 1
    assert "line 21" in done.stderr


def test_search_prints_hits(xqg: Run, library: str) -> None:
    done = xqg("search", "mto mlima", "--from", library, "--lang", "sw", "-k", 3)
    assert done.returncode == 0, done.stderr
    assert [line[:2] for line in done.stdout.splitlines() if line[:1].isdigit()] == [
        "1.",
        "2.",
        "3.",
    ]


def test_search_as_json_carries_whole_hits(xqg: Run, library: str) -> None:
    done = xqg("search", "mto mlima", "--from", library, "-c", "c", "--json")
    hits = json.loads(done.stdout)
    assert len(hits) == 5
    assert set(hits[0]) == {"id", "score", "title", "text", "lang", "metadata", "queries"}
    assert set(hits[0]["queries"][0]) == {"passage_id", "lang", "text", "score"}


def test_search_reads_questions_from_standard_input(xqg: Run, library: str) -> None:
    done = xqg("search", "-", "--from", library, "--json", "-k", 1, input="mto\n\nmlima\n")
    rows = json.loads(done.stdout)
    assert [row["question"] for row in rows] == ["mto", "mlima"]
    assert all(len(row["hits"]) == 1 for row in rows)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["n=7"], {7}),
        (["n=7", "n=8"], {7, 8}),
        (["n>=38"], {38, 39}),
        (["n>2", "n<=4"], {3, 4}),
        (["n=1000"], set()),
        (["name=x"], set()),
    ],
)
def test_search_filters(xqg: Run, library: str, filters: list[str], expected: set[int]) -> None:
    flags = [part for each in filters for part in ("--filter", each)]
    done = xqg("search", "mto", "--from", library, "--json", "-k", 40, *flags)
    assert done.returncode == 0, done.stderr
    assert {hit["metadata"]["n"] for hit in json.loads(done.stdout)} == expected


def test_info_lists_and_describes(xqg: Run, library: str) -> None:
    assert "per-language" in xqg("info", "--from", library).stdout
    described = xqg("info", "--from", library, "-c", "c").stdout
    assert "queries:" in described
    assert "sw 80" in described
    row = json.loads(xqg("info", "--from", library, "-c", "c", "--json").stdout)
    assert row["complete"] is True
    assert row["manifest"]["alpha"] == PerLanguageLayout.default_alpha
    (row,) = json.loads(xqg("info", "--from", library, "--json").stdout)
    assert row["name"] == "c"


def test_dump_writes_every_point_in_the_order_of_ids(
    xqg: Run, library: str, tmp_path: Path
) -> None:
    done = xqg("dump", "--from", library, "-c", "c")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 40
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert all(set(row) == {"id", "payload", "vectors"} for row in rows)
    assert set(rows[0]["vectors"]) == {"passage", "fused-sw"}
    assert len(rows[0]["vectors"]["passage"]) == 16
    assert xqg("dump", "--from", library, "-c", "c", "-o", "out.jsonl").stdout == ""
    assert (tmp_path / "out.jsonl").read_text() == done.stdout
    without = xqg("dump", "--from", library, "-c", "c", "--no-vectors")
    assert set(json.loads(without.stdout.splitlines()[0])) == {"id", "payload"}


def test_a_dump_ends_quietly_when_its_reader_does(
    library: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = " ".join(f"'{part}'" for part in [*XQG, "dump", "--from", library, "-c", "c"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout)["id"]
    assert "Traceback" not in done.stderr


def test_delete_asks_first(xqg: Run, library: str) -> None:
    done = xqg("delete", "--from", library, "-c", "c", input="n\n")
    assert done.returncode == 1
    assert "40 points" in done.stderr
    assert xqg("info", "--from", library, "-c", "c").returncode == 0
    assert xqg("delete", "--from", library, "-c", "c", input="").returncode == 1
    assert xqg("delete", "--from", library, "-c", "c", "--yes").returncode == 0
    done = xqg("info", "--from", library, "-c", "c")
    assert done.returncode == 1
    assert "no collection 'c'" in done.stderr


def test_a_damaged_collection_says_so_and_can_be_deleted(
    xqg: Run, library: str, tmp_path: Path
) -> None:
    folder = tmp_path / library / "c"
    (folder / "documents" / "journal.json").unlink()
    done = xqg("info", "--from", library, "-c", "c")
    assert "not known, its journal is missing: ingest the same again" in done.stdout
    shutil.rmtree(folder / "shard")
    done = xqg("search", "river", "--from", library, "-c", "c", "--lang", "sw")
    assert done.returncode == 1
    assert "Its files are damaged: delete the collection ('xqg delete -c c')" in done.stderr
    assert "Traceback" not in done.stderr
    done = xqg("delete", "--from", library, "-c", "c", input="y\n")
    assert done.returncode == 0
    assert "with all that is in it?" in done.stderr
    assert not folder.exists()


def test_models_lists_what_a_name_reaches(xqg: Run) -> None:
    rows = json.loads(xqg("models", "--json").stdout)
    assert {"tiny", "mini", "mini-static"} <= {row["name"] for row in rows}
    assert "tiny" in xqg("models").stdout


@pytest.mark.parametrize("augment", ["none", "sentences", "questions"])
def test_eval_prints_rows_for_machines(xqg: Run, tmp_path: Path, augment: str) -> None:
    folder = tmp_path / "xquad-r"
    folder.mkdir()
    texts = ["rivers flow. they end.", "bread is baked. it is eaten.", "stars shine. they die."]
    for language, word in (("en", "what"), ("sw", "nini")):
        write_language(
            folder,
            language,
            *(
                [
                    paragraph(
                        text,
                        {f"{number}-{n}": f"{word} {text.split()[0]} {n}" for n in range(2)},
                        text.split(". "),
                    )
                ]
                for number, text in enumerate(texts)
            ),
        )
    done = xqg("eval", "xquad-r", folder, "--augment", augment, "--json", "--articles", "2-3")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    fields = ("system", "language", "measure", "value", "n", "low", "high", "missing")
    assert {tuple(row) for row in rows} == {fields}
    assert [row["language"] for row in rows[::3]] == ["en", "sw", "average"]
    assert {row["measure"] for row in rows} == {"R@1", "R@10", "MRR@10"}
    assert {row["n"] for row in rows} == {4}
    assert all(row["value"] == 1 for row in rows if row["measure"] == "R@10")
    assert (augment in rows[0]["system"]) == (augment != "none")


def test_eval_of_afriqa_counts_what_it_skips(xqg: Run, tmp_path: Path) -> None:
    write_split(tmp_path / "gold", "hau", "test", row("ruwa", "water"), row("ina?", None))
    write_split(tmp_path / "gold", "swa", "dev", row("maji", "water again"))
    done = xqg("eval", "afriqa", "gold", "--split", "test", "--languages", "hau,sw")
    assert done.returncode == 0, done.stderr
    assert "2 passages in the pool; 1 rows without a passage skipped" in done.stdout
    rows = json.loads(xqg("eval", "afriqa", "gold", "--json").stdout)
    assert [row["language"] for row in rows[::3]] == ["ha", "sw", "average"]
    assert all(row["value"] == 1 for row in rows if row["measure"] == "R@10")
    done = xqg("eval", "afriqa", "gold", "--split", "train")
    assert done.returncode == 1
    assert "no question of train in 2 files: found are ha test, sw dev" in done.stderr


def test_filter_keeps_the_best_and_says_what_it_left_out(xqg: Run, tmp_path: Path) -> None:
    passages, queries = write_corpus(tmp_path, 40)
    asked = ["filter", queries, "--passages", passages, "-o", "kept.jsonl", "--keep", "0.5"]
    done = xqg(*asked, "--round-trip", "40")
    assert done.returncode == 0, done.stderr
    kept = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    total = len(Path(queries).read_text().splitlines())
    summary = f"{len(kept)} of {total} queries kept in kept.jsonl; {total - len(kept)} low score"
    assert summary in done.stdout
    done = xqg(*asked)
    assert done.returncode == 2
    assert "kept.jsonl is there already" in done.stderr
    report = json.loads(xqg(*asked, "--force", "--json").stdout)
    assert sum(report["kept"].values()) == len(kept)
    # What is kept is what 'xqg ingest' takes.
    done = xqg("ingest", passages, "--queries", "kept.jsonl", "--to", "library", "-c", "c")
    assert done.returncode == 0, done.stderr


USAGE = {
    "no command": ["nonsense"],
    "no collection": ["ingest", "{passages}"],
    "no such file": ["ingest", "absent.jsonl", "-c", "c"],
    "a folder": ["ingest", "{folder}", "-c", "c"],
    "alpha too large": ["ingest", "{passages}", "-c", "c", "--alpha", "1.1"],
    "alpha negative": ["ingest", "{passages}", "-c", "c", "--alpha", "-0.1"],
    "alpha no number": ["ingest", "{passages}", "-c", "c", "--alpha", "nan"],
    "unknown layout": ["ingest", "{passages}", "-c", "c", "--layout", "round"],
    "unknown language": ["ingest", "{passages}", "-c", "c", "--languages", "sw,xx"],
    "unknown question language": ["search", "x", "--lang", "xx"],
    "filter by nothing": ["filter", "{queries}", "--passages", "{passages}", "-o", "x"],
    "keep": ["filter", "{queries}", "--passages", "{passages}", "-o", "x", "--keep", "0"],
    "batch size": ["ingest", "{passages}", "-c", "c", "--batch-size", "0"],
    "stdin twice": ["ingest", "-", "--queries", "-", "-c", "c"],
    "limit": ["search", "x", "-k", "0"],
    "filter": ["search", "x", "--filter", "novalue"],
    "bounds and value": ["search", "x", "--filter", "n=1", "--filter", "n>0"],
    "empty question": ["search", "  "],
    "threads": ["search", "x", "--threads", "0"],
    "eval of a file": ["eval", "xquad-r", "{passages}"],
    "afriqa of a language that is none": ["eval", "afriqa", "{folder}", "--languages", "xx"],
    "articles": ["eval", "xquad-r", "{folder}", "--articles", "5-4"],
    "unknown data set": ["data", "fetch", "nothing", "--to", "x"],
    "unknown measure": ["eval", "xquad-r", "{folder}", "--measures", "sorcery@10"],
    "two folds of nothing": ["eval", "xquad-r", "{folder}", "--two-fold"],
    "baseline that is none": ["eval", "xquad-r", "{folder}", "--baseline", "absent.run"],
    "plain beside plain": ["eval", "beir", "{folder}", "--baseline", "plain"],
    "run without qrels": ["eval", "run", "--run", "{passages}"],
    "articles in words": ["eval", "xquad-r", "{folder}", "--articles", "first"],
    "unknown option": ["info", "--nonsense"],
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_with_2(xqg: Run, tmp_path: Path, case: str) -> None:
    passages, _ = write_corpus(tmp_path, 3)
    names = {"{passages}": passages, "{folder}": tmp_path}
    done = xqg(*[names.get(part, part) for part in USAGE[case]])
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["passages.jsonl", "queries.jsonl"]


GOOD = '{"id": "a", "text": "good"}\n'
FAILURES: dict[str, tuple[bytes, bytes, str]] = {
    "a broken line": (GOOD.encode() + b'{"id": "b", "te\n', b"", "line 2: not valid JSON"),
    "no object": (b"[1]\n", b"", "line 1: expected a JSON object"),
    "text missing": (b'{"id": "a"}\n', b"", "line 1: no field 'text'"),
    "text empty": (b'{"id": "a", "text": " "}\n', b"", "line 1: text is empty"),
    "text null": (b'{"id": "a", "text": null}\n', b"", "line 1: no field 'text'"),
    "text no string": (b'{"id": "a", "text": 5}\n', b"", "text must be a string"),
    "id missing": (b'{"text": "a"}\n', b"", "no field 'id'"),
    "id a boolean": (b'{"id": true, "text": "a"}\n', b"", "id must be a string"),
    "other duplicates": (
        GOOD.encode() + b'{"id": "a", "text": "other"}\n',
        b"",
        "line 2: the id 'a' stands already",
    ),
    "unknown passage": (
        GOOD.encode(),
        b'{"passage_id": "z", "lang": "sw", "text": "x"}\n',
        "unknown passage 'z'",
    ),
    "a lone surrogate": (b'{"id": "a", "text": "x\\ud800"}\n', b"", "lone surrogate"),
    "NUL": (b'{"id": "a", "text": "x\\u0000"}\n', b"", "NUL"),
    "a 1 MB text": (b'{"id": "a", "text": "' + b"x" * 2**20 + b'"}\n', b"", "1,048,576 characters"),
    "130 deep": (
        b'{"id": "a", "text": "x", "metadata": ' + b'{"k": ' * 130 + b"1" + b"}" * 131 + b"\n",
        b"",
        "more than 32 deep",
    ),
    "NaN": (b'{"id": "a", "text": "x", "metadata": {"k": NaN}}\n', b"", "NaN is not a JSON"),
    "unknown language": (b'{"id": "a", "text": "x", "lang": "xx"}\n', b"", "language code 'xx'"),
    "query in an unknown language": (
        GOOD.encode(),
        b'{"passage_id": "a", "lang": "q", "text": "x"}\n',
        "language code 'q'",
    ),
    "unknown field": (b'{"id": "a", "text": "x", "url": "y"}\n', b"", "under 'metadata'"),
    "not UTF-8": (b'{"id": "a", "text": "\xff"}\n', b"", "line 1: not UTF-8"),
    "nothing": (b"", b"", "no passages"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_bad_input_exits_with_1_and_nothing_is_made(xqg: Run, tmp_path: Path, case: str) -> None:
    passages, queries, message = FAILURES[case]
    (tmp_path / "p.jsonl").write_bytes(passages)
    (tmp_path / "q.jsonl").write_bytes(queries)
    done = xqg("ingest", "p.jsonl", "--queries", "q.jsonl", "--to", "d", "-c", "c")
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "d").exists()


def test_a_collection_of_another_encoder_is_refused(xqg: Run, library: str, tmp_path: Path) -> None:
    build_encoder(tmp_path / "models" / "other", name="other", seed=5)
    for command in (
        ["search", "mto", "--from", library],
        ["ingest", "passages.jsonl", "--to", library, "-c", "c"],
    ):
        done = xqg(*command, "--encoder", tmp_path / "models" / "other")
        assert done.returncode == 1
        assert "encoder" in done.stderr
        assert "Traceback" not in done.stderr
    assert xqg("search", "mto", "--from", library).returncode == 0


def test_an_unknown_encoder_is_told_with_those_at_hand(xqg: Run, tmp_path: Path) -> None:
    passages, _ = write_corpus(tmp_path, 3)
    done = xqg("ingest", passages, "--to", "d", "-c", "c", "--encoder", "absent")
    assert done.returncode == 1
    assert "no model named 'absent'" in done.stderr
    assert "tiny" in done.stderr


def test_an_unreachable_server_is_told(xqg: Run, tmp_path: Path) -> None:
    passages, _ = write_corpus(tmp_path, 3)
    done = xqg("ingest", passages, "--to", "http://127.0.0.1:9", "-c", "c")
    assert done.returncode == 1
    assert "no answer from the Qdrant server at http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_collection_open_elsewhere_is_told(
    xqg: Run, library: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    script = (
        "import sys, time; from xqg_qdrant import Client\n"
        "client = Client('library'); client.info('c'); print('open', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        for command in (["search", "mto"], ["info", "-c", "c"], ["delete", "-c", "c", "--yes"]):
            done = xqg(*command, "--from", library)
            assert done.returncode == 1
            assert "has it open" in done.stderr
    finally:
        holder.kill()
        holder.communicate()
    assert xqg("search", "mto", "--from", library).returncode == 0


def test_an_ingest_with_other_settings_than_the_unfinished_one_is_told_of_restart(
    xqg: Run, tmp_path: Path, environment: dict[str, str]
) -> None:
    passages, _ = write_corpus(tmp_path, 3000)
    arguments = ["ingest", str(passages), "--to", "d", "-c", "c", "--batch-size", "8", "-q"]
    process = subprocess.Popen([*XQG, *arguments], env=environment, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "d" / "c" / "documents" / "journal.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = xqg(*arguments, "--alpha", "0.7")
    assert done.returncode == 1
    assert "alpha" in done.stderr
    assert "--restart" in done.stderr
    done = xqg(*arguments, "--alpha", "0.7", "--restart", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points"] == 3000


def test_no_api_key_is_ever_shown(xqg: Run) -> None:
    done = xqg("info", "--from", "http://127.0.0.1:9", env={"QDRANT_API_KEY": "a-secret-key"})
    assert done.returncode == 1
    assert "a-secret-key" not in done.stdout + done.stderr
    assert (
        "a-secret-key" not in xqg("info", "--help", env={"QDRANT_API_KEY": "a-secret-key"}).stdout
    )


def test_output_that_cannot_be_written_is_told(xqg: Run, library: str) -> None:
    done = xqg("dump", "--from", library, "-c", "c", "-o", "absent/out")
    assert done.returncode == 1
    assert "cannot write" in done.stderr
