"""The operator's fixtures on a whole cluster: the devcluster with nodes and controllers, or a real one."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def api_kubeconfig(kubeconfig):
    """Instead of an API server alone: one with controllers and nodes."""
    return kubeconfig
