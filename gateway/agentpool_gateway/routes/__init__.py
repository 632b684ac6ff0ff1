"""The routes: a module for each part of the HTTP API.

To add a route, write it in a module here, name a new module in `agentpool_gateway.app.ROUTES`, and give the route its
row in `agentpool_gateway.access.table`. `agentpool_gateway.schemas` describes bodies and answers.
"""
