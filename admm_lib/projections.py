r"""Euclidean projections and proximal maps: pure functions, tensor in, tensor out.

The projection of W onto a set S is the point of S nearest to W: argmin_{Z in S} ||Z - W||^2. It is the
Z-update of ADMM. None of the sets here is convex, so "nearest" need not be unique: every function says
which of the nearest points it returns.
"""

import torch
from torch import Tensor

FEW = 15  # edges between levels
PIECE = 1 << 16  # weights that are worked on at once


def top_k_mask(weight: Tensor, keep: int) -> Tensor:
    """True at the `keep` entries of largest magnitude; same shape as `weight`, exactly `keep` True.

    Ties go to the lower (row-major) index. NaN, which callers that own a name for the weight refuse, stays
    only where all do, and fewer than `keep` may stay beside it. O(n). Raises ValueError unless
    0 <= keep <= weight.numel().

    >>> al.projections.top_k_mask(torch.tensor([2.0, -2, 2, 1]), 2).tolist()
    [True, True, False, False]
    """
    if not 0 <= keep <= weight.numel():
        raise ValueError(f"keep must lie between 0 and the {weight.numel()} weights, but is {keep}")
    if keep == 0:
        return torch.zeros_like(weight, dtype=torch.bool)
    if keep == weight.numel():
        return torch.ones_like(weight, dtype=torch.bool)
    flat = weight.detach().reshape(-1)
    threshold = _kth_largest(flat.abs(), keep)
    mask = torch.empty(flat.shape, dtype=torch.bool, device=flat.device)
    for values, chosen in zip(_pieces(flat), _pieces(mask), strict=True):
        torch.gt(values.abs(), threshold, out=chosen)
    # A threshold alone keeps too many or too few where magnitudes tie: fill up to exactly `keep`.
    missing = keep - int(mask.count_nonzero())
    for values, chosen in zip(_pieces(flat), _pieces(mask), strict=True):
        if missing > 0:
            ties = (values.abs() == threshold).nonzero().squeeze(1)[:missing]
            chosen[ties] = True
            missing -= len(ties)
    return mask.reshape(weight.shape)


def _pieces(flat: Tensor) -> tuple[Tensor, ...]:
    """Views of a vector: on the CPU small enough that work on one of them fits in the cache."""
    return flat.split(PIECE if flat.is_cpu else len(flat))


def _kth_largest(magnitude: Tensor, k: int) -> Tensor:
    """The k-th largest of a vector that may be overwritten, 1 <= k <= its length; NaN is the largest."""
    if magnitude.is_cpu and magnitude.dtype in (torch.float32, torch.float64):
        values = magnitude.numpy()  # partitioned in place: kthvalue makes three copies
        values.partition(len(values) - k)
        return magnitude[len(values) - k].clone()
    return magnitude.kthvalue(len(magnitude) - k + 1).values


def top_k(weight: Tensor, keep: int) -> Tensor:
    r"""The nearest tensor with at most `keep` nonzeros: argmin_Z ||Z - W||^2 subject to ||Z||_0 <= keep.

    Any shape and float dtype; ties go to the lower index, so exactly `keep` entries survive. O(n).
    Raises ValueError unless 0 <= keep <= weight.numel(). Source: the Z-update of 1804.03294, Eq. (12).

    >>> al.projections.top_k(torch.tensor([3.0, -1, 0.5, 2]), 2).tolist()
    [3.0, 0.0, 0.0, 2.0]
    """
    return torch.where(top_k_mask(weight, keep), weight, 0)


def nearest_level(weight: Tensor, levels: Tensor) -> Tensor:
    r"""Each entry replaced by its nearest level: argmin_Z ||Z - W||^2 subject to Z_i in {levels}.

    `levels` is a vector of at least one value in any order, finite also in the weight's dtype; a weight
    halfway between two levels takes the lower one; NaN, which callers refuse, the highest. O(n log k).
    Raises ValueError for levels that are not so. Source: the quantization sets of 1811.01907, Section 3.

    >>> al.projections.nearest_level(torch.tensor([0.4, 0.5, 9]), torch.tensor([0.0, 1])).tolist()
    [0.0, 0.0, 1.0]
    """
    ordered = levels.detach().cpu().to(weight.dtype).reshape(-1).sort().values
    if levels.numel() == 0 or not bool(ordered.isfinite().all()):
        raise ValueError(f"levels must hold at least one value, and only finite ones as {weight.dtype}")
    values = weight.to(torch.promote_types(weight.dtype, torch.float32)).contiguous()
    lower, upper = ordered[:-1].to(values.dtype), ordered[1:].to(values.dtype)
    halfway = lower.double() / 2 + upper.double() / 2
    # Rounded up, the middle of two close levels would hand weights, or the upper level itself, to the lower.
    edges = halfway.to(values.dtype)
    edges = torch.where((edges > halfway) | (edges >= upper), edges.nextafter(lower), edges)
    nearest = _edges_below(values, edges).reshape(-1)
    return ordered.to(weight.device).index_select(0, nearest).reshape(weight.shape)  # faster than indexing


