"""Any text as a name, in every builder of a Kubernetes API path: refused, or a single segment of the path.

`AGENTPOOL_FUZZ_CASES` sets the number of texts (a slice by default).
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from agentpool_core.errors import SettingError
from agentpool_core.kube import paths
from agentpool_core.kube import paths as operator_paths
from agentpool_devcluster.api.http.paths import parse_target
from agentpool_devcluster.kube.errors import NameRefusedError
from agentpool_devcluster.kube.resources import PODS, SECRETS

pytestmark = pytest.mark.timeout(3600)
CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "300"))
SERVER = "https://10.0.0.1:6443"
_PIECES = [
    "..",
    ".",
    "/",
    "%2e",
    "%2E%2e",
    "%2f",
    "%252f",
    "\\",
    "?",
    "#",
    ";",
    ":",
    "@",
    "victim",
    "secrets",
    "\0",
    "\n",
]
TEXTS = (
    st.lists(st.sampled_from(_PIECES) | st.text(max_size=3), max_size=6).map("".join)
    | st.text(max_size=20)
    | st.text(st.characters(codec=None), max_size=5)
    | st.sampled_from(["", ".", "..", "../../victim/secrets/api-key", "a/../b", "\ud800", "a b", "ä", "x" * 300])
)


def devcluster_path(namespace: str, name: str) -> str:
    """A path by the devcluster's client, which imports no module of AgentPool."""
    return SECRETS.path(namespace, name)


@settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(namespace=TEXTS, name=TEXTS, build=st.sampled_from([paths.secret, operator_paths.secret, devcluster_path]))
def test_a_name_is_a_single_segment_of_a_path_or_is_refused(namespace, name, build):
    """The HTTP client's URL names exactly this namespace and this object, for any texts."""
    try:
        path = build(namespace, name)
    except (SettingError, NameRefusedError):
        return
    for sent in (URL(SERVER + path), URL(SERVER).join(URL(path))):
        assert sent.parts == ("/", "api", "v1", "namespaces", namespace, "secrets", name)
        assert len(sent.raw_path.split("/")) == len(["", "api", "v1", "namespaces", "NAMESPACE", "secrets", "NAME"])
        assert (sent.query_string, sent.fragment) == ("", "")
        assert "namespaces" in sent.raw_path.split("/")[3]


@settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(name=st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,50}[a-z0-9])?", fullmatch=True))
def test_a_name_that_kubernetes_accepts_is_never_refused(name):
    """The server gets the object's name unchanged."""
    for path in (paths.pods(name, name, "log"), PODS.path(name, name, "log")):
        target = parse_target(path)
        assert (target.namespace, target.name, target.subresource) == (name, name, "log")


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "../x", "a\\b", "a\nb", "\x7f", "\u202e", "\ud800"])
@pytest.mark.parametrize("place", ["namespace", "name", "subresource"])
def test_a_name_that_leads_elsewhere_is_refused_in_every_segment(text, place):
    """An empty name would be the whole collection, and `..` a different namespace."""
    parts = {"namespace": "ns", "name": "n", "subresource": "log", place: text}
    with pytest.raises(SettingError, match="no object of Kubernetes can have this name"):
        paths.pods(**parts)
    with pytest.raises(NameRefusedError):
        PODS.path(*parts.values())
