"""Passages and queries to a collection: staged, encoded, fused, written, resumable."""

from xqg_qdrant.loader.ingestion import ingest
from xqg_qdrant.loader.report import IngestReport
from xqg_qdrant.records import Progress

__all__ = ["IngestReport", "Progress", "ingest"]
