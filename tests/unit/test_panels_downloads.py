"""What readers take away from panels: pictures, networks in three forms, tables."""

import csv
import io

import onnxruntime
import pytest
import torch
from unit.offers import saved

import admm_lib as al
from admm_lib import codec
from admm_lib.figures.style import png
from admm_lib.panels import (
    binarization,
    clustering,
    joint,
    leaderboard,
    one_shot,
    opq,
    progressive,
    quickstart,
    structured,
    theory,
)  # fmt: skip

DIGITS = al.data.load("digits")
VAL, TRAIN = DIGITS.val.subset(60), DIGITS.train.subset(256)


def lenet(name="lenet5"):
    return al.models.pretrained(name, "digits").eval()


# Each panel that shows a network, with a state and the most weights that are then left.
NETWORKS = {
    "quickstart": (lambda: quickstart.pruning_panel({"dense": lenet()}, VAL), {"ratio": 50}, 430_500 // 50),
    "one_shot": (lambda: one_shot.layers_panel({"dense": lenet()}, VAL, TRAIN), {"fc1": 500}, 30_000),
    "clustering": (lambda: clustering.centroids_panel({"dense": lenet()}, VAL), {"bits": 2}, 430_500),
    "joint": (lambda: joint.file_panel(lenet(), VAL, TRAIN), {"ratio": 100, "bits": 2}, 4_305),
    "structured": (lambda: structured.views_panel(lenet(), VAL), {"view": "filter"}, 430_500 // 2),
    "opq": (lambda: opq.solution_panel(lenet("lenet300"), VAL), {"ratio": 40}, 266_200 // 40),
    "binarization": (lambda: binarization.values_panel(lenet(), VAL, TRAIN), {"values": "binary"}, 430_500),
}
OTHERS = {
    "words": quickstart.words_panel, "line": theory.number_line, "plane": theory.plane,
    "leaderboard": leaderboard.ratios,
    "progressive": lambda: progressive.schedule_panel(lenet(), VAL, TRAIN),
}  # fmt: skip
ALL = {name: make for name, (make, *_) in NETWORKS.items()} | OTHERS


@pytest.mark.parametrize("name", ALL)
def test_the_picture_on_show_and_code_are_there_to_be_taken(name):
    panel = ALL[name]()
    file, content = saved(panel, "figure")
    assert file.endswith(".png")
    assert " " not in file
    assert content == png(panel.figure())
    assert "import" in panel.code
    compile(panel.code, name, "exec")


@pytest.mark.parametrize(
    "name", ["quickstart", *(pytest.param(name, marks=pytest.mark.full) for name in list(NETWORKS)[1:])]
)
def test_the_network_on_show_can_be_taken_in_three_forms(name):
    make, state, most = NETWORKS[name]
    panel = make()
    panel.set(**state)
    file, content = saved(panel, ".admm")
    assert file.endswith(".admm")
    network = codec.decode(content).eval()
    kept = sum(row.nonzeros for row in al.storage.count(network))
    assert kept <= most

    file, content = saved(panel, "ONNX")
    assert file.endswith(".onnx")
    images = VAL.inputs[:7]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(outputs), network(images), atol=1e-3, rtol=1e-3)

    file, content = saved(panel, "layers")
    assert file.endswith(".csv")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [row["name"] for row in rows] == [row.name for row in al.storage.count(network)]
    assert sum(int(row["nonzeros"]) for row in rows) == kept


def test_a_link_goes_when_a_control_is_moved():
    panel = ALL["words"]()
    saved(panel, "figure")
    panel.set(ratio=20)
    assert panel.link == ""


def test_a_file_that_cannot_be_made_is_explained(monkeypatch):
    panel = NETWORKS["quickstart"][0]()
    monkeypatch.setattr(codec, "encode", lambda network: (_ for _ in ()).throw(ValueError("no <file>")))
    panel.buttons["Save .admm"].click()
    assert panel.error == "ValueError: no <file>"
    assert panel.link == ""


def test_the_plan_of_steps_is_a_table():
    panel = ALL["progressive"]()
    panel.set(ratio=167, steps=2)
    file, content = saved(panel, "plan")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert file == "plan-167x-in-2.csv"
    assert {row["step"] for row in rows} == {"1", "2"}
    assert sum(int(row["keep"]) for row in rows if row["step"] == "2") == 2_577


def test_the_points_of_the_leaderboard_are_a_table():
    panel = ALL["leaderboard"]()
    file, content = saved(panel, "points")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert file == "lenet-5-by-file.csv"
    assert {row["whose"] for row in rows} == {"published", "ours"}
    ours = {row["name"] for row in rows if row["whose"] == "ours"}
    assert "lenet5-file-1551" in ours


def test_the_words_of_the_code_are_those_of_the_panel(capsys):
    panel = ALL["words"]()
    exec(panel.code, {})
    assert capsys.readouterr().out == "2577 weights are left; sparsity 0.994\n"
