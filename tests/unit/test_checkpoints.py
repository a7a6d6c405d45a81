"""A run that was killed goes on where it was, and ends as the one that was not."""

import re
from threading import Event

import numpy as np
import pytest
import torch

import admm_lib as al

DIGITS = al.data.load("digits")
SMALL = al.data.Data(
    "small", *(split.subset(200) for split in (DIGITS.train, DIGITS.val, DIGITS.test)), "200 digits each"
)


pytestmark = pytest.mark.usefixtures("one_thread")


class Killed(Exception):
    pass


def killed_at(last):
    def report(epoch):
        if epoch.number == last:
            raise Killed  # the epoch is trained, and not yet kept

    return report


def run(resume, epochs=5, progress=False, pruned=False, **options):
    """Four sets of a masked network under ADMM with a growing rho, or masked retraining of it."""
    model = al.models.create("lenet300", 3)
    sets = {"fc1.weight": al.Sparse(ratio=10), ("fc2.weight", "fc3.weight"): al.Sparse(ratio=3)}
    admm = al.ADMM(model, sets, rho=1e-2, schedule=al.geometric(1, 10, epochs))
    if pruned:
        admm.finalize()
        admm = None
    history = al.fit(
        model, SMALL, epochs, admm=admm, seed=1, resume=resume, progress=progress,
        augment=al.data.Shifts(1), **options,
    )  # fmt: skip
    return model, admm, history


@pytest.mark.parametrize("pruned", [False, True], ids=["ADMM", "masked retraining"])
@pytest.mark.parametrize("last", [1, 2, 5])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, last, pruned):
    file = tmp_path / "runs" / "stage"
    with pytest.raises(Killed):
        run(file, progress=killed_at(last), pruned=pruned)
    trained = []
    model, admm, history = run(file, progress=trained.append, pruned=pruned)
    assert [epoch.number for epoch in trained] == list(range(last, 6))  # one epoch is trained again
    unbroken, theirs, expected = run(None, pruned=pruned)
    assert all(map(torch.equal, model.parameters(), unbroken.parameters()))
    assert [(e.number, e.loss, e.val_accuracy) for e in history] == [
        (e.number, e.loss, e.val_accuracy) for e in expected
    ]
    if not pruned:
        assert admm.history == theirs.history
        assert admm.rho == theirs.rho
        for key in admm.Z:
            assert torch.equal(admm.Z[key][0], theirs.Z[key][0])
            assert torch.equal(admm.U[key][0], theirs.U[key][0])
        admm.update()
        theirs.update()
        assert admm.history == theirs.history
    assert [path.name for path in file.parent.iterdir()] == ["stage"]  # nothing half-written is left


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, _, history = run(tmp_path / "stage")
    again, _, repeated = run(tmp_path / "stage", progress=killed_at(5))
    assert repeated == history
    assert all(map(torch.equal, first.parameters(), again.parameters()))


def test_an_epoch_that_was_stopped_half_way_is_not_kept(tmp_path):
    stop, batches = Event(), []

    def stopping(inputs, generator):
        batches.append(len(inputs))
        if len(batches) == 3:  # of two batches an epoch: the first of the second epoch
            stop.set()
        return inputs

    model = al.models.create("lenet300", 3)
    history = al.fit(model, SMALL, 5, seed=1, stop=stop, augment=stopping, resume=tmp_path / "stage")
    assert [epoch.number for epoch in history] == [1, 2]
    assert len(batches) == 3
    model, trained = al.models.create("lenet300", 3), []
    al.fit(model, SMALL, 5, seed=1, progress=trained.append, resume=tmp_path / "stage")
    assert trained[0].number == 2
    unbroken = al.models.create("lenet300", 3)
    al.fit(unbroken, SMALL, 5, seed=1)
    assert all(map(torch.equal, model.parameters(), unbroken.parameters()))


def test_dropout_goes_on_where_it_was_whatever_was_drawn_in_between(tmp_path):
    def run(progress, resume):
        network = al.models.create("lenet300", 3)
        al.fit(al.models.with_dropout(network, {"fc2": 0.5}), SMALL, 4, progress=progress, resume=resume)
        return network

    with pytest.raises(Killed):
        run(killed_at(3), tmp_path / "stage")
    torch.rand(100)
    resumed = run(False, tmp_path / "stage")
    torch.rand(7)
    before = torch.get_rng_state()
    assert all(map(torch.equal, resumed.parameters(), run(False, None).parameters()))
    assert torch.equal(torch.get_rng_state(), before)  # the caller's own random numbers are left alone


def test_an_optimizer_of_ones_own_has_its_rates_back_after_a_resumed_run(tmp_path):
    def run(progress):
        model = al.models.create("lenet300", 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        try:
            al.fit(model, SMALL, 4, optimizer=optimizer, progress=progress, resume=tmp_path / "stage")
        finally:
            rates = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        return model, optimizer, rates

    with pytest.raises(Killed):
        run(killed_at(2))
    model, optimizer, rates = run(False)
    (fresh,) = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).param_groups
    assert rates == [{k: v for k, v in fresh.items() if k != "params"}]
    before = model.fc1.weight.detach().clone()
    al.fit(model, SMALL, 1, optimizer=optimizer, schedule="constant")
    assert not torch.equal(model.fc1.weight, before)


