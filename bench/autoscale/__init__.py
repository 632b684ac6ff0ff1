"""Autoscaling by simulation: the operator's own decision against what a user would pick instead.

`workload` makes the jobs, `simulator` runs them under a `policies` member, `measures` sums up, `report`
compares and `plot` draws. The operator's `decide()` runs here unchanged: only its observations are
simulated.
"""
