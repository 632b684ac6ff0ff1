"""What `agentpool doctor` looks at: Redis, a pool, the cluster. Each finding says what to do about it.

An examination is an async function that yields findings and never raises for what it came to find. Who takes over
next: `agentpool.commands.doctor` prints them.
"""
