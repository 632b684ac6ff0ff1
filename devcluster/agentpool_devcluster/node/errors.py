"""Reasons that keep a pod or a container from starting, with the reason word of the status."""

from __future__ import annotations


class NodeError(Exception):
    """The base of all."""


class ContainerConfigError(NodeError):
    """Environment or command of the container cannot be built; retried later, because missing objects may appear."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class StartError(NodeError):
    """The process could not be started."""


class VolumeError(NodeError):
    """A volume cannot be filled; tried again later."""


class AdmissionError(NodeError):
    """The node cannot take the pod at all: the pod fails."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class NodeSetupError(NodeError):
    """The node cannot start on this machine."""
