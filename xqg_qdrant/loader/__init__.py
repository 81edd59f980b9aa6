"""Passages and queries to a collection: staged, encoded, fused, written, resumable."""

from xqg_qdrant.loader.ingestion import IngestReport, Progress, ingest

__all__ = ["IngestReport", "Progress", "ingest"]
