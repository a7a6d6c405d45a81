"""Docstrings: examples run, every public name has one, and everything says what it is and its types."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

import admm_lib as al

MODULES = ("admm_lib", *(each.name for each in pkgutil.walk_packages(al.__path__, "admm_lib.")))
GLOBALS = {"al": al, "nn": nn, "np": np, "torch": torch}  # what the package's docstring says to import
WITH_EXAMPLES = (
    "admm", "allocation.file_size", "allocation.rules", "allocation.steps", "augment", "baselines",
    "codec.format", "codec.network", "constraints", "cost", "data", "distillation", "evaluation", "groups",
    "holding", "importance", "intersection", "kmeans", "laplace", "layers", "levels", "low_rank", "models",
    "names", "parametrizations", "projections", "qr", "quantization", "records", "rivals", "schedules",
    "shrink", "storage", "training",
)  # fmt: skip
WITHOUT = {  # of the public names: an example would teach nothing
    "CodecError": "an exception",
    "Constraint": "a protocol",
    "DivergenceError": "an exception",
    "Residuals": "a NamedTuple",
}


def public(module: ModuleType) -> Iterator[tuple[str, Callable]]:
    """The functions and classes that a module defines, and the methods and properties of these, by name.

    doctest's own finder would leave out what is wrapped, as by torch.no_grad.
    """
    for name, each in vars(module).items():
        if name.startswith("_") or getattr(each, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(each) or inspect.isfunction(each):
            yield name, each
        if inspect.isclass(each):
            yield from _methods(name, each)


def _methods(name: str, owner: type) -> Iterator[tuple[str, Callable]]:
    """Those that are written in this library, in a private base class too."""
    for each in inspect.classify_class_attrs(owner):
        if not each.name.startswith("_") and each.defining_class.__module__.startswith("admm_lib"):
            found = each.object
            for behind in ("fget", "func", "__func__"):  # properties, cached ones, class methods
                found = getattr(found, behind, found)
            if inspect.isfunction(found):
                yield f"{name}.{each.name}", found


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """Those in the docstrings of a module, of what it defines, and of the methods."""
    found = {id(each): (name, each) for name, each in [("", module), *public(module)]}
    tests = [
        doctest.DocTestParser().get_doctest(
            each.__doc__ or "", dict(GLOBALS), f"{module.__name__}.{name}", module.__file__, 0
        )
        for name, each in found.values()
    ]
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_say(name):
    tests, told = examples(importlib.import_module(f"admm_lib.{name}")), []
    assert sum(len(test.examples) for test in tests) > 0
    for test in tests:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            result = doctest.DocTestRunner(verbose=False).run(test, out=told.append)
        assert result.attempted == len(test.examples)
        assert result.failed == 0, "".join(told)


def test_a_wrong_example_fails():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1


def test_no_module_with_examples_is_forgotten():
    found = [name for name in MODULES if examples(importlib.import_module(name))]
    assert sorted(found) == sorted(f"admm_lib.{name}" for name in WITH_EXAMPLES)


def test_every_public_name_has_an_example():
    names = {name for name in al.__all__ if not inspect.ismodule(getattr(al, name))}
    assert names >= WITHOUT.keys()
    assert {name for name in names if ">>>" not in getattr(al, name).__doc__} == set(WITHOUT)


def _untyped(function: Callable) -> list[str]:
    """Parameters without a type, `self` and `cls` aside, and "return"."""
    signature = inspect.signature(function)
    named = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    missing = [each.name for each in named if each.annotation is each.empty]
    return missing + ["return"] * (signature.return_annotation is signature.empty)


def _own_init(each: Callable) -> Callable | None:
    """The __init__ that a class, no dataclass and no protocol, has written."""
    written = inspect.isclass(each) and not dataclasses.is_dataclass(each) and vars(each).get("__init__")
    return written if written and written.__module__ == each.__module__ else None


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_has_a_docstring_and_types(name):
    module = importlib.import_module(name)
    assert module.__doc__
    faults = []
    for each_name, each in public(module):
        own = each.__doc__ or ""
        if not own or own.startswith(f"{each_name}("):  # which a dataclass gives itself
            faults.append(f"{each_name} has no docstring")
        function = _own_init(each) if inspect.isclass(each) else each
        if function is not None and (missing := _untyped(function)):
            faults.append(f"{each_name}: no type for {', '.join(missing)}")
    assert faults == []
