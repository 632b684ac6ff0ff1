"""An agent program that reads a directory: measures code, summarises prose, and reasons about all remaining files.

`app` is the object that AgentPool's workers import (`handler: {python: {app: "repo_analyst:app"}}`); `handlers`
connects each kind of job to the module that does the work.
"""

from repo_analyst.handlers import app

__all__ = ["app"]
