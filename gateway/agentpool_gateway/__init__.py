"""The HTTP front door: submit, follow and mend jobs; who may is decided before anything is looked up.

`app` assembles it, `commands` serves it. It stands on `agentpool` and knows nothing of the operator or the workers.
"""
