"""Controls with a finite list of values: sliders and menus that report when they are let go."""

from collections.abc import Iterable
from typing import Any

import ipywidgets as widgets


def slider(label: str, options: Iterable[Any], value: Any, tip: str = "") -> widgets.SelectionSlider:
    """A slider over a list of values, or of pairs (text, value); it reports when it is let go."""
    return widgets.SelectionSlider(value=value, continuous_update=False, **_choice(label, options, tip))


def menu(label: str, options: Iterable[Any], value: Any, tip: str = "") -> widgets.Dropdown:
    """A drop-down list of values, or of pairs (text, value)."""
    return widgets.Dropdown(value=value, **_choice(label, options, tip))


def _choice(label: str, options: Iterable[Any], tip: str) -> dict[str, Any]:
    return {
        "options": [each if isinstance(each, tuple) else (_text(each), each) for each in options],
        "description": label,
        "tooltip": tip or label,
        "style": {"description_width": "110px"},
        "layout": widgets.Layout(width="344px", margin="2px 12px 2px 0"),
    }


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def choices(control: widgets.Widget) -> list[Any]:
    """Every value a control can take. Raises TypeError for a control without a finite list."""
    if hasattr(control, "options"):
        return [each[1] if isinstance(each, tuple) else each for each in control.options]
    if isinstance(control, (widgets.Checkbox, widgets.ToggleButton)):
        return [False, True]
    if isinstance(control, widgets.IntSlider):
        return list(range(control.min, control.max + 1, control.step))
    raise TypeError(f"{type(control).__name__} has no list of values: use slider() or menu()")
