"""Authentication and authorisation of callers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentpool_core.errors import ClusterError, SettingError
from agentpool_core.jobs import PoolRef
from agentpool_gateway.access import reviews as reviews_module
from agentpool_gateway.access.authority import Caller, Verb
from agentpool_gateway.access.rate import RateLimit, ReviewLimit
from agentpool_gateway.access.reviews import REVIEWS_AT_ONCE, KubernetesReviews
from agentpool_gateway.access.static_tokens import LEAST_TOKEN_CHARS, StaticTokens, grants_of
from agentpool_gateway.http.problems import ProblemError

TOKEN = "a-token-of-more-than-16-characters"
POOL = PoolRef("research", "analysts")


class ReviewingCluster:
    """An API server that knows a single token and allows a single verb."""

    def __init__(self, **status: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status = status  # of token reviews, beside the usual

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        if path.endswith("tokenreviews"):
            known = body["spec"]["token"].startswith(TOKEN)
            user = {"username": f"sa:{body['spec']['token'][:20]}", "groups": ["g"]}
            return {"status": {"authenticated": known, "user": user, **self.status}}
        return {"status": {"allowed": body["spec"]["resourceAttributes"]["verb"] == "create"}}


async def test_kubernetes_authenticates_and_rbac_authorises():
    """TokenReview, then SubjectAccessReview on agentpools/jobs; answers are cached for a while."""
    cluster = ReviewingCluster(audiences=["agentpool"])
    reviews = KubernetesReviews(cluster, cache_s=60, audiences=("agentpool",))
    for _ in range(3):
        caller = await reviews.caller(TOKEN)
        await reviews.check(caller, Verb.SUBMIT, POOL)
    token_review, access_review = cluster.asked
    assert token_review["spec"]["audiences"] == ["agentpool"]
    assert access_review["spec"]["user"] == f"sa:{TOKEN[:20]}"
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
    """An unknown token is a 401, a known token without the permission a 403."""
    reviews = KubernetesReviews(ReviewingCluster(), cache_s=60)
    with pytest.raises(ProblemError) as unknown:
        await reviews.caller("other")
    assert unknown.value.status == 401
    caller = await reviews.caller(TOKEN)
    with pytest.raises(ProblemError) as denied:
        await reviews.check(caller, Verb.MANAGE, POOL)
    assert denied.value.status == 403


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"audiences": None},
        {"audiences": []},
        {"audiences": ["https://kubernetes.default.svc"]},
        {"audiences": ["agentpool", "other"], "authenticated": "yes"},
        {"audiences": ["agentpool"], "user": None},
        {"audiences": ["agentpool"], "user": {"username": ""}},
    ],
)
async def test_a_token_that_is_not_for_this_audience_is_refused(status: dict[str, Any]):
    """An answer without audiences or without a user counts as a refusal."""
    reviews = KubernetesReviews(ReviewingCluster(**status), cache_s=60, audiences=("agentpool",))
    with pytest.raises(ProblemError) as refused:
        await reviews.caller(TOKEN)
    assert refused.value.status == 401


async def test_unknown_tokens_neither_evict_good_answers_nor_cause_endless_reviews(
    monkeypatch: pytest.MonkeyPatch,
):
    """In a flood of invented tokens and pools, known callers are served from the cache, and the flood gets a 429."""
    monkeypatch.setattr(reviews_module, "MOST_ANSWERS", 5)
    now = 0.0
    cluster = ReviewingCluster()
    reviews = KubernetesReviews(cluster, cache_s=60, limit=ReviewLimit(per_s=1, burst=20, clock=lambda: now))
    good = await reviews.caller(TOKEN, client="192.0.2.1")
    await reviews.check(good, Verb.SUBMIT, POOL)
    cluster.asked.clear()
    statuses = []
    for number in range(100):
        with pytest.raises(ProblemError) as refused:
            await reviews.caller(f"made-up-{number}", client="192.0.2.66")
        statuses.append(refused.value.status)
        with pytest.raises(ProblemError):
            await reviews.check(good, Verb.READ, PoolRef("research", f"made-up-{number}"))
    assert (statuses.count(401), statuses.count(429)) == (20, 80)
    assert len([body for body in cluster.asked if body["kind"] == "TokenReview"]) == 20
    cluster.asked.clear()
    await reviews.check(await reviews.caller(TOKEN, client="192.0.2.66"), Verb.SUBMIT, POOL)
    assert cluster.asked == []  # from the cache, also for the flooding client's own address
    await reviews.caller(f"{TOKEN}-2", client="192.0.2.1")
    now = 1.0
    await reviews.caller(f"{TOKEN}-3", client="192.0.2.66")


async def test_a_known_caller_is_served_beside_a_flood_from_the_same_address():
    """Behind an ingress or a NAT callers share an address with strangers; expired answers are requested again."""
    now = 0.0
    cluster = ReviewingCluster()
    reviews = KubernetesReviews(cluster, cache_s=0, limit=ReviewLimit(per_s=1, burst=20, clock=lambda: now))
    await reviews.caller(TOKEN, client="192.0.2.1")
    for number in range(21):
        with pytest.raises(ProblemError):
            await reviews.caller(f"made-up-{number}", client="192.0.2.1")
    assert await reviews.caller(TOKEN, client="192.0.2.1")
    cluster.status["authenticated"] = False
    with pytest.raises(ProblemError) as refused:
        await reviews.caller(TOKEN, client="192.0.2.1")
    assert refused.value.status == 401


@pytest.mark.parametrize("answer", [None, [], "text", {"status": [1]}, {"status": "text"}, {"status": 1}])
async def test_an_answer_that_is_no_review_is_an_outage(answer: Any):
    """An unexpected server at the address admits no caller, and causes no error of the gateway."""

    class Odd(ReviewingCluster):
        async def create(self, path: str, body: dict[str, Any]) -> Any:
            return answer

    reviews = KubernetesReviews(Odd(), cache_s=60)
    with pytest.raises(ClusterError):
        await reviews.caller(TOKEN)
    with pytest.raises(ClusterError):
        await reviews.check(Caller(name="a", key="{}"), Verb.READ, POOL)


@pytest.mark.parametrize(
    "status", [{"audiences": 5}, {"audiences": "agentpool"}, {"audiences": [["agentpool"]]}, {"user": {"username": 5}}]
)
async def test_a_review_with_wrong_types_admits_no_caller(status: dict[str, Any]):
    """A string that contains the audience is not a list with the audience."""
    reviews = KubernetesReviews(
        ReviewingCluster(**{"audiences": ["agentpool"]} | status), cache_s=60, audiences=("agentpool",)
    )
    with pytest.raises(ProblemError) as refused:
        await reviews.caller(TOKEN)
    assert refused.value.status == 401


async def test_an_unknown_token_is_reviewed_once():
    """A hundred requests with the same token, in sequence and all at once, cause a single review."""
    cluster = ReviewingCluster()
    reviews = KubernetesReviews(cluster, cache_s=60, limit=ReviewLimit(per_s=1, burst=200))
    for _ in range(50):
        with pytest.raises(ProblemError):
            await reviews.caller("made-up")
    await asyncio.gather(*(reviews.caller("made-up-2") for _ in range(50)), return_exceptions=True)
    assert len(cluster.asked) <= 1 + REVIEWS_AT_ONCE


async def test_good_tokens_and_an_unreachable_api_server_do_not_count_against_the_limit():
    """Only refusals count: a fleet behind a shared address is served, and an outage is a 503, not a 429."""

    class Away(ReviewingCluster):
        async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
            raise ClusterError("no answer")

    limit = ReviewLimit(per_s=1, burst=1, clock=lambda: 0.0)
    for number in range(10):
        with pytest.raises(ClusterError):
            await KubernetesReviews(Away(), cache_s=60, limit=limit).caller("any", client="192.0.2.1")
        await KubernetesReviews(ReviewingCluster(), cache_s=60, limit=limit).caller(
            f"{TOKEN}-{number}", client="192.0.2.1"
        )


def test_addresses_of_a_network_share_a_limit():
    """An owner of an IPv6 network has 2^64 addresses in the network."""
    limit = ReviewLimit(per_s=1, burst=1, clock=lambda: 0.0)
    limit.take("2001:db8::1")
    with pytest.raises(ProblemError):
        limit.take("2001:db8::ffff")
    for other in ("2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", ""):
        limit.take(other)
    with pytest.raises(ProblemError):
        limit.take("::ffff:192.0.2.1")  # a socket for both families shows an IPv4 address in this form


async def test_an_expired_answer_is_requested_again():
    """A revoked token stops working within the cache's time."""
    cluster = ReviewingCluster()
    reviews = KubernetesReviews(cluster, cache_s=0)
    await reviews.caller(TOKEN)
    await reviews.caller(TOKEN)
    assert len(cluster.asked) == 2


