"""Nodes as the command line describes them."""

from __future__ import annotations

import pytest

from agentpool_devcluster.node.errors import NodeSetupError
from agentpool_devcluster.node.settings import Taint
from agentpool_devcluster.node.specification import parse_node


def test_parts_are_recognised_by_prefix(tmp_path):
    """The prefix of a part makes a resource, a label or a taint."""
    text = "gpu-1,cpu=8,nvidia.com/gpu=2,label:zone=b,taint:gpu=yes:NoSchedule"
    settings = parse_node(text, state_dir=tmp_path, images={})
    assert settings.name == "gpu-1"
    assert settings.resources == {"cpu": "8", "nvidia.com/gpu": "2"}
    assert settings.labels == {"zone": "b"}
    assert settings.taints == (Taint(key="gpu", value="yes", effect="NoSchedule"),)
    assert settings.state_dir == tmp_path / "gpu-1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Node_1", "'Node_1' is no node name"),
        ("n1,cpu", "'cpu' has no '='"),
        ("n1,cpu=lots", "'lots' is not a quantity"),
        ("n1,taint:gpu=yes", "effect 'yes'"),
    ],
)
def test_an_unreadable_part_is_named(text, named, tmp_path):
    """The message names the part, the value and the remedy."""
    with pytest.raises(NodeSetupError, match=named):
        parse_node(text, state_dir=tmp_path, images={})
