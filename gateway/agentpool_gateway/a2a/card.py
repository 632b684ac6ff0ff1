"""The card of a pool as an agent, and the extended card: limits of the kinds, and the options of a job in a message."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
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
from agentpool_core.kind_documents import kind_document
from agentpool_core.queue import PoolSettings
from agentpool_gateway.a2a.messages import KIND, NOT_FOR_SENDERS, default_kind, kinds_of
from agentpool_gateway.a2a.tasks import NAMESPACE
from agentpool_gateway.a2a.values import struct_of
from agentpool_gateway.a2a.versions import CURRENT, LEGACY_VERSION
from agentpool_gateway.access.authority import AllowAll
from agentpool_gateway.schemas import JOB_REQUEST

if TYPE_CHECKING:
    from agentpool_gateway.access.admission import Admission

MODES = ("text/plain", "application/json")
KEYS = "/v1/a2a/jwks.json"  # where the public keys are
EXTENSION = "https://agentpool.dev/a2a/job"
SCHEMAS = "https://agentpool.dev/a2a/schemas"
_ABOUT_SCHEMAS = "JSON Schemas of the skills: input of the data in a message's only part, output of the result's data."
_ABOUT_OPTIONS = f"Fields of the job, in a message's metadata under {NAMESPACE!r}; the extended card has their schema."
_OPTIONS = {name: field for name, field in JOB_REQUEST["properties"].items() if name not in NOT_FOR_SENDERS}
_BEARER = "bearer"
_INTERFACES = (  # in the order of preference
    (TransportProtocol.JSONRPC.value, CURRENT),
    (TransportProtocol.HTTP_JSON.value, CURRENT),
    (TransportProtocol.JSONRPC.value, LEGACY_VERSION),
)


async def read_card(admission: Admission, *, extended: bool = False) -> AgentCard:
    """Return the card of the pool of a request."""
    settings = await admission.queue.inspector.settings(admission.pool)
    card = card_of(
        admission.pool,
        settings,
        url=f"{admission.request.url}/a2a",
        tokens=not isinstance(admission.gateway.authority, AllowAll),
        pushes=admission.gateway.deliveries.enabled,
    )
    if extended:
        extend(card, settings)
    if (signer := admission.gateway.card_signer) is not None:
        base, _, _ = admission.request.url.partition("/v1/namespaces/")
        signer.sign(card, base + KEYS)
    return card


def extend(card: AgentCard, settings: PoolSettings) -> None:
    """Add what is for readers of the pool: the limits of the kinds, and the schema of the options."""
    for skill in card.skills:
        skill.description += _limit_of(settings.route_of(skill.id), settings)
    params = struct_of({"options": {"type": "object", "additionalProperties": False, "properties": _OPTIONS}})
    card.capabilities.extensions[0].params.CopyFrom(params)


def _limit_of(name: str, settings: PoolSettings) -> str:
    route = next((route for route in settings.routes if route.name == name), None)
    most = route.max_running if route else None
    return f" At most {most} at once." if most else ""


def card_of(pool: PoolRef, settings: PoolSettings, *, url: str, tokens: bool, pushes: bool) -> AgentCard:
    """Return the card of a pool at `url`. `tokens`: the gateway asks for one; `pushes`: it delivers messages."""
    card = AgentCard(
        name=pool.name,
        description=f"The AgentPool {pool}. A message becomes a task, which waits in a queue while the pool is busy.",
        version=version(DISTRIBUTION),
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding=binding, protocol_version=spoken)
            for binding, spoken in _INTERFACES
        ],
        capabilities=AgentCapabilities(
            streaming=True,
            push_notifications=pushes,
            extended_agent_card=True,
            extensions=[AgentExtension(uri=EXTENSION, description=_ABOUT_OPTIONS), *_schemas(settings)],
        ),
        default_input_modes=MODES,
        default_output_modes=MODES,
        skills=_skills(settings),
    )
    if tokens:
        scheme = HTTPAuthSecurityScheme(scheme=_BEARER, description="A token of this gateway.")
        card.security_schemes[_BEARER].CopyFrom(SecurityScheme(http_auth_security_scheme=scheme))
        card.security_requirements.append(SecurityRequirement(schemes={_BEARER: StringList()}))
    return card


def _schemas(settings: PoolSettings) -> list[AgentExtension]:
    """Return the extension with the schemas of the skills; none without schemas."""
    described = {kind: kind_document(settings, kind) for kind in kinds_of(settings)}
    schemas = {kind: found for kind, found in described.items() if found["input"] or found["output"]}
    if not schemas:
        return []
    return [AgentExtension(uri=SCHEMAS, description=_ABOUT_SCHEMAS, params=struct_of({"skills": schemas}))]


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
