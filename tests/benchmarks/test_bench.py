"""`make bench` and its kin run and print their tables; no time is ever asserted."""

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest


def table(text: str) -> list[list[str]]:
    """The cells of the first table in a text, below its header and the rule."""
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), text.splitlines())
    return [line.split("|") for line in itertools.takewhile(lambda line: line.startswith("|"), lines)][2:]


def section(command: str) -> str:
    """What RESULTS.md has of a command."""
    text = Path(__file__).with_name("RESULTS.md").read_text(encoding="utf-8")
    (found,) = (each for each in re.split(r"^#+ ", text, flags=re.M) if each.startswith(f"What `{command}` "))
    return found


def test_the_rows_that_miss_their_aim_are_counted():
    found = section("make bench")
    rows = table(found)
    assert len(rows) == len(re.findall(r"^\| .* ms \|", found, flags=re.M))  # no line stands between them
    aims = [(float(cells[2]), cells[4].strip().removeprefix("≤ ")) for cells in rows]
    missed = sum(aim != "" and ratio > float(aim) for ratio, aim in aims)
    words = {0: "No row misses", 1: "One row misses", 2: "Two rows miss", 3: "Three rows miss"}
    assert f"{words[missed]} " in found


def without_numbers(name: str) -> str:
    return re.sub(r"[-+]?\d[\d,.]*(?:e[-+]\d+)?", "#", name)


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
    assert re.match(r"\d{4}-\d\d-\d\d, .+, 1 threads on \d+ cores, load ", found.stdout)
    rows = table(found.stdout)
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
    nncodec = "writing LeNet-5 / nncodec (2,462 bytes, 0.86 of theirs)"  # not in a quick table
    recorded = {without_numbers(cells[1].strip()) for cells in table(section("make bench"))}
    assert {without_numbers(name) for name in [*names, nncodec]} == recorded
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
    rows = table(found.stdout)
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
    rows = table(found.stdout)
    assert len(rows) == 8
    assert all(float(cell) > 0 for row in rows for cell in row[4:-1])
    assert all(float(row[5]) <= 2.5 for row in rows), found.stdout  # copies of the weights
