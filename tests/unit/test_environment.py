"""One environment, written four times: pyproject.toml, constraints.txt, environment.yml, imports.

None of them can be derived from another, so each is held against the others here.
"""

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
ENVIRONMENT = (ROOT / "environment.yml").read_text(encoding="utf-8")
NOT_IMPORTED = {  # needed all the same
    "jupyterlab": "make lab",
    "ipykernel": "the kernel the notebooks name",
    "nbval": "a pytest plugin",
    "pytest-xdist": "a pytest plugin",
    "ruff": "a command",
    "coverage": "a command",
    "onnx": "torch.onnx",
    "onnxscript": "torch.onnx",
}
OPTIONAL = {  # imported where it is asked for: extras of their own
    "distributed",  # a sweep that is given a scheduler: "cluster"
    "torchao",  # a comparison: "peers"
}
OWN = {"admm_lib", "browser", "conftest", "files", "place", "unit"}
APART = {"nncodec"}  # has an environment of its own, which the benchmark of files makes


def named(requirements: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in requirements}


RUNTIME = named(PROJECT["dependencies"])
TEST = named(PROJECT["optional-dependencies"]["test"])
DEV = named(PROJECT["optional-dependencies"]["dev"])
DIRECT = RUNTIME | TEST | DEV
PINNED = dict(line.split("==") for line in CONSTRAINTS)
PINS = {canonicalize_name(name): version for name, version in PINNED.items()}


def test_constraints_are_plain_pins():
    for line in CONSTRAINTS:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line), line
    assert sorted(PINNED, key=str.lower) == list(PINNED)
    assert len(PINS) == len(CONSTRAINTS)


def test_every_direct_requirement_is_pinned_within_its_bounds():
    for name, requirement in DIRECT.items():
        assert name in PINS, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(PINS[name]), f"{requirement} against {PINS[name]}"


def closure() -> set[str]:
    """Direct requirements and all they need here, except what torch brings for one kind of GPU."""
    found: set[str] = set()
    waiting = [(name, frozenset(each.extras)) for name, each in DIRECT.items()]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        found.add(name)
        for line in lines:
            each = Requirement(line)
            wanted = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if each.marker and not any(each.marker.evaluate(extra) for extra in wanted):
                continue
            item = (canonicalize_name(each.name), frozenset(each.extras))
            if item not in seen and not item[0].startswith(("nvidia-", "cuda-", "triton")):
                seen.add(item)
                waiting.append(item)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="the pins are those of Linux")
def test_constraints_hold_the_whole_environment_and_nothing_else():
    needed = closure()
    assert needed - set(PINS) == set(), "not pinned"
    assert set(PINS) - needed == set(), "pinned, but nothing needs it"


def environment_lines() -> dict[str, str]:
    """Entries of environment.yml and the reason beside each."""
    entries = re.findall(r"^\s*- (.+?)(?:\s+# (.*))?$", ENVIRONMENT, flags=re.MULTILINE)
    return {entry: reason for entry, reason in entries if entry != "pip:"}


def test_every_line_of_the_environment_has_its_reason():
    for entry, reason in environment_lines().items():
        assert len(reason) > 5, f"{entry} without a reason"


def test_environment_is_the_same_for_conda_and_binder():
    outer = yaml.safe_load(ENVIRONMENT)["dependencies"]
    inner = next(each["pip"] for each in outer if isinstance(each, dict))
    options = [line for line in inner if line.startswith("-")]
    assert options == ["-c constraints.txt", "-e ."]
    names = [canonicalize_name(line) for line in inner if not line.startswith("-")]
    assert sorted(names) == sorted(DIRECT)
    python = next(each for each in outer if str(each).startswith("python="))
    version = python.removeprefix("python=")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


def imports(code: str) -> set[str]:
    """Top-level names of the absolute imports anywhere in the code."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
    return found - sys.stdlib_module_names - OWN - APART


def notebook_code(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [
        line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()
    ]
    return "\n".join("" if line.startswith(("%", "!")) else line for line in lines)


def distributions(modules: set[str]) -> set[str]:
    """The packages that provide these modules."""
    known = packages_distributions()
    missing = modules - set(known)
    assert missing == set(), f"imported, but provided by no installed package: {missing}"
    found = set()
    for module in modules:
        providers = {canonicalize_name(name) for name in known[module]}
        found.add(next(iter(sorted(providers & set(DIRECT)) or sorted(providers))))
    return found


def used(folder: str, pattern: str = "*.py") -> set[str]:
    codes = [
        notebook_code(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        for path in (ROOT / folder).rglob(pattern)
        if ".ipynb_checkpoints" not in path.parts
    ]
    return distributions(set().union(*map(imports, codes)))


def test_imports_are_declared_and_declared_packages_imported():
    product = used("admm_lib") | used("notebooks", "*.ipynb")
    tests = used("tests")
    assert product - set(RUNTIME) == OPTIONAL, "the library or a notebook needs what is not declared"
    assert tests - set(RUNTIME | TEST) == set(), "the tests need what is not declared"
    idle = set(RUNTIME) - product - set(NOT_IMPORTED)
    assert idle == set(), "declared for the library, but nothing imports it"
    assert set(TEST) - tests - OPTIONAL - set(NOT_IMPORTED) == set(), "declared for the tests alone"
    assert set(NOT_IMPORTED) <= set(DIRECT)


def test_version_is_the_package_version():
    import admm_lib

    assert admm_lib.__version__ == PROJECT["version"]
