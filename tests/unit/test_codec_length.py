"""How long a file is: hardly more than its symbols are surprising."""

import math

import numpy as np
import pytest

import admm_lib as al
from admm_lib import codec, data, records
from admm_lib.codec import format as file_format
from admm_lib.codec import labels, positions, rangecoder

RECORDED = ["lenet5-file-1551", "lenet5-file-3102", "lenet5-348x-plain", "lenet5-71x", "lenet5-2bit",
            "lenet5-binary", "deep-compression-lenet300", "joint-lenet300-clusters-pairs"]  # fmt: skip


@pytest.fixture
def surprise(monkeypatch):
    """Bits by the coder's own probabilities, -log2 p of every symbol, and bits stored as they are."""
    found = {"coded": 0.0, "stored": 0}
    last = [None, None]
    plain = rangecoder.weighted

    def remembered(counts):
        chances = np.asarray(counts, dtype=np.float64)
        last[:] = plain(counts), chances / chances.sum()
        return last[0]

    class Surprised(rangecoder.Encoder):
        def symbol(self, model, symbol):
            assert model is last[0]
            found["coded"] -= math.log2(last[1][symbol])
            return super().symbol(model, symbol)

        def symbols(self, model, count, symbols):
            assert model is last[0]
            found["coded"] -= float(np.log2(last[1][symbols]).sum())
            return super().symbols(model, count, symbols)

        def finish(self):
            found["stream"] = 8 * len(super().finish())
            return super().finish()

    class Ledger(file_format._Ledger):
        def add(self, plan, *more):
            found["stored"] += 8 * len(plan.stored)
            super().add(plan, *more)

    for module in (rangecoder, positions, labels):
        monkeypatch.setattr(module, "weighted", remembered)
    monkeypatch.setattr(file_format, "Encoder", Surprised)
    monkeypatch.setattr(file_format, "_Ledger", Ledger)
    return found


@pytest.mark.parametrize("name", RECORDED)
def test_a_file_is_as_long_as_its_symbols_are_surprising(name, surprise):
    network = al.load(data.HOME.parent / records.read(name)["runs"][0]["file"])
    size = len(codec.encode(network))
    ideal = (surprise["coded"] + surprise["stored"]) / 8
    assert ideal < size <= 1.02 * ideal + 48
    assert surprise["stream"] <= 1.001 * surprise["coded"] + 16
