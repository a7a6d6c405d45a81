"""The library as one installs it: a wheel of its own, in an environment that has no checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
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
def test_a_wheel_runs_the_example_away_from_the_checkout(tmp_path):
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob(f"admm_lib-{admm_lib.__version__}-py3-none-any.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", installed, wheel], check=True)
    shutil.copy(data.HOME / "models" / "lenet5-file-1551-seed110.admm", tmp_path / "model.admm")
    environment = {**os.environ, "PYTHONPATH": str(installed), "ADMM_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXAMPLE],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    file, home, scored = done.stdout.splitlines()
    assert Path(file).is_relative_to(installed)
    assert Path(home) == tmp_path / "cache" / "data"
    assert "accuracy=" in scored
