"""Folders of images as batches, and networks compressed on them from the command line."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import admm_lib as al
from admm_lib import allocation, claims, data, distributed, files, image_folder, imagenet
from admm_lib.__main__ import main

MINE = '''
from torch import nn

def network():
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 6 * 6, 16), nn.ReLU(), nn.Linear(16, 3),
    )
'''


@pytest.fixture
def folder(tmp_path):
    """Pictures of three digits, 16 pixels wide: 20 of each to train on and 6 others."""
    digits = data.load("digits")
    for part, split, count in (("train", digits.train, 20), ("val", digits.val, 6)):
        for label in (0, 1, 2):
            place = tmp_path / "images" / part / str(label)
            place.mkdir(parents=True)
            for number, image in enumerate(split.inputs[split.targets == label][:count]):
                grey = ((image[0] * data.STD + data.MEAN) * 255).clamp(0, 255).byte().numpy()
                Image.fromarray(np.stack([grey] * 3, -1)).resize((16, 16)).save(place / f"{number}.png")
    return tmp_path / "images"


def test_training_images_are_cut_at_random_and_the_others_are_not(folder):
    made = image_folder.loaders(folder, batch_size=8, workers=0, size=16)
    assert made.classes == ("0", "1", "2")
    assert (len(made.train), len(made.val)) == (60 // 8, 3)  # what is left of an epoch is left out
    (images, labels), (again, _) = next(iter(made.val)), next(iter(made.val))
    assert images.shape == (8, 3, 16, 16)
    assert labels.tolist() == [0] * 6 + [1] * 2
    assert torch.equal(images, again)
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (image_folder.MEAN, image_folder.STD))
    assert ((images * std + mean).min() > -1e-3) & ((images * std + mean).max() < 1 + 1e-3)
    torch.manual_seed(0)
    moved = next(iter(made.train))[0]
    assert not torch.equal(moved, next(iter(made.train))[0])
    torch.manual_seed(0)
    assert torch.equal(moved, next(iter(made.train))[0])


def test_worker_processes_give_the_same_images(folder):
    alone, two = (image_folder.loaders(folder, 8, workers=n, size=16).val for n in (0, 2))
    for one, other in zip(alone, two, strict=True):
        assert torch.equal(one[0], other[0])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda at: (at / "val").rename(at / "other"), "val: it needs a folder of images for each class"),
        (lambda at: (at / "val" / "0").rename(at / "val" / "x"), "other classes, such as 0"),
        (lambda at: [each.unlink() for each in (at / "train" / "1").iterdir()], "train: it needs"),
    ],
)
def test_a_folder_that_is_not_in_order_says_so(folder, damage, told):
    damage(folder)
    with pytest.raises(al.data.DataError, match=told):
        image_folder.loaders(folder, 8, workers=0)


def damaged(folder):
    """Two training images: one is text, one ends in its middle."""
    text, cut = folder / "train" / "1" / "3.png", folder / "train" / "2" / "7.png"
    text.write_text("no image")
    cut.write_bytes(cut.read_bytes()[:-100])
    return text, cut


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("kept", "why"), [(0, ": "), (1, " (")])
def test_a_file_that_is_no_image_is_named_in_one_line(folder, workers, kept, why):
    paths = damaged(folder)
    paths[1 - kept].unlink()
    made = image_folder.loaders(folder, 59, workers, size=16)
    with pytest.raises(al.data.DataError) as found:
        next(iter(made.train))
    said = str(found.value)
    assert said.startswith(f"{paths[kept]} cannot be read as an image{why}")
    assert said.endswith(": replace it by a whole one, or delete it")
    assert "\n" not in said


def test_all_files_that_are_no_images_are_named_before_any_work(folder, tmp_path, monkeypatch, capsys):
    at_home(tmp_path, monkeypatch)
    text, cut = damaged(folder)
    for workers in ("0", "1"):
        assert main([*words(folder, tmp_path / "out.admm"), "--workers", workers]) == 2
        said = capsys.readouterr().err
        assert f"2 files cannot be read as images, {text}, {cut}: replace them" in said
        assert said.count("\n") == 1
    assert not list(tmp_path.glob("out*"))
    text.unlink()
    assert main(words(folder, tmp_path / "out.admm")) == 2
    assert f"admm: {cut} cannot be read as an image" in capsys.readouterr().err
    cut.unlink()
    assert main(words(folder, tmp_path / "out.admm")) == 0


def at_home(tmp_path, monkeypatch, source=MINE):
    """The module that makes the network, in the working folder."""
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"workers": -1}, {"size": 0}])
def test_numbers_that_make_no_batches_are_refused(folder, arguments):
    with pytest.raises(ValueError, match="batch_size is 1 or more"):
        image_folder.loaders(folder, **arguments)


def test_the_shares_of_a_paper_are_taken_over():
    with torch.device("meta"):
        widths = (64 * 3 * 121, 192 * 64 * 25, 384 * 192 * 9, 256 * 384 * 9, 256 * 256 * 9)
        alexnet = nn.Sequential(*(nn.Linear(each, 1) for each in widths),
                                nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000))
    sets = imagenet.published(alexnet)
    kept = [each.keep / weight.numel() for each, weight in zip(
        sets.values(), allocation.prunable(alexnet).values(), strict=True)]
    assert kept == pytest.approx([0.81, 0.2, 0.19, 0.2, 0.2, 0.02, 0.054, 0.08], abs=1e-4)
    deep = imagenet.published(alexnet, "1510.00149")
    assert deep["7.weight"].keep == 0.25 * 4_096_000
    # What the paper counts is in its table as well: these shares of its own layers make its sum.
    rows = [r for r in claims.published("layers") if r["arxiv"] == "1811.01907" and r["model"] == "AlexNet"]
    assert sum(int(r["nonzero_weights"]) for r in rows if r["layer"] != "all") == 2_468_900
    with pytest.raises(ValueError, match=r"1811.01907 and 1510.00149, not in '1903"):
        imagenet.published(alexnet, "1903.09769")
    with pytest.raises(ValueError, match="8 layers and the network 1: it is for alexnet"):
        imagenet.published(nn.Linear(2, 2))


def words(folder, out, *more):
    return ["compress", str(folder), "--network", "mine:network", "--size", "16", "--ratio", "5",
            "--out", str(out), "--epochs", "2", "--retrain", "1", "--batch-size", "10", "--workers", "0",
            "--lr", "0.02", "--accelerator", "cpu", *more]  # fmt: skip


def test_a_network_of_ones_own_is_compressed_on_a_folder(folder, tmp_path, monkeypatch, capsys):
    at_home(tmp_path, monkeypatch)
    assert main(words(folder, tmp_path / "out.admm")) == 0
    said = capsys.readouterr().out
    assert said.count("epoch ") == 3
    model = al.load(tmp_path / "out.admm", model=importlib.import_module("mine").network())
    ladder = al.storage.ladder(model)
    assert ladder.nonzero_weights <= ladder.weights / 5
    assert f"{ladder.nonzero_weights:,} of {ladder.weights:,} weights" in said
    # Started again, everything is there already; with other options it is another run.
    before = (tmp_path / "out.admm").read_bytes()
    assert main(words(folder, tmp_path / "out.admm")) == 0
    said = capsys.readouterr().out
    assert "epoch " not in said
    assert "going on from" in said
    assert (tmp_path / "out.admm").read_bytes() == before
    assert main([*words(folder, tmp_path / "out.admm"), "--seed", "1"]) == 2
    assert "of a call with seed 0, here 1" in capsys.readouterr().err
    assert main([*words(folder, tmp_path / "other.admm"), "--seed", "1"]) == 0
    assert (tmp_path / "other.admm").read_bytes() != before


@pytest.fixture
def compressed(tmp_path, monkeypatch):
    """The working folder with a network's file and its module."""
    at_home(tmp_path, monkeypatch)
    model = importlib.import_module("mine").network()
    al.save(model, tmp_path / "mine.admm")
    return model


