"""A run that was killed goes on where it was, and ends as the one that was not."""

from threading import Event

import pytest
import torch

import admm_lib as al

DIGITS = al.data.load("digits")
SMALL = al.data.Data(
    "small", *(split.subset(200) for split in (DIGITS.train, DIGITS.val, DIGITS.test)), "200 digits each"
)


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads add in another order: results are compared bit by bit here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
        augment=al.data.shifts(1), **options,
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
    stop = Event()

    def stopped(epoch):
        if epoch.number == 2:
            stop.set()

    run(tmp_path / "stage", progress=stopped, stop=stop)
    trained = []
    run(tmp_path / "stage", progress=trained.append)
    assert trained[0].number == 2


@pytest.mark.parametrize("damage", ["cut", "other", "text"])
def test_a_file_that_is_damaged_or_of_another_run_is_named(tmp_path, damage):
    file = tmp_path / "stage"
    run(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-300])
    elif damage == "text":
        file.write_text("not a checkpoint")
    else:
        al.fit(al.models.create("lenet5", 0), SMALL, 1, resume=tmp_path / "five")
        (tmp_path / "five").replace(file)
    with pytest.raises(ValueError, match=r"stage is damaged or belongs to another run: delete it"):
        run(file)
