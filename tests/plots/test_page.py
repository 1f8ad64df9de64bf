"""The report in a browser: every interaction, wide and narrow, by keyboard alone, without scripts, audited."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from aggregate.analysis.summary import Summary, summarise
from plots import figures, flag_cards
from plots.report import write_report

Visit = Callable[..., Any]
PLANNER = "#sweep-1-fig-eval_return_planner"
LOG_STD = "#sweep-1-fig-log_std .picture"


def wide(page: Any) -> Any:
    """The overview of the evaluation return, in sight."""
    picture = page.locator(f"{PLANNER} .wide .picture")
    picture.scroll_into_view_if_needed()
    return picture


def drawn(picture: Any, kind: str = "mean") -> Any:
    """Curves of a kind in the picture as the script drew it."""
    return picture.locator(f".drawn path.{kind}")


def chip(page: Any, letter: str) -> Any:
    return page.locator(".legend button").nth(ord(letter) - ord("A"))


def choose(page: Any, title: str, value: str) -> None:
    page.get_by_role("combobox", name=title).select_option(value)


# --- what is shown --------------------------------------------------------------------------------------


def test_a_configuration_that_is_switched_off_leaves_figures_and_tables(visit: Visit, report: Path) -> None:
    page = visit(report)
    picture = wide(page)
    assert drawn(picture).count() == 0  # the still picture is shown
    chip(page, "B").click()
    drawn(picture).first.wait_for(state="attached")
    assert drawn(picture).count() == 2
    assert page.locator("tr[data-c='1']:visible").count() == 0
    assert page.locator("tr[data-c='0']:visible").count() > 2
    assert page.locator(".status").inner_text().startswith("1 of 3 configurations hidden")
    chip(page, "B").click()
    picture.locator(".drawn").wait_for(state="detached")
    assert picture.locator("svg").first.is_visible()
    page.get_by_role("button", name="None", exact=True).click()
    picture.locator("text=nothing to draw").wait_for()
    page.get_by_role("button", name="Best, baseline").click()
    drawn(picture).first.wait_for(state="attached")
    page.get_by_role("button", name="All", exact=True).click()
    picture.locator(".drawn").wait_for(state="detached")


def test_configurations_are_filtered_by_a_factor(visit: Visit, report: Path) -> None:
    page = visit(report)
    choose(page, "num_q", "=2")
    assert [chip(page, letter).get_attribute("aria-pressed") for letter in "ABC"] == ["false", "false", "true"]
    drawn(wide(page)).first.wait_for(state="attached")
    assert drawn(wide(page)).count() == 1


def test_seeds_are_drawn_on_request(visit: Visit, report: Path) -> None:
    page = visit(report)
    picture = wide(page)
    choose(page, "Seeds", "on")
    drawn(picture, "seed").first.wait_for(state="attached")
    assert drawn(picture, "seed").count() == 9
    choose(page, "Seeds", "off")
    drawn(picture, "seed").first.wait_for(state="detached")
    facet = page.locator("figure[data-c='0'] .picture").first
    facet.scroll_into_view_if_needed()
    drawn(facet).wait_for(state="attached")
    assert drawn(facet, "seed").count() == 0


def test_smoothing_leaves_the_raw_curve(visit: Visit, report: Path) -> None:
    page = visit(report)
    picture = wide(page)
    page.get_by_role("slider", name="Smoothing").fill("20")
    drawn(picture, "raw").first.wait_for(state="attached")
    raw, mean = (drawn(picture, kind).first.get_attribute("d") for kind in ("raw", "mean"))
    assert raw.count("L") == mean.count("L") == 19
    assert raw != mean


def test_a_logarithmic_scale_where_values_allow_it(visit: Visit, report: Path) -> None:
    page = visit(report)
    choose(page, "Scale", "log")
    texts = [t.text_content() for t in wait_drawn(wide(page)).locator("text").all()]
    assert {"100", "200", "500"} <= set(texts)
    page.locator(LOG_STD).scroll_into_view_if_needed()
    assert wait_drawn(page.locator(LOG_STD)).get_by_text("not above zero").count() == 1


def wait_drawn(picture: Any) -> Any:
    picture.locator(".drawn").wait_for(state="attached")
    return picture.locator(".drawn")


# --- values ---------------------------------------------------------------------------------------------


def test_the_cursor_reads_off_what_was_computed(visit: Visit, report: Path, summary: Summary) -> None:
    page = visit(report)
    picture = wide(page)
    box = picture.bounding_box()
    left, _, right, _ = view_of(picture)["rect"]
    middle = box["width"] * ((left + right) / 2) / view_of(picture)["box"][0]
    picture.hover(position={"x": middle, "y": box["height"] / 2})
    readout = picture.locator(".readout")
    readout.wait_for()
    cells = {row[0].split()[0]: row[1:] for row in (line.split("\t") for line in readout.inner_text().splitlines()[1:])}
    curves = summary.sweeps[0].curves
    for letter, config_id in zip("ABC", (c.config_id for c in summary.sweeps[0].source.configs), strict=True):
        (line,) = curves[
            (curves["config_id"] == config_id)
            & (curves["metric"] == "eval_return_planner")
            & (curves["step"] == 10_000)
        ].to_dict("records")
        value, rest = cells[letter]
        assert value == f"{line['mean']:.0f}"
        assert rest.strip() == f"[{line['low']:.0f}, {line['high']:.0f}] n=3".replace("-", "−")
    assert readout.inner_text().startswith("step 10,000")


def view_of(picture: Any) -> dict[str, Any]:
    return dict(picture.evaluate("picture => JSON.parse(picture.dataset.view)"))


def test_one_cursor_stands_in_all_pictures(visit: Visit, report: Path) -> None:
    page = visit(report)
    page.locator(LOG_STD).scroll_into_view_if_needed()
    page.locator(LOG_STD).hover()
    page.locator(f"{LOG_STD} .readout").wait_for()
    places = page.locator(".grid .picture .cursor path").evaluate_all(
        "lines => lines.map(line => line.getAttribute('d'))"
    )
    assert len(places) > 3
    assert len({re.match(r"M([\d.]+)", place)[1] for place in places}) == 1
    assert page.locator(".readout").count() == 1
    page.mouse.move(0, 0)
    page.locator(".cursor").first.wait_for(state="detached")


def test_figures_are_saved_as_csv(visit: Visit, report: Path, summary: Summary) -> None:
    page = visit(report)
    with page.expect_download() as download:
        page.locator(f"{PLANNER} button.csv").click()
    assert download.value.suggested_filename == "ensemble-eval_return_planner.csv"
    lines = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    curves = summary.sweeps[0].curves
    known = curves[curves["metric"] == "eval_return_planner"].sort_values(["config_id", "step"])
    assert [float(line["mean"]) for line in lines] == pytest.approx(known["mean"].tolist(), rel=1e-3)
    assert [int(line["n"]) for line in lines] == known["n"].tolist()
    assert lines[0]["label"] == summary.sweeps[0].source.configs[0].label
    assert set(lines[0]) >= {"seed 1", "seed 2", "seed 3"}


def zoom(page: Any, picture: Any, first: float, last: float) -> None:
    """Drags from one share of the width of the axes to another."""
    box, view = picture.bounding_box(), view_of(picture)
    left, _, right, _ = view["rect"]
    at = [box["x"] + box["width"] * (left + share * (right - left)) / view["box"][0] for share in (first, last)]
    y = box["y"] + box["height"] / 2
    page.mouse.move(at[0], y)
    page.mouse.down()
    page.mouse.move(sum(at) / 2, y)
    page.mouse.move(at[1], y)
    page.mouse.up()


def test_dragging_zooms_all_figures_and_the_address_keeps_it(visit: Visit, report: Path) -> None:
    page = visit(report)
    picture = wide(page)
    zoom(page, picture, 0.25, 0.75)
    wait_drawn(picture)
    status = page.locator(".status")
    first, last = (int(n.replace(",", "")) for n in re.findall(r"[\d,]+", status.inner_text()))
    assert first == pytest.approx(5_000, abs=60)
    assert last == pytest.approx(15_000, abs=60)
    texts = {text.text_content() for text in picture.locator(".drawn text").all()}
    assert "10k" in texts
    assert "20k" not in texts
    other = page.locator("#sweep-1-fig-log_std .picture").first
    other.scroll_into_view_if_needed()
    assert "20k" not in {text.text_content() for text in wait_drawn(other).locator("text").all()}
    choose(page, "Seeds", "on")
    page.locator(".legend button").first.click()
    address = page.url
    assert "sweep-1=off:0,seeds:on,zoom:" in address
    again = visit(report, address.partition("report.html")[2])
    assert again.locator(".status").inner_text() == status.inner_text()
    assert again.get_by_role("combobox", name="Seeds").input_value() == "on"
    assert chip(again, "A").get_attribute("aria-pressed") == "false"
    again.get_by_role("button", name="All steps").click()
    assert "zoom" not in again.url
    wide(again).dblclick()
    assert again.get_by_role("button", name="All steps").is_hidden()


@pytest.mark.parametrize("choices", ["off:9.x.-1,zoom:5-1", "zoom:0-99999999,scale:odd,seeds:", "%3Cb%3E", "off:"])
def test_an_address_that_is_not_understood_changes_nothing(visit: Visit, report: Path, choices: str) -> None:
    page = visit(report, f"?sweep-1={choices}")
    wide(page)
    assert page.locator(".status").inner_text() == ""
    assert page.locator(".drawn").count() == 0


def test_keys_zoom_at_the_cursor(visit: Visit, report: Path) -> None:
    page = visit(report)
    picture = wide(page)
    picture.focus()
    picture.press("Home")
    picture.press("+")
    assert "Steps 0 to 10,000." in page.locator(".status").inner_text()
    picture.press("+")
    assert "Steps 0 to 5,000." in page.locator(".status").inner_text()
    picture.press("-")
    assert "Steps 0 to 10,000." in page.locator(".status").inner_text()
    picture.press("0")
    assert page.locator(".status").inner_text() == ""


def test_a_name_in_the_legend_lights_its_curve(visit: Visit, report: Path) -> None:
    page = visit(report)
    picture = wide(page)
    chip(page, "B").hover()
    wait_drawn(picture)
    opacities = [drawn(picture).nth(i).get_attribute("opacity") for i in range(3)]
    assert opacities == ["0.25", "1", "0.25"]
    assert drawn(picture, "band").get_attribute("opacity") == "0.25"
    page.mouse.move(5, 5)
    picture.locator(".drawn").wait_for(state="detached")


def test_a_figure_is_enlarged_and_closed_by_keyboard(visit: Visit, report: Path) -> None:
    page = visit(report)
    page.locator("#sweep-1-fig-log_std").get_by_role("button", name="Enlarge").click()
    dialog = page.get_by_role("dialog")
    wait_drawn(dialog)
    assert drawn(dialog).count() == 3
    assert dialog.bounding_box()["width"] > 1000
    picture = dialog.locator(".picture")
    picture.hover()
    dialog.locator(".readout").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    chip(page, "A").click()  # the figure that is gone is not drawn any more


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_are_saved_as_svg_and_png(visit: Visit, report: Path, tmp_path: Path, scheme: str) -> None:
    """The SVG stands alone: its colours are in it. Of the still figure, and of one that the script drew."""
    page = visit(report, color_scheme=scheme)
    buttons = page.locator(PLANNER)
    for changed in (False, True):
        if changed:
            chip(page, "C").click()
            wait_drawn(wide(page))
        with page.expect_download() as svg:
            buttons.get_by_role("button", name=re.compile("^SVG")).first.click()
        with page.expect_download() as png:
            buttons.get_by_role("button", name=re.compile("^PNG")).first.click()
        assert svg.value.suggested_filename == "ensemble-eval_return_planner.svg"
        text = Path(svg.value.path()).read_text()
        root = ElementTree.fromstring(text)
        assert (root.tag, root.get("width")) == ("{http://www.w3.org/2000/svg}svg", str(view_of(wide(page))["box"][0]))
        used, given = set(re.findall(r"var\((--[\w-]+)\)", text)), set(re.findall(r"(--[\w-]+):\s*#", text))
        assert used <= given
        image = plt.imread(png.value.path())
        assert image.shape[1] == pytest.approx(3 * view_of(wide(page))["box"][0], abs=1)
        assert (image[2, 2, :3].mean() > 0.9) == (scheme == "light")  # the background is that of the page
        assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 50


def test_the_navigation_stays_in_sight(visit: Visit, report: Path) -> None:
    page = visit(report)
    page.locator("#sweep-1-data").scroll_into_view_if_needed()
    assert page.locator("article nav").bounding_box()["y"] == 0
    page.locator("article nav").get_by_role("link", name="Flags").click()
    nav, heading = page.locator("article nav").bounding_box(), page.locator("#sweep-1-flags").bounding_box()
    assert heading["y"] >= nav["y"] + nav["height"]


def test_tables_are_sorted_by_their_headings(visit: Visit, report: Path) -> None:
    page = visit(report)
    table = page.locator("table.ranking")
    heading = table.locator("th", has_text="Final return")

    def order() -> list[str]:
        return table.locator("tbody tr .chip > b").all_inner_texts()

    ranked = order()
    heading.locator("button").click()
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert order() == ranked[::-1]
    table.locator("th", has_text="Configuration").locator("button").click()
    assert order() == ["C", "B", "A"]
    assert heading.get_attribute("aria-sort") is None
    for _ in range(2):
        table.locator("th", has_text="Configuration").locator("button").click()
    assert order() == ranked


# --- links ----------------------------------------------------------------------------------------------


def test_a_cell_of_the_flags_leads_to_its_curve_and_numbers(visit: Visit, report: Path) -> None:
    page = visit(report)
    page.locator("table.flags tr[data-c='2'] a", has_text="2/2").first.click()
    card = page.locator(".card:target")
    assert card.is_visible()
    assert "0000000002-evaluation_collapse" in page.url
    assert card.locator("svg").get_by_text("▼").count() == 2  # the still picture
    assert "return points gained lost at the end" in card.locator("tbody").inner_text()
    assert card.evaluate("card => card === document.activeElement")
    page.get_by_role("slider", name="Smoothing").fill("10")
    assert wait_drawn(card.locator(".picture")).locator("path.onset").count() == 2


def test_a_link_to_a_run_marks_it(visit: Visit, report: Path) -> None:
    page = visit(report, "#sweep-1-run-0000000002-3")
    picture = page.locator(f"{PLANNER} .wide .picture")
    drawn(picture, "marked").wait_for(state="attached")
    assert drawn(picture, "marked").count() == 1
    assert "Marked: C, seed 3" in page.locator(".status").inner_text()
    page.get_by_role("button", name="Unmark").click()
    picture.scroll_into_view_if_needed()
    picture.locator(".drawn").wait_for(state="detached")
    assert "#" not in page.url
    chip(page, "C").click()
    page.locator("#sweep-1-run-0000000001-2 a").click()
    picture.scroll_into_view_if_needed()
    drawn(picture, "marked").wait_for(state="attached")
    assert "Marked: B, seed 2" in page.locator(".status").inner_text()


# --- looks ----------------------------------------------------------------------------------------------


def test_the_theme_is_switched(visit: Visit, report: Path) -> None:
    page = visit(report, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Theme").click()
    light = page.evaluate(background)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)")
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate(background) == dark
    page.emulate_media(media="print")
    assert page.evaluate(background) == light
    assert not page.locator(".controls").is_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(visit: Visit, report: Path, width: int) -> None:
    page = visit(report, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(f"{PLANNER} .{'narrow' if width < 640 else 'wide'}").is_visible()
    chip(page, "A").click()
    page.locator(f"{PLANNER} .picture:visible").scroll_into_view_if_needed()
    wait_drawn(page.locator(f"{PLANNER} .picture:visible"))


def test_a_finger_reads_values_off_a_narrow_page(visit: Visit, report: Path) -> None:
    page = visit(report, width=390, has_touch=True)
    picture = page.locator(f"{PLANNER} .narrow .picture")
    picture.scroll_into_view_if_needed()
    picture.tap()
    picture.locator(".cursor").wait_for()


# --- for everyone ---------------------------------------------------------------------------------------


def test_everything_is_reached_by_keyboard(visit: Visit, report: Path) -> None:
    page = visit(report)
    page.locator(".legend button").first.focus()
    page.keyboard.press("Space")
    assert chip(page, "A").get_attribute("aria-pressed") == "false"
    page.keyboard.press("Space")
    page.locator(f"{PLANNER} .png").focus()
    page.keyboard.press("Tab")
    picture = page.locator(f"{PLANNER} .wide .picture")
    assert picture.evaluate("picture => picture === document.activeElement")
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowRight")
    picture.locator(".readout").wait_for()
    assert picture.get_attribute("aria-valuenow") == "2200"
    text = picture.get_attribute("aria-valuetext")
    assert text.startswith("step 2,000: ")
    assert sorted(re.findall(r"\b([ABC]) \d+", text)) == ["A", "B", "C"]
    page.keyboard.press("Escape")
    picture.locator(".cursor").wait_for(state="detached")


def test_arrows_lead_from_picture_to_picture(visit: Visit, report: Path) -> None:
    page = visit(report)
    names = "document.activeElement.closest('figure').id"
    page.locator(LOG_STD).focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(names) == "sweep-1-fig-policy_entropy"
    page.keyboard.press("ArrowUp")
    assert page.evaluate(names) == "sweep-1-fig-log_std"
    stops = page.locator(".grid").filter(has=page.locator(LOG_STD)).locator(".picture[tabindex='0']")
    assert stops.count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_an_audit_finds_nothing_serious(visit: Visit, report: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(report, width=width, color_scheme=scheme, bypass_csp=True)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    chip(page, "B").click()
    page.locator(f"{PLANNER} .picture:visible").scroll_into_view_if_needed()
    wait_drawn(page.locator(f"{PLANNER} .picture:visible"))
    # Only violations are listed, which spares the selectors of thousands of parts that pass.
    violations = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    severe = [(v["id"], v["nodes"][0]["html"][:150]) for v in violations if v["impact"] in ("serious", "critical")]
    assert severe == []


def test_a_print_of_several_sweeps_has_their_summaries_alone(
    visit: Visit, report: Path, tmp_path: Path, synthetic: ModuleType
) -> None:
    sweeps = [synthetic.make_sweep(tmp_path / name, (600.0, 500.0), 2, name=name, lean=True) for name in ("a", "b")]
    write_report(summarise(sweeps), tmp_path / "report.html")
    for path, is_whole in ((report, True), (tmp_path / "report.html", False)):
        page = visit(path)
        assert not page.locator(".printed").locator("visible=true").count()
        page.emulate_media(media="print")
        for part in ("ranking", "returns", "flags", "health"):
            assert page.locator(f"section[aria-labelledby='sweep-1-{part}']").is_visible(), part
        for part in ("diagnostics", "data", "keys"):
            assert page.locator(f"section[aria-labelledby='sweep-1-{part}']").is_visible() == is_whole, part
        assert page.locator(".printed").locator("visible=true").count() == (not is_whole)


# --- without scripts ------------------------------------------------------------------------------------


def test_without_scripts_the_page_is_whole(visit: Visit, report: Path, summary: Summary) -> None:
    page = visit(report, java_script_enabled=False)
    assert page.locator(".controls, button, select").count() == 0
    assert page.locator(f"{PLANNER} .wide svg").is_visible()
    assert page.locator(".legend .chip").first.is_visible()
    page.locator("table.flags tr[data-c='1'] a").first.click()
    assert page.locator(".card:target").is_visible()
    with page.expect_download() as download:
        page.locator("#sweep-1-curves-eval-csv").click()
    text = gzip.decompress(Path(download.value.path()).read_bytes()).decode()
    lines = list(csv.DictReader(io.StringIO(text)))
    known = summary.sweeps[0].seeds["eval"]
    assert [float(line["eval_return_planner"]) for line in lines] == pytest.approx(
        known["eval_return_planner"].tolist(), rel=1e-3
    )


# --- odd sweeps -----------------------------------------------------------------------------------------

EVIL = '<script>alert("x")</script>"><img src=x onerror=y> =1+1 $z$ {{ 7*7 }} \u202e' + "long " * 40


@pytest.mark.parametrize(
    ("finals", "seeds", "options"),
    [
        ((600.0,), 1, {}),
        ((600.0, 500.0), 2, {"states": {(c, s): "running" for c in (0, 1) for s in (1, 2)}}),
        ((600.0, 500.0), 2, {"name": EVIL, "labels": (EVIL, EVIL + "2")}),
    ],
    ids=["one run", "nothing finished", "evil names"],
)
def test_odd_sweeps_open_and_answer(
    visit: Visit, tmp_path: Path, synthetic: ModuleType, finals: tuple[float, ...], seeds: int, options: dict[str, Any]
) -> None:
    sweep = synthetic.make_sweep(tmp_path, finals, seeds, lean=True, **options)
    write_report(summarise([sweep]), tmp_path / "report.html")
    page = visit(tmp_path / "report.html", width=390)
    choose(page, "Scale", "log")
    picture = page.locator(f"{PLANNER} .narrow .picture")
    picture.scroll_into_view_if_needed()
    assert drawn(wait_drawn_in(picture)).count() == len(finals)
    picture.hover()
    picture.locator(".readout").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def wait_drawn_in(picture: Any) -> Any:
    wait_drawn(picture)
    return picture


def test_of_more_configurations_than_look_different_the_leading_ones_are_drawn(
    visit: Visit, tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "DISTINCT", 3)
    monkeypatch.setattr(figures, "MOST_DRAWN", 2)
    monkeypatch.setattr(flag_cards, "MOST_PICTURES", 1)
    special = {3: {"oscillate": True}, 4: {"oscillate": True}}
    sweep = synthetic.make_sweep(tmp_path, (100.0, 500.0, 600.0, 300.0, 200.0), 1, lean=True, special=special)
    write_report(summarise([sweep]), tmp_path / "report.html")
    page = visit(tmp_path / "report.html")
    assert page.locator(".legend button b").all_inner_texts() == ["A", "B", "C"]  # the baseline, and two that lead
    assert page.locator("table.ranking tbody tr").count() == 5
    # one that is not drawn, whose flag was not drawn beforehand: by the script, from its own curve
    page.locator("table.flags tr[data-c='4'] a").last.click()
    card = page.locator(".card:target")
    assert wait_drawn(card.locator(".picture")).locator("path.onset").count() == 1
    choose(page, "num_q", "=3")
    assert page.locator("table.ranking tbody tr:visible").count() == 1
