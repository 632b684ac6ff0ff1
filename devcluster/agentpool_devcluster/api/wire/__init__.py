"""Kubernetes protobuf for the clients that require it: request bodies of built-in types."""