async def test_a_changed_tokens_file_is_loaded(tmp_path: Path):
    """A rotated Secret works without a restart; a broken file keeps the last good state."""
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


@pytest.mark.parametrize(
    ("grant", "allowed"),
    [
        ({}, {("research", verb) for verb in Verb} | {("other", verb) for verb in Verb}),
        ({"namespaces": ["research"]}, {("research", verb) for verb in Verb}),
        ({"verbs": ["read", "submit"]}, {(ns, v) for ns in ("research", "other") for v in (Verb.READ, Verb.SUBMIT)}),
        ({"namespaces": ["other", "third"], "verbs": ["manage"]}, {("other", Verb.MANAGE)}),
        ({"namespaces": []}, set()),
    ],
)
async def test_a_token_allows_its_verbs_in_its_namespaces(tmp_path: Path, grant: dict[str, Any], allowed: set[Any]):
    """Without `namespaces` or `verbs` a token is for all; a caller without a grant, for nothing."""
    file = tmp_path / "tokens.yaml"
    entries = [{"name": "all", "token": TOKEN + "2"}, {"name": "lead", "token": TOKEN} | grant]
    file.write_text(yaml.safe_dump({"tokens": entries}))
    tokens = StaticTokens(file)

    async def may(caller: Caller) -> set[tuple[str, Verb]]:
        found = set()
        for namespace in ("research", "other"):
            for verb in Verb:
                with contextlib.suppress(ProblemError):
                    await tokens.check(caller, verb, PoolRef(namespace, "pool"))
                    found.add((namespace, verb))
        return found

    assert await may(await tokens.caller(TOKEN)) == allowed
    assert await may(Caller(name="lead", key=b"lead".decode())) == allowed, "the name counts, not the object"
    assert await may(Caller(name="stranger", key="stranger")) == set()


