"""A recipe with some of its fields changed, or shortened, to try things out; never one that is recorded."""

import copy
import difflib
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from ..rivals import SHARES
from .form import Recipe, steps

PROFILES = ("smoke", "quick", "paper")
QUICK = 5  # times fewer epochs
LONGEST = 120  # bytes of a name, of which files are named: most file systems take 255


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with other values at these paths, such as admm.rho, steps.1.keep.fc1.weight or flip.

    The numbers in a path count a list's places from 0; a path may end in a field that is not there yet. The
    name says what was changed; a long one is cut, and ends in a hash of the changes. Raises ValueError for a
    path that leads nowhere.
    """
    result = copy.deepcopy(recipe)
    for path, value in changes.items():
        _put(result, path, path, value)
    said = [f"{path}={value}" for path, value in changes.items()]
    result["name"] = "+".join(re.sub(r"[^\w.=-]+", "-", each).strip("-") for each in [recipe["name"], *said])
    if len(name := result["name"].encode()) > LONGEST:
        digest = hashlib.sha256("+".join(said).encode()).hexdigest()[:12]
        result["name"] = f"{name[:LONGEST - 13].decode(errors='ignore')}-{digest}"
    return result


def paths(recipe: Any, start: str = "") -> list[str]:
    """Of all fields of a recipe, as `changed` takes them."""
    if not isinstance(recipe, dict | list):
        return []
    items = recipe.items() if isinstance(recipe, dict) else enumerate(recipe)
    return [each for name, value in items for each in (f"{start}{name}", *paths(value, f"{start}{name}."))]


def meant(recipe: Recipe, changes: Mapping[str, Any]) -> str:
    """A hint for each path that the recipe has not, but has one like it; else nothing."""
    known = paths(recipe)
    hints = []
    for path in changes.keys() - set(known):
        inner = [each for each in known if each.endswith(f".{path}")]
        hints += (inner or difflib.get_close_matches(path, known))[:1]
    return f"; did you mean {', '.join(sorted(hints))}?" if hints else ""


def _put(place: Any, path: str, whole: str, value: Any) -> None:
    """Names have dots of their own, as fc1.weight: the longest one that is there is meant."""
    if isinstance(place, list):
        number, _, rest = path.partition(".")
        if not number.isdigit() or int(number) >= len(place):
            raise ValueError(f"--set {whole}: {number!r} is no place in a list of {len(place)}, from 0 on")
        if rest:
            return _put(place[int(number)], rest, whole, value)
        place[int(number)] = value
        return None
    if not isinstance(place, dict):
        raise ValueError(f"--set {whole}: {path!r} is a field of nothing: {place!r} has no fields")
    inner = [name for name in place if path.startswith(f"{name}.")]
    if path not in place and inner:
        name = max(inner, key=len)
        return _put(place[name], path.removeprefix(f"{name}."), whole, value)
    place[path] = value
    return None


def shortened(recipe: Recipe, profile: str) -> Recipe:
    """The recipe for a profile: "paper" as it is, "quick" with a fifth of the epochs, "smoke" with the fewest
    that it can do with, and digits in place of MNIST. Raises ValueError for another profile.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}, but is {profile!r}")
    result = copy.deepcopy(recipe)
    if profile == "paper":
        return result
    fewer = (lambda epochs: -(-epochs // QUICK)) if profile == "quick" else (lambda epochs: 1)
    result["dense"]["epochs"] = fewer(result["dense"]["epochs"])
    for step in steps(result):
        for stage in ("admm", "retrain"):
            step[stage] |= {"epochs": fewer(step[stage]["epochs"])}
        if "incremental" in (result["method"], result.get("finish")):  # an epoch at least for each share
            least = len(step["retrain"].get("shares", SHARES))
            step["retrain"]["epochs"] = max(step["retrain"]["epochs"], least)
    if profile == "smoke" and result["dataset"] == "mnist":
        result["dataset"] = "digits"
    result["name"] += f"+{profile}"
    return result
