"""Runs ``xqg`` as a user would, and sends its own process a signal at a chosen moment.

Nothing of the product is replaced: the moments are steps (lines of the loader, of the staging and
of the embedded engine) seen from outside by ``sys.settrace``. Steps are counted within stages, so
that the first and the last one of a stage are its boundaries. Only the pace of checkpoints may be
set, or a run of a second would have none but the last.

    python -m tests.faults.launcher PLAN ARGUMENTS…

PLAN is a JSON object: ``stage``, ``step`` (before which the signal is sent, from 1) and ``signal``
(its number; SIGSTOP lets others do something at that moment), or ``record`` (a file for the number
of steps of each stage); and ``pace`` (seconds between checkpoints).
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

STAGES = {
    "Staging.add_passages": "staging",
    "Staging.add_queries": "staging",
    "IngestRun.prepare": "creating",
    "IngestRun.load": "loading",
    "IngestRun._checkpoint": "checkpoint",
    "EdgeEngine.optimize": "optimizing",
    "IngestRun._finish": "finishing",
    "Client.close": "closing",
}
"""Functions whose steps, with those of what they call, make up a stage."""

_ROOMS = ("/xqg_qdrant/loader/", "/xqg_qdrant/engine/", "/xqg_qdrant/corpus/staging.py")
_CLIENT = "/xqg_qdrant/client.py"


class Watch:
    """Counts steps, and acts at one of them.

    Args:
        plan: see the module.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.steps: Counter[str] = Counter()
        self._stages: list[str] = []
        self._known: dict[CodeType, tuple[bool, str | None]] = {}

    def enter(self, frame: FrameType, event: str, arg: object) -> Any:
        """The trace function of calls."""
        code = frame.f_code
        if code not in self._known:
            stage = STAGES.get(code.co_qualname)
            file = code.co_filename
            watched = any(room in file for room in _ROOMS) or (
                stage is not None and file.endswith(_CLIENT)
            )
            self._known[code] = (watched, stage if watched else None)
        watched, stage = self._known[code]
        if stage is not None:
            self._stages.append(stage)
            return self.within_stage
        return self.within if watched and self._stages else None

    def within(self, frame: FrameType, event: str, arg: object) -> Any:
        """The trace function of steps."""
        if event == "line" and self._stages:
            self._step()
        return self.within

    def within_stage(self, frame: FrameType, event: str, arg: object) -> Any:
        """The trace function of steps of a stage's own function."""
        if event == "line":
            self._step()
        elif event == "return":
            self._stages.pop()
        return self.within_stage

    def _step(self) -> None:
        stage = self._stages[-1]
        self.steps[stage] += 1
        if (stage, self.steps[stage]) == (self.plan.get("stage"), self.plan.get("step")):
            sys.settrace(None)
            os.kill(os.getpid(), self.plan["signal"])


def main() -> None:
    """Run ``xqg`` with the arguments that follow the plan."""
    plan = json.loads(sys.argv[1])
    sys.argv = ["xqg", *sys.argv[2:]]
    from xqg_qdrant.cli import main as xqg
    from xqg_qdrant.loader import running

    if "pace" in plan:
        running.CHECKPOINT_SECONDS = plan["pace"]
    watch = Watch(plan)
    sys.settrace(watch.enter)
    try:
        xqg()
    finally:
        sys.settrace(None)
        if "record" in plan:
            Path(plan["record"]).write_text(json.dumps(watch.steps), encoding="utf-8")


if __name__ == "__main__":
    main()
