"""The committed outputs are what the notebooks print today: nbval, strict, in a pytest of its own.

Strict means: every output is compared, except in cells tagged `nbval-ignore-output` (their number
is held in test_structure.py). nbval knows no tolerance, so notebooks print rounded, and it leaves
pictures out.
"""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from admm_lib import notebooks

SLOW = (  # half a minute or more
    "02_one_shot_pruning", "03_progressive_pruning", "04_clustering_initialization", "05_joint_compression",
    "06_structured_vs_nonstructured", "07_opq_allocation", "08_binarization",
)  # fmt: skip
PATHS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.full] if path.stem in SLOW else [])
    for path in sorted(notebooks.HOME.glob("[0-9][0-9]_*.ipynb"))
]


def nbval(path: Path) -> subprocess.CompletedProcess[str]:
    """Run nbval on one notebook, away from this project's pytest settings."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
    ]
    command += ["-c", os.devnull, "--rootdir", str(path.parent), "--color=no", "-q"]
    command += ["--nbval-cell-timeout=600", str(path)]
    environment = os.environ | {"ADMM_PROGRESS": "off"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", PATHS)
def test_committed_outputs(path):
    result = nbval(path)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_a_changed_output_is_noticed_unless_tagged(tiny, tmp_path):
    path = tiny("00_a.ipynb", "print(seed)", "{'a': seed}", "print(seed) ", "")
    notebooks.run([path], tmp_path / "out")
    done = tmp_path / "out" / path.name
    notebook = notebooks.read(done)
    same, changed, tagged = notebook.cells[-4:-1]
    changed.outputs[0].data["text/plain"] = "{'a': 1}"
    tagged.outputs[0].text = "1\n"
    tagged.metadata.tags = ["nbval-ignore-output"]
    nbformat.write(notebook, done)

    result = nbval(done)
    assert same.outputs[0].text == "0\n"
    assert result.returncode == 1
    assert "Cell 2: Cell outputs differ" in result.stdout
    assert "1 failed, 4 passed" in result.stdout
