"""Adapters: agents of known frameworks as durable handlers. Only the adapter of a framework loads the framework."""
