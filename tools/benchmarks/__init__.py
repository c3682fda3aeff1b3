"""Benchmark scripts that compare alternatives in one run."""
