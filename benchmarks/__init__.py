"""Timings of bimba; `python -m benchmarks` runs them and writes a dated report."""
