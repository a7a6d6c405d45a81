"""The teacher's part of the loss, against its definition, and what a student makes of it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import admm_lib as al

DIGITS = al.data.load("digits")


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (4.0, 0.9), (2.0, 0.25), (20.0, 0.5)])
def test_the_loss_is_its_definition(temperature, weight):
    generator = torch.Generator().manual_seed(0)
    taught, outputs = torch.randn(2, 7, 10, generator=generator, dtype=torch.float64)
    labels = torch.arange(7)
    hard = F.cross_entropy(outputs, labels)
    teacher = al.Teacher(al.models.lenet300(), temperature, weight)
    p, q = (torch.softmax(logits / temperature, 1) for logits in (taught, outputs))
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    expected = (1 - weight) * hard + weight * temperature**2 * divergence
    assert teacher.loss(taught, outputs, hard).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn():
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(1), requires_grad=True)
    loss = al.Teacher(al.models.lenet300(), 3.0, 1.0).loss(logits.detach(), logits, torch.tensor(7.0))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-6


def test_a_student_learns_from_the_teacher_alone():
    """With weight 1 the labels are not looked at: here all of them are wrong."""
    teacher = al.models.pretrained("lenet300", "digits")
    student = al.models.create("lenet300", 5)
    wrong = al.data.Split(DIGITS.train.inputs, (DIGITS.train.targets + 1) % 10)
    al.fit(student, wrong, 5, lr=2e-3, teacher=al.Teacher(teacher, weight=1.0))
    assert al.evaluate(student, DIGITS.val).accuracy > 80


def test_the_teacher_stays_as_it_was(monkeypatch):
    """Also where it is the student itself: what teaches is the network before training."""
    model = al.models.with_dropout(al.models.pretrained("lenet300", "digits"), {"fc3": 0.5})
    before = copy.deepcopy(model.state_dict())
    model.train()
    guide, inputs = al.Teacher(model, weight=1.0), DIGITS.val.inputs[:8]
    said, taught = [], al.Teacher.logits

    def watched(teacher, batch):
        said.append(taught(teacher, inputs))
        return taught(teacher, batch)

    monkeypatch.setattr(al.Teacher, "logits", watched)
    common = {"teacher": guide, "augment": lambda inputs, generator: inputs}  # asked batch by batch
    al.fit(al.models.create("lenet300", 0), DIGITS.train, 1, **common)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    said.clear()
    al.fit(model, DIGITS.train, 2, lr=1e-3, **common)
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(said) == 20
    assert all(torch.equal(each, said[0]) for each in said)  # no dropout, and none of what was learnt


def test_a_teacher_in_bfloat16():
    teacher = al.models.pretrained("lenet300", "digits")
    student = al.models.create("lenet300", 5)
    guide = al.Teacher(teacher, weight=1.0)
    history = al.fit(student, DIGITS.train, 4, lr=2e-3, teacher=guide, precision="bf16-mixed")
    assert history[-1].loss < 0.5 * history[0].loss
    assert al.evaluate(student, DIGITS.val).accuracy > 80


def test_a_weight_of_nothing_changes_nothing():
    plain, taught = al.models.create("lenet300", 1), al.models.create("lenet300", 1)
    al.fit(plain, DIGITS.train, 1, seed=3)
    al.fit(taught, DIGITS.train, 1, seed=3, teacher=al.Teacher(al.models.lenet300(), weight=0.0))
    assert all(map(torch.equal, plain.parameters(), taught.parameters()))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0.0}, "temperature must be a positive"), ({"weight": 1.5}, "teacher's share")],
)
def test_bad_values(options, message):
    with pytest.raises(ValueError, match=message):
        al.Teacher(al.models.lenet300(), **options)


def test_answers_given_once_teach_as_answers_given_batch_by_batch():
    """Without augmentation the teacher is asked once; a loader of the same batches asks it every time."""
    guide = al.Teacher(al.models.pretrained("lenet300", "digits"), weight=1.0)
    split, students = DIGITS.train.subset(200), [al.models.create("lenet300", 5) for _ in range(2)]
    losses = []
    for student, augment in zip(students, (None, lambda inputs, generator: inputs), strict=True):
        history = al.fit(student, split, 2, seed=7, batch_size=32, teacher=guide, augment=augment)
        losses.append([epoch.loss for epoch in history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert torch.allclose(students[0].fc1.weight, students[1].fc1.weight, atol=1e-4)
    answers = guide.ready(torch.device("cpu")).answers(split)
    assert torch.allclose(answers, guide.model(split.inputs), atol=1e-4)


def test_shifts_are_asked_about_once_and_taught_as_if_asked_every_time():
    class Asked(nn.Module):
        """A teacher that counts the images it is shown; a copy counts into the same list."""

        def __init__(self, network, seen):
            super().__init__()
            self.network, self.seen = network, seen

        def __deepcopy__(self, memo):
            return Asked(copy.deepcopy(self.network), self.seen)

        def forward(self, inputs):
            self.seen.append(len(inputs))
            return self.network(inputs)

    split, moves = DIGITS.train.subset(200), al.data.Shifts(1)
    losses, weights, asked = [], [], []
    for remember in (False, True):
        seen = []
        guide = al.Teacher(
            Asked(al.models.pretrained("lenet300", "digits"), seen), weight=1.0, remember=remember
        )
        student = al.models.create("lenet300", 5)
        common = {"batch_size": 32, "teacher": guide, "augment": moves}
        history = al.fit(student, split, 2, seed=7, **common)
        asked.append(sum(seen))
        history += al.fit(student, split, 1, seed=9, **common)
        losses.append([epoch.loss for epoch in history])
        weights.append(student.fc1.weight.detach().clone())
        assert sum(seen) == (9 * 200 if remember else 3 * 200)
        if remember:
            guide.model.network.fc3.bias.data += 1  # another teacher: what is remembered is not its answer
            al.fit(student, split, 1, seed=10, **common)
            al.fit(student, split.subset(100), 1, seed=11, **common)
            assert sum(seen) == 9 * 200 + 9 * 200 + 9 * 100
    assert asked == [400, 9 * 200]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert torch.allclose(*weights, atol=1e-4)


def test_a_batch_is_a_pair():
    triple = [(torch.zeros(4, 1, 28, 28), torch.zeros(4, dtype=torch.long), torch.zeros(4, 10))]
    with pytest.raises(ValueError, match="unpack"):
        al.fit(al.models.lenet300(), triple, 1, teacher=al.Teacher(al.models.lenet300()))
