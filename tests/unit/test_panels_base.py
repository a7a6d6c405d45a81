"""The machinery of all panels: states, errors, cache, coalescing, code to copy, work in a thread."""

import asyncio
import threading

import ipywidgets as widgets
import pytest
from unit.states import sweep_states

from admm_lib.figures import style
from admm_lib.panels import base
from admm_lib.panels.base import Panel, Worker


class Drawing:
    """A drawing function that counts, and that can be told to wait or to fail."""

    def __init__(self):
        self.states, self.wait, self.begun = [], threading.Event(), threading.Event()
        self.wait.set()

    def __call__(self, a, b):
        self.states.append((a, b))
        self.begun.set()
        assert self.wait.wait(20)
        if b == "fail":
            raise ValueError("a <wrong> value: lower it")
        figure = style.new_figure(2, 1, layout=None)
        figure.text(0.1, 0.5, f"{a} {b}")
        return figure


@pytest.fixture
def drawing():
    return Drawing()


@pytest.fixture
def panel(drawing):
    return Panel(
        "a test",
        {
            "a": base.slider("a number", [1.0, 2.0, 3.0, 4.0], 1.0, "what a does"),
            "b": base.menu("a word", ["good", "better", "fail"], "good"),
        },
        drawing,
        alt="two words",
        text=lambda a, b: f"{a} < {b}",
        code=lambda a, b: f"print({a!r}, {b!r}, 1 < 2)",
        actions={"More": lambda state: {"a": state["a"] + 1}},
        cache=3,
    )


def test_a_panel_is_drawn_at_once_and_follows_its_controls(panel, drawing):
    first = panel.image
    assert first.startswith(b"\x89PNG")
    assert panel.state == {"a": 1.0, "b": "good"}
    assert panel.line == "1.0 < good"
    panel.controls["a"].value = 2.0  # as the browser does
    assert drawing.states == [(1.0, "good"), (2.0, "good")]
    assert panel.image != first
    panel.controls["a"].value = 1.0
    assert panel.image == first
    assert len(drawing.states) == 2  # the picture was kept


def test_several_controls_at_once_are_one_drawing(panel, drawing):
    panel.set(a=3.0, b="better")
    assert drawing.states[1:] == [(3.0, "better")]


def test_only_the_latest_pictures_are_kept(panel, drawing):
    for a in (2.0, 3.0, 4.0):
        panel.set(a=a)
    assert len(drawing.states) == 4
    panel.set(a=3.0)
    assert len(drawing.states) == 4
    panel.set(a=1.0)
    assert len(drawing.states) == 5


def test_an_error_shows_inside_and_goes_with_its_cause(panel):
    before = panel.image
    panel.set(b="fail")
    assert panel.error == "ValueError: a <wrong> value: lower it"
    shown = [child.value for child in panel.widget.children if isinstance(child, widgets.HTML)]
    assert any('role="alert"' in value and "&lt;wrong&gt;" in value for value in shown)
    assert panel.image == before
    panel.set(b="good")
    assert panel.error == ""
    assert not any("alert" in c.value for c in panel.widget.children if isinstance(c, widgets.HTML))


@pytest.mark.parametrize(
    ("values", "message"), [({"c": 1}, "no control c: there are a, b"), ({"a": 9.0}, "a=9.0 is not on")]
)
def test_unknown_controls_and_values_are_refused(panel, values, message):
    with pytest.raises(ValueError, match=message):
        panel.set(**values)


def test_buttons_change_the_state_or_say_why_not(panel):
    assert set(panel.buttons) == {"More", "Copy as code", "Save figure"}
    for _ in range(3):
        panel.buttons["More"].click()
    assert panel.state["a"] == 4.0
    assert panel.error == ""
    panel.buttons["More"].click()
    assert panel.error == "ValueError: a=5.0 is not on its control"


