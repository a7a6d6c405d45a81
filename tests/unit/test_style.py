"""What all figures share: fixed colours, equal bytes for equal figures, a sentence for each picture."""

import base64

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from admm_lib.figures import style


@style.styled
def sample(value: float = 1.0):
    figure = style.new_figure(height=1.5)
    axes = figure.subplots()
    axes.plot([0, value], [0, 1], label="W")
    axes.set_title("a title")
    return figure


def test_every_meaning_has_a_colour_a_line_and_a_marker():
    assert style.COLORS.keys() == style.MARKERS.keys() == style.LINES.keys()
    assert set(style.COLORS.values()) <= set(style.PALETTE)
    lightness = {name: np.dot(to_rgb(style.COLORS[name]), (0.299, 0.587, 0.114)) for name in "WZ"}
    assert lightness["Z"] - lightness["W"] > 0.1  # told apart in greyscale, too


def test_w_z_and_u_differ_in_more_than_colour():
    assert len({style.MARKERS[name] for name in "WZU"}) == len({style.LINES[name] for name in "WZU"}) == 3
    layers = ("conv1", "conv2", "fc1", "fc2", "fc3")
    assert len({style.MARKERS[name] for name in layers}) == len({style.LINES[name] for name in layers}) == 5
    assert set(style.HATCHES) == set(layers)
    same_grey = ("conv1", "fc1", "fc2")
    assert len({style.HATCHES[name] for name in same_grey}) == 3
    assert style.MARKERS["dense"] != style.MARKERS["element"]
    assert style.LINES["dense"] != style.LINES["element"]


def test_equal_figures_give_equal_bytes_without_date_or_version():
    first = style.png(sample())
    assert first == style.png(sample())
    assert first != style.png(sample(2.0))
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first
    assert b"atplotlib" not in first
    assert len(style.png(sample(), compress=1)) > len(first) > len(style.png(sample(), dpi=50))


def test_the_shared_sizes_hold_inside_and_nothing_leaks_out():
    before = dict(mpl.rcParams)
    axes = sample().axes[0]
    assert dict(mpl.rcParams) == before
    assert before["axes.titley"] == mpl.rcParamsDefault["axes.titley"]  # nor did it from an earlier one
    assert axes.get_title(loc="left") == "a title"
    assert axes.xaxis.label.get_fontsize() == style.RC["axes.labelsize"]
    assert not axes.spines["top"].get_visible()


def test_a_picture_says_what_it_shows():
    picture = style.show(sample(), "A line\n    that rises.")
    data, metadata = picture._repr_mimebundle_()
    assert repr(picture) == data["text/plain"] == metadata["image/png"]["alt"] == "A line that rises."
    assert base64.b64decode(data["image/png"]) == style.png(sample())
    assert metadata["image/png"]["width"] == 720
    assert metadata["image/png"]["height"] == 144
    with pytest.raises(ValueError, match="alternative text"):
        style.show(sample(), " ")


def test_a_lightened_figure_has_its_labels_without_tex_and_no_minor_ticks():
    figure = style.new_figure(3, 2, layout=None)
    log, linear, own = figure.subplots(1, 3)
    log.plot([1, 2, 3], [1e-3, 1e-1, 1e2])
    log.set_yscale("log")
    linear.plot([1, 2, 3])
    own.set_xscale("log")
    own.set_xticks([1, 20], ["one", "twenty"])
    assert style.lightened(figure) is figure
    figure.canvas.draw()
    assert {"10⁻²", "10⁰", "10²"} <= {label.get_text() for label in log.get_yticklabels()}
    assert not any("$" in label.get_text() for label in log.get_yticklabels())
    assert len(log.yaxis.get_minorticklocs()) == len(own.xaxis.get_minorticklocs()) == 0
    assert [label.get_text() for label in own.get_xticklabels()] == ["one", "twenty"]
    assert linear.get_yticklabels()[0].get_text()


@pytest.mark.parametrize(
    ("value", "text"), [(1e-12, "10⁻¹²"), (1, "10⁰"), (1000, "10³"), (20, "20"), (0, "0")]
)
def test_powers_are_written_as_such(value, text):
    assert style._power(value) == text
