"""The figures and the panel of notebook 05 show what they are given, and offer the file that they show."""

import io

import numpy as np
import pytest
from matplotlib.image import imread
from unit.offers import offered, saved
from unit.states import sweep_states

import admm_lib as al
from admm_lib import codec, qr, records
from admm_lib.figures import joint as figures
from admm_lib.figures.style import BLUE, png
from admm_lib.panels import joint

SECTIONS = {"values": 800, "positions": 1600, "codebooks": 80, "biases": 400, "header": 240}


def test_a_file_is_one_bar_of_its_sections():
    (axes,) = figures.file_bar(SECTIONS, 400, "a file").axes
    assert [bar.get_width() for bar in axes.patches] == [100, 200, 10, 50, 30]
    assert [bar.get_x() for bar in axes.patches] == [0, 100, 300, 310, 360]
    assert [bar.get_hatch() for bar in axes.patches] == [None, "//", None, "xx", None]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "values 100", "positions 200", "codebooks 10", "biases 50", "header 30",
    ]  # fmt: skip
    assert (axes.get_title(loc="left"), axes.get_xlim()) == ("a file", (0, 400))


def test_codes_are_bars_in_bytes():
    found = {"positions": {"bitmap": 800.0, "file": 160.0}, "values": {"file": 80.0}}
    left, right = figures.codes(found).axes
    assert [bar.get_width() for bar in left.patches] == [100, 20]
    assert [text.get_text() for text in left.texts] == ["100", "20"]
    assert [text.get_text() for text in left.get_yticklabels()] == ["bitmap", "file"]
    assert left.patches[0].get_facecolor() != left.patches[1].get_facecolor()
    assert left.patches[1].get_facecolor() == right.patches[0].get_facecolor()
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("positions", "values")
    assert BLUE == "#0173b2"


def test_accuracy_by_size_has_a_curve_for_each_way_from_small_to_large():
    point = {mean: records.Interval(mean, mean - 0.5, mean + 0.25, 3) for mean in (95.0, 97.0, 98.0)}
    curves = {"both": [(2_000, point[97.0], "20x"), (500, point[95.0], "80x")],
              "low rank": [(40_000, point[98.0], "5")]}  # fmt: skip
    (axes,) = figures.accuracy_by_size(curves, (1_066_440, 98.5)).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["both", "low rank"]
    both, thin = axes.containers
    assert both[0].get_xydata().tolist() == [[500, 95], [2_000, 97]]
    assert thin[0].get_xydata().tolist() == [[40_000, 98]]
    (bar,) = both[2]
    assert bar.get_segments()[0].tolist() == [[500, 94.5], [500, 95.25]]
    assert [text.get_text() for text in axes.texts] == ["dense: 1,066,440 bytes", "80x", "20x", "5"]
    assert axes.get_xscale() == "log"
    assert axes.lines[0].get_ydata()[0] == 98.5


def test_histograms_count_weights_and_gaps():
    weights, gaps = np.array([0.5, 0.5, -1.0]), np.array([1, 1, 3, 90])
    above, below = figures.histograms({"fc1": (weights, gaps)}, most=10).axes
    lines = [segment.tolist() for segment in above.collections[0].get_segments()]
    assert lines == [[[-1, 0], [-1, 1]], [[0.5, 0], [0.5, 2]]]
    bars = {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in below.patches}
    assert bars == {1: 2, 3: 1, 10: 1}
    assert below.get_xlabel().endswith("(last bar: 10 or more)")


def test_pictures_of_codes_and_digits():
    (axes,) = figures.qr_code(np.zeros((8, 8), dtype=np.uint8), "scan me").axes
    assert axes.get_title(loc="left") == "scan me"
    content = bytes(range(256)) * 5
    drawn = png(figures.qr_code(qr.picture(content), "scan me"))
    assert qr.read((255 * imread(io.BytesIO(drawn))[..., 0]).astype(np.uint8)) == content
    row = figures.digits(np.zeros((3, 28, 28)), ["7", "2", "1"]).axes
    assert [axes.get_xlabel() for axes in row] == ["7", "2", "1"]
    assert not any(spine.get_visible() for axes in row for spine in axes.spines.values())


@pytest.fixture(scope="module")
def panel():
    data = al.data.load("digits")
    network = al.models.pretrained("lenet5", "digits")
    return joint.file_panel(network, data.val.subset(60), data.train.subset(256))


@pytest.mark.full
def test_every_state_draws_and_offers_its_file(panel):
    for state in sweep_states(panel, random=4):
        panel.set(**state)
        assert panel.error == ""
        name, content = saved(panel, ".admm")
        assert name == "lenet5-{ratio}x-{bits}bit-{values}.admm".format(**state)
        assert f"{len(content):,} bytes" in panel.link
        assert panel.line.startswith(f"{len(content):,} bytes, everything included")
        model = codec.decode(content)
        kept = sum(row.nonzeros for row in al.storage.count(model))
        assert kept <= 430_500 // state["ratio"]
        for weight in al.storage.weights(model).values():
            assert len(weight[weight != 0].unique()) <= 2 ** state["bits"]


def test_accuracy_is_that_of_the_file(panel):
    panel.set(ratio=5, bits=4, values="levels")
    model = codec.decode(saved(panel, ".admm")[1])
    right = al.evaluate(model, al.data.load("digits").val.subset(60)).accuracy
    assert f"; {right:.1f}% right, nothing trained" in panel.line


@pytest.mark.full
@pytest.mark.parametrize("values", ["levels", "clusters"])
def test_retrain_ends_in_both_sets_and_offers_that_file(panel, values):
    panel.set(ratio=20, bits=2, values=values)
    before = saved(panel, ".admm")
    panel.worker.start()
    panel.worker.join(120)
    name, content = offered(panel)
    assert name == before[0].replace(".admm", "-retrained.admm")
    model = codec.decode(content)
    right = al.evaluate(model, al.data.load("digits").val.subset(60)).accuracy
    assert panel.worker.status == f"{right:.1f}% right, {len(content):,} bytes"
    assert sum(row.nonzeros for row in al.storage.count(model)) <= 430_500 // 20
    for weight in al.storage.weights(model).values():
        assert len(weight[weight != 0].unique()) <= 4
    panel.set(bits=3)
    assert panel.link == ""
    assert saved(panel, ".admm")[0] == f"lenet5-20x-3bit-{values}.admm"


def test_a_stopped_retraining_leaves_the_file_as_it_was(panel):
    panel.set(ratio=20, bits=2, values="levels")
    saved(panel, ".admm")
    before = panel.link
    panel.worker.start()
    panel.worker.stop()
    panel.worker.join(60)
    assert panel.link == before
    assert panel.worker.status.startswith("stopped")


def test_the_code_runs_as_it_is_shown(panel, tmp_path, monkeypatch, capsys):
    panel.set(ratio=20, bits=2, values="clusters")
    digits = al.data.load("digits")
    few = al.data.Data("digits", digits.train.subset(128), digits.val, digits.test, "a part")
    monkeypatch.setattr(al.data, "load", lambda name: few)
    monkeypatch.chdir(tmp_path)
    exec(panel.code, {})
    model = al.load(tmp_path / "lenet5-20x-2bit.admm")
    assert sum(row.nonzeros for row in al.storage.count(model)) <= 430_500 // 20
    assert f"{(tmp_path / 'lenet5-20x-2bit.admm').stat().st_size:,}" in capsys.readouterr().out
