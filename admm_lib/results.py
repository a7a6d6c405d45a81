"""The results table: one row per record, beside what was published."""

import csv
from collections.abc import Sequence
from pathlib import Path

from . import records
from .data import HOME

PUBLISHED = HOME / "published"
MARKS = "<!-- results: made by `make table` -->", "<!-- end of results -->"
HEAD = ("record", "weights / nonzero", "shifts", "seeds", "dense %", "test %, mean [95%]", "minus dense",
        "lossless", "bytes", "published %")  # fmt: skip


def published(name: str = "headlines") -> list[dict[str, str]]:
    """The rows of data/published/NAME.csv; each says where it was read and whether that was verified."""
    with open(PUBLISHED / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def rows(names: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    """One tuple of cells, in the order of `HEAD`, per named record; without names, per committed one."""
    claims = {row["record"]: row for row in published()}
    chosen = records.names() if names is None else names
    return [_row(records.read(name), claims.get(name)) for name in chosen]


def _row(record: dict, claim: dict[str, str] | None) -> tuple[str, ...]:
    runs = record["runs"]
    across = records.interval([run["test_accuracy"] for run in runs])
    dense = records.interval([run["dense_test_accuracy"] for run in runs])
    nonzero, weights = runs[0]["nonzero_weights"], runs[0]["weights"]
    mean_bytes = sum(run["file_bytes"] for run in runs) / len(runs)
    return (
        record["name"],
        f"{weights:,} / {nonzero:,} = {weights / nonzero:.1f}x",
        f"{record['recipe']['shift_pixels']} px" if record["recipe"]["shift_pixels"] else "none",
        str(len(runs)),
        f"{dense.mean:.2f}",
        f"{across.mean:.2f} [{across.low:.2f}, {across.high:.2f}]",
        str(records.loss_interval(record)),
        "yes" if records.is_lossless(record) else "not shown",
        f"{mean_bytes:,.0f}",
        _claim(claim),
    )


def _claim(claim: dict[str, str] | None) -> str:
    if claim is None:
        return ""
    dense = f" (dense {claim['dense_test_accuracy']})" if claim["dense_test_accuracy"] else ""
    doubt = "" if claim["verified"] == "yes" else ", reported, unverified"
    return f"{claim['test_accuracy']}{dense} at {claim['ratio']}x{doubt}"


def table(names: Sequence[str] | None = None) -> str:
    """The results as a Markdown table of aligned columns, for terminals and for the README."""
    grid = [HEAD, *rows(names)]
    widths = [max(len(line[column]) for line in grid) for column in range(len(HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in grid
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def fill(text: str) -> str:
    """`text` with the table of today's records between its two marks; ValueError where they are missing."""
    before, start, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (start and end):
        raise ValueError(f"the text lacks the two lines {MARKS[0]} and {MARKS[1]}")
    return f"{before}{start}\n\n{table()}\n\n{end}{after}"


def update(readme: Path = HOME.parent / "README.md") -> None:
    """Write today's table into the README."""
    records.write_atomically(readme, fill(readme.read_text()))
