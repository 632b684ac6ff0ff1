"""Durable execution: steps of a handler that run once, and return from the store in every later attempt.

`order` names the place of a step in the program, `journal` reads and writes the steps of a job, `steps` runs them.
`agentpool_worker.context` offers them to handlers; `Consumer.record_steps` stores them under the job's lease.
"""
