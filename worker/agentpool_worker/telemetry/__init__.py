"""Metrics and probes of the worker."""
