"""Panels of notebook 04."""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from .. import data
from ..evaluation import evaluate
from ..figures import clustering as figures
from ..kmeans import STARTS, Clustering, kmeans
from ..names import resolve
from . import downloads
from .base import Panel, menu, slider

BITS = (1, 2, 3, 4, 5, 6)


def centroids_panel(networks: Mapping[str, nn.Module], split: data.Split) -> Panel:
    """Network, layer, bits and start: where the centroids begin and end, their error, accuracy on `split`.

    `networks` maps a label ("dense", "pruned") to a plain network; all have the same layers and a known
    architecture. Zeros are
    kept apart. One layer is clustered at a time, and no centroid is trained.
    """
    networks = {label: copy.deepcopy(network).cpu() for label, network in networks.items()}
    architecture, _ = next(iter(networks.values())).architecture
    names = [name for name, p in next(iter(networks.values())).named_parameters() if p.dim() > 1]
    layers = [name.removesuffix(".weight") for name in names]

    @cache
    def weights(network: str, layer: str) -> torch.Tensor:
        weight = getattr(*resolve(networks[network], f"{layer}.weight")).detach()
        return weight[weight != 0]

    @cache
    def clustered(network: str, layer: str, bits: int, start: str, **more: int) -> Clustering:
        generator = torch.Generator().manual_seed(0)
        found = weights(network, layer)
        return kmeans(found, 2**bits, start, generator=generator, **more)

    def projected(network: str, layer: str, bits: int, start: str) -> nn.Module:
        model = copy.deepcopy(networks[network])
        weight = getattr(*resolve(model, f"{layer}.weight"))
        found = clustered(network, layer, bits, start)
        with torch.no_grad():
            weight[weight != 0] = found.centroids[found.labels].to(weight)
        return model

    @cache
    def right(network: str, layer: str, bits: int, start: str) -> float:
        return evaluate(projected(network, layer, bits, start), split).accuracy

    def called(network: str, layer: str, bits: int, start: str) -> str:
        return f"{architecture}-{network}-{layer}-{bits}bit-{start}"

    def draw(network: str, layer: str, bits: int, start: str) -> Any:
        begin = clustered(network, layer, bits, start, iterations=0).centroids
        end = clustered(network, layer, bits, start).centroids
        best = clustered(network, layer, bits, "optimal").centroids
        headline = f"{layer}: {len(end)} values from {start}"
        values = weights(network, layer).double().numpy()
        return figures.one_layer(values, begin.numpy(), end.numpy(), best.numpy(), headline)

    def text(network: str, layer: str, bits: int, start: str) -> str:
        end = clustered(network, layer, bits, start)
        best = clustered(network, layer, bits, "optimal")
        more = 100 * (end.error / best.error - 1) if best.error else 0.0
        return (
            f"{layer}, {end.labels.numel():,} weights, {len(end.centroids)} values from {start}: "
            f"squared error {end.error:.3g}, {more:.1f}% above the least; {end.iterations} iterations; "
            f"{right(network, layer, bits, start):.1f}% right with only this layer clustered"
        )

    return Panel(
        "where centroids begin and end",
        {
            "network": menu("weights", list(networks), next(iter(networks))),
            "layer": menu("layer", layers, layers[0]),
            "bits": slider("bits", BITS, 3),
            "start": menu("start", list(STARTS), "linear"),
        },
        draw,
        alt="The histogram of a layer's weights with the centroids of k-means as lines; below, each "
        "centroid's way from the start to the end, and where the best ones lie.",
        text=text,
        code=lambda **state: _code(architecture, **state),
        files=downloads.of_network(projected, called, split.inputs[:2].cpu()),
    )


def _code(architecture: str, network: str, layer: str, bits: int, start: str) -> str:
    admm = "" if network == "dense" else "al.ADMM(model, al.suggest(model, ratio=20)).finalize()\n"
    return f"""import admm_lib as al

data = al.data.load("auto")
model = al.models.pretrained("{architecture}", data.name)
{admm}admm = al.ADMM(model, {{"{layer}.weight": al.Clusters(bits={bits}, init="{start}")}}, rho=1e-3)
al.fit(model, data, epochs=10, admm=admm)
admm.finalize()
al.fit(model, data, epochs=5)  # trains the centroids
print(al.evaluate(model, data.val))
"""
