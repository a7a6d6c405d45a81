"""`make bench` runs and prints its table; what it measures is never asserted."""

import os
import subprocess
import sys
from collections import Counter
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
    rows = [line.split("|") for line in table[2:]]  # below the header and its rule
    names = [cells[1].strip() for cells in rows]
    parts = (
        "ADMM step /", "training epoch", "data alone", "retraining", "forward", "top_k /", "CSR", "zstd",
        "16 values /",
    )  # fmt: skip
    for part in parts:
        assert any(part in name for name in names), part
    networks = Counter(name.split(": ")[0] for name in names if name.startswith("retraining step at "))
    assert set(networks.values()) == {3}  # against masked, that in bf16, bf16 against float32
    assert len(set(names)) == len(names)
    for cells in rows:
        low, high = map(float, cells[3].split("–"))
        assert low <= float(cells[2]) <= high


@pytest.mark.full
def test_bench_of_files_runs():
    script = Path(__file__).with_name("files.py")
    command = [sys.executable, "-W", "error", str(script), "--only=lenet5-file-1551", "--without-nncodec"]
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": str(script.parents[2])},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    rows = [line.split("|") for line in found.stdout.splitlines()[2:]]
    sizes = {cells[2].strip(): int(cells[3].replace(",", "")) for cells in rows}
    assert len(sizes) == len(rows) == 8
    assert sizes[".admm"] == min(sizes.values())
    assert sizes["safetensors"] == max(sizes.values())
    for cells in rows:
        assert float(cells[4]) == pytest.approx(sizes[".admm"] / int(cells[3].replace(",", "")), abs=6e-4)


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured by Linux")
def test_bench_of_growth_runs():
    script = Path(__file__).with_name("growth.py")
    words = [sys.executable, "-W", "error", str(script), "--quick"]
    found = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr
    rows = [line.split("|")[1:-1] for line in found.stdout.splitlines()[2:]]
    assert len(rows) == 8
    assert all(float(cell) > 0 for row in rows for cell in row[3:])
    assert all(float(row[4]) <= 2.5 for row in rows), found.stdout  # copies of the weights
