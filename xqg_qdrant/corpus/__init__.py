"""Readers and writers of passages, queries, questions and qrels: strict, streaming, line by line."""
