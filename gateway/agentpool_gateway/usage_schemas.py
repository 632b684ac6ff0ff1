"""JSON Schema of the usage of a pool. Part of `schemas`."""

from __future__ import annotations

from agentpool_gateway.schemas import TEXT, USAGE, record, rows

_DAY = TEXT | {"format": "date"}
_COLUMNS = {
    "day": _DAY,
    "tenant": TEXT | {"description": "Empty: jobs without a tenant."},
    "kind": TEXT | {"description": "~others: combinations beyond 10,000 of a day."},
    "model": TEXT | {"description": "Empty: not named."},
}
USAGE_TOTALS = record(
    pool=TEXT,
    first_day=_DAY,
    last_day=_DAY,
    rows=rows(USAGE | {"properties": {**_COLUMNS, **USAGE["properties"]}}),
    total=USAGE | {"description": "The cost is money in the unit that the handlers report."},
)
