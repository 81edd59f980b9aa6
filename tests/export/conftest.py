from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkpoints


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT, as a hub folder. Copy it before changing it."""
    return checkpoints.build_bert(tmp_path_factory.mktemp("bert") / "tiny-bert")


@pytest.fixture(scope="session")
def xlmr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny XLM-R, as a hub folder."""
    return checkpoints.build_xlmr(tmp_path_factory.mktemp("xlmr") / "tiny-xlmr")


@pytest.fixture(scope="session")
def mt5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny mT5, as a hub folder."""
    return checkpoints.build_mt5(tmp_path_factory.mktemp("mt5") / "tiny-mt5")
