"""inspect, evaluate, export, run and sweep, as they are typed."""

import importlib
import json
import re
import subprocess
import sys

import onnxruntime
import pytest
import torch
from torch import nn
from unit.tiny import TINY, written

import admm_lib as al
from admm_lib import codec, data, imagenet_cost, records, times
from admm_lib.__main__ import main

FILE = data.HOME / "models" / "lenet5-file-1551-seed110.admm"
NETWORK = """
from torch import nn

def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
"""
ORDERED = """
from collections import OrderedDict
from torch import nn

def ordered():
    layers = OrderedDict((f"conv{n}", nn.Conv2d(1, 1, 1, bias=False)) for n in (1, 2, 10))
    return nn.Sequential(OrderedDict(layers, a_head=nn.Linear(1, 2)))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file of a network that it does not name, and the module that makes it, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    (tmp_path / "mynet.py").write_text(NETWORK)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with torch.no_grad():
        network[1].weight.copy_(al.Both(al.Sparse(keep=500), al.Levels(bits=2)).project(network[1].weight))
    al.save(network, tmp_path / "mine.admm")
    return network


def test_inspect_tells_what_is_in_a_file(capsys):
    assert main(["inspect", str(FILE)]) == 0
    said = capsys.readouterr().out
    (run,) = (run for run in records.read("lenet5-file-1551")["runs"] if run["seed"] == 110)
    assert f"{run['file_bytes']:,} bytes, lenet5(relu=True)" in said
    for layer in run["layers"]:
        assert re.search(rf"{layer['name']} .* {layer['weights']:,} +{layer['nonzeros']:,} ", said)
    assert "multiples of a step" in said
    assert str(al.storage.ladder(al.load(FILE))) in said


def test_inspect_of_a_network_that_the_file_does_not_name(own, capsys):
    assert main(["inspect", "mine.admm"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"1\.weight +10 x 784 +7,840 +500 +15\.7x  multiples of a step, up to \d", said)
    assert "a network that the file does not name" in said
    assert "--network mynet:MyNet" in said
    assert main(["inspect", "mine.admm", "--network", "mynet:small"]) == 0
    assert "= the file, all included" in capsys.readouterr().out


def test_inspect_writes_no_control_characters_of_a_file_to_a_terminal(tmp_path, capsys):
    model = nn.Module()
    model.register_parameter("\x1b[2J\rgreen", nn.Parameter(torch.ones(2)))
    model.register_parameter("grün", nn.Parameter(torch.ones(2)))
    al.save(model, tmp_path / "odd.admm")
    assert main(["inspect", str(tmp_path / "odd.admm")]) == 0
    said = capsys.readouterr().out
    assert "'\\x1b[2J\\rgreen' " in said
    assert "\ngrün " in said
    assert said.replace("\n", "").isprintable()


@pytest.mark.usefixtures("own")
def test_inspect_lists_tensors_in_the_order_of_the_network(tmp_path, capsys):
    (tmp_path / "mynet.py").write_text(ORDERED)
    al.save(importlib.import_module("mynet").ordered(), tmp_path / "order.admm")

    def listed(*more):
        assert main(["inspect", "order.admm", *more]) == 0
        return re.findall(r"^([\w.]+\.(?:weight|bias)) ", capsys.readouterr().out, re.M)

    names = ["conv1.weight", "conv2.weight", "conv10.weight", "a_head.weight", "a_head.bias"]
    assert listed("--network", "mynet:ordered") == names
    # Without the network its order is not known: by name, where 2 comes before 10.
    assert listed() == ["a_head.bias", "a_head.weight", *names[:3]]


def test_evaluate_measures_on_the_split_asked_for(own, capsys):
    digits = al.data.load("digits")
    for split in ("val", "test"):
        assert main(["evaluate", "mine.admm", "--data", "digits", "--split", split,
                     "--network", "mynet:small"]) == 0  # fmt: skip
        found = al.evaluate(own, getattr(digits, split))
        said = capsys.readouterr().out
        assert f"{found.accuracy:.2f}% right, loss {found.loss:.4f}" in said
        assert f"images of {split}" in said


def test_export_writes_what_onnx_runtime_runs(own, capsys, tmp_path):
    pairs = (
        (["mine.admm", "--network", "mynet:small", "--shape", "1,28,28"], own),
        ([str(FILE)], al.load(FILE)),
    )
    images = al.data.load("digits").val.inputs[:3]
    for given, network in pairs:
        assert main(["export", *given, "--onnx", "it.onnx"]) == 0
        session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
        (outputs,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        assert torch.allclose(torch.from_numpy(outputs), network.eval()(images).detach(), atol=1e-4)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["inspect", "none.admm"], "there is no file none.admm"),
        (["inspect", "mynet.py"], "mynet.py: this is no .admm file"),
        (["evaluate", "mine.admm"], "give --network mynet:MyNet"),
        (["export", "mine.admm", "--network", "mynet:small", "--shape", "3,3", "--onnx", "x.onnx"],
         "does not take examples of 3 x 3"),
        (["evaluate", "mine.admm", "--network", "mynet.py:small"], "write mynet:MyNet"),
        (["run", "tiny.yaml", "--set", "rho=1"], "did you mean admm.rho?"),
        (["run", "tiny.yaml", "--set", "admm.rh=1"], "did you mean admm.rho?"),
        (["evaluate", "mine.admm", "--network", "mynet"], "as mynet:MyNet"),
        (["evaluate", "mine.admm", "--network", "mynet:big"], "has no attribute 'big'"),
        (["evaluate", "mine.admm", "--network", "nowhere:big"], "No module named 'nowhere'"),
        (["evaluate", "mine.admm", "--network", "torch:tensor"], "--network torch:tensor"),
        (["evaluate", str(FILE), "--data", "letters"], "letters"),
        (["export", "mine.admm", "--network", "mynet:small", "--onnx", "x.onnx"], "--shape 3,32,32"),
        (["export", str(FILE), "--onnx", "no/where.onnx"], "there is no folder no"),
        (["run", "tiny.yaml", "--set", "admm.rho"], "--set takes PATH=VALUE"),
        (["run", "tiny.yaml", "--set", "admm.rhoo=1"], "admm needs exactly epochs, lr, rho"),
        (["run", "tiny.yaml", "--set", "admm.rho.x=1"], "has no fields"),
        (["run", "tiny.yaml", "--set", "seeds.7=1"], "no place in a list of 1"),
        (["run", "tiny.yaml", "--set", "keep.fc4.weight=1"], "fc4"),
        (["run", "tiny.yaml", "--profile", "fast"], "profile must be one of smoke, quick, paper"),
        (["run", "tiny.yaml", "--no-resume"], "give --home another folder"),
        (["sweep", "tiny.yaml", "--set", "admm.rho=0.1,-1"], "admm: rho must be a positive number"),
        (["run", "tiny.yaml", "--set", "admm.rho=1", "--set", "admm.rho=2"], "--set admm.rho is given twice"),
        (["sweep", "tiny.yaml", "--set", "admm.rho=1", "--set", "admm.rho=2"], "--set admm.rho is given"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(own, tmp_path, capsys, words, reason):
    written(tmp_path)
    try:
        code = main(words)
    except SystemExit as end:  # argparse's own
        code = end.code
    said = capsys.readouterr().err
    assert code == 2
    assert reason in said
    assert not (tmp_path / "build").exists()


def test_a_trial_is_no_record_and_reads_no_test_image(own, tmp_path, capsys, monkeypatch):
    path = written(tmp_path)
    digits = al.data.load("digits")

    class Hidden:
        def __getattr__(self, name):
            raise AssertionError("the test images were read")

    hidden = data.Data(digits.name, digits.train, digits.val, Hidden(), digits.note)
    monkeypatch.setattr(data, "load", lambda *_, **__: hidden)
    assert main(["run", str(path), "--set", "keep.fc1.weight=500", "--seed", "3"]) == 0
    (file,) = (tmp_path / "build/trials/models").iterdir()
    assert file.name == "tiny+keep.fc1.weight=500-seed3.admm"
    network = codec.load(file)
    assert int(network.fc1.weight.count_nonzero()) == 500
    accuracy = al.evaluate(network, digits.val).accuracy
    assert f"{accuracy:.2f}% of validation images, {file.stat().st_size:,} bytes" in capsys.readouterr().out
    assert not list(tmp_path.rglob("records"))


def test_the_help_of_each_command_can_be_read(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z]+)", capsys.readouterr().out, re.M)
    assert {"run", "sweep", "inspect", "evaluate", "export", "table"} <= set(commands)
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        assert len(capsys.readouterr().out) > 100


@pytest.mark.parametrize(
    ("words", "module", "name"),
    [(["imagenet"], imagenet_cost, "record"), (["imagenet", "--admm"], imagenet_cost, "record_admm"),
     (["times", "lenet5"], times, "record")],
)  # fmt: skip
def test_rounds_are_the_measurement_s_own_unless_given(monkeypatch, words, module, name):
    asked = []
    monkeypatch.setattr(module, name, lambda *_, report, **more: asked.append(more))
    assert main(words) == 0
    assert main([*words, "--rounds", "2"]) == 0
    assert asked == [{}, {"rounds": 2}]


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "admm_lib", "inspect", str(FILE)], capture_output=True, text=True, check=True
    )
    assert "lenet5(relu=True)" in done.stdout
    assert json.dumps(TINY)  # the recipe of these tests is plain data
