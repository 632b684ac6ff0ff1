"""Schemas of built-in and custom types: pruning, defaulting, validation."""
