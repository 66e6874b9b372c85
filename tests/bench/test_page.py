"""The HTML page: one file, well-formed, with every case in the picture and in a table."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from bench import harness, page, report, roofline, suites

LIMITS = {"float32 ymm x2": 1e11, "float32 zmm x2": 2e11, "copy x2": 3e10, "stream x2": 4e10}


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """A run of three tiny cases: bound by arithmetic, by memory, and with no arithmetic at all."""
    cases = [suites.cases_of(op, tiny=True)[0] for op in ("matmul", "softmax", "embedding")]
    outcomes = [harness.measure(c, [harness.Local("fastattn"), harness.Local("numpy")], 1, 0.0, 5) for c in cases]
    environment = report.environment(["fastattn", "numpy"]) | {"threads": 2, "isa": "avx2", "cpu": "a <CPU> & more"}
    return report.record(environment, LIMITS, outcomes)


class Tags(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_one_well_formed_file(record: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    page.write(record, None, path)
    text = path.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "img", "iframe"}
    assert not re.search(r"(?:src|href)=|url\(|@import", text)
    assert "a &lt;CPU&gt; &amp; more" in text
    assert "<CPU>" not in text
    for case in record["cases"]:
        assert case["case"] in text
        assert case["results"]["fastattn"]["kernel"] in text


def test_every_case_is_a_point_that_says_its_name(record: dict[str, Any]) -> None:
    root = xml.fromstring(roofline.svg(record))
    titles = [t.text or "" for t in root.iter("{http://www.w3.org/2000/svg}title")]
    assert [t.splitlines()[0] for t in titles] == [f"{c['op']}: {c['case']}" for c in record["cases"]]
    assert all("of the limit\nfastest peer: numpy, " in t for t in titles)
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(circle.attrib["cx"]) < roofline.WIDTH
        assert 0 < float(circle.attrib["cy"]) < roofline.HEIGHT


def test_points_stand_where_they_belong(record: dict[str, Any]) -> None:
    matmul, softmax, embedding = roofline.points(record)
    for point, case in zip((matmul, softmax), record["cases"], strict=False):
        assert point.intensity == pytest.approx(case["arithmetic"] / case["bytes"])
        assert point.rate == pytest.approx(case["arithmetic"] / case["results"]["fastattn"]["median"] / 1e9)
        assert point.peer_rate == pytest.approx(case["arithmetic"] / case["results"]["numpy"]["median"] / 1e9)
    assert embedding.intensity == roofline.LEAST  # no FLOPs: its traffic, at the edge
    traffic = record["cases"][2]["bytes"] / record["cases"][2]["results"]["fastattn"]["median"] / 1e9
    assert embedding.rate == pytest.approx(traffic * roofline.LEAST)


def test_roofs_are_those_of_the_run(record: dict[str, Any]) -> None:
    found = {roof.text: roof.rate for roof in roofline.roofs(record)}
    assert found["memory"] == 40  # the better of the two kinds of store
    peaks = [peak / 1e9 for case in record["cases"] for peak in case["peaks"]]
    assert found["float32, ymm"] == pytest.approx(max([100, *peaks]))  # of the instruction set in use
    assert "float64, ymm" not in found
    cached = max(b for case in record["cases"] for b in case["bandwidths"]) / 1e9
    assert found.get("caches", 0) == pytest.approx(cached if cached > 40 else 0)


@pytest.mark.parametrize("isa", ["avx512", "avx512_bf16"])
def test_bfloat16_has_a_roof_of_its_own_where_the_cpu_multiplies_pairs(record: dict[str, Any], isa: str) -> None:
    environment = {**record["environment"], "isa": isa}
    cases = [
        {**record["cases"][0], "dtype": dtype, "peaks": [p]} for dtype, p in (("float32", 3e11), ("bfloat16", 9e11))
    ]
    found = {roof.text: roof.rate for roof in roofline.roofs({**record, "environment": environment, "cases": cases})}
    assert found["float32, zmm"] == (300 if isa == "avx512_bf16" else 900)
    assert found.get("bfloat16, zmm") == (900 if isa == "avx512_bf16" else None)


def test_a_higher_rate_is_higher_and_more_flops_a_byte_further_right(record: dict[str, Any]) -> None:
    axes = roofline._Axes(roofline.points(record), roofline.roofs(record))
    assert axes.x(1.0) < axes.x(10.0)
    assert axes.y(1.0) > axes.y(10.0)
    assert axes.x(10.0) - axes.x(1.0) == pytest.approx(axes.x(100.0) - axes.x(10.0))


def test_a_record_of_nothing_has_a_page(record: dict[str, Any]) -> None:
    assert "</html>" in page.page({**record, "cases": []})
