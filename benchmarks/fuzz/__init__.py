"""Damaged videos go in, counted outcomes come out; `python -m benchmarks.fuzz` runs them and writes a report."""
