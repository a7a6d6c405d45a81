"""The library as one installs it: a wheel, in an environment of its own."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

import admm_lib
from admm_lib import data

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("admm_lib", "pyproject.toml", "README.md", "LICENSE")
EXAMPLE = """
import admm_lib as al

model = al.load("model.admm")
print(al.__file__)
print(al.data.HOME)
print(al.evaluate(model, al.data.load("digits").test))
"""


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == admm_lib.__version__

    def lines(name):
        return (ROOT / name).read_text(encoding="utf-8").splitlines()

    assert f"version: {admm_lib.__version__}" in lines("CITATION.cff")
    assert f"## {admm_lib.__version__}" in lines("CHANGELOG.md")


@pytest.mark.full
def test_a_wheel_runs_the_example_in_an_empty_environment(tmp_path):
    """With what it declares and nothing else, of the versions in constraints.txt."""
    source, empty = tmp_path / "source", tmp_path / "empty"
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob(f"admm_lib-{admm_lib.__version__}-py3-none-any.whl")
    venv.create(empty, with_pip=True)
    python = empty / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run(
        [python, *pip[1:], "install", "--no-compile", "-c", ROOT / "constraints.txt", wheel], check=True
    )
    shutil.copy(data.HOME / "models" / "lenet5-file-1551-seed110.admm", tmp_path / "model.admm")
    environment = {**os.environ, "ADMM_CACHE": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-W", "error", "-c", EXAMPLE],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    file, home, scored = done.stdout.splitlines()
    assert Path(file).is_relative_to(empty)
    assert Path(home) == tmp_path / "cache" / "data"
    assert "accuracy=" in scored
    shutil.rmtree(empty)  # more than a gigabyte
