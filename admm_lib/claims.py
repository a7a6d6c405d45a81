"""What others published, number by number, and which of our records answers each.

`data/published/leaderboard.csv` holds a row for every number that was read: not for every one that was
published, since some works were read in part only (`read_in`). Which record answers a claim is found by
a rule, so that a new record needs no edit there: same track and data set, at least the claimed ratio in
what the claim counts, nearest to it. How a claim stands that no record answers follows from its row.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from .data import HOME
from .recipes import prunes, structured
from .records import Interval, interval
from .storage import DENSE_BITS

PUBLISHED = HOME / "published"
STRUCTURED = "structured weights"  # which only records answer that prune whole groups and nothing else
# What a ratio counts, and the rung of the ladder that holds ours; None: weights / nonzero weights. Where it
# was not read what a ratio counts, nothing answers it.
COUNTED: dict[str, str | None] = {
    "weights": None, STRUCTURED: None, "values": "values", "values+positions": "positions",
    "values+positions+codebooks": "codebooks", "file": "file",
}  # fmt: skip
NOT_READ = "not read"  # in the place of an empty `counted`, where people read it
METHODS = ("admm",)  # of the records that answer; what a rival's method reached answers nothing
STATUS = ("recorded", "planned", "not attempted", "not reproducible here")  # the first: a record answers
ITSELF = ("authors' PDF", "copy of the paper", "abstract")  # so begins a source that is the work itself
VERIFIED = {"yes": "", "secondary only": "reported, unverified", "no": "reported, unverified"}
WORKS = {  # the works that this collection is about, by arXiv number; all others are rivals
    "1811.01907": "A Unified Framework of DNN Weight Pruning and Weight Clustering/Quantization Using ADMM",
    "1810.07378": "Progressive Weight Pruning of Deep Neural Networks using ADMM",
    "1903.09769": "Progressive DNN Compression",
    "1907.02124": "Non-Structured DNN Weight Pruning: Is It Beneficial in Any Platform? (ADMM-NN-S)",
    "2205.11141": "OPQ: One-shot Pruning-Quantization",
    "1510.00149": "Deep Compression",
    "1804.03294": "A Systematic DNN Weight Pruning Framework using ADMM",
    "1812.11677": "ADMM-NN",
}
IN_FULL = {  # what the names in the figures stand for, where neither the work nor the method says it
    "DNS": "dynamic network surgery",
    "SWS": "soft weight-sharing",
    "Sparse VD": "sparse variational dropout",
    "BC": "Bayesian compression; GNJ and GHS are its priors, group normal-Jeffreys and group horseshoe",
    "MIRACLE": "minimal random code learning",
    "third-party MIRACLE": "MIRACLE, written anew by others",
    "EPR": "entropy-penalized reparameterization",
    "GSM": "global sparse momentum",
    "L-OBS": "layer-wise optimal brain surgeon",
    "crossbars": "structured ADMM for memristor crossbars",
    "SNIP": "single-shot network pruning",
    "LC": "learning-compression",
    "DeepCABAC": "context-adaptive binary arithmetic coding",
}
ELSEWHERE = {  # data sets that have no records: status, and why
    "ImageNet": (
        "not reproducible here",
        "needs the ImageNet training images, which this project does not have",
    ),
    "CIFAR-10": ("not attempted", "our records are of CIFAR-10 from JPEG copies, another data set"),
    NOT_READ: ("not attempted", "which network and data set it is about was not read"),
}
ARXIV = r"\d{4}\.\d{5}"  # in a source: another work
TABLES = r"Tables? (\d+)(?: and (\d+))?"  # as a source names them
TIE = 1.02  # records whose ratios differ by less than this factor answer a claim together


def published(name: str = "leaderboard") -> list[dict[str, str]]:
    """The rows of data/published/NAME.csv; each says where it was read and whether that was verified."""
    with open(PUBLISHED / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Claim:
    """One published number. What was not stated, or not read, is None or an empty text.

    Errors are test errors in percent, on MNIST only; `stated` is what the paper says, in its own
    measure. `size` is as printed, whatever its kilobyte.
    """

    work: str
    arxiv: str
    year: int | None
    model: str
    dataset: str
    track: str
    method: str
    counted: str
    ratio: float | None
    bits: float | None
    nonzero_weights: int | None
    size: str
    test_error: float | None
    dense_error: float | None
    stated: str
    source: str
    verified: str
    caveat: str

    @property
    def doubt(self) -> str:
        """Empty for a verified number, else the words that must stand beside it."""
        return VERIFIED[self.verified]

    @property
    def quoted(self) -> bool:
        """Whether the work quotes somebody else's result."""
        return self.method.endswith("as quoted")

    @property
    def counts(self) -> str:
        """What the ratio counts, in words."""
        return self.counted or NOT_READ

    @property
    def label(self) -> str:
        """Its name in the figures, of a few letters: what is in brackets after the authors, and the year."""
        if self.quoted:
            return self.method.removesuffix(", as quoted").partition(" (")[0]
        name = self.work.partition(" (")[2].rstrip(")") or self.work
        return name if self.year is None or str(self.year) in name else f"{name} ’{self.year % 100}"

    @property
    def drawn(self) -> bool:
        """Whether a figure of its track can hold it: it states a ratio."""
        return bool(self.track) and self.ratio is not None

    @property
    def bits_alone(self) -> bool:
        """Whether it gives bits for each weight, zeros too, and no ratio."""
        return self.ratio is None and self.bits is not None and self.counted == "values"

    @property
    def needed(self) -> float | None:
        """The ratio that answers it: as claimed, or that of its bits."""
        return DENSE_BITS / self.bits if self.bits_alone else self.ratio

    @property
    def yardstick(self) -> str:
        """What of a record is held against it; where zeros take bits, positions are what ours take."""
        return "values+positions" if self.bits_alone else self.counted

    @property
    def unanswered(self) -> tuple[str, str]:
        """Status and reason where no record answers the claim."""
        if self.dataset in ELSEWHERE:
            return ELSEWHERE[self.dataset]
        if not self.counted:
            return "not attempted", "what it counts was not read, so that nothing can answer it"
        if self.counted == "weights":
            return "planned", "no record at this ratio yet"
        if self.counted == STRUCTURED:
            return "planned", "no record of structured pruning alone at this ratio yet"
        if self.bits == 1:
            return "planned", "no network with binary weights has been recorded yet"
        return "planned", "no record with quantized values reaches it yet"


