"""Run by files.py in nncodec's own environment: its code for the tensors of a .npz file, when asked to.

Each line of the input is a word, answered by a line when it is done: "write" the stream beside the tensors,
"read" it back, "check" that the whole numbers came back as they were.
"""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import torch

try:
    from nncodec import nnc
except RuntimeError:  # a torchvision built for CUDA beside a torch without: what it lacks only needs a name
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [each for each in sys.modules if each.partition(".")[0] in ("nncodec", "torchvision")]:
        del sys.modules[name]
    from nncodec import nnc

given = Path(sys.argv[1])
tensors, stream = dict(np.load(given)), str(given.with_suffix(".nnc"))
how = {"param_opt": True, "row_skipping": True, "verbose": False}
back: dict[str, np.ndarray] = {}
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()):
        if line.strip() == "write":
            nnc.compress(dict(tensors), bitstream_path=stream, **how)
        elif line.strip() == "read":
            back = nnc.decompress(stream, verbose=False)
        else:
            for name, tensor in tensors.items():
                found = np.asarray(back[name]).reshape(tensor.shape)
                if tensor.dtype == np.int32 and not np.array_equal(found, tensor):
                    raise SystemExit(f"{name} did not come back as it was")
    print(line, end="", flush=True)
