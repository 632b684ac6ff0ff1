"""Discovery of groups, versions and resources, in the old and the aggregated form."""

from __future__ import annotations

from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.registry import Registry, Resource

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0-devcluster",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "devcluster/python",
}
_READ_WRITE = ("get", "patch", "update")
_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {  # group, version, kind, verbs
    "scale": ("autoscaling", "v1", "Scale", _READ_WRITE),
    "binding": ("", "v1", "Binding", ("create",)),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
}


def api_versions() -> Json:
    """Return the answer to /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    }


def api_groups(registry: Registry) -> Json:
    """Return the answer to /apis."""
    names = [name for name in registry.groups() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(registry, name) for name in names]}


def api_group(registry: Registry, name: str) -> Json | None:
    """Return the answer to /apis/GROUP; None if there is no such group."""
    if name not in registry.groups() or not name:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(registry, name)}


def _group(registry: Registry, name: str) -> Json:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in registry.groups()[name]]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def api_resources(registry: Registry, group: str, version: str) -> Json | None:
    """Return the answer to /api/v1 or /apis/GROUP/VERSION; None if there is no such version."""
    found = registry.in_version(group, version)
    if not found:
        return None
    listed: list[Json] = []
    for resource in found:
        listed.append(_listed(resource))
        listed += [_listed_subresource(resource, name) for name in sorted(resource.subresources)]
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _listed(resource: Resource) -> Json:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
        "storageVersionHash": "",
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _subresource_kind(resource: Resource, name: str) -> tuple[str, str, str, tuple[str, ...]]:
    own = (resource.group, resource.version, resource.kind)
    if name == "log":
        return (*own, ("get",))
    if name == "finalize":
        return (*own, ("update",))
    return _SUBRESOURCES.get(name, (*own, _READ_WRITE))


def _listed_subresource(resource: Resource, name: str) -> Json:
    group, version, kind, verbs = _subresource_kind(resource, name)
    entry: Json = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": list(verbs),
    }
    if (group, version) != (resource.group, resource.version):
        entry.update(group=group, version=version)
    return entry


def aggregated(registry: Registry, form_version: str, *, core: bool) -> Json:
    """Return the aggregated answer to /api (core) or /apis."""
    groups = registry.groups()
    names = [name for name in groups if (not name) == core]
    items = [
        {
            "metadata": {"name": name, "creationTimestamp": None},
            "versions": [_version(registry, name, version) for version in groups[name]],
        }
        for name in names
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{form_version}",
        "metadata": {},
        "items": items,
    }


def _version(registry: Registry, group: str, version: str) -> Json:
    resources = [_discovered(resource) for resource in registry.in_version(group, version)]
    return {"version": version, "freshness": "Current", "resources": resources}


def _response_kind(group: str, version: str, kind: str) -> Json:
    return {"group": group, "version": version, "kind": kind}


def _discovered(resource: Resource) -> Json:
    entry: Json = {
        "resource": resource.plural,
        "responseKind": _response_kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [_discovered_subresource(resource, name) for name in sorted(resource.subresources)]
    return entry


def _discovered_subresource(resource: Resource, name: str) -> Json:
    group, version, kind, verbs = _subresource_kind(resource, name)
    return {"subresource": name, "responseKind": _response_kind(group, version, kind), "verbs": list(verbs)}
