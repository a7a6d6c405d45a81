"""The static site: every notebook, every figure described, and nothing fetched from anywhere."""

import importlib
import pkgutil
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import admm_lib
from admm_lib import __main__ as command_line
from admm_lib import notebooks, site


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, name):
        return [attrs for tag, attrs in self.found if tag == name]


PART = ("00", "10")


@pytest.fixture(
    scope="module", params=[PART, pytest.param((), marks=pytest.mark.full)], ids=["part", "whole"]
)
def made(request, tmp_path_factory):
    return site.build(tmp_path_factory.mktemp("site"), only=request.param), request.param


def test_the_index_has_a_link_a_sentence_and_a_picture_for_each_notebook(made):
    index, only = made
    tags = Tags(index.read_text(encoding="utf-8"))
    pages = [path.with_suffix(".html").name for path in notebooks.sequence(only=only)]
    links = [attrs["href"] for attrs in tags.of("a") if attrs["href"].endswith(".html")]
    assert links == [*pages, "api/admm_lib.html"]
    assert len(tags.of("li")) == len(tags.of("img")) == len(pages)
    sentences = re.findall(r"</a><p>(.*?)</p>", index.read_text(encoding="utf-8"))
    assert len(sentences) == len(pages)
    assert all(len(sentence) > 20 for sentence in sentences)


def test_pages_are_whole_and_every_picture_is_described(made):
    index, only = made
    for path in notebooks.sequence(only=only):
        text = (index.parent / path.with_suffix(".html").name).read_text(encoding="utf-8")
        pictures = Tags(text).of("img")
        outputs = [o for cell in notebooks.read(path).cells for o in cell.get("outputs", [])]
        assert len(pictures) == sum("image/png" in output.get("data", {}) for output in outputs) > 0
        assert all(len(attrs.get("alt", "")) > 20 for attrs in pictures)
        assert "widget-view" not in text
        assert "it moves where a kernel runs" not in text


def test_links_lead_to_pages_of_the_site_and_nothing_is_fetched(made):
    index, _ = made
    there = {path.with_suffix(".html").name for path in notebooks.sequence()}
    there |= {"index.html", "api/admm_lib.html"}
    for page in index.parent.glob("*.html"):
        tags = Tags(page.read_text(encoding="utf-8"))
        for attrs in tags.of("a"):
            target = attrs.get("href", "").partition("#")[0]
            assert not target or target.startswith("https://") or target in there, (page.name, target)
        loads = [attrs for tag in ("img", "script", "iframe", "source", "link") for attrs in tags.of(tag)]
        for attrs in loads:
            assert attrs.get("src", attrs.get("href", "data:")).startswith("data:"), (page.name, attrs)
        assert not re.search(r"@import|url\(\s*['\"]?https?:", page.read_text(encoding="utf-8"))


def test_the_reference_has_a_page_for_each_module_with_all_that_is_public(made):
    index, _ = made
    api = index.parent / "api"
    modules = [each.name for each in pkgutil.walk_packages(admm_lib.__path__, "admm_lib.")]
    public = [name for name in modules if "._" not in name]
    assert len(public) > 100
    for name in public:
        text = (api / f"{name.replace('.', '/')}.html").read_text(encoding="utf-8")
        module = importlib.import_module(name)
        own = getattr(module, "__all__", None) or [
            each for each, value in vars(module).items()
            if getattr(value, "__module__", "") == name and not each.startswith("_")
        ]  # fmt: skip
        assert all(f'id="{each}"' in text for each in own), name
    for page in api.rglob("*.html"):
        loads = [attrs for tag in ("img", "script", "iframe", "source", "link")
                 for attrs in Tags(page.read_text(encoding="utf-8")).of(tag)]  # fmt: skip
        found = [attrs.get("src", attrs.get("href", "data:")) for attrs in loads]
        assert all(not each.startswith(("http", "//")) for each in found), page.name


@pytest.mark.browser
def test_the_reference_is_searched_without_a_network(made, page):
    index, _ = made
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(index.as_uri())
    page.get_by_role("link", name="API reference of admm_lib").click()
    page.get_by_role("searchbox").fill("QuadraticPenalty")
    page.locator("main a[href*=QuadraticPenalty]").first.click()
    page.get_by_text("The quadratic penalty method").wait_for()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.browser
def test_a_browser_reads_it_from_files_without_a_network(made, page):
    index, _ = made
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(index.as_uri())
    page.locator("li a").first.click()
    page.wait_for_url(re.compile(r"\d\d_\w+\.html$"))
    picture = page.locator("img").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 100")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_a_notebook_that_was_not_run_is_named(tmp_path, capsys):
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / "00_fresh.ipynb")
    command = ["site", "--folder", str(tmp_path), "--out", str(tmp_path / "site")]
    assert command_line.main(command) == 2
    assert "00_fresh.ipynb has not been run" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()
