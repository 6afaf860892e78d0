"""Charts: well-formed, complete, and deaf to hostile text."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.documents import HOSTILE
from vmaf_assay.report.plots import Axis, Chart, Point, ticks


def drawn(text: str, **axes) -> ET.Element:
    """A chart of two series with `text` wherever text can be, parsed."""
    xs, ys = [1.0, 2.0, 3.0], [10.0, 100.0, 1000.0]
    chart = Chart("c", text, text, Axis(text, xs), Axis(text, ys, **axes))
    chart.band(xs, [y / 2 for y in ys], ys)
    chart.line(xs, ys, name=text, dashed=True)
    chart.rule(x=2.0, label=text)
    chart.rule(y=50.0, label=text)
    chart.diagonal()
    chart.points([Point(x, y, text) for x, y in zip(xs, ys, strict=True)], series=1, name=f"{text}2", large=True)
    return ET.fromstring(f"<div>{chart.svg()}</div>")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text):
    """Whatever a name holds, the picture is well-formed, has no new element, and says the name as it is."""
    tree, plain = drawn(text), drawn("plain")
    assert [element.tag for element in tree.iter()] == [element.tag for element in plain.iter()]
    assert [element.attrib.keys() for element in tree.iter()] == [
        element.attrib.keys() for element in plain.iter()
    ]
    assert tree.find("svg/title").text == text
    assert {mark.get("data-tip") for mark in tree.findall("svg/path")} == {text}


def test_every_point_is_inside():
    """Marks lie within the axes, on a linear and on a logarithmic scale."""
    for scale in ("linear", "log"):
        tree = drawn("t", scale=scale)
        for mark in tree.findall("svg/path"):
            x, y = map(float, mark.get("d").split("v")[0].split("h")[0].removeprefix("M").split(","))
            assert 0 < x < 680
            assert 0 < y < 330


def test_a_log_axis_spaces_factors_evenly():
    """10, 100 and 1000 are equally far apart."""
    ys = [float(m.get("d").split("h")[0].split(",")[1]) for m in drawn("t", scale="log").findall("svg/path")]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low, width):
    """Between any two ends there are two to twelve ticks, ascending, none outside."""
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 12
    assert found == sorted(found)
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)


def test_equal_values_still_make_an_axis():
    """A series of one value, or of none that is finite, is drawn and not divided by zero."""
    for values in ([5.0, 5.0], [float("nan")], []):
        low, high = Axis("x", values).ends()
        assert low < high
