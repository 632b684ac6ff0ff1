"""The scaling loop: read, decide with `scaling`, act."""
