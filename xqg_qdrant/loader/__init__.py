"""Passages and queries to a collection: staged, encoded, fused, written, resumable."""

from xqg_qdrant.loader.ingestion import IngestReport, ingest
from xqg_qdrant.records import Progress

__all__ = ["IngestReport", "Progress", "ingest"]
