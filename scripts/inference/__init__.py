"""What ``scripts/bench_inference.py`` measures: encoders and generators beside others' ways."""
