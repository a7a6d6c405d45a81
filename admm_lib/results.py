"""The results tables: our records beside what was published, one table per track, never a mixed one; and the
ways of pruning that were compared under one protocol.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from . import claims, comparison_results, files, records
from .claims import Claim
from .comparison import points
from .data import HOME
from .pruning_ways import WAYS

__all__ = ["HEAD", "HEAD_CLAIMS", "HEAD_KEY", "HEAD_READ", "TRACKS", "fill", "key", "leaderboard", "reading",
           "rows", "table", "update", "ways"]  # fmt: skip

MARKS = "<!-- results: made by `make table` -->", "<!-- end of results -->"
TRACKS = {  # where a run starts, and so what its ratios are counted against
    "from-lenet5": "From LeNet-5 (20-50-500): ratios against its 430,500 weights",
    "from-lenet300": "From LeNet-300-100: ratios against its 266,200 weights",
    "from-resnet20": "From ResNet-20 on CIFAR-10 (JPEG): ratios against its 270,896 weights",
    "from-vgg16": "From VGG-16 on CIFAR-10 (JPEG): ratios against its 14,715,584 weights",
    "free": "Free architecture: another starting network, ratios against its own weights",
    "": "Other networks and data sets",  # of published numbers only
}
HEAD = ("record", "weights / nonzero", "bits a value", "shifts", "seeds", "dense %", "test %, mean [95%]",
        "minus dense", "lossless", "bytes", "nearest published at or below, test %")  # fmt: skip
HEAD_CLAIMS = ("in figures", "work", "published", "counted", "as stated", "read in", "ours",
               "test %, mean [95%]", "ours minus theirs", "why, and what to know")  # fmt: skip
HEAD_READ = ("work", "read of the work itself", "read elsewhere", "numbers", "of these unverified")
HEAD_KEY = ("in figures", "work", "in full, or how it is quoted")
T = TypeVar("T")


def rows(names: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    """One tuple of cells, in the order of `HEAD`, per named record; without names, per headline."""
    return [_row(record, claims.claims()) for record in _read(names)]


def _read(names: Sequence[str] | None) -> list[dict[str, Any]]:
    return [records.read(name) for name in (records.headlines() if names is None else names)]


def _row(record: dict[str, Any], known: Sequence[Claim]) -> tuple[str, ...]:
    runs = record["runs"]
    dense = records.interval([run["dense_test_accuracy"] for run in runs])
    weights, ratio = runs[0]["weights"], _ratio(record)
    mean_bytes = sum(run["file_bytes"] for run in runs) / len(runs)
    width = max(run["ladder_bits"]["values"] / run["nonzero_weights"] for run in runs)
    return (
        record["name"],
        f"{weights:,} / {weights / ratio:,.0f} = {ratio:.1f}x",
        f"{width:.3g}",
        f"{record['recipe']['shift_pixels']} px" if record["recipe"]["shift_pixels"] else "none",
        str(len(runs)),
        f"{dense.mean:.2f}",
        claims.accuracy(record).plain,
        str(records.loss_interval(record)),
        "yes" if records.is_lossless(record) else "not shown",
        f"{mean_bytes:,.0f}",
        _claim(claims.held_against(record, known)),
    )


def _claim(claim: Claim | None) -> str:
    if claim is None:
        return ""
    dense = "" if claim.dense_error is None else f" (dense {100 - claim.dense_error:.4g})"
    says = claim.stated if claim.test_error is None else f"{100 - claim.test_error:.4g}{dense}"
    bits = f"{claim.bits or 0:g} bit{'' if claim.bits == 1 else 's'}"
    at = bits if claim.ratio is None else f"{claim.ratio:g}x"
    return f"{claim.work}: {says} at {at}{f', {claim.doubt}' if claim.doubt else ''}"


def table(names: Sequence[str] | None = None) -> str:
    """The results as Markdown, a table of aligned columns per track, for terminals and for the README; the
    fewer weights are left, the lower the row.
    """

    def drawn(found: list[dict[str, Any]]) -> str:
        grid = [HEAD, *rows([record["name"] for record in found])]
        widths = [max(len(line[column]) for line in grid) for column in range(len(HEAD))]
        return _markdown([[cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in grid])

    found = sorted(_read(names), key=_ratio)
    return _by_track(found, lambda record: record["track"], drawn)


def _ratio(record: dict[str, Any]) -> float:
    """Weights over nonzero ones, of the run that has most of these."""
    return record["runs"][0]["weights"] / max(run["nonzero_weights"] for run in record["runs"])


def leaderboard(found: Iterable[Claim], ours: Sequence[dict[str, Any]]) -> str:
    """Published numbers beside the records that answer them, as Markdown, a table per track.

    A claim that several records answer has a row for each; one that none answers says how it stands.
    """

    def drawn(chosen: list[Claim]) -> str:
        return _markdown([HEAD_CLAIMS, *(row for claim in chosen for row in _claim_rows(claim, ours))])

    return _by_track(list(found), lambda claim: claim.track, drawn)


def reading(found: Sequence[Claim]) -> str:
    """What was read of each work in `claims.WORKS`, as Markdown; tables that are not named gave no number."""
    grid = []
    for arxiv in claims.WORKS:
        own = [claim for claim in found if claim.arxiv == arxiv]
        unverified = sum(bool(claim.doubt) for claim in own)
        grid.append((f"{own[0].work}, {arxiv}", *claims.read_in(own), str(len(own)), str(unverified)))
    return _markdown([HEAD_READ, *grid])


def key(found: Iterable[Claim]) -> str:
    """What the names in the figures stand for, as Markdown, in alphabetical order; all that can be drawn."""
    grid: dict[tuple[str, ...], None] = {}
    for claim in sorted(found, key=lambda claim: (claim.label.casefold(), claim.work)):
        if claim.drawn:
            full = claim.method if claim.quoted else claims.IN_FULL.get(claim.label.partition(" ’")[0], "")
            arxiv = f", {claim.arxiv}" if claim.arxiv else ""
            grid[claim.label, f"{'quoted by ' if claim.quoted else ''}{claim.work}{arxiv}", full] = None
    return _markdown([HEAD_KEY, *grid])


def _claim_rows(claim: Claim, ours: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    ratio = "" if claim.ratio is None else f" {claim.ratio:g}x"
    nonzero = "" if claim.nonzero_weights is None else f", {claim.nonzero_weights:,} weights"
    bits = "" if claim.bits is None else f", {claim.bits:g} bit{'' if claim.bits == 1 else 's'}"
    size = f", {claim.size}" if claim.size else ""
    theirs = (
        claim.label if claim.drawn else "not drawn",
        claim.work,
        f"{claim.model}{ratio}: {claim.method}{nonzero}{bits}{size}",
        claim.counts,
        claim.stated,
        f"{claim.source}{f' ({claim.doubt})' if claim.doubt else ''}",
    )
    answers = claims.answers(claim, ours)
    if not answers:
        standing, why = claim.unanswered
        return [(*theirs, standing, "", "", f"{why}; {claim.caveat}" if claim.caveat else why)]
    again = ("",) * len(theirs)
    return [
        (*(again if row else theirs), *_answer(claim, record), _why(claim, record) + (
            f"; {claim.caveat}" if claim.caveat and not row else ""
        ))
        for row, record in enumerate(answers)
    ]  # fmt: skip


def _answer(claim: Claim, record: dict[str, Any]) -> tuple[str, str, str]:
    seeds = len(record["runs"])
    ratio = claims.measured(record, claim.yardstick)
    difference, accuracy = claims.verdict(claim, record), claims.accuracy(record)
    if claim.test_error is not None:
        difference = f"{accuracy.mean - 100 + claim.test_error:+.2f}, {difference}"
    plural = "" if seeds == 1 else "s"
    return f"{ratio:.1f}x, {seeds} seed{plural} (`{record['name']}`)", accuracy.plain, difference


def _why(claim: Claim, record: dict[str, Any]) -> str:
    """What is known to differ: dense networks, augmentation, teacher, the ratio itself."""
    dense = records.interval([run["dense_test_accuracy"] for run in record["runs"]]).mean
    against = "not read" if claim.dense_error is None else f"{100 - claim.dense_error:.4g}"
    parts = [f"dense {dense:.2f}, theirs {against}", setting(record)]
    if claims.measured(record, claim.yardstick) > claims.TIE * (claim.needed or 0):
        parts.append("ours is the higher ratio")
    return "; ".join(parts)


def setting(record: dict[str, Any]) -> str:
    """How a record was trained, in a few words."""
    recipe = record["recipe"]
    words = [f"{recipe['shift_pixels']} px shifts" if recipe["shift_pixels"] else "images as they are"]
    words += ["dropout"] if recipe["dense"].get("dropout") else []
    words += ["a teacher"] if "distill" in recipe else []
    steps = recipe.get("steps", [])
    words += [f"{len(steps)} steps"] if steps else []
    words += ["filters first"] if any(step.get("by") == "filter" for step in steps) else []
    return ", ".join(words)


def ways(record: dict[str, Any]) -> str:
    """A comparison as Markdown: a line for each way, a column for each budget, and in a cell the mean test
    accuracy in percent, with its interval, and the verdict beside ADMM.
    """
    found, there = record["comparison"], points(record["comparison"])
    against = {at: comparison_results.against_admm(record, at) for at in found["budgets"]}

    def cell(way: str, at: str) -> str:
        if (way, at) not in there:
            return ""
        each = records.interval(list(comparison_results.accuracies(record, way, at).values()))
        stands = f", {comparison_results.verdict(against[at][way])}" if way in against[at] else ""
        return each.plain + stands

    head = ["way", *(at.replace("x", "×") for at in against)]
    names = dict.fromkeys(way for way, _ in there)
    return _markdown([head, *([WAYS[way].title, *(cell(way, at) for at in against)] for way in names)])


def _by_track(items: Sequence[T], track: Callable[[T], str], drawn: Callable[[list[T]], str]) -> str:
    """A titled table for each track that has items. Raises ValueError for a track that is not known."""
    if unknown := {track(item) for item in items} - TRACKS.keys():
        raise ValueError(f"unknown track {sorted(unknown)[0]!r}: there are {', '.join(filter(None, TRACKS))}")
    groups = {each: [item for item in items if track(item) == each] for each in TRACKS}
    return "\n\n".join(f"**{TRACKS[each]}**\n\n{drawn(group)}" for each, group in groups.items() if group)


def _markdown(grid: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in grid]
    rule = "|" + "|".join("-" * (len(cell) + 2) for cell in grid[0]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def fill(text: str) -> str:
    """`text` with the tables of today's records between its two marks; ValueError where they are missing."""
    before, start, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (start and end):
        raise ValueError(f"the text lacks the two lines {MARKS[0]} and {MARKS[1]}")
    return f"{before}{start}\n\n{table()}\n\n{end}{after}"


def update(readme: Path = HOME.parent / "README.md") -> None:
    """Write today's tables into the README."""
    files.write_text(readme, fill(readme.read_text()))
