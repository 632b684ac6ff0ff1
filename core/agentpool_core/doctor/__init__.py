"""Checks of `agentpool doctor`: Redis, a pool, the cluster. Each finding names its remedy.

A check is an async function that yields findings and never raises for the problem it looks for.
`agentpool_core.commands.doctor` prints the findings.
"""
