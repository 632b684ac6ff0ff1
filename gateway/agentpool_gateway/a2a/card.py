"""The card of a pool as an agent. Pure."""

from __future__ import annotations

from importlib.metadata import version

from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)
from a2a.utils.constants import TransportProtocol

from agentpool_core import DISTRIBUTION
from agentpool_core.jobs import PoolRef
from agentpool_core.queue import PoolSettings
from agentpool_gateway.a2a.messages import KIND, default_kind, kinds_of
from agentpool_gateway.a2a.tasks import NAMESPACE
from agentpool_gateway.a2a.versions import CURRENT, LEGACY_VERSION

MODES = ("text/plain", "application/json")
_BEARER = "bearer"
_INTERFACES = (  # in the order of preference
    (TransportProtocol.JSONRPC.value, CURRENT),
    (TransportProtocol.HTTP_JSON.value, CURRENT),
    (TransportProtocol.JSONRPC.value, LEGACY_VERSION),
)


def card_of(pool: PoolRef, settings: PoolSettings, *, url: str, tokens: bool) -> AgentCard:
    """Return the card of a pool at `url`. `tokens`: the gateway asks for a bearer token."""
    card = AgentCard(
        name=pool.name,
        description=f"The AgentPool {pool}. A message becomes a task, which waits in a queue while the pool is busy.",
        version=version(DISTRIBUTION),
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding=binding, protocol_version=spoken)
            for binding, spoken in _INTERFACES
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=False, extended_agent_card=False),
        default_input_modes=MODES,
        default_output_modes=MODES,
        skills=_skills(settings),
    )
    if tokens:
        scheme = HTTPAuthSecurityScheme(scheme=_BEARER, description="A token of this gateway.")
        card.security_schemes[_BEARER].CopyFrom(SecurityScheme(http_auth_security_scheme=scheme))
        card.security_requirements.append(SecurityRequirement(schemes={_BEARER: StringList()}))
    return card


def _skills(settings: PoolSettings) -> list[AgentSkill]:
    """Return a skill for each kind that the routes list, and one for messages that name no kind."""
    kinds = kinds_of(settings)
    if not settings.refuse_unlisted_kinds and KIND not in kinds:
        kinds.append(KIND)
    chosen = default_kind(settings)
    return [
        AgentSkill(
            id=kind,
            name=kind,
            description=f"Work of the kind {kind}. {_how_to_ask(kind, chosen)}",
            tags=[settings.route_of(kind)],
        )
        for kind in kinds
    ]


def _how_to_ask(kind: str, chosen: str) -> str:
    if kind == chosen:
        return "Messages that name no kind are of this kind."
    return f'Ask for it in a message\'s metadata: {{"{NAMESPACE}": {{"kind": "{kind}"}}}}.'
