"""Discovery: each agent's card at its well-known address, and the catalogue of the agents that a caller may see.

A card is for callers that hold any verb of the pool; no other caller learns that the pool exists.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from email.utils import formatdate
from weakref import WeakKeyDictionary

from a2a.types import AgentCard
from a2a.utils.constants import AGENT_CARD_WELL_KNOWN_PATH, VERSION_HEADER
from fastapi import APIRouter, Request
from fastapi.responses import Response

from agentpool_gateway import openapi
from agentpool_gateway.a2a.card import KEYS, read_card
from agentpool_gateway.a2a.legacy_answers import with_legacy_fields
from agentpool_gateway.a2a.values import document_of
from agentpool_gateway.a2a.versions import speaks_current
from agentpool_gateway.access.admission import Admitted, Known, gateway_of, holds_any
from agentpool_gateway.http.answers import JsonResponse, tagged
from agentpool_gateway.http.paging import MOST_NAMES, NameCursor, NamesLimit, page_by_name
from agentpool_gateway.pools.queues import PoolQueue

router = APIRouter(tags=["a2a"])
_BASE = "/v1/namespaces/{namespace}/pools/{pool}/a2a"
CATALOGUE = "/v1/a2a/agents"
_SERVED: WeakKeyDictionary[PoolQueue, tuple[bytes, float]] = WeakKeyDictionary()  # newest card, since when
FRESH_SECONDS = 60  # for which a client may keep a card


@router.get(f"{_BASE}{AGENT_CARD_WELL_KNOWN_PATH}", responses=openapi.READ_CARD)
async def card(admission: Admitted, request: Request) -> Response:
    """Return the card of a pool; unless the request speaks 1.0, with the fields that clients of 0.3 look for."""
    found = await read_card(admission)
    answer = JsonResponse(document_of(found) if speaks_current(request) else with_legacy_fields(found))
    answer.headers["Cache-Control"] = f"private, max-age={FRESH_SECONDS}"
    answer.headers["Vary"] = VERSION_HEADER
    answer.headers["Last-Modified"] = formatdate(_served_since(admission.queue, found), usegmt=True)
    return tagged(request, answer)


def _served_since(queue: PoolQueue, card: AgentCard) -> float:
    """Return the time since which this gateway has served the card: the settings of a pool have no time of change."""
    digest = hashlib.sha256(card.SerializeToString(deterministic=True)).digest()
    if queue not in _SERVED or _SERVED[queue][0] != digest:
        _SERVED[queue] = (digest, time.time())
    return _SERVED[queue][1]


@router.get(KEYS, responses=openapi.READ_KEYS)
async def card_keys(request: Request) -> JsonResponse:
    """Return the public keys that verify the signatures of cards; none if cards are not signed."""
    signer = gateway_of(request).card_signer
    return JsonResponse({"keys": signer.public_keys() if signer else []})


@router.get(CATALOGUE, responses=openapi.READ_AGENTS)
async def agents(
    request: Request, caller: Known, limit: NamesLimit = MOST_NAMES, cursor: NameCursor = ""
) -> JsonResponse:
    """Return the agents that the caller may see, by name, at most `limit`, with the addresses of their cards."""
    gateway = gateway_of(request)
    found = [pool for pool in await gateway.queues.names() if str(pool) > cursor]
    allowed = await asyncio.gather(*(holds_any(gateway.authority, caller, pool) for pool in found))
    page, following = page_by_name((pool for pool, may in zip(found, allowed, strict=True) if may), limit, cursor)
    base = str(request.url.replace(query="")).removesuffix(CATALOGUE)
    rows = []
    for pool in page:
        url = base + _BASE.format(namespace=pool.namespace, pool=pool.name)
        rows.append({"name": str(pool), "url": url, "card": url + AGENT_CARD_WELL_KNOWN_PATH})
    return JsonResponse({"agents": rows, "cursor": following})
