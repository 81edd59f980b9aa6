from __future__ import annotations

from tests.behaviour.conftest import environment, xqg

__all__ = ["environment", "xqg"]
