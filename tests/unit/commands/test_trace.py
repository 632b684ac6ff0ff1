"""How a trace is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentpool_core.commands.trace import arrivals, service_seconds
from agentpool_core.errors import SettingError

TRACE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:17:03.9799600,4808,10\n"
    "2023-11-16 18:17:04.0319600,3180,8\n"
    "2023-11-16 18:18:04.0000000,110,27\n"
)
REAL = Path(__file__).resolve().parents[4] / "shared" / "traces"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Three rows as the Azure traces have them."""
    file = tmp_path / "trace.csv"
    file.write_text(TRACE)
    return file


def test_rows_arrive_at_the_times_of_the_trace(trace: Path):
    """Times count from the first row; the remaining columns are the payload, as numbers."""
    rows = list(arrivals(trace))
    assert [round(row.at_s, 3) for row in rows] == [0.0, 0.052, 60.02]
    assert rows[0].payload == {"ContextTokens": 4808, "GeneratedTokens": 10}


def test_a_part_of_a_trace_can_be_selected(trace: Path):
    """Options select rows, or a span of the trace's time."""
    assert len(list(arrivals(trace, limit=2))) == 2
    assert len(list(arrivals(trace, longest_s=10))) == 2


def test_service_time_follows_the_tokens_and_the_speed():
    """0.2 s + context / 8000 + generated / 40, as fast as the replay; unknown without tokens."""
    assert service_seconds({"ContextTokens": 8000, "GeneratedTokens": 40}, 1) == pytest.approx(2.2)
    assert service_seconds({"ContextTokens": 8000, "GeneratedTokens": 40}, 10) == pytest.approx(0.22)
    assert service_seconds({"name": "x"}, 1) is None


@pytest.mark.parametrize(
    ("text", "reported"), [("when\n1\n", "no column TIMESTAMP"), ("TIMESTAMP\nnoon\n", ":2: "), ("", "no column")]
)
def test_a_file_that_is_no_trace_is_refused_by_line(tmp_path: Path, text: str, reported: str):
    """The file, the line and the remedy."""
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(SettingError, match="give a CSV file") as refused:
        list(arrivals(file))
    assert reported in str(refused.value)


@pytest.mark.skipif(not REAL.exists(), reason="the real traces are not part of this repository")
def test_the_real_traces_are_read_in_place():
    """The replay reads an hour of two services without a copy."""
    counts = {file.name: sum(1 for _ in arrivals(file)) for file in REAL.glob("*.csv")}
    assert counts == {"AzureLLMInferenceTrace_code.csv": 8819, "AzureLLMInferenceTrace_conv.csv": 19366}
