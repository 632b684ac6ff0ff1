"""Handing the user's model server on to the workers."""

from agentpool_local.demo.model_access import SECRET, model_key, with_model

POOL = {"spec": {"worker": {"template": {"spec": {"containers": [{"name": "worker", "env": [{"name": "A"}]}]}}}}}


def environment_of(pool):
    return pool["spec"]["worker"]["template"]["spec"]["containers"][0]["env"]


def test_without_a_server_the_pool_stays_as_it_is():
    """A key alone is no server."""
    assert with_model(POOL, {"OPENAI_API_KEY": "k"}) == POOL
    assert model_key({"OPENAI_API_KEY": "k"}) is None


def test_address_and_model_are_plain_and_the_key_comes_from_a_secret():
    """The key is never in the pool, and the given pool is not changed."""
    environment = {"OPENAI_BASE_URL": "http://here/v1", "OPENAI_MODEL": "small", "OPENAI_API_KEY": "hidden"}
    found = with_model(POOL, environment)
    assert environment_of(found) == [
        {"name": "A"},
        {"name": "OPENAI_BASE_URL", "value": "http://here/v1"},
        {"name": "OPENAI_MODEL", "value": "small"},
        {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "OPENAI_API_KEY"}}},
    ]
    assert "hidden" not in str(found)
    assert environment_of(POOL) == [{"name": "A"}]
    assert model_key(environment) == "hidden"
