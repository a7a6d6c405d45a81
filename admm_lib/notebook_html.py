"""Notebooks as web pages that need no network: formulas are MathML, figures and styles inside.

nbconvert's own pages fetch MathJax, require.js and the widget manager from public hosts when
opened. Here formulas are converted when the page is made (browsers draw MathML themselves), and
panels are left out: the static figure under each is what a page without a kernel can show.
"""

import re
from collections.abc import Sequence
from html import escape, unescape
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import nbformat
from latex2mathml.converter import convert_to_element
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from .notebook_form import added

TITLE = "ADMM Compression Notebooks"
OPERATOR = re.compile(r"\\operatorname\*?\{([^{}]*)\}")
OPERATORS = re.compile(r"\\(argmin|argmax|arg|sign|sgn)(?![A-Za-z])")  # unknown to latex2mathml
CHILDREN = dict(mfrac=2, msub=2, msup=2, msubsup=3, munder=2, mover=2, munderover=3)
UNDER = {"min", "max", "inf", "sup", "lim"}  # the index stands below, where there is room
THIN_SPACE = "\u2009"
NOT_UNDERSTOOD = re.compile(r"\s*\\[A-Za-z]|&$")  # what latex2mathml passes on as it came
NO_KERNEL_NO_NETWORK = (
    "application/vnd.jupyter.widget-view+json",
    "application/javascript",
    "application/vnd.jupyter.widget-state+json",
)
TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}<style>
main { max-width: 62rem; margin: 0 auto; padding: 1rem; }
.jp-RenderedImage img { max-width: 100%; height: auto; }
math { font-size: 1.08em; font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math",
  "DejaVu Math TeX Gyre", math; }
math[display=block] { margin: 0.8em 0; }
mtd { padding-top: 0.25em; padding-bottom: 0.25em; }
mtd[columnalign=left] { text-align: left; padding-left: 0.25em; }
mtd[columnalign=right] { text-align: right; }
</style>{%- endblock -%}
{%- block data_png scoped -%}
{%- set alt = output | get_metadata('alt', 'image/png') -%}
{%- if alt -%}{{ super() | replace('<img ', '<img alt="' ~ (alt | escape_html) ~ '" ') }}
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}
"""


class Executed(Protocol):
    """What the index needs to know of a notebook that was run."""

    @property
    def notebook(self) -> Path:
        """The executed copy."""

    @property
    def page(self) -> Path:
        """Its HTML page."""

    @property
    def seconds(self) -> float:
        """How long it ran."""

    @property
    def problem(self) -> str | None:
        """What went wrong, in a line; None where nothing did."""


def mathml(tex: str, display: bool = False) -> str:
    """A formula as MathML; as TeX source, of class `tex`, where it has something unknown in it."""
    spelled = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{align*}", tex.strip())
    spelled = OPERATORS.sub(r"\\operatorname{\1}", spelled)
    spelled = OPERATOR.sub(
        lambda match: rf"\operatorname{{{match[1].replace(chr(92) + ',', THIN_SPACE)}}}", spelled
    )
    try:
        tree = convert_to_element(spelled, display="block" if display else "inline")
    except Exception:  # latex2mathml raises a class per kind of mistake
        tree = None
    if tree is None or any(map(_is_wrong, tree.iter())):
        return f'<code class="tex">{escape(tex)}</code>'
    for node in tree.iter("msub"):
        if (node[0].text or "").split(THIN_SPACE)[-1].removeprefix("arg") in UNDER:
            node.tag = "munder"
            node[0].set("movablelimits", "true")  # beside it again, in a line of text
    for node in tree.iter("mo"):  # TeX stretches bars and brackets only after \left and \right
        if "stretchy" not in node.attrib and unescape(node.text or "") in "|‖∥⌊⌋⌈⌉⟨⟩":
            node.set("stretchy", "false")
    # its text has character references, which are not to be escaped once more
    return ElementTree.tostring(tree, encoding="unicode").replace("&amp;#", "&#")


def _is_wrong(node: ElementTree.Element) -> bool:
    """Whether latex2mathml left a command as it came, or a part of this node is missing."""
    as_it_came = NOT_UNDERSTOOD.match(node.text or "")
    return as_it_came is not None or len(node) != CHILDREN.get(node.tag, len(node))


class _Renderer(IPythonRenderer):
    """Markdown whose formulas are MathML, and that loads no picture from elsewhere."""

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, display=True)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        if re.match(r"(https?:)?//", url):
            return self.link(text or escape(url), url, title)
        return super().image(text, url, title)

    def inline_html(self, html: str) -> str:
        """As it stands: embedding pictures would close every tag that stands alone, like <sub>."""
        return super().inline_html(html) if "<img" in html else html

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not re.match(r"[a-z]+:", url):  # another notebook of the sequence is another page here
            url = re.sub(r"\.ipynb(?=#|$)", ".html", url)
        return super().link(text, url, title)


class _Exporter(HTMLExporter):
    def markdown2html(self, context: Any, source: str) -> str:
        """Markdown cells and markdown outputs; replaces the filter of the same name."""
        renderer = _Renderer(
            escape=False,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=True,
            path=context.get("resources", {}).get("metadata", {}).get("path", ""),
            anchor_link_text="",
        )
        return MarkdownWithMath(renderer=renderer).render(source)

    markdown2html.__dict__.update(HTMLExporter.markdown2html.__dict__)  # jinja passes the context


def page(notebook: NotebookNode, source: Path) -> str:
    """The notebook as one self-contained page; pictures are looked for beside `source`."""
    shown = nbformat.from_dict(notebook)
    shown.metadata.pop("widgets", None)
    for cell in shown.cells:
        cell.outputs = [_still(output) for output in cell.get("outputs", []) if _shows(output)]
    exporter = _Exporter(raw_template=TEMPLATE)
    title = f"{summary(notebook)[0]} · {TITLE}"
    metadata = {"name": title, "path": str(source.parent)}
    return exporter.from_notebook_node(shown, {"metadata": metadata})[0]


def _shows(output: NotebookNode) -> bool:
    """Whether something is left of an output without a kernel: not of a panel, nor of a script."""
    return not any(kind in output.get("data", {}) for kind in NO_KERNEL_NO_NETWORK)


def _still(output: NotebookNode) -> NotebookNode:
    tex = output.get("data", {}).get("text/latex")
    if tex and "text/html" not in output.data:
        output.data["text/html"] = mathml(tex.strip().strip("$"), display=True)
    return output


def summary(notebook: NotebookNode) -> tuple[str, str]:
    """Title and first sentence, as plain text, from the first markdown cell."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "markdown" and not added(cell)]
    text = cells[0].source if cells else ""
    title, sentence = "Untitled", ""
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in block.strip().splitlines()]
        if lines and lines[0].startswith("#"):
            title = _plain(lines.pop(0).lstrip("# "))
        if lines and not sentence:
            sentence = re.split(r"(?<=[.?!])\s", _plain(" ".join(lines)))[0]
    return title, sentence


