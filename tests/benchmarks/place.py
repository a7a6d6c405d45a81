"""Where and when times were measured: the line above each table."""

import os
import platform
import time
from pathlib import Path

import torch

from admm_lib import records


def line() -> str:
    """Date, processor, cores, threads, load, torch and commit."""
    info = Path("/proc/cpuinfo")
    names = [each for each in info.read_text().splitlines() if "model name" in each] if info.exists() else []
    processor = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    found = records.provenance()
    commit = found["commit"][:7] + "-dirty" * found["commit"].endswith("-dirty")
    threads = f"{found['threads']} threads on {os.cpu_count()} cores{load}"
    return f"{time.strftime('%Y-%m-%d')}, {processor}, {threads}, torch {torch.__version__}, commit {commit}"
