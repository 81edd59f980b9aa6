"""An ingest stopped by Ctrl-C or SIGTERM says how to go on, and ends as if it had not been.

Kills at every stage, and worse, are in ``tests/faults``.
"""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.behaviour.conftest import XQG, Run, write_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[str, ...]:
    passages, queries = write_corpus(tmp_path, 1500)
    return (str(passages), "--queries", str(queries), "--batch-size", "16", "-c", "c", "-q")


def _dump(xqg: Run, location: str) -> str:
    done = xqg("dump", "--from", location, "-c", "c")
    assert done.returncode == 0, done.stderr
    return done.stdout


def _start(
    corpus: tuple[str, ...], environment: dict[str, str], folder: Path
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*XQG, "ingest", *corpus, "--to", "killed"],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_good_order(
    xqg: Run,
    corpus: tuple[str, ...],
    environment: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    shown = tuple(argument for argument in corpus if argument != "-q")
    process = _start(shown, environment, tmp_path)
    assert process.stderr is not None
    told = ""
    # Not by the clock: on a busy machine nothing may be in yet.
    while not re.search(r"Loading:.* [1-9]\d*/1500 ", told):
        letter = process.stderr.read(1)
        assert letter, told
        told += letter
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    assert out == ""
    info = xqg("info", "--from", "killed", "-c", "c")
    assert "cut off after" in info.stdout
    done = xqg("ingest", *corpus, "--to", "killed")
    assert done.returncode == 0
    assert "resumed after" in done.stdout
    assert xqg("ingest", *corpus, "--to", "whole").returncode == 0
    assert _dump(xqg, "killed") == _dump(xqg, "whole")
