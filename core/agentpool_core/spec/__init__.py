"""The AgentPool resource: types, CustomResourceDefinition and resolved settings."""

from agentpool_core.spec.pool import API_VERSION, GROUP, KIND, PLURAL, VERSION, AgentPoolSpec, DeletionPolicy
from agentpool_core.spec.presets import Profile, Workload
from agentpool_core.spec.resolve import concurrency_of, settings_of
from agentpool_core.spec.status import ON_ITS_WAY, AgentPoolStatus, Condition, ConditionType

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
