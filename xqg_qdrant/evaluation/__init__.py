"""Measuring: hits against judgements."""
