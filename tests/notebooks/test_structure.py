"""What every committed notebook has in common; checked without running anything."""

import ast
import itertools
import re
from pathlib import Path

import pytest
from nbformat import NotebookNode

from admm_lib import notebook_form, notebooks

PATHS = sorted(notebooks.HOME.glob("*.ipynb"))
# Cells whose output depends on training, so that another machine may print another digit. Every
# other output is compared strictly; a cell more in here is a decision, not an accident.
OUTPUT_NOT_COMPARED = {
    "00_quickstart": 7, "02_one_shot_pruning": 4, "03_progressive_pruning": 3,
    "04_clustering_initialization": 5, "05_joint_compression": 5, "06_structured_vs_nonstructured": 3,
    "07_opq_allocation": 6, "08_binarization": 4, "09_imagenet_scale": 1,
}  # fmt: skip
MACHINE = re.compile(
    r"(?<![\w.:/])/(?:home|root|tmp|Users|mnt|opt|usr|var|private)/|[A-Z]:\\\\|\b0x[0-9a-f]{6,}\b|"
    + re.escape(str(notebooks.HOME.parent))
)
UNSTEADY = {"interact", "interactive", "interactive_output", "pyplot", "Output"}
RUN_TIME = re.compile(r"\d\s*(?:s|seconds?|min|minutes?)\b")

every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in notebooks.read(path).cells if cell.cell_type == "code"]


def tree(path: Path) -> ast.Module:
    """All code of a notebook, without lines for IPython."""
    lines = "\n".join(cell.source for cell in code_cells(path)).splitlines()
    return ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in lines))


def texts(path: Path) -> list[str]:
    """Everything a reader sees as text: sources and outputs."""
    found = []
    for cell in notebooks.read(path).cells:
        found.append(cell.source)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            found.append(output.get("text", ""))
            found += [str(data[kind]) for kind in data if kind.startswith("text/")]
    return found


def test_the_sequence_is_numbered():
    assert PATHS, "there are no notebooks"
    assert all(re.fullmatch(r"\d\d_[a-z_]+", path.stem) for path in PATHS)
    assert len({path.stem[:2] for path in PATHS}) == len(PATHS)


@pytest.mark.parametrize("page", ["README.md", "notebooks/00_quickstart.ipynb"])
def test_every_notebook_is_in_the_tables(page):
    text = (notebooks.HOME.parent / page).read_text()
    assert [path.name for path in PATHS if path.name not in text and path.name not in page] == []


@every
def test_opens_with_the_question_and_the_run_time(path):
    first = notebooks.read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "?" in first.source
    assert RUN_TIME.search(first.source)


@every
def test_parameters_come_first_and_are_literals(path):
    given = notebooks.parameters(notebooks.read(path), path.name)
    assert given["profile"] == "quick"
    assert type(given["seed"]) is int
    assert given["dataset"] == "auto"
    assert "parameters" in code_cells(path)[0].metadata.tags


@every
def test_is_in_the_committed_form(path):
    notebook = notebooks.read(path)
    assert notebooks.normalise(notebook) == notebook, "run `make notebooks`"
    assert notebook.metadata.kernelspec.name == "python3"
    for widgets in notebook.metadata.get("widgets", {}).values():
        assert "state" in widgets  # GitHub shows nothing of the notebook otherwise


@every
def test_was_run_from_top_to_bottom_without_a_complaint(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert cell.source.strip()
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"


@every
def test_says_nothing_of_the_machine_it_ran_on(path):
    assert [text for text in texts(path) if MACHINE.search(text)] == []


@every
def test_asserts_its_claims(path):
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree(path)))


@every
def test_panels_are_of_the_steady_kind(path):
    named = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    named |= {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named |= {alias.name.split(".")[-1] for alias in node.names}
    assert named & UNSTEADY == set()


@every
def test_every_figure_is_described_or_read(path):
    cells = notebooks.read(path).cells
    for cell, after in itertools.zip_longest(cells, cells[1:]):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                described = output.metadata.get("image/png", {}).get("alt")
                assert described or (after and after.cell_type == "markdown"), cell.source


@every
def test_every_figure_that_is_shown_is_seen(path):
    """`show` makes a picture only as the last expression of a cell."""
    for cell in code_cells(path):
        if re.search(r"\bshow\(", cell.source):
            pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            assert pictures, cell.source


@every
def test_few_outputs_are_left_uncompared(path):
    tags = [set(cell.metadata.get("tags", [])) for cell in code_cells(path)]
    ignored = sum("nbval-ignore-output" in each for each in tags)
    assert ignored == OUTPUT_NOT_COMPARED.get(path.stem, 0)
    assert not any({"nbval-skip", "nbval-raises-exception", "raises-exception"} & e for e in tags)
    assert "NBVAL" not in "".join(texts(path))


@every
def test_loads_no_picture_from_elsewhere(path):
    for cell in notebooks.read(path).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"!\[[^\]]*\]\(\s*(?:https?:)?//|<img[^>]*//", cell.source)


@every
def test_links_lead_where_the_site_can_follow(path):
    """Its pages stand alone: what is not a notebook or on the web is named, not linked."""
    for cell in notebooks.read(path).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]*)", cell.source):
                assert not target or target.startswith("https://") or notebooks.HOME / target in PATHS, target


def test_no_function_is_defined_twice():
    owners: dict[str, str] = {}
    for path in PATHS:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert owners.setdefault(node.name, path.stem) == path.stem, node.name


def test_the_table_of_uncompared_outputs_names_notebooks():
    assert set(OUTPUT_NOT_COMPARED) <= {path.stem for path in PATHS}


def test_papermill_left_nothing_behind():
    for path in PATHS:
        assert not any(notebook_form.added(cell) for cell in notebooks.read(path).cells)
