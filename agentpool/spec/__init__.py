"""The AgentPool resource: types, CustomResourceDefinition and resolved settings."""

from agentpool.spec.pool import (
    API_VERSION,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    AgentPoolSpec,
    DeletionPolicy,
)
from agentpool.spec.presets import Profile, Workload
from agentpool.spec.resolve import concurrency_of, settings_of
from agentpool.spec.status import ON_ITS_WAY, AgentPoolStatus, Condition, ConditionType

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "ON_ITS_WAY",
    "PLURAL",
    "VERSION",
    "AgentPoolSpec",
    "AgentPoolStatus",
    "Condition",
    "ConditionType",
    "DeletionPolicy",
    "Profile",
    "Workload",
    "concurrency_of",
    "settings_of",
]
