"""The tables of xQG's paper, measured here beside the published values."""
