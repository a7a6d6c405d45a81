"""A small comparison, for the tests of what it is made of and of what it says."""

KEEP = {"conv1.weight": 150, "conv2.weight": 900, "fc1.weight": 1500, "fc2.weight": 300}
WIDTHS = {"conv1.weight": 7, "conv2.weight": 9, "fc1.weight": 30, "fc2.weight": 10}
FEW = {
    "name": "few", "title": "Few", "model": "lenet5", "dataset": "digits", "images": 200, "tuning_seed": 20,
    "seeds": [120, 121], "batch_size": 50, "precision": "32-true", "shift_pixels": 0,
    "dense": {"epochs": 1, "lr": 0.002}, "phases": [1, 1], "rate": 0.001, "lr": 0.002,
    "budgets": {"many": KEEP, "few": {**KEEP, "fc1.weight": 500}}, "tuned_at": {"many": "few", "few": "few"},
    "arms": [{"ways": ["admm", "fresh"], "at": ["many", "few"]}, {"ways": ["torch-prune"], "at": ["few"]}],
}  # fmt: skip


def narrow(widths):
    """The weights of a LeNet-5 of such widths."""
    first, second, third, last = widths.values()
    return 25 * first + 25 * first * second + 16 * second * third + third * last
