"""Where and when times were measured: the line above each table."""

import os
import platform
import subprocess
import time
from pathlib import Path

import torch

from admm_lib import records

HOME = Path(__file__).resolve().parents[2]


def line(threads: int | None = None) -> str:
    """Date, processor, cores, threads (torch's, unless given), load, torch and commit."""
    info = Path("/proc/cpuinfo")
    names = [each for each in info.read_text().splitlines() if "model name" in each] if info.exists() else []
    processor = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    used = f"{threads or torch.get_num_threads()} threads on {os.cpu_count()} cores{load}"
    return f"{time.strftime('%Y-%m-%d')}, {processor}, {used}, torch {torch.__version__}, commit {_commit()}"


def _commit() -> str:
    """That of the library, with -dirty when it, or a benchmark, differs from it."""
    commit, _, dirty = records.provenance()["commit"].partition("-")
    if commit != "unknown":
        command = ["git", "-C", str(HOME), "diff", "--name-only", "HEAD", "--", "tests/benchmarks/*.py"]
        dirty = dirty or subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return commit[:7] + "-dirty" * bool(dirty)
