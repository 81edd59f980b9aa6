"""Readers of passages, queries, questions and qrels: strict, streaming, line by line."""
