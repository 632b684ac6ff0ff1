"""Kubernetes protobuf, as far as clients insist on sending it: request bodies of built-in types."""