@pytest.mark.parametrize(
    ("expires", "valid"),
    [("2999-01-01T00:00:00Z", True), ("2999-01-01 00:00:00", True), ("2001-01-01T00:00:00Z", False)],
)
async def test_a_token_is_valid_until_it_expires(tmp_path: Path, expires: str, valid: bool):  # noqa: FBT001
    """A time without a zone is UTC; an expired token is refused as an unknown one is."""
    file = tmp_path / "tokens.yaml"
    file.write_text(f"tokens: [{{name: a, token: {TOKEN}, expires: {expires}}}]")
    tokens = StaticTokens(file)
    if valid:
        assert (await tokens.caller(TOKEN)).name == "a"
    for token in (None, "", "b" * 20, *([] if valid else [TOKEN])):
        with pytest.raises(ProblemError) as refused:
            await tokens.caller(token)
        assert refused.value.status == 401


def test_a_token_may_be_given_by_its_digest():
    """The digest of a token grants the same as the token; a token of the least length is long enough."""
    least = TOKEN[:LEAST_TOKEN_CHARS]
    digest = hashlib.sha256(least.encode()).hexdigest()
    (by_token,) = grants_of({"tokens": [{"name": "a", "token": least}]}, "f")
    (by_digest,) = grants_of({"tokens": [{"name": "a", "sha256": digest}]}, "f")
    assert by_token == by_digest
    assert by_token.digest == bytes.fromhex(digest)
    for wrong in ({"token": least[:-1]}, {"sha256": digest.upper()}, {"sha256": digest[:-1]}, {"sha256": 5}):
        with pytest.raises(SettingError, match=r"tokens\[0\].* 16 characters"):
            grants_of({"tokens": [{"name": "a", **wrong}]}, "f")


BROKEN = (
    "{",
    "",
    "tokens: {}",
    "tokens: [{name: a, token: short}]",
    f"tokens: [{{name: a, token: {TOKEN}, verbs: [write]}}]",
    f"tokens: [{{name: a, token: {TOKEN}, expires: 2027-02-30T00:00:00Z}}]",
    'tokens: [{name: a, token: "\\ud800 is half a character"}]',
    "[" * 2_000,
)


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:70])
async def test_a_tokens_file_that_breaks_later_locks_no_caller_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
):
    """The file is read once and reported once; callers see no difference.

    At the start, a broken file is refused by name.
    """
    file = tmp_path / "tokens.yaml"
    file.write_text(text)
    with pytest.raises(SettingError, match=r"tokens\.yaml"):
        StaticTokens(file)
    file.write_text(yaml.safe_dump({"tokens": [{"name": "good", "token": TOKEN}]}))
    tokens = StaticTokens(file)
    file.write_text(text)
    os.utime(file, ns=(1, 1))
    for _ in range(3):
        assert (await tokens.caller(TOKEN)).name == "good"
        with pytest.raises(ProblemError) as refused:
            await tokens.caller("stranger" * 9)
        assert refused.value.status == 401
    assert len(caplog.records) == 1
    assert TOKEN not in caplog.text
    file.write_text(yaml.safe_dump({"tokens": [{"name": "mended", "token": TOKEN}]}))
    os.utime(file, ns=(2, 2))
    assert (await tokens.caller(TOKEN)).name == "mended"


@pytest.mark.parametrize("token", [TOKEN, TOKEN + "3", "stranger" * 9])
async def test_every_token_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str):
    """The comparison covers the digests of all tokens, with a function that takes the same time for each."""
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
    """The refusal at start names the position of the entry."""
    with pytest.raises(SettingError) as refused:
        grants_of(document, "tokens.yaml")
    assert TOKEN not in str(refused.value)
    assert "tokens.yaml" in str(refused.value)


def test_a_rate_is_a_bucket_that_refills():
    """Each caller has a burst at once, then a request per second."""
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