def _plain(markdown: str) -> str:
    rendered = MarkdownWithMath(renderer=_Renderer(escape=False)).render(markdown)
    return unescape(re.sub(r"<[^>]*>", "", rendered)).replace("¶", "").strip()


def index(executed: Sequence[Executed], table: str, note: str) -> str:
    """The first page: a row per notebook with its time and how it ended, then the results (Markdown)."""
    failed = sum(each.problem is not None for each in executed)
    ended = f"{failed} of {len(executed)} failed" if failed else f"all {len(executed)} ran"
    total = sum(each.seconds for each in executed)
    return first_page(f"{note}: {ended}, {total:.0f} s in all.", [_row(each) for each in executed], table)


def first_page(note: str, rows: Sequence[str], table: str, reference: Path | None = None) -> str:
    """A page of its own: a line of text, list items in HTML, a link to the API reference, and the results
    (Markdown), where there are.
    """
    link = f'<p><a href="{reference}">API reference of admm_lib</a></p>' if reference else ""
    drawn = MarkdownWithMath(renderer=_Renderer(escape=True)).render(table)
    results = f'<h2>Recorded results</h2>\n<div class="wide">{drawn}</div>' if table else ""
    listed = "\n".join(rows)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ margin-bottom: 0; }} .note {{ color: #555; margin-top: 0.2rem; }}
ol {{ list-style: none; padding: 0; }}
li {{ display: grid; grid-template-columns: 1fr auto; column-gap: 1.5rem;
     border: 1px solid #ddd; border-left: 5px solid #2a7f62; border-radius: 6px;
     padding: 0.7rem 1rem; margin: 0.6rem 0; }}
li.failed {{ border-left-color: #b3261e; }}
li a {{ font-weight: 600; font-size: 1.08rem; }} a {{ color: #0b57a4; }}
li p {{ margin: 0.15rem 0 0; grid-column: 1; }}
li img {{ grid-column: 2; grid-row: 1 / span 2; width: 11rem; height: auto; }}
.time {{ color: #555; white-space: nowrap; }}
.problem {{ color: #b3261e; font-family: ui-monospace, monospace; font-size: 0.9rem; }}
.wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: 0.85rem; }}
th, td {{ padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }}
th {{ border-bottom: 2px solid #bbb; }} td {{ border-bottom: 1px solid #e4e4e4; }}
</style>
</head>
<body>
<h1>{TITLE}</h1>
<p class="note">{escape(note)}</p>
<ol>
{listed}
</ol>
{link}
{results}
</body>
</html>
"""


def _row(each: Executed) -> str:
    title, sentence = "Untitled", ""
    if each.notebook.exists():
        title, sentence = summary(nbformat.read(each.notebook, as_version=4))
    problem = f'<p class="problem">{escape(each.problem)}</p>' if each.problem else ""
    status = "failed" if each.problem else "ran"
    return (
        f'<li class="{status}">{heading(each.page, title)}'
        f'<span class="time">{status}, {each.seconds:.0f} s</span>'
        f"<p>{escape(sentence)}</p>{problem}</li>"
    )


def heading(page: Path, title: str) -> str:
    """A link to the page of a notebook, by its number and its title."""
    number = page.stem[:2]
    title = re.sub(rf"^{number}\W+", "", title)
    return f'<a href="{escape(page.name)}">{number} · {escape(title)}</a>'