def test_moves_during_a_drawing_do_not_pile_up(panel, drawing):
    drawing.wait.clear()
    drawing.begun.clear()
    first = threading.Thread(target=panel.set, kwargs={"a": 2.0})
    first.start()
    assert drawing.begun.wait(20)
    for a in (3.0, 4.0, 3.0, 4.0):  # returns at once: the thread above is still drawing
        panel.set(a=a)
    drawing.wait.set()
    first.join(20)
    assert not first.is_alive()
    assert drawing.states[1:] == [(2.0, "good"), (4.0, "good")]
    assert panel.line == "4.0 < good"


def looking(panel, move):
    """Run `move` as the kernel does, on its event loop, and then look until nothing more is drawn ahead."""

    async def session():
        panel.ahead.pause = 0
        move()
        while panel.ahead._next is not None:
            await asyncio.sleep(0.01)

    asyncio.run(session())


def test_while_the_reader_looks_the_next_pictures_are_drawn(panel, drawing):
    looking(panel, lambda: setattr(panel.controls["a"], "value", 2.0))
    # First along the control that was moved; where it came from is known.
    near = [(1.0, "good"), (2.0, "good"), (3.0, "good"), (2.0, "better")]
    assert drawing.states == [*near, (4.0, "good"), (2.0, "fail")]
    assert panel.line == "2.0 < good"
    panel.set(b="better")
    assert panel.line == "2.0 < better"
    assert len(drawing.states) == 6
    looking(panel, panel.buttons["More"].click)
    assert drawing.states[6:] == [
        (3.0, "better"), (4.0, "better"), (3.0, "fail"), (3.0, "good"), (1.0, "better")
    ]  # fmt: skip


def test_what_fails_ahead_waits_for_its_turn(panel, drawing):
    looking(panel, lambda: setattr(panel.controls["b"], "value", "better"))
    # And goes on behind it.
    assert drawing.states[2:] == [(1.0, "fail"), (2.0, "better"), (3.0, "better"), (4.0, "better")]
    assert panel.error == ""
    panel.controls["b"].value = "fail"
    assert "wrong" in panel.error


def test_a_move_ends_drawing_ahead(panel, drawing):
    async def session():
        panel.ahead.pause = 0.01
        panel.controls["a"].value = 2.0
        panel.controls["a"].value = 4.0  # at once
        await asyncio.sleep(0.1)
        return list(drawing.states)

    states = asyncio.run(session())
    assert states[:3] == [(1.0, "good"), (2.0, "good"), (4.0, "good")]
    assert all(a != 1.0 or b == "good" for a, b in states)
    assert (3.0, "good") in states[3:]
    assert (2.0, "better") not in states  # a neighbour of where the hand has left


def test_the_picture_comes_before_its_numbers(panel, drawing):
    async def session():
        panel._longest, panel.ahead.rest, panel.ahead.pause = 1, 0.01, 10
        lines = []
        for a in (2.0, 3.0):  # the second before the numbers of the first
            panel.controls["a"].value = a
            lines.append((drawing.states[-1], panel.line))
        await asyncio.sleep(0.1)
        panel.controls["a"].value = 2.0
        lines.append(panel.line)
        await asyncio.sleep(0.1)
        panel.controls["a"].value = 3.0  # known by now
        return [*lines, panel.line]

    known = asyncio.run(session())
    assert known == [((2.0, "good"), "…"), ((3.0, "good"), "…"), "…", "3.0 < good"]
    assert drawing.states == [(1.0, "good"), (2.0, "good"), (3.0, "good")]


def test_quick_numbers_come_with_their_picture(panel):
    async def session():
        panel.controls["a"].value = 2.0
        return panel.line

    assert asyncio.run(session()) == "2.0 < good"


def test_numbers_that_fail_say_so_under_their_picture(panel):
    async def session():
        panel._text, panel._longest, panel.ahead.rest = lambda a, b: 1 / (a - 2), 1, 0.01
        panel.controls["a"].value = 2.0
        assert panel.error == ""
        await asyncio.sleep(0.1)

    asyncio.run(session())
    assert panel.error == "ZeroDivisionError: float division by zero"
    assert panel.line == ""


def test_only_what_a_hand_moves_is_followed_ahead(panel, drawing):
    looking(panel, lambda: panel.set(a=2.0))  # as a cell of a notebook does
    panel.controls["a"].value = 3.0  # outside an event loop
    assert drawing.states == [(1.0, "good"), (2.0, "good"), (3.0, "good")]


