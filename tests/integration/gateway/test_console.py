"""The console's page: what is served, under which policy, and what it may list."""

from __future__ import annotations

import re

from agentpool.jobs import PoolRef
from agentpool_gateway.console_api import FILES
from tests.fixtures import gateways as tokens


async def test_the_page_and_its_files_are_served_under_a_strict_policy(gateway):
    """Scripts and styles from this gateway only; no frames, no forms, nothing from elsewhere."""
    async with gateway.client(None, follow_redirects=True) as client:
        page = await client.get("/")
        assert str(page.url).endswith("/console/")
        named = re.findall(r'(?:src|href)="([\w.]+)"', page.text)
        assert {"main.js", "style.css"} <= set(named)
        for name in ["", *named, "page.js", "api.js", "pool.js"]:
            answer = await client.get(f"/console/{name}")
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
        assert (await client.get("/console/../settings.py")).status_code == 404
        assert (await client.get("/console/%2e%2e/settings.py")).status_code == 404


def test_the_files_ask_nothing_of_other_hosts_and_carry_no_inline_code():
    """What the policy would block is not there, and markup is never made from text."""
    for path in FILES.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path.name
        assert "innerHTML" not in text, path.name
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text), path.name


async def test_the_list_of_pools_holds_what_the_caller_may_read(gateway, pool: PoolRef):
    """Another namespace's token does not learn the names."""
    async with gateway.client() as admin, gateway.client(tokens.ELSEWHERE) as other, gateway.client(None) as stranger:
        assert str(pool) in (await admin.get("/v1/pools")).json()["pools"]
        assert (await other.get("/v1/pools")).json() == {"pools": []}
        assert (await stranger.get("/v1/pools")).status_code == 401
