"""Prototypes that decision records measure; no benchmarks."""