def test_code_is_shown_follows_the_state_and_goes(panel):
    button, shown = panel.buttons["Copy as code"], panel.widget.children[-1]
    assert shown.value == ""
    button.click()
    assert "print(1.0, &#x27;good&#x27;, 1 &lt; 2)" in shown.value
    assert "clipboard.writeText" in shown.value
    panel.set(a=2.0)
    assert "print(2.0, " in shown.value
    assert panel.code == "print(2.0, 'good', 1 < 2)"
    button.click()
    assert shown.value == ""


def test_every_control_has_a_label_and_reports_when_let_go(panel):
    for control in panel.controls.values():
        assert control.description
        assert control.tooltip
    assert panel.controls["a"].continuous_update is False
    assert panel.controls["a"].tooltip == "what a does"


def test_the_height_is_fixed_by_the_first_picture(panel):
    image = next(child for child in panel.widget.children if isinstance(child, widgets.Image))
    assert (image.layout.width, image.layout.height) == ("192px", "96px")
    assert image.tooltip is None  # a browser draws no Image with one
    panel.set(a=2.0)
    assert image.layout.height == "96px"


def test_in_a_notebook_it_has_a_steady_text_and_a_still_picture(panel):
    assert "a test" in repr(panel)
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel)
    assert "application/vnd.jupyter.widget-view+json" in bundle
    picture = panel.picture()
    assert repr(picture) == "two words"
    assert panel.figure(a=4.0).texts[0].get_text() == "4.0 good"


def test_the_sweep_visits_every_value_of_every_control(panel):
    states = sweep_states(panel, random=50, seed=3)
    assert states == sweep_states(panel, random=50, seed=3)
    assert len(states) == 4 + 3 + 50
    assert [state["a"] for state in states[:4]] == [1.0, 2.0, 3.0, 4.0]
    assert [state["b"] for state in states[4:7]] == ["good", "better", "fail"]
    assert {(s["a"], s["b"]) for s in states[7:]} == {
        (a, b) for a in (1.0, 2, 3, 4) for b in ("good", "better", "fail")
    }
    assert base.choices(widgets.IntSlider(min=1, max=7, step=3)) == [1, 4, 7]
    assert base.choices(widgets.Checkbox()) == [False, True]
    with pytest.raises(TypeError, match="FloatSlider has no list"):
        base.choices(widgets.FloatSlider())


def test_a_worker_reports_and_hands_over_its_result():
    results, caller = [], threading.current_thread()

    def work(stop, report):
        assert threading.current_thread() is not caller
        report(0.5, "half <way>")
        return 7

    worker = Worker("Go", work, results.append)
    assert not worker.running
    worker.start()
    worker.join(20)
    assert not worker.running
    assert results == [7]
    assert worker.progress == 1.0
    assert worker.status == "half <way>"
    start, stop = worker.widget.children[:2]
    assert (start.description, start.disabled, stop.disabled) == ("Go", False, True)


def test_a_worker_stops_when_asked_and_runs_once_at_a_time():
    begun, runs = threading.Event(), []

    def work(stop, report):
        runs.append(stop.is_set())
        report(0.25, "at work")
        begun.set()
        assert stop.wait(20)

    worker = Worker("Go", work)
    start, stop = worker.widget.children[:2]
    start.click()
    assert begun.wait(20)
    start.click()  # once more: nothing happens
    assert (start.disabled, stop.disabled, worker.running) == (True, False, True)
    stop.click()
    worker.join(20)
    assert runs == [False]
    assert worker.status == "stopped; at work"
    assert worker.progress == 0.25
    begun.clear()
    worker.start()  # and again, afresh
    assert begun.wait(20)
    worker.stop()
    worker.join(20)
    assert runs == [False, False]


def test_a_worker_shows_its_failure():
    def work(stop, report):
        raise RuntimeError("no data")

    worker = Worker("Go", work, lambda result: pytest.fail("done after a failure"))
    worker.start()
    worker.join(20)
    assert worker.status == "RuntimeError: no data"
    assert worker.widget.children[0].disabled is False
