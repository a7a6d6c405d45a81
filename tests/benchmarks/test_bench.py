"""`make bench` runs and prints its table; what it measures is never asserted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
def test_bench_runs():
    script = Path(__file__).with_name("bench.py")
    options = ["--quick", "--data=digits", "--threads=1"]
    command = [sys.executable, "-W", "error", str(script), *options]
    root = str(script.parents[2])
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0].startswith("1 threads on ")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 10 + 9 + 2
    for line in table[2:]:
        cells = line.split("|")
        low, high = map(float, cells[3].split("–"))
        assert low <= float(cells[2]) <= high