def _edges_below(values: Tensor, edges: Tensor) -> Tensor:
    """How many of the ascending edges lie below each value, all of them where it is NaN; int32."""
    if len(edges) > FEW:
        return torch.bucketize(values, edges.to(values.device), out_int32=True)
    # As long as there are few, comparing with each is several times faster than a search.
    reached = torch.zeros(values.shape, dtype=torch.uint8, device=values.device)
    for edge in edges.tolist():
        reached += values <= edge
    return len(edges) - reached.int()


def soft_threshold(v: Tensor, lam: float) -> Tensor:
    r"""The proximal map of the l1 norm: argmin_z lam |z|_1 + 1/2 ||z - v||^2 = sign(v) max(|v| - lam, 0).

    Raises ValueError for lam < 0. Source: Boyd et al. 2011, Section 4.4.3.

    >>> al.projections.soft_threshold(torch.tensor([3.0, -1, 0.5]), 1).tolist()
    [2.0, -0.0, 0.0]
    """
    if not lam >= 0:
        raise ValueError(f"lam must not be negative, but is {lam}")
    return v.sign() * (v.abs() - lam).clamp_min(0)


def hard_threshold(v: Tensor, lam: float) -> Tensor:
    r"""The proximal map of the l0 count: argmin_z lam ||z||_0 + 1/2 ||z - v||^2.

    An entry survives iff v^2 / 2 > lam, that is |v| > sqrt(2 lam), and not |v| > lam as sometimes coded.
    Raises ValueError for lam < 0. Source: Boyd et al. 2011, Section 9.1.

    >>> al.projections.hard_threshold(torch.tensor([3.0, -1, 0.5]), 0.5).tolist()
    [3.0, 0.0, 0.0]
    """
    if not lam >= 0:
        raise ValueError(f"lam must not be negative, but is {lam}")
    return torch.where(v.abs() > (2 * lam) ** 0.5, v, 0)


def low_rank(weight: Tensor, rank: int) -> Tensor:
    r"""The nearest tensor whose matrix has at most that rank: argmin_Z ||Z - W||^2 s.t. rank(Z) <= rank.

    The matrix has a row for each output, (shape[0], the rest). With W = sum_i s_i u_i v_i^T and s_1 >= s_2
    >= ..., it is the sum up to `rank`; of equal singular values at that place some stay, and one that is a
    rounding error counts as zero. Time O(m n min(m, n)). Raises ValueError unless 0 <= rank <= min(m, n)
    and the weight is finite. Source: Eckart and Young 1936.

    >>> al.projections.low_rank(torch.tensor([[3.0, 1], [1, 3]]), 1).round(decimals=4).tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """
    left, values, right = singular_values(weight)
    if not 0 <= rank <= len(values):
        raise ValueError(f"rank must lie between 0 and {len(values)}, but is {rank}")
    # Of that rank already, but for rounding to the weight's type, or in the search for singular values: as it
    # is, so that projecting twice changes nothing.
    rounding = max(torch.finfo(weight.dtype).eps, 32 * torch.finfo(values.dtype).eps)
    if bool(values[rank:].norm() <= rounding * values.norm()):
        return weight.clone()
    return ((left[:, :rank] * values[:rank]) @ right[:rank]).to(weight.dtype).reshape(weight.shape)


def singular_values(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, s, V^T of a weight's matrix, a row for each output, in single precision at least.

    Raises ValueError where the weight is not finite.

    >>> al.projections.singular_values(torch.tensor([[0.0, 3], [4, 0]]))[1].round(decimals=4).tolist()
    [4.0, 3.0]
    """
    if not bool(weight.isfinite().all()):
        raise ValueError("a weight that is NaN or infinite has no singular values")
    matrix = weight.detach().reshape(len(weight), -1)
    return torch.linalg.svd(matrix.to(torch.promote_types(matrix.dtype, torch.float32)), full_matrices=False)
