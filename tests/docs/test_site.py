"""What is looked for in the documentation as it was built: each fault is found, and a good site has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.site import faults, main

GOOD = '<html><body><a href="b.html#there">b</a><pre>code</pre><a href="https://example.org">out</a></body></html>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "a.html").write_text(GOOD)
    (tmp_path / "b.html").write_text('<p id="there">b</p><pre>code</pre>')
    return tmp_path


def test_a_good_site_has_no_fault(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(site)]) == 0
    assert capsys.readouterr().out == "2 pages, 0 faults\n"


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<pre></pre><a href="none.html">x</a>', "links to none.html, which is not there"),
        ('<pre></pre><a href="b.html#nowhere">x</a>', "there is no such place"),
        ('<pre></pre><a href="#nowhere">x</a>', "there is no such place"),
        ('<pre></pre><script src="https://cdn.example.org/x.js"></script>', "from a network"),
        ('<pre></pre><script src="//cdn.example.org/x.js"></script>', "from a network"),
        ('<pre></pre><link rel="stylesheet" href="http://example.org/x.css">', "from a network"),
        ('<pre></pre><img src="_images/none.png">', "which is not there"),
        ("<p>words alone</p>", "has no example"),
    ],
)
def test_a_fault_is_found(site: Path, html: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "c.html").write_text(html)
    (found,) = faults(site)
    assert found.startswith("c.html: ")
    assert fault in found
    assert main([str(site)]) == 1
    assert fault in capsys.readouterr().err


def test_a_style_that_loads_from_a_network_is_found(site: Path) -> None:
    (site / "_static").mkdir()
    (site / "_static/x.css").write_text("body { background: url(https://example.org/x.png) }")
    assert list(faults(site)) == ["_static/x.css: loads from a network"]


def test_no_pages_are_a_fault(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1