def claims() -> list[Claim]:
    """Every claim, in the order of the file. Raises ValueError naming the row and what is wrong with it."""
    found = []
    for line, row in enumerate(published(), 2):
        try:
            claim = Claim(**{f.name: _parsed(row[f.name], f.type) for f in fields(Claim)})
            for name, known in (
                ("counted", (*COUNTED, "")),
                ("verified", tuple(VERIFIED)),
            ):
                if getattr(claim, name) not in known:
                    raise ValueError(f"{name} must be one of {', '.join(known)}, not {row[name]!r}")
        except (ValueError, KeyError) as error:
            raise ValueError(f"leaderboard.csv, line {line}: {error}") from None
        found.append(claim)
    return found


def _parsed(text: str, kind: object) -> str | int | float | None:
    """A cell as its field's type; an empty one is None where that is no text."""
    if kind is str or not text:
        return text if kind is str else None
    return int(text) if kind == int | None else float(text)


def read_in(found: Iterable[Claim]) -> tuple[str, str]:
    """What of a work itself the claims of that work were read in, and in what other places, in words.

    The first is "tables 1, 2 and 5" (beside them, some of its text), "the abstract alone" or "no number".
    """
    own, elsewhere = [], []
    for source in dict.fromkeys(claim.source for claim in found):
        for part in source.split("; "):
            itself = source.startswith(ITSELF) and not re.search(ARXIV, part)
            (own if itself else elsewhere).append(part)
    tables = sorted({int(n) for part in own for named in re.findall(TABLES, part) for n in named if n})
    *first, last = map(str, tables) if tables else [""]
    listed = f"{', '.join(first)} and {last}" if first else last
    itself = "the abstract alone" if own else "no number"
    return f"table{'s' if first else ''} {listed}" if tables else itself, ", ".join(elsewhere)


