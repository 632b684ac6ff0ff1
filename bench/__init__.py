"""Benchmarks: every figure in the documentation comes from here (`python -m bench NAME [--json FILE]`)."""