def evaluating(folder, *more):
    return ["evaluate", "mine.admm", "--data", str(folder), "--size", "16", "--network", "mine:network",
            *more]  # fmt: skip


def test_a_file_is_evaluated_on_the_validation_images(folder, compressed, capsys):
    found = al.evaluate(compressed, image_folder.loaders(folder, 8, 0, 16).val)
    for damage in (lambda: None, lambda: (folder / "train").rename(folder / "other")):
        damage()
        assert main(evaluating(folder)) == 0
        said = capsys.readouterr().out
        assert f"{found.accuracy:.2f}% right, loss {found.loss:.4f}; {folder}, 18 images of val" in said


@pytest.mark.parametrize(
    ("damage", "more", "told"),
    [
        (lambda at: (at / "val").rename(at / "other"), [], "val: it needs a folder of images for each class"),
        (lambda at: shutil.rmtree(at / "train" / "0"), [], "other classes, such as 0"),
        (lambda at: (at / "val" / "0" / "2.png").write_text("x"), [], "2.png cannot be read as an image"),
        (lambda at: [(at / each / "3").mkdir() for each in ("val", "train")], [], "val: it needs a folder"),
        (lambda at: [shutil.copytree(at / each / "0", at / each / "3") for each in ("val", "train")], [],
         "the network has 3 outputs for 4 classes"),
        (lambda at: None, ["--size", "9"], "does not take examples of 3 x 9 x 9: "),
        (lambda at: None, ["--size", "0"], "--size is the pixels of an image's side, 1 or more, not 0"),
        (lambda at: None, ["--split", "test"], "the validation images are taken, val/CLASS/IMAGE: without"),
        (lambda at: None, ["--data", "nowhere"], "--data nowhere is no folder and none of auto, mnist,"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("compressed")
def test_what_cannot_be_evaluated_on_a_folder_is_said_in_one_line(folder, capsys, damage, more, told):
    damage(folder)
    assert main(evaluating(folder, *more)) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_a_network_of_torchvision_is_evaluated_by_its_name(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    al.save(made, "mine.admm")
    monkeypatch.setattr(imagenet, "untrained", lambda name: nn.Sequential(nn.Flatten(), nn.Linear(768, 3)))
    words = [word.replace("mine:network", "alexnet") for word in evaluating(folder)]
    assert main(words) == 0
    assert "18 images of val" in capsys.readouterr().out


def test_what_cannot_be_compressed_is_said_before_any_work(folder, tmp_path, monkeypatch, capsys):
    at_home(tmp_path, monkeypatch, MINE.replace("nn.Linear(16, 3)", "nn.Linear(16, 2)"))
    assert main(words(folder, tmp_path / "out.admm")) == 2
    assert "2 outputs for 3 classes" in capsys.readouterr().err
    for more, told in (
        (["--retrain", "0"], "are 1 or more"), (["--precision", "16-mixed"], "32-true or bf16-mixed"),
        (["--batch-size", "61"], "60 training images make no batch of 61"),
        (["--size", "0"], "--size is the pixels of an image's side, 1 or more, not 0"),
        (["--size", "-8"], "--size is the pixels of an image's side, 1 or more, not -8"),
        (["--size", "4"], "does not take examples of 3 x 4 x 4: "),
        (["--size", "20"], "does not take examples of 3 x 20 x 20: "),
        (["--accelerator", "gpux"], "not 'gpux'"),
    ):  # fmt: skip
        assert main([*words(folder, tmp_path / "out.admm"), *more]) == 2
        said = capsys.readouterr()
        assert told in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""
        assert more[0] != "--size" or "--size" in said.err
    assert main(words(folder, tmp_path / "nowhere" / "out.admm")) == 2
    assert "create it first" in capsys.readouterr().err


def test_weights_are_those_of_a_file(folder, tmp_path, monkeypatch, capsys):
    at_home(tmp_path, monkeypatch)
    asked = [*words(folder, tmp_path / "out.admm"), "--weights"]
    model = importlib.import_module("mine").network()
    right = al.evaluate(model, image_folder.loaders(folder, 8, 0, 16).val).accuracy
    torch.save(model.state_dict(), "trained.pt")
    assert main([*asked, "trained.pt"]) == 0
    assert f"mine:network with trained.pt's weights: {right:.2f}% of val right" in capsys.readouterr().out
    assert main(asked[:-1]) == 2
    assert f"of a call with weights {tmp_path / 'trained.pt'}, here None" in capsys.readouterr().err
    torch.save(model[:3].state_dict(), "other.pt")
    for name, told in (("none.pt", "there is no file none.pt"), ("other.pt", "other.pt has no '3.bias'"),
                       ("mine.py", "mine.py is damaged, or no state dict")):  # fmt: skip
        assert main([*asked, name]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1


def test_a_network_by_name_takes_weights_from_a_file(folder, tmp_path, monkeypatch, capsys):
    made = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    monkeypatch.setattr(imagenet, "network", lambda name: pytest.fail("weights were looked for elsewhere"))
    monkeypatch.setattr(imagenet, "untrained", lambda name: made)
    torch.save(made.state_dict(), tmp_path / "it.pth")
    asked = [word.replace("mine:network", "alexnet") for word in words(folder, tmp_path / "out.admm")]
    assert main([*asked, "--weights", str(tmp_path / "it.pth")]) == 0
    assert "alexnet with it.pth's weights" in capsys.readouterr().out


def test_an_option_that_is_younger_than_the_call_is_as_if_not_given(folder, tmp_path, monkeypatch, capsys):
    at_home(tmp_path, monkeypatch)
    assert main(words(folder, tmp_path / "out.admm")) == 0
    file = tmp_path / "out.admm.state" / "options.json"
    told = files.read_json(file, {})
    assert told.pop("weights") == "None"
    files.write_json(file, told)
    assert main(words(folder, tmp_path / "out.admm")) == 0
    assert "going on from" in capsys.readouterr().out


def test_random_weights_are_taken_when_asked_for(folder, tmp_path, monkeypatch, capsys):
    made = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    monkeypatch.setattr(imagenet, "network", lambda name: (made, "random"))
    asked = [word.replace("mine:network", "alexnet") for word in words(folder, tmp_path / "out.admm")]
    assert main(asked) == 2
    assert "--untrained begins with random ones" in capsys.readouterr().err
    assert main([*asked, "--untrained"]) == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_draws_by_its_number_wherever_a_run_began(folder, workers):
    """Cuts, mirroring and order, also where worker processes draw them."""

    def seen(epochs, seed):
        made, found = image_folder.loaders(folder, batch_size=20, workers=workers, size=16), []

        class Remembers(nn.Module):
            def __init__(self):
                super().__init__()
                self.of = nn.Linear(768, 3)

            def forward(self, x):
                found.append(x.sum().item())
                return self.of(x.flatten(1))

        al.fit(Remembers(), made.train, epochs, lr=0.0, seed=seed, accelerator="cpu")
        return found

    both = seen(2, seed=5)
    assert len(both) == 6
    assert both[3:] == seen(1, seed=6)
    assert both[:3] != both[3:]


def test_a_sampler_for_several_processes_is_told_the_epoch_in_time(folder, monkeypatch):
    monkeypatch.setattr(image_folder, "launched", lambda: 2)
    monkeypatch.setattr(image_folder, "rank", lambda: 1)
    made = image_folder.loaders(folder, batch_size=20, workers=1, size=16)
    orders = []
    real = type(made.train.sampler).__iter__
    monkeypatch.setattr(
        type(made.train.sampler), "__iter__", lambda self: (orders.append(self.epoch), real(self))[1]
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    al.fit(model, made.train, 2, schedule="constant", seed=5, accelerator="cpu")
    assert orders == [6, 7]


def test_a_rank_that_torchrun_did_not_give_is_not_ours(folder, tmp_path, monkeypatch, capsys):
    """As in a job of Slurm or of another library, which starts this process alone."""
    at_home(tmp_path, monkeypatch)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(words(folder, tmp_path / "out.admm")) == 0
    assert f"{tmp_path / 'out.admm'}\n" in capsys.readouterr().out
    first, *_ = image_folder.loaders(folder, 8, 0, 16).train.dataset.samples[0]
    Path(first).write_text("no image")
    with pytest.raises(image_folder.ImageError, match="cannot be read as an image"):
        image_folder.check(image_folder.loaders(folder, 8, 0, 16))
    torch.manual_seed(0)
    image_folder.loaders(folder, 8, 0, 16).train.worker_init_fn(0)
    assert torch.initial_seed() == 0
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "ours")
    assert distributed.rank() == 1


@pytest.mark.full
def test_two_processes_share_the_images_and_write_one_file(folder, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(data.HOME.parent)}
    found = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "admm_lib", *words(folder, tmp_path / "out.admm")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("epoch ") == 3
    assert (tmp_path / "out.admm").exists()
