"""The one place where torchvision is imported."""

from types import ModuleType


def torchvision() -> ModuleType:
    """The torchvision package, also where its compiled operators cannot load.

    A torchvision built for another torch (CUDA beside CPU, say) fails at import with "operator
    torchvision::nms does not exist", because it describes operators that its binary did not register.
    Declaring the two names first is enough for data sets, transforms and models, which never call them.
    Where torchvision loads, nothing is touched.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import sys

        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # the half-imported package
        declared = torch.library.Library("torchvision", "DEF")
        declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.declared_operators = declared  # a declaration lives as long as its Library object
    import torchvision.datasets
    import torchvision.models
    import torchvision.transforms
    return torchvision
