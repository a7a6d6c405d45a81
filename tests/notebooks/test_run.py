"""Running the sequence: what it accepts, what it leaves behind, and how it says what went wrong."""

import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

from admm_lib import __main__ as command_line
from admm_lib import data, notebook_html, notebooks, results
from admm_lib.commands import values
from admm_lib.notebook_form import WIDGET_STATE, WIDGET_VIEW

COMMITTED = sorted(notebooks.HOME.glob("[0-9][0-9]_*.ipynb"))
FORMULAS = r"""## Formulas

Inline $W^{k+1} = \arg\min_W f(W)$, code `$x$ and $y$`, and a price of \$5.

$$\min_W\; f(W) + \sum_i \frac{\rho_i}{2}\lVert W_i - Z_i + U_i\rVert_2^2$$

$$
\begin{aligned}
Z &= \Pi_{\mathcal{S}}(W + U) \\
U &= U + W - Z
\end{aligned}
$$

[The next one](01_next.ipynb#part), H<sub>2</sub>O, ![badge](https://example.org/badge.svg)

```bash
echo $HOME $PATH
```
"""
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Loads(HTMLParser):
    """Collects what a page would fetch when it is opened (not where its links lead)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = re.findall(r"url\(\s*['\"]?([^'\")]+)", text)
        self.found += re.findall(r"@import\s+['\"]([^'\"]+)", text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            loads = name in ("src", "srcset", "data", "poster", "background")
            if value and (loads or (name == "href" and tag == "link")):
                self.found.append(value)

    def elsewhere(self) -> list[str]:
        return [url for url in self.found if not url.startswith(("data:", "#"))]


def run(path: Path, out: Path, **given: object) -> notebooks.Outcome:
    return notebooks.run([path], out, given)[0]


@pytest.mark.full  # all run at the default profile in test_nbval
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_runs_in_smoke(path, tmp_path):
    outcome = run(path, tmp_path, profile="smoke")
    assert outcome.problem is None
    page = outcome.page.read_text(encoding="utf-8")
    assert Loads(page).elsewhere() == []
    assert 'class="tex"' not in page  # every formula was understood


SECOND = {  # another seed, and another ratio or what a notebook has in its place
    "00_quickstart": {"ratio": 12.0}, "01_admm_theory": {"rho": 0.4},
    "02_one_shot_pruning": {"keep_conv1": 200, "keep_conv2": 3000, "keep_fc1": 5000, "keep_fc2": 500},
    "03_progressive_pruning": {"ratio": 60.0, "steps": 3}, "04_clustering_initialization": {"bits": 2},
    "05_joint_compression": {"ratio": 20, "bits": 3}, "06_structured_vs_nonstructured": {"ratio": 6},
    "07_opq_allocation": {"ratio": 12, "bits": 4, "budget": 12_000}, "08_binarization": {"bits": 3},
    "09_imagenet_scale": {"ratio": 5}, "10_leaderboard": {"floor": 98.5},
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_claims_hold_at_a_second_seed_and_a_second_ratio(path, tmp_path):
    """A cell that asserts what only one setting shows would fail here."""
    given = notebooks.parameters(notebooks.read(path), path.name)
    other = {"seed": 1, **SECOND[path.stem]}
    assert all(given[name] != value for name, value in other.items())
    assert run(path, tmp_path, profile="quick", **other).problem is None


class TestPage:
    @pytest.fixture
    def page_text(self, tiny) -> str:
        """The page of a notebook with formulas, a figure, a panel, and dollars elsewhere."""
        path = tiny("00_formulas.ipynb", FORMULAS, "figure", "panel", "'$a$ and $b$'")
        notebook = notebooks.read(path)
        figure, panel, text = notebook.cells[-3:]
        alt = {"image/png": {"alt": "a line from <0> to 1"}}
        figure.outputs = [new_output("display_data", {"image/png": PIXEL}, metadata=alt)]
        view = {WIDGET_VIEW: {"model_id": "abc"}, "text/plain": "VBox(children=())"}
        panel.outputs = [new_output("display_data", view)]
        notebook.metadata.widgets = {WIDGET_STATE: {"state": {"abc": {}}}}
        text.outputs = [new_output("stream", text="$c$ and $d$")]
        return notebook_html.page(notebook, path)

    def test_needs_nothing_from_elsewhere(self, page_text):
        assert Loads(page_text).elsewhere() == []
        assert "require" not in page_text
        assert "MathJax" not in page_text
        assert '<a href="https://example.org/badge.svg">badge</a>' in page_text

    def test_formulas_are_mathml_and_code_is_left_alone(self, page_text):
        assert page_text.count("<math") == 3
        assert 'class="tex"' not in page_text
        assert "<code>$x$ and $y$</code>" in page_text
        assert "price of $5" in page_text
        assert "$HOME" in page_text
        assert "$a$ and $b$" in page_text
        assert "$c$ and $d$" in page_text
        assert "H<sub>2</sub>O" in page_text

    def test_keeps_the_alternative_text_and_leaves_panels_out(self, page_text):
        assert re.search(r'<img[^>]* alt="a line from &lt;0&gt; to 1"', page_text)
        assert "widget" not in page_text.split("</head>")[1]
        assert "VBox" not in page_text

    def test_links_to_the_other_pages(self, page_text):
        assert 'href="01_next.html#part"' in page_text

    def test_says_so_when_a_formula_is_not_understood(self):
        assert notebook_html.mathml(r"\frac{a}{b}").startswith("<math")
        for formula in (r"\nonsense{x}", r"\frac{1", "a & b"):
            assert notebook_html.mathml(formula).startswith('<code class="tex">')

    @pytest.mark.browser
    def test_in_a_browser(self, page_text, tmp_path, page):
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        path = tmp_path / "page.html"
        path.write_text(page_text, encoding="utf-8")
        url = path.as_uri()
        page.goto(url)
        page.wait_for_load_state("networkidle")
        assert requests == [url]
        boxes = [formula.bounding_box() for formula in page.locator("math").all()]
        assert all(box and box["width"] > 50 for box in boxes)
        lines = page.locator("math mtr").all()
        tops = [line.bounding_box()["y"] for line in lines]
        assert len(lines) == 2
        assert tops[1] > tops[0] + 10
        assert page.get_by_role("img", name="a line from <0> to 1").is_visible()


class TestIndex:
    def test_lists_what_ran_and_what_failed(self, tiny, tmp_path):
        paths = [tiny("00_fine.ipynb", "1"), tiny("01_broken.ipynb", "x = 1", "\nx / 0  # why")]
        outcomes = notebooks.run(paths, tmp_path / "out")
        text = notebook_html.index(outcomes, "| name |\n|---|\n| lenet5 <71.2x> |", "profile quick")
        assert Loads(text).elsewhere() == []
        assert "1 of 2 failed" in text
        assert 'href="00_fine.html">00 · Fine</a>' in text
        assert "Does this run?" in text
        assert 'href="01_broken.html">01 · Broken</a>' in text
        assert "code cell 3 (x / 0  # why): ZeroDivisionError: division by zero" in text
        assert "<td>lenet5 &lt;71.2x&gt;</td>" in text


class TestFailures:
    def test_all_run_and_the_failing_cell_is_named(self, tiny, tmp_path):
        said: list[str] = []
        paths = [tiny("00_broken.ipynb", "{}['key']"), tiny("01_fine.ipynb", "print(seed)")]
        bad, good = notebooks.run(paths, tmp_path / "out", {"seed": 7}, report=said.append)
        assert bad.problem == "code cell 2 ({}['key']): KeyError: 'key'"
        assert good.problem is None
        assert notebooks.read(good.notebook).cells[-1].outputs[0].text == "7\n"
        assert re.fullmatch(
            r"\[1/2\] 00_broken … \d+ s\n  FAILED: code cell 2 .*'key'\n\[2/2\] 01_fine … \d+ s\n",
            "".join(said),
        )

    @pytest.mark.full
    def test_a_slow_cell_is_named(self, tiny, tmp_path):
        path = tiny("00_slow.ipynb", "a = 1", "import time\ntime.sleep(60)", "b = 1")
        outcome = notebooks.run([path], tmp_path, timeout=2)[0]
        assert outcome.problem.startswith("code cell 3 (import time): took longer than 2 s")

    @pytest.mark.full
    def test_a_dead_kernel_is_named(self, tiny, tmp_path):
        path = tiny("00_dead.ipynb", "import os\nos._exit(1)", "b = 1")
        outcome = run(path, tmp_path)
        assert outcome.problem == "code cell 2 (import os): the kernel died (out of memory?)"

    def test_the_command_line_ends_non_zero(self, tiny, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(results, "table", lambda: "model  ratio")
        path = tiny("00_broken.ipynb", "undefined")
        arguments = ["notebooks", "--folder", str(path.parent), "--out", str(tmp_path / "out")]
        assert command_line.main(arguments) == 1
        output = capsys.readouterr()
        assert "model  ratio" in output.out
        assert "FAILED 00_broken: code cell 2 (undefined): NameError" in output.err
        assert "1 of 1 failed" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


class TestData:
    @pytest.fixture
    def made(self, tiny, tmp_path, monkeypatch, capsys):
        """Runs a notebook as `make run` does; what was printed, and the index."""
        monkeypatch.setattr(results, "table", lambda: "")
        path = tiny("00_fine.ipynb", "1")

        def run(*more: str) -> tuple[str, str]:
            arguments = ["notebooks", "--folder", str(path.parent), "--out", str(tmp_path / "out"), *more]
            assert command_line.main(arguments) == 0
            return capsys.readouterr().out, (tmp_path / "out" / "index.html").read_text(encoding="utf-8")

        return run

    def test_the_data_set_is_said_first_and_in_the_index(self, made, monkeypatch):
        digits = data.load("digits")
        missing = replace(digits, note="MNIST cannot be had here, so scikit-learn digits")
        monkeypatch.setattr(data, "load", lambda name: missing if name == "auto" else digits)
        for more, note in ((), missing.note), (("-p", "dataset", "digits"), digits.note):
            printed, index = made(*more)
            assert printed.startswith(f"data set: {note}\n[1/1] 00_fine")
            assert f"Data set: {note}. Profile quick: all 1 ran" in index

    def test_notebooks_run_where_no_data_set_can_be_had(self, made, monkeypatch):
        def refuse(name: str) -> None:
            raise data.DataError("ADMM_DATA is no folder")

        monkeypatch.setattr(data, "load", refuse)
        assert made()[0].startswith("data set: none, ADMM_DATA is no folder\n[1/1] 00_fine")


class TestParameters:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"sed": 1}, "has no parameter 'sed'; did you mean 'seed'"),
            ({"xyz": 1}, "has no parameter 'xyz'; it has profile, seed, dataset"),
            ({"profile": "fast"}, "unknown profile 'fast'; choose smoke, quick, paper"),
            ({"seed": "one"}, "parameter 'seed' of 00_a.ipynb is a value like 0, not 'one'"),
            ({"seed": True}, "is a value like 0, not True"),
        ],
    )
    def test_wrong_ones_are_refused_before_anything_runs(self, tiny, tmp_path, given, message):
        path = tiny("00_a.ipynb", "open('trace', 'w').close()")
        with pytest.raises(notebooks.NotebookError, match=re.escape(message)):
            run(path, tmp_path / "out", **given)
        assert not (tmp_path / "out").exists()
        assert not (path.parent / "trace").exists()

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            (None, "needs exactly one cell tagged `parameters`, and has 0"),
            ("seed = 1 + f()", "may hold only `name = literal` lines"),
            ("import os", "may hold only `name = literal` lines"),
            ("seed =", "may hold only `name = literal` lines"),
            ('profile = "fast"', "unknown profile 'fast'"),
        ],
    )
    def test_wrong_cells_are_refused(self, tiny, tmp_path, parameters, message):
        path = tiny("00_a.ipynb", "1", parameters=parameters)
        with pytest.raises(notebooks.NotebookError, match=re.escape(message)):
            run(path, tmp_path / "out")

    def test_the_command_line_says_so_in_one_line(self, tiny, tmp_path, capsys):
        path = tiny("00_a.ipynb", "1")
        arguments = ["notebooks", "--folder", str(path.parent), "--out", str(tmp_path / "out")]
        for more, message in (
            (["--profile", "fast"], "unknown profile 'fast'"),
            (["-p", "sede", "3"], "did you mean 'seed'?"),
            (["--only", "07"], "no notebook starts with '07'; there are 00_a"),
            (["--in-place", "-p", "seed", "3"], "without --profile and -p"),
        ):
            assert command_line.main([*arguments, *more]) == 2
            output = capsys.readouterr().err
            assert message in output
            assert output.count("\n") == 1

    def test_values_are_literals_or_text(self, tiny, tmp_path):
        cell = "assert (ratios, profile, rho) == ([2, 3], 'smoke', 1)"
        start = 'profile = "quick"\nratios = [1]\nrho = 0.5  # a comment'
        tiny("00_a.ipynb", cell, parameters=start)
        given = {"ratios": values.value("[2, 3]"), "profile": values.value("smoke")}
        path = tmp_path / "sources" / "00_a.ipynb"
        assert run(path, tmp_path, rho=1, **given).problem is None

    def test_no_notebooks_and_unreadable_ones(self, tmp_path):
        with pytest.raises(notebooks.NotebookError, match="no notebooks"):
            notebooks.sequence(tmp_path)
        with pytest.raises(notebooks.NotebookError, match="there is no notebook"):
            notebooks.read(tmp_path / "00_a.ipynb")
        (tmp_path / "00_a.ipynb").write_text("{")
        with pytest.raises(notebooks.NotebookError, match="not a readable notebook"):
            notebooks.run([tmp_path / "00_a.ipynb"], tmp_path / "out")


class TestHeadless:
    def test_no_progress_bars_and_its_own_folder(self, tiny, tmp_path, monkeypatch):
        monkeypatch.delenv("ADMM_PROGRESS", raising=False)
        path = tiny("00_a.ipynb", "import os\nprint(os.environ['ADMM_PROGRESS'], os.getcwd())")
        outcome = run(path, tmp_path)
        text = nbformat.read(outcome.notebook, as_version=4).cells[-1].outputs[0].text
        assert text.split() == ["off", str(path.parent)]
        assert "ADMM_PROGRESS" not in os.environ
