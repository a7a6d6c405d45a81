"""The range coder and the position coder beneath the file: exact, and close to what entropy allows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admm_lib.codec.positions import LAYOUTS, best_layout, code_positions
from admm_lib.codec.rangecoder import Adaptive, CodecError, Decoder, Encoder, weighted

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)


def written(mask, layout):
    """The stream that holds where the cells of a matrix are set."""
    encoder = Encoder()
    places = np.flatnonzero(mask)
    code_positions(encoder, mask.shape, len(places), layout, places)
    return encoder.finish()


def read(stream, mask, layout):
    decoder = Decoder(stream)
    places = code_positions(decoder, mask.shape, int(mask.sum()), layout)
    decoder.finish()
    return places


def random_mask(rows, columns, keep, seed=0):
    mask = np.zeros(rows * columns, dtype=bool)
    mask[np.random.default_rng(seed).choice(mask.size, keep, replace=False)] = True
    return mask.reshape(rows, columns)


def entropy(mask):
    """log2 C(n, k), exactly."""
    return math.log2(math.comb(mask.size, int(mask.sum())))


@often
@given(seeds, st.integers(0, 300), st.integers(2, 9))
def test_a_stream_comes_back_and_is_as_short_as_its_information(seed, count, alphabet):
    random = np.random.default_rng(seed)
    model = weighted(random.integers(1, 1 << random.integers(1, 40), alphabet))
    symbols = random.integers(0, alphabet, count)
    encoder = Encoder()
    for symbol in symbols.tolist():
        encoder.symbol(model, symbol)
    stream = encoder.finish()
    assert 8 * len(stream) <= encoder.spent() + 8
    decoder = Decoder(stream)
    assert decoder.symbols(model, count).tolist() == symbols.tolist()
    decoder.finish()


def test_carries_over_many_words_come_back():
    """Symbols at the very top of the interval make the coder hold words back until a carry is known."""
    model = weighted([1 << 40, 1])
    for tail in range(60):
        encoder = Encoder()
        for symbol in [1] * 40 + [0] * tail:
            encoder.symbol(model, symbol)
        decoder = Decoder(encoder.finish())
        assert decoder.symbols(model, 40 + tail).tolist() == [1] * 40 + [0] * tail
        decoder.finish()


def test_adaptive_counts_are_learned_and_forgotten():
    def cost(symbols):
        encoder, frequencies = Encoder(), Adaptive([256, 256])
        for symbol in symbols:
            frequencies.code(encoder, symbol)
        return encoder.spent()

    assert cost([0] * 1000) < 60  # learned
    assert cost([0] * 5000 + [1] * 1000) < cost([0] * 5000) + 600  # and not for ever


@often
@given(seeds, st.integers(1, 12), st.integers(1, 40), st.floats(0, 1), st.integers(0, LAYOUTS - 1))
def test_positions_come_back_in_every_layout(seed, rows, columns, density, layout):
    random = np.random.default_rng(seed)
    mask = random.random((rows, columns)) < density
    if layout & 1:
        mask[random.random(rows) < 0.5] = False
    assert read(written(mask, layout), mask, layout).tolist() == np.flatnonzero(mask).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_random_mask_costs_its_entropy(seed):
    mask = random_mask(500, 800, 3600, seed)
    layout, _ = best_layout(mask.shape, np.flatnonzero(mask))
    assert 0.99 < 8 * len(written(mask, layout)) / entropy(mask) < 1.01


@pytest.mark.parametrize(("keep", "most"), [(130, 1.03), (1150, 1.01), (20000, 1.005)])
def test_random_masks_of_other_densities_cost_little_more(keep, most):
    mask = random_mask(50, 500 if keep < 20000 else 4000, keep)
    layout, _ = best_layout(mask.shape, np.flatnonzero(mask))
    assert 8 * len(written(mask, layout)) <= most * entropy(mask) + 8


@pytest.mark.parametrize("transpose", [False, True])
def test_dead_rows_and_columns_cost_a_bit_each_at_most(transpose):
    mask = np.zeros((500, 800), dtype=bool)
    random = np.random.default_rng(0)
    live = np.ix_(random.choice(500, 100, False), random.choice(800, 200, False))
    mask[live] = random_mask(100, 200, 1150)
    mask = mask.T if transpose else mask
    layout, _ = best_layout(mask.shape, np.flatnonzero(mask))
    bits = 8 * len(written(mask, layout))
    assert bits < 0.75 * entropy(mask)
    assert bits < 1300 + 1.01 * math.log2(math.comb(100 * 200, 1150))


def test_rows_of_unequal_density_and_blocks_are_noticed():
    random = np.random.default_rng(0)
    shares = np.repeat([0.2, 0.002], 100)[random.permutation(200)]
    rows = random.random((200, 500)) < shares[:, None]
    for mask in (rows, rows.T, np.kron(random_mask(50, 100, 60), np.ones((2, 8), dtype=bool))):
        layout, _ = best_layout(mask.shape, np.flatnonzero(mask))
        assert 8 * len(written(mask, layout)) < 0.85 * entropy(mask)


def test_the_layout_chosen_is_almost_the_best_and_its_estimate_close():
    random = np.random.default_rng(1)
    for rows, columns in [(1, 1), (0.2, 1), (1, 0.3), (0.2, 0.3)]:
        mask = random_mask(120, 300, 1500)
        mask[random.random(120) > rows] = False
        mask[:, random.random(300) > columns] = False
        sizes = [8 * len(written(mask, layout)) for layout in range(LAYOUTS)]
        layout, estimate = best_layout(mask.shape, np.flatnonzero(mask))
        assert sizes[layout] <= 1.02 * min(sizes) + 8
        assert estimate == pytest.approx(sizes[layout], rel=0.1)


def test_a_stream_with_bytes_to_spare_or_of_another_mask_is_refused():
    mask = random_mask(20, 30, 60)
    stream = written(mask, 3)
    for damaged in (stream + b"\0", stream + b"\1", stream + stream, b"\xff" * 50, b"\xff"):
        with pytest.raises(CodecError, match="positions"):
            read(damaged, mask, 3)
    with pytest.raises(CodecError, match="do not fit in"):  # more than the live cells hold
        code_positions(Decoder(b""), (20, 30), 601, 0)


def test_a_corner_costs_the_entropy_of_the_corner():
    """As in a network whose live units come first: what lies outside costs a size per side."""
    mask = np.zeros((500, 800), dtype=bool)
    mask[:40, :256] = random_mask(40, 256, 487)
    layout, _ = best_layout(mask.shape, np.flatnonzero(mask))
    assert 8 * len(written(mask, layout)) < 1.02 * entropy(mask[:40, :256]) + 19 + 8


def test_a_corner_beyond_the_matrix_is_refused():
    mask = random_mask(5, 8, 10)
    with pytest.raises(CodecError, match="leave their tensor"):
        code_positions(Decoder(b"\xff"), mask.shape, 10, 8)
