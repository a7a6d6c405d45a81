"""What a reader takes away from a panel: the network behind the picture, as files of several kinds."""

import base64
import csv
import html
import io
from collections.abc import Callable

from torch import Tensor, nn

from .. import codec, export, storage

File = Callable[..., tuple[str, bytes]]  # state -> the file's name and its content


def link(name: str, content: bytes) -> str:
    """A file inside the page itself, so that no server has to hand it out."""
    address = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
    name = html.escape(name)
    return f'<a download="{name}" href="{address}">Download {name}</a> ({len(content):,} bytes)'


def of_network(
    network: Callable[..., nn.Module], name: Callable[..., str], inputs: Tensor
) -> dict[str, File]:
    """The files of the network that a state stands for, by the label of their buttons.

    An .admm file; ONNX, checked on `inputs`, a batch; a CSV table with a row for each layer: its weights,
    how many are not zero, and the ratio of the two. `name(**state)` is what all are called.
    """
    return {
        ".admm": lambda **state: (f"{name(**state)}.admm", codec.encode(network(**state))),
        "ONNX": lambda **state: (f"{name(**state)}.onnx", export.content(network(**state), inputs)),
        "layers": lambda **state: (f"{name(**state)}.csv", table(network(**state))),
    }


def table(network: nn.Module) -> bytes:
    """Its layers as a CSV table, in the columns of `storage.layers`."""
    rows = storage.layers(network)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
