"""The layout of a pool's records in Redis: Python values in one direction, fields and replies in the other."""
