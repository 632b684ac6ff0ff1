#!/bin/sh
# The `agentpool` command of the worker's image and of those built from it. As a container's first process it runs under
# an init: until Python has begun, nothing else would take SIGTERM or reap orphans.
[ "$$" -eq 1 ] || exec /opt/agentpool/bin/agentpool "$@"
exec tini -- /opt/agentpool/bin/agentpool "$@"
