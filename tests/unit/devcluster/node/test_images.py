"""The directories of images that ConfigMaps map."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentpool_devcluster.node.errors import ContainerConfigError
from agentpool_devcluster.node.images import existing_directory


@pytest.mark.parametrize("text", ["", "relative", "/does/not/exist", "/etc/passwd", "/a\0b", "/" + "a" * 5_000])
def test_a_directory_that_cannot_be_used_is_named(text: str):
    """The pod waits with the name of the ConfigMap, also where no path can be so long."""
    with pytest.raises(ContainerConfigError, match='configmap "mine"'):
        existing_directory(text, "mine")


def test_an_existing_directory_is_used(tmp_path: Path):
    """The path is the image's directory."""
    assert existing_directory(str(tmp_path), "mine") == tmp_path
