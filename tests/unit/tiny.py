"""A recipe small enough for a test, changed as the test wants it, and what its training leaves."""

import yaml

from admm_lib import pipelines

TINY = {
    "name": "tiny", "title": "a test", "model": "lenet300", "dataset": "digits", "track": "from-lenet300",
    "method": "admm", "seeds": [107], "shift_pixels": 1, "batch_size": 64, "precision": "32-true",
    "dense": {"epochs": 2, "lr": 0.002}, "keep": {"fc1.weight": 3000, "fc2.weight": 900, "fc3.weight": 300},
    "admm": {"epochs": 2, "lr": 0.001, "rho": 0.001, "rho_growth": 10}, "retrain": {"epochs": 2, "lr": 0.002},
}  # fmt: skip
STEP = {name: TINY[name] for name in ("keep", "admm", "retrain")}


def trained(*args, **more):
    """Each finished stage's network and origin."""
    path, tried = pipelines.train(*args, **more)
    assert tried == []  # no tree search
    return [(each.network, each.origin) for each in path]


def stepped(*steps):
    """What makes of TINY a recipe of these steps."""
    given = [
        {name: each for name, each in step.items() if each is not None} if isinstance(step, dict) else step
        for step in steps
    ]
    return {**dict.fromkeys(STEP), "steps": given}


def allocated(rule, ratio):
    return {"keep": None, "allocation": {"rule": rule, "ratio": ratio}}


def quantized(sets):
    return {"keep": None, "sets": sets}


def joined(joint, few=None):
    """Budgets and sets of TINY's layers at once."""
    few = few or {"set": "levels", "bits": 2}
    return {"sets": dict.fromkeys(TINY["keep"], few), "joint": joint}


def written(folder, **changes):
    """The file of TINY with these changes; None takes a field away."""
    recipe = {**TINY, **changes}
    path = folder / f"{TINY['name']}.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in recipe.items() if v is not None}))
    return path
