"""Benchmarks, each beside the reference that bounds it."""
