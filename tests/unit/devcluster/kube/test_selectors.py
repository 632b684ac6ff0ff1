"""Label and node selectors."""

from __future__ import annotations

import pytest

from agentpool_devcluster.kube.selectors import label_selector_matches, node_selector_matches

LABELS = {"app": "web", "tier": "2"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "gone", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Gt", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Lt", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Near"}]}, False),
    ],
)
def test_a_selector_has_the_meaning_of_kubernetes(selector, matches):
    """Each operator has Kubernetes' meaning, and an unknown operator matches nothing."""
    assert label_selector_matches(selector, LABELS) is matches


def test_node_terms_are_alternatives_and_an_empty_term_means_no_node():
    """A single matching term is enough; a term without requirements matches nothing."""
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    by_label = {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}
    assert node_selector_matches([by_label, by_name], {}, "n1")
    assert not node_selector_matches([by_label, by_name], {}, "n2")
    assert not node_selector_matches([{}], {"zone": "a"}, "n1")
