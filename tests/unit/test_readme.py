"""The README's promises: its code runs, its commands are those that are tested, its addresses are in form."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from torch import nn

import admm_lib as al
from admm_lib import data, notebooks
from admm_lib.__main__ import main

HOME = data.HOME.parent
README = (HOME / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
# Who runs a command that the README names; the others are exempt, each for its reason.
RUN_BY = {
    "make test": ".ci/run itself",
    "make run": "tests/notebooks/test_run.py, by the function behind it, in the smallest profile",
    "make run PROFILE=smoke": "tests/notebooks/test_nbval.py and test_run.py",
    "make site": "tests/notebooks/test_site.py",
    "make lab": "tests/browser, by the server behind it",
    "make setup": "what all others begin with",
    "make table": "tests/unit/test_records.py, by the function behind it",
    "admm inspect data/models/lenet5-file-1551-seed110.admm": "below",
    "admm evaluate data/models/lenet5-file-1551-seed110.admm": "below",
    "admm export data/models/lenet5-file-1551-seed110.admm --onnx lenet5.onnx": "below",
    "admm run data/recipes/lenet5-71x.yaml --profile smoke": "below",
    "admm sweep data/recipes/lenet5-71x.yaml --profile smoke --set admm.rho=0.001,0.003 --jobs 2": "below",
    "admm compress photos --network resnet50 --ratio 8 --out photos.admm": "tests/unit/test_image_folder.py, "
    "with a smaller network",
    "admm evaluate photos.admm --network resnet50 --data photos": "tests/unit/test_image_folder.py, with a "
    "smaller network",
    "python -m admm_lib": "tests/unit/test_command_line.py",
    "admm COMMAND --help": "tests/unit/test_command_line.py, for each command",
}
EXEMPT = {
    "pip install 'admm-lib[cluster]'": "needs an index that has this library",
    "admm compare data/comparison/lenet5.yaml": "takes hours; tests/unit/test_comparison.py runs a small one",
    "make bench": "takes half an hour; tests/benchmarks/test_bench.py runs it with --quick",
    "make records": "takes hours; its recipes are run on small data by tests/unit/test_pipelines.py",
}


def test_every_command_is_run_or_exempt():
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.S))
    lines = [line.split("#")[0].strip() for line in blocks.splitlines()]
    inline = re.findall(r"`((?:make|admm|pip|python) [^`]+)`", README)
    named = {line for line in lines if line} | {each.strip() for each in inline}
    assert named == RUN_BY.keys() | EXEMPT.keys()
    targets = re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(), re.M)
    assert {each.split()[1] for each in named if each.startswith("make ")} <= set(targets)


@pytest.mark.parametrize("command", [each for each, where in RUN_BY.items() if where == "below"])
def test_commands_of_admm_run_as_they_stand(command, monkeypatch, tmp_path, capsys):
    (tmp_path / "data").symlink_to(HOME / "data")
    monkeypatch.chdir(tmp_path)
    assert main(command.split()[1:]) == 0
    assert "lenet5" in capsys.readouterr().out


def test_the_first_example_is_of_three_lines_and_runs(monkeypatch, capsys):
    monkeypatch.chdir(HOME)
    assert len([line for line in PYTHON[0].splitlines() if line.strip()]) == 3
    exec(PYTHON[0], {})
    assert "accuracy=" in capsys.readouterr().out
    assert (HOME / "data/models/lenet5-file-1551-seed110.admm").stat().st_size < 1_450


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the README's code takes for granted: a trained network, a loader, a loss."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    digits = al.data.load("digits").train.subset(128)
    layers = {"flatten": nn.Flatten(), "fc1": nn.Linear(784, 30), "act": nn.ReLU(), "fc2": nn.Linear(30, 10)}

    class MyNetwork(nn.Sequential):
        def __init__(self):
            super().__init__()
            for name, kind in layers.items():
                self.add_module(name, type(kind)(*_sizes(kind)))

    model, dense = MyNetwork(), MyNetwork()
    loader = list(digits.batches(64))
    return {"al": al, "model": model, "dense": dense, "loader": loader, "MyNetwork": MyNetwork,
            "my_loss": nn.functional.cross_entropy, "inputs": digits.inputs[:2]}  # fmt: skip


def _sizes(kind):
    return (kind.in_features, kind.out_features) if isinstance(kind, nn.Linear) else ()


@pytest.mark.parametrize("number", range(1, len(PYTHON)))
def test_the_code_runs(number, names):
    """With fewer epochs, and a budget in bytes that suits the network of this test, which is small."""
    source = re.sub(r"epochs=\d+", "epochs=1", PYTHON[number])
    source = source.replace("6_000", "9_000")
    if "model.admm" in source and "al.save(model" not in source and "al.save(al" not in source:
        al.save(al.bake(small(names["model"])), "model.admm")
    exec(source, names)


def small(model):
    """Pruned and quantized, so that a picture holds it."""
    al.ADMM(model, {n: al.Sparse(ratio=40) for n in al.suggest(model)}).finalize()
    al.bake(model)
    al.ADMM(model, {n: al.Binary() for n in al.suggest(model)}).finalize()
    return model


def test_pictures_are_there_and_described():
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README):
        assert (HOME / target).read_bytes().startswith(b"\x89PNG")
        assert len(alt) > 40


@pytest.mark.parametrize("host", ["mybinder.org", "colab.research.google.com"])
def test_addresses_of_binder_and_colab_are_in_form(host):
    (address,) = re.findall(rf"`(https://{re.escape(host)}/[^`]+)`", README)
    parts = urlsplit(address)
    segments = parts.path.strip("/").split("/")
    if host == "mybinder.org":
        assert segments == ["v2", "gh", "OWNER", "REPOSITORY", "HEAD"]
        (opened,) = parse_qs(parts.query)["urlpath"]
        assert opened.startswith("lab/tree/")
        path = opened.removeprefix("lab/tree/")
    else:
        assert segments[:5] == ["github", "OWNER", "REPOSITORY", "blob", "main"]
        path = "/".join(segments[5:])
    assert HOME / path == notebooks.sequence()[0]
    assert Path(HOME / "environment.yml").exists()
