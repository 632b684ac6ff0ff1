"""The user's instructions while the queue cannot be read: the size stays within the instructions."""

from __future__ import annotations


async def test_instructions_apply_while_redis_is_down(start_operator, pool_of, look, until, redis_server_factory):
    """Bounds, pause and a manual size take effect without a reading of the queue."""
    server = redis_server_factory()
    start_operator()

    async def order(**spec):
        scaling = {"pollSeconds": 1, "idleSeconds": 1, **spec.pop("scaling", {})}
        await pool_of(redis={"url": server.tcp_url}, scaling=scaling, **spec)

    await order(scaling={"minReplicas": 4})
    await until(look.replicas, 4)
    server.stop()
    await until(lambda: look.condition("QueueReachable"), ("False", "RedisUnreachable"))
    await order(scaling={"maxReplicas": 1})
    await until(look.replicas, 1)
    await order(scaling={"minReplicas": 6})
    await until(look.replicas, 6)
    await order(scaling={"minReplicas": 6}, paused=True)
    await until(look.replicas, 0)
    await order(replicas=3)
    await until(look.replicas, 3)


async def test_a_pool_with_a_silent_redis_has_its_minimum_size(start_operator, pool_of, look, until):
    """A pool that was never read starts minReplicas workers, which wait for Redis as the operator does."""
    start_operator()
    await pool_of(redis={"url": "redis://127.0.0.1:1/0"}, scaling={"pollSeconds": 1, "minReplicas": 2})
    await until(look.replicas, 2)

    async def reason():
        return (await look.status()).get("lastDecision", {}).get("reason")

    await until(reason, "the queue cannot be read; minReplicas keeps 2")
