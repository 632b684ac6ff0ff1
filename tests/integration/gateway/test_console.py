"""The pages for browsers: the served files, their policy, and the console's list of pools."""

from __future__ import annotations

import re

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_gateway.routes.pages import CONSOLE, REFERENCE
from tests.fixtures import gateways as tokens


@pytest.mark.parametrize(
    ("where", "leads_to", "needed"),
    [("/", "/console/", {"main.js", "style.css"}), ("/docs", "/docs/", {"reference.js", "../console/style.css"})],
)
async def test_the_pages_and_their_files_are_served_under_a_strict_policy(gateway, where, leads_to, needed):
    """Scripts and styles load from this gateway only; no frames, no forms, no foreign content."""
    async with gateway.client(None, follow_redirects=True) as client:
        page = await client.get(where)
        assert page.url.path == leads_to
        named = re.findall(r'(?:src|href)="([\w./]+\.(?:js|css))"', page.text)
        assert needed <= set(named)
        for name in ["", *named, *(f"../console/{module.name}" for module in CONSOLE.glob("*.js"))]:
            answer = await client.get(f"{leads_to}{name}")
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
        assert (await client.get(f"{leads_to}../settings.py")).status_code == 404
        assert (await client.get(f"{leads_to}%2e%2e/settings.py")).status_code == 404


def test_the_files_use_no_foreign_hosts_and_no_inline_code():
    """The files contain nothing that the policy would block, and never build markup from text."""
    for path in [*CONSOLE.iterdir(), *REFERENCE.iterdir()]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path.name
        assert "innerHTML" not in text, path.name
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text), path.name


async def test_a_strange_key_does_not_hide_the_pools(gateway_factory, redis, pool: PoolRef):
    """The list holds the pools in order, beside any foreign keys in that Redis."""
    strange = f"ap:{{Strange {pool.name}}}:conf"
    await redis.hset(strange, "revision", "1")
    gateway = await gateway_factory()
    try:
        async with gateway.client() as client:
            listed = (await client.get("/v1/pools")).json()["pools"]
    finally:
        await redis.delete(strange)
    assert str(pool) in listed
    assert listed == sorted(listed)
    assert not any("Strange" in name for name in listed)


async def test_the_list_of_pools_holds_only_readable_pools(gateway, pool: PoolRef):
    """A token of a different namespace does not learn the names."""
    async with gateway.client() as admin, gateway.client(tokens.ELSEWHERE) as other, gateway.client(None) as stranger:
        assert str(pool) in (await admin.get("/v1/pools")).json()["pools"]
        assert (await other.get("/v1/pools")).json() == {"pools": []}
        assert (await stranger.get("/v1/pools")).status_code == 401
