"""Writing the agents' findings."""

import dataclasses
import re
from pathlib import Path

from agentpool_local.demo.figures import DemoFigures
from agentpool_local.demo.report import next_after_demo, report, summary

FIGURES = DemoFigures(
    submitted=4, succeeded=3, failed=1, duplicates=0, peak_replicas=2, final_replicas=0,
    dispatch_p50_ms=1.5, dispatch_p99_ms=None, seconds=12.3,
)  # fmt: skip
CODE = {
    "path": "a|b.py", "language": "Python", "lines": 10, "code": 8, "comments": 1, "functions": 1,
    "unparsed": "line 3: x",
    "most_complex": {"name": "f", "line": 1, "lines": 5, "complexity": 4}, "markers": [{"line": 2, "text": "TODO: x"}],
}  # fmt: skip
PROSE = {"path": "a.md", "summary": ["First.", "Second."], "keywords": ["queue"]}
BARE = {"path": "b.md", "summary": [], "keywords": []}
ANSWER = {"path": "c.yaml", "answer": "It is for c.", "steps": [{"tool": "grep", "why": ""}]}


def test_each_sort_of_finding_has_its_part():
    """The report contains source, prose, answers and unfinished files."""
    text = report(Path("/src/project"), [CODE, PROSE, BARE, ANSWER], {"d.py": "Permanent: gone"}, FIGURES)
    for reported in (
        "# What the agents found in project",
        "| Python | 1 | 10 | 8 | 1 | 1 |",
        "| a\\|b.py | f | 1 | 5 | 4 |",
        "| a\\|b.py | 2 | TODO: x |",
        "- `a|b.py`: line 3: x",
        "- First.\n- Second.\n\nWords: queue",
        "- (no whole sentence)",
        "It is for c.",
        "(1 steps: grep)",
        "- `d.py`: Permanent: gone",
    ):
        assert reported in text


def test_a_report_of_nothing_has_no_empty_parts():
    """The report has only the figures."""
    assert "##" not in report(Path("/src"), [], {}, FIGURES)


def test_the_summary_has_the_measured_figures():
    """A missing measurement is marked as not measured."""
    text = summary(FIGURES)
    assert "4 jobs submitted, 3 succeeded, 1 failed, 0 run twice" in text
    assert "p50 1.5 ms, p99 not measured" in text


def test_only_every_job_once_is_good():
    """A failure or a duplicate makes the demo fail."""
    assert not FIGURES.good


def test_the_transcript_in_the_readme_agrees_with_the_demo():
    """The transcript ends with a summary in the present form, and names the same number of jobs throughout."""
    transcript = (Path(__file__).parents[3] / "README.md").read_text().partition("```text\n")[2].partition("```")[0]
    figures = dataclasses.replace(FIGURES, dispatch_p99_ms=2.5)
    assert without_numbers(transcript).endswith(without_numbers(summary(figures)) + "\n")
    reported = re.findall(r"submitting (\d+)|/(\d+)  workers|(\d+) jobs submitted|(\d+) succeeded", transcript)
    assert len(reported) > 3
    assert len({"".join(each) for each in reported}) == 1


def test_the_end_of_the_demo_names_the_next_steps():
    """Its last line names a page that exists."""
    page = next_after_demo().rpartition(": ")[2]
    assert Path(page).read_text().startswith("# Quickstart")


def without_numbers(text):
    return re.sub(r"\d+(\.\d+)?", "N", text)
