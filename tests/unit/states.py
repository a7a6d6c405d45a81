"""Which states of a panel a test visits."""

from random import Random

from admm_lib.panels.base import Panel, State, choices


def sweep_states(panel: Panel, random: int = 50, seed: int = 0) -> list[State]:
    """Each control swept with the others at rest, then random ones."""
    rest = panel.state
    options = {name: choices(control) for name, control in panel.controls.items()}
    swept = [{**rest, name: value} for name, values in options.items() for value in values]
    draw = Random(seed)
    mixed = [{name: draw.choice(options[name]) for name in options} for _ in range(random)]
    return swept + mixed
