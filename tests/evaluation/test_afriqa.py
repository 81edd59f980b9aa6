from __future__ import annotations

from pathlib import Path

import pytest

from tests.afriqa import row, write_split
from xqg_qdrant import Client, Encoder
from xqg_qdrant.corpus.afriqa import read_afriqa
from xqg_qdrant.errors import CollectionMismatch
from xqg_qdrant.evaluation.afriqa import evaluate_afriqa
from xqg_qdrant.evaluation.measures import AVERAGE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Passages of one letter each; questions of the same letter find theirs, one asks wrongly."""
    write_split(tmp_path, "hau", "test", row("aaa aaa", "aaaa"), row("ccc", "cccc"), row("e", None))
    write_split(tmp_path, "swa", "test", row("ccc ccc", "eeee"), row("gg", "gggg"))
    return tmp_path


def test_figures_of_a_run_worked_out_by_hand(folder: Path, tiny_encoder: Encoder) -> None:
    with Client(":memory:", encoder=tiny_encoder) as client:
        rows = evaluate_afriqa(client, read_afriqa(folder))
    figures = {(each.language, each.measure): (each.value, each.n) for each in rows}
    assert figures["ha", "R@1"] == (1, 2)
    assert figures["sw", "R@1"] == (0.5, 2)
    assert figures[AVERAGE, "R@1"] == (0.75, 4)
    # Four passages: all of them are among the first ten.
    assert figures[AVERAGE, "R@10"] == (1, 4)
    assert rows[0].system == tiny_encoder.name


def test_detected_languages_give_the_same_figures(folder: Path, tiny_encoder: Encoder) -> None:
    data = read_afriqa(folder)
    with Client(":memory:", encoder=tiny_encoder) as client:
        told = evaluate_afriqa(client, data)
        assert evaluate_afriqa(client, data, detect_language=True) == told


def test_other_data_at_the_same_place_is_refused(
    folder: Path, tmp_path: Path, tiny_encoder: Encoder
) -> None:
    with Client(tmp_path / "store", encoder=tiny_encoder) as client:
        evaluate_afriqa(client, read_afriqa(folder))
        write_split(folder, "yor", "dev", row("ii", "iiii"))
        smaller = read_afriqa(folder / "swa")
        with pytest.raises(CollectionMismatch, match="other data was measured there"):
            evaluate_afriqa(client, smaller)