def measured(record: dict[str, Any], counted: str) -> float | None:
    """A record's ratio in what a claim counts, the smallest over its runs; None where it has no such rung.

    Every rung but those of weights is 32 bits x the weights of the dense network over the bits counted.
    """
    if counted not in COUNTED or (counted == STRUCTURED and not structured(record["recipe"])):
        return None
    return min(_ratio(run, COUNTED[counted]) for run in record["runs"])


def _ratio(run: dict[str, Any], rung: str | None) -> float:
    if rung is None:
        return run["weights"] / run["nonzero_weights"]
    return DENSE_BITS * run["weights"] / run["ladder_bits"][rung]


def answers(claim: Claim, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records that answer a claim: at least its ratio in what it counts, and nearest to it.

    Same track and data set, a method of `METHODS`. Several recipes at the same ratio (within 2%) answer
    together: none is chosen by its test accuracy.
    """
    reached = [
        (ratio, record)
        for record in records
        if claim.needed is not None
        and (record["track"], record["dataset"]) == (claim.track, claim.dataset.lower())
        and record["recipe"]["method"] in METHODS
        and (ratio := measured(record, claim.yardstick) or 0) >= claim.needed
    ]
    nearest = min((ratio for ratio, _ in reached), default=0)
    return [record for ratio, record in reached if ratio <= TIE * nearest]


def held_against(record: dict[str, Any], among: Sequence[Claim]) -> Claim | None:
    """The published ratio that a record is held against: the largest it reaches, counting weights.

    A network that is quantized alone is held against the fewest bits that it reaches. Of several claims of
    one ratio the first; a result that a work only quotes is left out.
    """
    pruned = prunes(record["recipe"])
    reached = [
        claim
        for claim in among
        if (claim.track, claim.dataset.lower()) == (record["track"], record["dataset"])
        and (claim.counted == "weights" if pruned else claim.bits_alone)
        and not claim.quoted
        and claim.needed is not None
        and claim.needed <= measured(record, claim.yardstick)
    ]
    return max(reached, key=lambda claim: claim.needed, default=None)


def status(claim: Claim, records: Iterable[dict[str, Any]]) -> str:
    """One of `STATUS`: "recorded" where a record answers the claim, else how it stands unanswered."""
    return STATUS[0] if answers(claim, records) else claim.unanswered[0]


def accuracy(record: dict[str, Any]) -> Interval:
    """The mean test accuracy over all seeds, in percent, with its 95% interval."""
    return interval([run["test_accuracy"] for run in record["runs"]])


def verdict(claim: Claim, record: dict[str, Any]) -> str:
    """Our interval beside their number: "above it", "below it", "around it"; or that it cannot be said.

    Theirs is taken as it stands: no work gives seeds or an interval that could be added to ours.
    """
    if claim.test_error is None:
        return "no error to compare with"
    ours, theirs = accuracy(record), 100 - claim.test_error
    if ours.count == 1:
        return "one seed says nothing"
    return "above it" if ours.low > theirs else "below it" if ours.high < theirs else "around it"


def joint_verdict(claim: Claim, records: Iterable[dict[str, Any]]) -> str | None:
    """The verdict of all the records that answer a claim: "mixed" where they differ, None without any."""
    found = {verdict(claim, record) for record in answers(claim, records)}
    return found.pop() if len(found) == 1 else "mixed" if found else None
