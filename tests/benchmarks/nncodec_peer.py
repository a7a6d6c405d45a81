"""Run by files.py in nncodec's own environment: bytes and times of its code for tensors in a .npz file."""

import contextlib
import io
import json
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

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

tensors = dict(np.load(sys.argv[1]))
writing, reading = [], []
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    path = str(Path(folder) / "tensors.nnc")
    how = {"param_opt": True, "row_skipping": True, "return_bitstream": True, "verbose": False}
    for _ in range(int(sys.argv[2])):
        started = perf_counter()
        size = len(nnc.compress(dict(tensors), bitstream_path=path, **how))
        written = perf_counter()
        back = nnc.decompress(path, verbose=False)
        writing.append(1e3 * (written - started))
        reading.append(1e3 * (perf_counter() - written))
for name, tensor in tensors.items():
    if tensor.dtype == np.int32 and not np.array_equal(np.asarray(back[name]).reshape(tensor.shape), tensor):
        raise SystemExit(f"{name} did not come back as it was")
print(json.dumps([size, statistics.median(writing), statistics.median(reading)]))
