"""An agent program that reads a directory: code is measured, prose summarised, everything else reasoned about.

`app` is what AgentPool's workers import (`handler: {python: {app: "repo_analyst:app"}}`); `handlers` wires each kind
of job to the module that does the work.
"""

from repo_analyst.handlers import app

__all__ = ["app"]
