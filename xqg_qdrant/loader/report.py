"""What an ingest tells of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        collection: its name.
        location: of the collection.
        dry_run: nothing was written.
        passages: in the input, duplicates left out.
        queries: in the input, by language.
        duplicates: passages dropped as word-for-word repetitions.
        resumed_at: passages that an earlier run had loaded already.
        truncated_passages: passages longer than the encoder takes, cut (in this run).
        truncated_queries: queries longer than the encoder takes, cut (in this run).
        points: in the collection afterwards; None after a dry run.
        encoder: its name.
        layout: of the collection.
        hybrid: it has lexical vectors beside the dense ones.
        alpha: the paper's; 0 where the layout has no use for it.
        query_share: the queries' mean share of a fused vector's mass at that alpha, from 0 to 1.
        seconds: that this run took.
        previous: the name under which what was replaced is kept; None where nothing was.
    """

    collection: str
    location: str
    dry_run: bool
    passages: int
    queries: dict[str, int]
    duplicates: int
    resumed_at: int
    truncated_passages: int
    truncated_queries: int
    points: int | None
    encoder: str
    layout: str
    hybrid: bool
    alpha: float
    query_share: float
    seconds: float
    previous: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)
