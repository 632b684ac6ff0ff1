"""Deterministic simulation: the product's own code on a virtual clock and a simulated network, with a real server."""