def test_a_flipped_bit_is_noticed_or_was_of_no_use(tmp_path):
    """torch reads a file whose checksums do not agree; nothing but names of its own archive may differ."""
    file = tmp_path / "stage"

    def trained():
        torch.manual_seed(0)
        model = torch.nn.Linear(6, 3)
        al.fit(model, [(torch.eye(6)[:4], torch.tensor([0, 1, 2, 0]))], 2, resume=file)
        return model.weight

    expected, rng, said = trained(), np.random.default_rng(0), []
    whole = file.read_bytes()
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        try:
            assert torch.equal(trained(), expected)
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 50
    assert all("stage is damaged: delete it to start over" in each for each in said)


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_damaged_file_is_named(tmp_path, damage):
    file = tmp_path / "stage"
    run(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-300])
    else:
        file.write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"stage is damaged: delete it to start over"):
        run(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2}, "seed 1 there, 2 here"), ({"batch_size": 64}, "batch_size 128 there, 64 here"),
        ({"lr": 0.01}, "learning rate [0.001] there, [0.01] here"), ({"epochs": 3}, "epochs 2 there, 3 here"),
        ({"schedule": "constant"}, "schedule of the rate one-cycle there, constant here"),
        ({"precision": "bf16-mixed"}, "precision 32-true there, bf16-mixed here"),
        ({"teacher": al.Teacher(al.models.lenet300())}, "teacher None there, (4.0, 0.9, False) here"),
        ({"augment": None}, f"augmentation {al.data.Shifts(1)} there, None here"),
        ({"augment": al.data.Shifts(2)}, f"augmentation {al.data.Shifts(1)} there, {al.data.Shifts(2)} here"),
    ],
)  # fmt: skip
def test_a_file_of_another_run_is_refused_before_anything_is_changed(tmp_path, changes, message):
    told = {"epochs": 2, "seed": 1, "batch_size": 128, "resume": tmp_path / "stage"}
    told["augment"] = al.data.Shifts(1)
    al.fit(al.models.create("lenet300", 3), SMALL, **told)
    model = al.models.create("lenet300", 3)
    with pytest.raises(ValueError, match=re.escape(f"stage belongs to another run ({message})")):
        al.fit(model, SMALL, **{**told, **changes})
    assert all(map(torch.equal, model.parameters(), al.models.create("lenet300", 3).parameters()))


@pytest.mark.parametrize("before", ["an older release", "a function"])
def test_an_augmentation_that_the_file_does_not_tell_is_unknown_and_not_another(tmp_path, before):
    file = tmp_path / "stage"
    first = al.data.Shifts(1) if before == "an older release" else al.data.Shifts(1).__call__
    al.fit(al.models.create("lenet300", 3), SMALL, 1, augment=first, resume=file)
    if before == "an older release":
        state = torch.load(file)
        del state["run"]["augmentation"]
        torch.save(state, file)
    for augment in (None, al.data.Shifts(2), lambda inputs, generator: inputs):
        al.fit(al.models.create("lenet300", 3), SMALL, 1, augment=augment, resume=file)


def test_other_weights_and_other_sets_are_another_run(tmp_path):
    def fit(seed, keep, rho):
        model = al.models.create("lenet300", seed)
        admm = al.ADMM(model, {"fc1.weight": al.Sparse(keep=keep)}, rho)
        al.fit(model, SMALL, 1, admm=admm, resume=tmp_path / "stage")

    fit(3, 500, 0.1)
    for other, name in (((4, 500, 0.1), "(admm|model)"), ((3, 501, 0.1), "admm"), ((3, 500, 0.2), "admm")):
        with pytest.raises(ValueError, match=rf"a run that started from another {name}: to go on with"):
            fit(*other)


def test_a_model_that_was_trained_on_is_not_the_start(tmp_path):
    """As in a notebook where an interrupted cell is run again, and not the one that made the model."""
    model = al.models.create("lenet300", 3)
    with pytest.raises(Killed):
        al.fit(model, SMALL, 3, progress=killed_at(2), resume=tmp_path / "stage")
    with pytest.raises(ValueError, match=r"started from another model.*make model, optimizer and ADMM anew"):
        al.fit(model, SMALL, 3, resume=tmp_path / "stage")
    history = al.fit(al.models.create("lenet300", 3), SMALL, 3, resume=tmp_path / "stage")
    assert len(history) == 3


def test_rho_may_come_from_numpy(tmp_path):
    model = al.models.create("lenet300", 3)
    admm = al.ADMM(model, {"fc1.weight": al.Sparse(keep=9)}, schedule=lambda t: np.interp(t, [0, 9], [1, 10]))
    al.fit(model, SMALL, 1, admm=admm, resume=tmp_path / "stage")
    assert type(admm.rho["fc1.weight"]) is float
    again = al.models.create("lenet300", 3)
    admm = al.ADMM(again, {"fc1.weight": al.Sparse(keep=9)}, schedule=lambda t: np.interp(t, [0, 9], [1, 10]))
    al.fit(again, SMALL, 1, admm=admm, resume=tmp_path / "stage")
    assert torch.equal(model.fc1.weight, again.fc1.weight)
