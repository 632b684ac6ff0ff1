"""`-o jsonpath=`: the templates that people know from kubectl."""

from __future__ import annotations

import pytest

from agentpool_core.cli.jsonpath import JsonPath
from agentpool_core.errors import SettingError

JOBS = [
    {"job_id": "a", "state": "failed", "attempt": 3, "payload": {"x": [1, 2]}, "error": None},
    {"job_id": "b", "state": "queued", "attempt": 0, "payload": "text"},
]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{[*].job_id}", "a b"),
        ("[0].job_id", "a"),
        ("{$[-1].job_id}", "b"),
        ("{[7].job_id}", ""),
        ("{[*].nonsense}", ""),
        ("{[0].payload}", '{"x": [1, 2]}'),
        ("{[0].payload.x[1]}", "2"),
        ("{[0]['state']}!", "failed!"),
        ('{range [*]}{.job_id}{"\\t"}{.state}{"\\n"}{end}', "a\tfailed\nb\tqueued\n"),
        ("{range [*]}{range .payload.x[*]}<{@}>{end}{end}", "<1><2>"),
        ('{[?(@.state=="failed")].job_id}', "a"),
        ("{[?(@.attempt<1)].job_id}", "b"),
        ("{[?(@.attempt>='x')].job_id}", ""),
        ("{[0].error}", "null"),
        ("{\"}\"}{'{'}", "}{"),
    ],
)
def test_a_template_is_filled(template: str, text: str):
    """Paths, places, names in quotes, loops, filters, and text in braces; what is not there prints nothing."""
    assert JsonPath.parse(template).render(JOBS) == text


@pytest.mark.parametrize(
    "template", ["{.a", "{a}", "{end}", "{range .a}", "{.a[}", "{[?(@.a~1)]}", "{[?(@.a==x)]}", "}{", "{.a}}"]
)
def test_a_template_that_cannot_be_read_is_refused(template: str):
    """With an example that works."""
    with pytest.raises(SettingError, match=r"-o jsonpath: .*write it as kubectl does"):
        JsonPath.parse(template)
