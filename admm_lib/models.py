"""The networks of the papers, with the layer names that recipes and files use."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from .data import HOME


def lenet5(relu: bool = True) -> nn.Sequential:
    """LeNet-5 of the Caffe examples (20-50-500): 430,500 weights + 580 biases; images (N, 1, 28, 28).

    `relu` puts a ReLU after each convolution, as the code released with 1804.03294 does; Caffe's own
    network has none. (ReLU and max pooling commute: after the pooling it has a quarter of the work.)
    channels_last makes a training step on the CPU about 1.8 times as fast.

    >>> al.models.lenet5()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    after = nn.ReLU if relu else nn.Identity
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5), pool1=nn.MaxPool2d(2), act1=after(),
            conv2=nn.Conv2d(20, 50, 5), pool2=nn.MaxPool2d(2), act2=after(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(800, 500), act3=nn.ReLU(), fc2=nn.Linear(500, 10),
        )
    )  # fmt: skip
    return _named(network.to(memory_format=torch.channels_last), "lenet5", relu=relu)


def lenet300() -> nn.Sequential:
    """LeNet-300-100: 266,200 weights + 410 biases; images (N, 1, 28, 28).

    After LeCun et al. 1998 (Gradient-based learning applied to document recognition), with ReLU.

    >>> al.models.lenet300()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    network = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 300), act1=nn.ReLU(),
            fc2=nn.Linear(300, 100), act2=nn.ReLU(),
            fc3=nn.Linear(100, 10),
        )
    )  # fmt: skip
    return _named(network, "lenet300")


class Residual(nn.Module):
    """y = ReLU(x' + BN(conv2(ReLU(BN(conv1(x)))))): 3x3 convolutions; x' is x, or where the size changes
    BN of a 1x1 convolution of x.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            down = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=down, bn=nn.BatchNorm2d(outputs)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up."""
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


def resnet20() -> nn.Sequential:
    """ResNet-20 for CIFAR-10: 270,896 weights + 1,578 of norms and biases; images (N, 3, 32, 32).

    Three stages of three residual blocks, 16, 32 and 64 channels wide. Shortcuts between the stages are 1x1
    convolutions (option B of 1512.03385, Section 4.2; its own ResNet-20 pads with zeros and has 268,336
    weights), which a traced graph follows. Initialised as there, by 1502.01852.

    >>> al.models.resnet20()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    stages = []
    for inputs, outputs, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        rest = [Residual(outputs, outputs, 1) for _ in range(2)]
        stages.append(nn.Sequential(Residual(inputs, outputs, stride), *rest))
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, 3, padding=1, bias=False), bn1=nn.BatchNorm2d(16), act1=nn.ReLU(),
            stage1=stages[0], stage2=stages[1], stage3=stages[2],
            pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(64, 10),
        )
    )  # fmt: skip
    return _named(_by_fan_out(network).to(memory_format=torch.channels_last), "resnet20")


def vgg16() -> nn.Sequential:
    """VGG-16 for CIFAR-10: 14,715,584 weights + 8,458 of norms and biases; images (N, 3, 32, 32).

    The 13 convolutions of configuration D of 1409.1556, each with a norm and a ReLU, and max pooling after
    each block; what is left, 512 channels of one pixel, goes to one linear layer, as is usual for CIFAR-10,
    in place of the paper's three of 124 million weights. Initialised by 1502.01852.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for block, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for number in range(1, depth + 1):
            name = f"{block}_{number}"  # the authors' own: conv3_2 is the third block's second
            layers[f"conv{name}"] = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
            layers[f"bn{name}"], layers[f"act{name}"] = nn.BatchNorm2d(width), nn.ReLU()
            inputs = width
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    network = nn.Sequential(layers | OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(512, 10)))
    return _named(_by_fan_out(network).to(memory_format=torch.channels_last), "vgg16")


def _by_fan_out(network: nn.Sequential) -> nn.Sequential:
    """The network with its convolutions initialised for ReLUs, by their outputs (1502.01852, Eq. 14)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "lenet5": lenet5, "lenet300": lenet300, "resnet20": resnet20, "vgg16": vgg16
}  # fmt: skip
OF_COLOUR = ("resnet20", "vgg16")  # they take (N, 3, 32, 32), the others (N, 1, 28, 28)


def _named(network: nn.Module, identifier: str, **arguments: object) -> nn.Module:
    """Remember how the network was made, so that a file needs no more than that to rebuild it."""
    network.architecture = (identifier, arguments)
    return network


def create(name: str, seed: int | None = None) -> nn.Module:
    """A network by its name, initialised from `seed` without touching the global generator.

    Raises ValueError for an unknown name.

    >>> one, other = (al.models.create("lenet300", seed=0) for _ in range(2))
    >>> torch.equal(one.fc1.weight, other.fc1.weight)
    True
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown model {name!r}: choose one of {', '.join(ARCHITECTURES)}")
    if seed is None:
        return ARCHITECTURES[name]()
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return ARCHITECTURES[name]()


def outline(name: str) -> nn.Module:
    """The layers and shapes of a network without values (torch's meta device): enough to check names by.

    Raises ValueError for an unknown name.

    >>> sum(parameter.numel() for parameter in al.models.outline("vgg16").parameters())
    14724042
    """
    with torch.device("meta"):
        return create(name)


def with_dropout(network: nn.Sequential, shares: Mapping[str, float]) -> nn.Sequential:
    """The same network with the same weights, which drops a share of a layer's inputs while training.

    `shares` maps layers by name to shares from 0 to below 1. Raises ValueError for other values, unknown
    layers, and a network that does more than run its layers in turn. Source: Srivastava et al. 2014
    (JMLR 15, 1929-1958).

    >>> [name for name, _ in al.models.with_dropout(al.models.lenet300(), {"fc2": 0.5}).named_children()]
    ['flatten', 'fc1', 'act1', 'drop_fc2', 'fc2', 'act2', 'fc3']
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if type(network).forward is not nn.Sequential.forward:
        raise ValueError(f"dropout: a {type(network).__name__} is no plain nn.Sequential")
    if unknown := shares.keys() - dict(network.named_children()).keys():
        raise ValueError(f"dropout: the network has no layer {sorted(unknown)[0]!r}")
    for name, layer in network.named_children():
        if not 0 <= shares.get(name, 0) < 1:
            raise ValueError(f"dropout: the share of {name} lies from 0 to below 1, but is {shares[name]!r}")
        if name in shares:
            layers[f"drop_{name}"] = nn.Dropout(shares[name])
        layers[name] = layer
    return nn.Sequential(layers)


def pretrained(name: str, dataset: str = "mnist") -> nn.Module:
    """The committed dense network, data/checkpoints/NAME-DATASET.safetensors.

    Raises ValueError for an unknown name or a damaged file, and FileNotFoundError, saying how to train one,
    where there is none.

    >>> al.models.pretrained("lenet300").fc3
    Linear(in_features=100, out_features=10, bias=True)
    """
    network = create(name)
    path = HOME / "checkpoints" / f"{name}-{dataset}.safetensors"
    if not path.exists():
        raise FileNotFoundError(
            f"no dense checkpoint {path.name}: train one with admm_lib.fit, or choose one of "
            f"{', '.join(sorted(p.stem for p in path.parent.glob('*.safetensors'))) or 'none'}"
        )
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged ({reason}): restore it from version control") from None
    return network
