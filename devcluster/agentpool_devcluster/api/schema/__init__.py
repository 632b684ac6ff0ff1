"""Schemas of built-in and custom types, and what is done with them: prune, default, validate."""
