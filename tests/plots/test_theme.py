"""InterimAnalyses of configurations, and SVG that can stand in a page."""

from __future__ import annotations

import re

from plots.theme import DISTINCT, PALETTE, figure, line_styles, style, to_svg


def test_a_configuration_looks_the_same_in_every_sweep() -> None:
    one, two = "abc", "dce"
    both = line_styles([one, two])
    assert {k: both[k] for k in "abc"} == line_styles([one])
    assert len({both[k] for k in "cde"}) == 3


def test_thirty_two_configurations_look_different() -> None:
    ids = [f"c{i}" for i in range(40)]
    given = line_styles([ids])
    assert len({given[i] for i in ids[:DISTINCT]}) == DISTINCT == 32
    assert len({given[i].color for i in ids[:8]}) == 8
    assert set(given) == set(ids)


def drawn() -> str:
    with style():
        made = figure(300, 200)
        axes = made.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.plot([0, 1, 2, 3], [1, 3, 2, 4], color=PALETTE[0][0])
        axes.fill([0, 1, 2], [1, 2, 1], color=PALETTE[1][0], alpha=0.2)
        axes.set_title("a < b & $x$")
        return to_svg(made)


def test_svg_has_no_ids_references_or_fixed_colours() -> None:
    svg = drawn()
    assert svg.startswith("<svg viewBox=")
    assert not re.search(r"\bid=|href|url\(|https?:|<style|<metadata|#[0-9a-f]{6}", svg)
    assert "var(--c0)" in svg
    assert "var(--c1)" in svg


def test_text_in_a_figure_is_escaped_and_never_read_as_mathematics() -> None:
    assert "a &lt; b &amp; $x$" in drawn()


def test_rounding_spares_text_and_opacity() -> None:
    with style():
        made = figure(300, 200)
        axes = made.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.set_yticks([0.125, 0.375])
        axes.fill([0, 1, 2], [0.1, 0.3, 0.5], color=PALETTE[1][0], alpha=0.16)
        svg = to_svg(made)
    assert ">0.125<" in svg
    assert "opacity:0.16" in svg


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert drawn() == drawn()


def test_paths_keep_their_corners_to_a_tenth() -> None:
    with style():
        made = figure(96, 96)
        axes = made.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, 72), ylim=(0, 72))
        axes.plot([1.23, 30.11, 30.11, 71], [2, 40.04, 40.04, 5.5], color=PALETTE[0][0])
        (path,) = re.findall(r'd="([^"]*)" style="fill:none;stroke:var\(--c0\)', to_svg(made))
    # y runs downwards: 72 - 2 = 70, 72 - 40.04 = 32; the doubled corner is dropped
    assert path == "M1.2 70l28.9-38 40.9 34.5"
