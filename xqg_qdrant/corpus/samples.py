"""The bundled sample corpus, hand-written for demonstration (CC0); ``samples/README.md``."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "samples"
PASSAGES = FOLDER / "passages.jsonl"
QUERIES = FOLDER / "queries.jsonl"
QUESTIONS = FOLDER / "questions.jsonl"
REFERENCE = FOLDER / "reference.json"
"""Figures on XQuAD-R that stand beside the demo's, made by ``scripts/measure_xquad_r.py``."""
