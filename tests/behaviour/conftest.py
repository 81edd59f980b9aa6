from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

XQG = (sys.executable, "-c", "from xqg_qdrant.cli import main; main()")

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_WORDS = [
    "river",
    "mountain",
    "desert",
    "city",
    "music",
    "opera",
    "violin",
    "planet",
    "comet",
    "orbit",
    "fever",
    "vaccine",
    "harvest",
    "wheat",
    "temple",
    "bridge",
    "tower",
    "canal",
    "empire",
    "treaty",
    "whale",
    "falcon",
    "forest",
    "volcano",
    "island",
    "harbour",
    "printing",
    "engine",
    "telescope",
    "compass",
    "chess",
    "football",
    "carnival",
    "pottery",
    "weaving",
    "silk",
    "paper",
    "ink",
    "marble",
]
_MAJI = [
    "mto",
    "mlima",
    "jangwa",
    "mji",
    "muziki",
    "nyota",
    "sayari",
    "homa",
    "mavuno",
    "ngano",
    "hekalu",
    "daraja",
    "mnara",
]


def write_corpus(folder: Path, number: int, *, seed: int = 0) -> tuple[Path, Path]:
    """Passages and Swahili queries made of drawn words, as JSONL files."""
    rng = random.Random(seed)
    passages, queries = folder / "passages.jsonl", folder / "queries.jsonl"
    with passages.open("w") as p, queries.open("w") as q:
        for n in range(number):
            row: dict[str, Any] = {"id": f"p{n}", "title": " ".join(rng.choices(_WORDS, k=2))}
            row["text"] = " ".join(rng.choices(_WORDS, k=40))
            row["metadata"] = {"n": n}
            p.write(json.dumps(row) + "\n")
            for _ in range(2):
                text = " ".join(rng.choices(_MAJI, k=5))
                q.write(json.dumps({"passage_id": f"p{n}", "lang": "sw", "text": text}) + "\n")
    return passages, queries


@pytest.fixture
def environment(tiny_folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XQG_", "QDRANT_"))}
    return {**kept, "XQG_MODELS": str(tiny_folder.parent), "XQG_ENCODER": "tiny"}


@pytest.fixture
def xqg(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Run the command line as a user would, in an empty folder."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*XQG, *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, **options.pop("env", {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )

    return run
