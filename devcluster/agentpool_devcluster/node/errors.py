"""Why a pod or a container cannot start, with the reason word that its status will show."""

from __future__ import annotations


class NodeError(Exception):
    """The base of all."""


class ContainerConfigError(NodeError):
    """The container's environment or command cannot be made; tried again later, for what is missing may appear."""

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
