"""The comparison of sizes that the page "Try the scaling" runs in a browser."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench.autoscale.lab import MOST_JOBS, compare
from tools import scaling_lab

ASKED = {
    "drawn": {"rates": [0, 30, 0, 0, 12], "bin_s": 30, "service_s": 10},
    "pasted": "",
    "service_s": 10,
    "startup_s": 30,
    "slots": 5,
    "max_workers": 20,
    "target_wait_s": 5,
}
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from bench.autoscale.lab import compare; print(compare(sys.argv[2]))"
)


def test_the_archive_needs_the_standard_library_only(tmp_path):
    """An interpreter without any installed package gives the same answer from the archive as this one."""
    archive = tmp_path / "model.zip"
    archive.write_bytes(scaling_lab.archive())
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(archive), json.dumps(ASKED)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(compare(json.dumps(ASKED)))


def test_each_change_of_the_size_has_its_reason():
    """The reasons are the decision's own words, and a job for each drawn height arrives."""
    answer = json.loads(compare(json.dumps(ASKED)))
    ours = answer["policies"][0]
    assert [[at, size] for at, size, _ in answer["reasons"]] == ours["sizes"][1:]
    assert answer["reasons"][0][2].endswith("of 5 slots")
    assert len(answer["arrivals"]) == len(ours["waits_s"]) == 42


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 0}, "slots: 0 is not a number from 1 to 1000"),
        ({"startup_s": None}, "startup_s: None is not a number"),
        ({"pasted": "at,run\n1,2\nsoon"}, "line 3: 'soon' is not two numbers"),
        ({"pasted": "-1,2"}, "line 1: '-1,2' is beyond 0 to 86400 seconds"),
        ({"pasted": "nan"}, "line 1: 'nan' is beyond"),
        ({"pasted": "heading"}, "the load has no job"),
        ({"pasted": "1\n" * (MOST_JOBS + 1)}, "the load has 20001 jobs; the page takes 20000"),
    ],
)
def test_an_unusable_load_is_refused_by_its_field_or_line(changes, message):
    """The page shows the message."""
    with pytest.raises(ValueError, match=message):
        compare(json.dumps({**ASKED, **changes}))
