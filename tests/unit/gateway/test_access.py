"""Who may come in."""

from __future__ import annotations

import contextlib
import hmac
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentpool.errors import SettingError
from agentpool.jobs import PoolRef
from agentpool_gateway.access.authority import Caller, Verb
from agentpool_gateway.access.rate import RateLimit
from agentpool_gateway.access.reviews import KubernetesReviews
from agentpool_gateway.access.static_tokens import StaticTokens, grants_of
from agentpool_gateway.problems import ProblemError

TOKEN = "a-token-of-more-than-16-characters"
POOL = PoolRef("research", "analysts")


class ReviewingCluster:
    """An API server that knows one token and allows one verb."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        if path.endswith("tokenreviews"):
            known = body["spec"]["token"] == TOKEN
            return {"status": {"authenticated": known, "user": {"username": "sa:lead", "groups": ["g"]}}}
        return {"status": {"allowed": body["spec"]["resourceAttributes"]["verb"] == "create"}}


async def test_kubernetes_is_asked_who_it_is_and_what_rbac_allows():
    """TokenReview, then SubjectAccessReview on agentpools/jobs; answers are kept for a while."""
    cluster = ReviewingCluster()
    reviews = KubernetesReviews(cluster, cache_s=60, audiences=("agentpool",))
    for _ in range(3):
        caller = await reviews.caller(TOKEN)
        await reviews.check(caller, Verb.SUBMIT, POOL)
    token_review, access_review = cluster.asked
    assert token_review["spec"]["audiences"] == ["agentpool"]
    assert access_review["spec"]["user"] == "sa:lead"
    assert access_review["spec"]["groups"] == ["g"]
    assert access_review["spec"]["resourceAttributes"] == {
        "group": "agentpool.dev",
        "resource": "agentpools",
        "subresource": "jobs",
        "verb": "create",
        "namespace": "research",
        "name": "analysts",
    }


async def test_kubernetes_no_is_401_or_403():
    """An unknown token, and a known one without the right."""
    reviews = KubernetesReviews(ReviewingCluster(), cache_s=60)
    with pytest.raises(ProblemError) as unknown:
        await reviews.caller("other")
    assert unknown.value.status == 401
    caller = await reviews.caller(TOKEN)
    with pytest.raises(ProblemError) as denied:
        await reviews.check(caller, Verb.MANAGE, POOL)
    assert denied.value.status == 403


async def test_an_answer_is_asked_again_when_it_is_old():
    """A revoked token stops working within the cache's time."""
    cluster = ReviewingCluster()
    reviews = KubernetesReviews(cluster, cache_s=0)
    await reviews.caller(TOKEN)
    await reviews.caller(TOKEN)
    assert len(cluster.asked) == 2


async def test_a_tokens_file_is_taken_up_when_it_changes(tmp_path: Path):
    """A rotated Secret works without a restart; a broken one keeps the last good state."""
    file = tmp_path / "tokens.yaml"
    file.write_text(yaml.safe_dump({"tokens": [{"name": "old", "token": TOKEN}]}))
    tokens = StaticTokens(file)
    assert (await tokens.caller(TOKEN)).name == "old"
    file.write_text(yaml.safe_dump({"tokens": [{"name": "new", "token": TOKEN + "2"}]}))
    os.utime(file, ns=(1, 1))
    assert (await tokens.caller(TOKEN + "2")).name == "new"
    with pytest.raises(ProblemError):
        await tokens.caller(TOKEN)
    file.write_text("{")
    os.utime(file, ns=(2, 2))
    assert (await tokens.caller(TOKEN + "2")).name == "new"


@pytest.mark.parametrize("token", [TOKEN, TOKEN + "3", "stranger" * 9])
async def test_every_token_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str):
    """Whichever of them it is: digests of one length, all of them, by the function that takes the same time for all."""
    compared: list[tuple[int, int]] = []
    same = hmac.compare_digest

    def watched(known: bytes, sent: bytes) -> bool:
        compared.append((len(known), len(sent)))
        return same(known, sent)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    file = tmp_path / "tokens.yaml"
    file.write_text(yaml.safe_dump({"tokens": [{"name": f"t{n}", "token": TOKEN + n} for n in ("", "2", "3")]}))
    with contextlib.suppress(ProblemError):
        await StaticTokens(file).caller(token)
    assert compared == [(32, 32)] * 3
    monkeypatch.setattr(hmac, "compare_digest", lambda _known, _sent: False)
    with pytest.raises(ProblemError):  # nothing else lets anybody in
        await StaticTokens(file).caller(token)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {"tokens": []},
        {"tokens": ["x"]},
        {"tokens": [{"name": "a", "token": "short"}]},
        {"tokens": [{"name": "a"}]},
        {"tokens": [{"name": "a", "token": TOKEN, "sha256": "00" * 32}]},
        {"tokens": [{"name": "a", "token": TOKEN, "verbs": ["write"]}]},
        {"tokens": [{"name": "a", "token": TOKEN, "verbs": []}]},
        {"tokens": [{"name": "a", "token": TOKEN, "verbs": None}]},
        {"tokens": [{"name": "a", "token": TOKEN, "verbs": "read"}]},
        {"tokens": [{"name": "a", "token": TOKEN, "namespaces": "research"}]},
        {"tokens": [{"name": "a", "token": TOKEN, "namespaces": [None]}]},
        {"tokens": [{"name": "a", "token": TOKEN}, {"name": "b", "token": TOKEN}]},
        {"tokens": [{"name": "a", "token": TOKEN, "expires": "soon"}]},
        {"tokens": [{"name": "a", "token": TOKEN, "role": "x"}]},
        {"tokens": [{"name": "a", "token": TOKEN}, {"name": "a", "token": TOKEN + "2"}]},
    ],
)
def test_a_wrong_tokens_file_is_refused_without_showing_a_token(document: Any):
    """At start, by the entry's place."""
    with pytest.raises(SettingError) as refused:
        grants_of(document, "tokens.yaml")
    assert TOKEN not in str(refused.value)
    assert "tokens.yaml" in str(refused.value)


def test_a_rate_is_a_bucket_that_refills():
    """A burst at once, then one each second, for each caller."""
    now = 0.0
    limit = RateLimit(per_s=1, burst=2, clock=lambda: now)
    one, other = Caller(name="one", key="1"), Caller(name="other", key="2")
    limit.check(one)
    limit.check(one)
    with pytest.raises(ProblemError) as refused:
        limit.check(one)
    assert refused.value.headers == {"Retry-After": "1"}
    limit.check(other)
    now = 1.0
    limit.check(one)
