"""The page: whole, harmless, small, the same every time, whatever the runs look like."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aggregate.analysis.summary import Summary, summarise
from aggregate.verdict.leader import leaderboard
from aggregate.verdict.number_format import estimate
from aggregate.verdict.verdict import Verdict, verdict
from plots import overview
from plots.report import render, write_report
from sweepwise.core.atomic import OutputError
from sweepwise.core.errors import AggregateError

VOID = {"meta", "link", "line", "circle", "path", "br"}


class Page(html.parser.HTMLParser):
    """Checks that tags close in order and collects what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = dict(attrs)
        self.scripts += [named.get("type")] if tag == "script" else []
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [value or "" for key, value in attrs if key in ("href", "src", "xlink:href")]
        self.links += [target for _, value in attrs for target in re.findall(r"url\(([^)]*)", value or "")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(text: str) -> Page:
    page = Page(text)
    assert page.open == []
    assert page.scripts == [*["application/json"] * text.count("<article"), None]  # data, then our own, by its hash
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith("data:") or link.removeprefix("#") in page.ids
    assert not re.search(r"https?://|@import|\bnan\b", text)
    return page


@pytest.fixture(scope="module")
def typical(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> Summary:
    sweep = synthetic.make_sweep(tmp_path_factory.mktemp("runs"), (600.0, 500.0), 3, states={(1, 2): "failed"})
    return summarise([sweep])


@pytest.fixture(scope="module")
def text(typical: Summary) -> str:
    return render(typical)


def test_a_typical_report_is_whole_and_offline(text: str) -> None:
    check(text)
    for words in ("is best, with a final return", "Evaluation with planning", "Evaluation of the policy without MPC",
                  "Training episodes", "World model", "pi_loss", "encoder frozen", "quadruped-walk",
                  "5 done, 1 failed", "random actions"):  # fmt: skip
        assert words in text


def test_final_return_and_area_have_a_dot_for_each_seed_that_finished(text: str) -> None:
    for name in ("ranking", "scores"):
        table = text.partition(f'<table class="{name}">')[2].partition("</table>")[0]
        assert [row.count("<circle") for row in table.split("<tr")[2:]] == [3, 2]


def test_the_same_shards_give_the_same_bytes(typical: Summary, text: str, tmp_path: Path) -> None:
    again = summarise([sweep.source for sweep in typical.sweeps])
    write_report(again, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == text.encode()


def test_names_with_markup_are_harmless(tmp_path: Path, synthetic: ModuleType) -> None:
    evil = '<script>alert("x")</script>'
    labels = (evil, '"><img src=x onerror=y> $z$ {{ 7*7 }}')
    sweep = synthetic.make_sweep(tmp_path, (600.0, 500.0), 2, name=evil, labels=labels, lean=True)
    (sweep.configs[0].runs[0].folder / "metrics" / "<b>bad.txt").write_text("")
    text = render(summarise([sweep]))
    page = check(text)
    assert not page.tags & {"img", "b>bad.txt"}
    assert "&lt;script&gt;" in text
    assert "{{ 7*7 }}" in text


@pytest.mark.parametrize(
    ("finals", "seeds", "options", "words"),
    [
        ((600.0,), 1, {}, "reaches a final return of"),
        ((600.0, 500.0), 1, {}, "needs at least two finished seeds"),
        ((600.0, 500.0), 2, {"states": {(c, s): "running" for c in (0, 1) for s in (1, 2)}}, "No run has finished yet"),
        ((600.0, 500.0), 2, {"states": {(1, 1): "pending", (1, 2): "new"}}, "2 of 4 runs have no final return"),
        (tuple(300.0 + 20 * i for i in range(12)), 1, {}, "<b>L</b>"),
        ((600.0,), 2, {"total": 2000, "points": 3, "evaluations": 1}, "final return"),
        ((600.0,), 2, {"special": {0: {"collapse": True, "oscillate": True}}}, "log_std oscillates, 2 of 2 seeds"),
    ],
)
def test_odd_sweeps(
    tmp_path: Path, synthetic: ModuleType, finals: tuple[float, ...], seeds: int, options: dict[str, Any], words: str
) -> None:
    text = render(summarise([synthetic.make_sweep(tmp_path, finals, seeds, lean=True, **options)]))
    check(text)
    assert words in text


def test_several_sweeps_share_a_page(tmp_path: Path, synthetic: ModuleType) -> None:
    one = synthetic.make_sweep(tmp_path, (600.0, 500.0), 1, lean=True)
    two = synthetic.make_sweep(tmp_path, (600.0,), 1, name="entropy", lean=True)
    text = render(summarise([one, two]))
    assert {"#sweep-1", "#sweep-2", "#methods"} <= set(check(text).links)
    first = text.partition('<table class="overview">')[2].partition("</section>")[0]
    answer = "<dd>Not answered: needs at least two finished seeds[^\n]*?</dd>"
    assert re.search(rf">Which ensemble\?</dt>{answer}{answer}\n", first)
    assert "<summary>Not answered: 1 question</summary>" in first
    assert first.count("<tr>") == 3


def test_a_configuration_whose_seeds_were_not_made_alike_is_marked(tmp_path: Path, synthetic: ModuleType) -> None:
    other = {"origin": lambda seed: {"code": "c0ffee", "device": "cuda: H100" if seed == 3 else "cuda: A100"}}
    alike = {"origin": lambda seed: {"code": "c0ffee", "device": "cuda: A100"}}
    sweep = synthetic.make_sweep(tmp_path, lean=True, special={0: alike, 1: other})
    text = render(summarise([sweep]))
    assert "† B: its seeds mix 2 kinds of device (cuda: A100: 1, 2; cuda: H100: 3)" in text
    assert "† A:" not in text
    assert "The runs come from 2 kinds of device: differences may too." in text
    assert "† mixed" not in render(summarise([synthetic.make_sweep(tmp_path / "alike", lean=True, **alike)]))


def test_files_set_aside_are_listed(tmp_path: Path, synthetic: ModuleType) -> None:
    sweep = synthetic.make_sweep(tmp_path, (600.0,), 1, lean=True)
    (sweep.configs[0].runs[0].folder / "metrics" / "a001-p00009.parquet").write_bytes(b"")
    text = render(summarise([sweep]))
    assert "Files set aside</h3>" in text
    assert "a001-p00009.parquet" in text
    assert "1 bad file<" in text


def test_forty_eight_runs_stay_within_three_megabytes(tmp_path: Path, synthetic: ModuleType) -> None:
    finals = tuple(300.0 + 40 * i for i in range(8))
    sweep = synthetic.make_sweep(tmp_path, finals, 6, total=100_000, points=200, evaluations=40)
    text = render(summarise([sweep]))
    assert len(text.encode()) < 3_000_000


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, synthetic: ModuleType) -> None:
    summary = summarise([synthetic.make_sweep(tmp_path / "runs", (600.0,), 1, lean=True)])
    with pytest.raises(OutputError, match="this is a folder"):
        write_report(summary, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(AggregateError, match="choose a place you may write to") as caught:
        write_report(summary, tmp_path / "file" / "report.html")
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "runs"]


@pytest.mark.parametrize(
    ("text", "command", "rest"),
    [
        ("sweeps more ensemble: 7 more seeds", "sweeps more ensemble", "7 more seeds"),
        ("sweeps adopt a --from-verdict, then `sweeps next`", "sweeps adopt a --from-verdict", "then `sweeps next`"),
        ("sweeps rerun a --failed --missing", "sweeps rerun a --failed --missing", ""),
        ("More than 60 seeds: take either value.", "", "More than 60 seeds: take either value."),
        ("", "", ""),
    ],
)  # fmt: skip
def test_the_next_command_stands_apart_from_its_reason(text: str, command: str, rest: str) -> None:
    assert overview.next_step(Verdict("", (), (("Next", text),) if text else ())) == (command, rest)


def test_a_line_of_the_table_of_all_sweeps_says_what_the_section_says(tmp_path: Path, synthetic: ModuleType) -> None:
    (sweep,) = summarise([synthetic.make_sweep(tmp_path / "a", (600.0, 700.0), 4, lean=True)]).sweeps
    line, board = overview.sweep_line(sweep, verdict(sweep)), leaderboard(sweep)
    assert line["best"] == board.leader.label == "num_q=2, reduce=min"
    assert f"with a final return of {line['mean']};" in verdict(sweep).headline
    assert line["mean"].endswith("], n=4")
    difference = sweep.baseline.set_index("config_id").loc[board.leader.config_id]
    assert line["over_baseline"] == f"+{estimate(difference['difference'], difference['low'], difference['high'])}"
    assert [line[name] for name in ("ties", "unstable", "missing")] == ["0 of 1", "0 of 8", "0"]
    assert line["next"].command == "sweeps adopt ensemble --from-verdict"


def test_without_a_baseline_nothing_is_compared_with_it(tmp_path: Path, synthetic: ModuleType) -> None:
    made = synthetic.make_sweep(tmp_path, (600.0, 610.0), 3, lean=True)
    without = dataclasses.replace(made, configs=tuple(dataclasses.replace(c, is_baseline=False) for c in made.configs))
    alone, compared = (
        render(summarise([sweep])).partition('<h2 id="sweep-1-contrasts">')[2].partition("</section>")[0]
        for sweep in (without, made)
    )
    assert alone.startswith("Collapses and expected results</h2>")
    assert "baseline" not in alone
    assert (alone.count("<table"), compared.count("<table")) == (1, 2)
    assert compared.startswith("Contrasts with the baseline</h2>")
    contrasts, outcomes = (part.partition("</table>")[0] for part in compared.split("<table")[1:])
    assert (contrasts.count("<tr"), outcomes.count("<tr")) == (2, 3)  # the baseline is not compared with itself


def test_bars_of_the_ranking_show_whole_intervals_or_an_arrow(tmp_path: Path, synthetic: ModuleType) -> None:
    """Of six seeds intervals lie inside the strip; of two, which reach far beyond the seeds, an arrow says so."""
    for seeds, cut in ((6, False), (2, True)):
        (sweep,) = summarise([synthetic.make_sweep(tmp_path / str(seeds), (600.0, 610.0), seeds, lean=True)]).sweeps
        text = render(summarise([sweep.source]))
        table = text.partition('<table class="ranking">')[2].partition("</table>")[0]
        bars = [float(end) for bar in re.findall(r'class="bar" x1="([\d.]+)%" x2="([\d.]+)%"', table) for end in bar]
        assert len(bars) == 4
        assert (any(end in (0, 100) for end in bars)) == cut
        assert ('class="cut"' in table) == cut == ("arrow: the interval reaches beyond the range shown" in text)


def varied(
    root: Path, synthetic: ModuleType, name: str, key: str, values: tuple[Any, ...], *finals: float, **options: Any
) -> Any:
    """A sweep of `key` with a final return for each value; the first value is the baseline's."""
    labels = tuple(f"{key}={value}" for value in values)
    sweep = synthetic.make_sweep(root / name, finals, 4, name=name, labels=labels, lean=True, **options)
    configs = [
        dataclasses.replace(config, config_id=f"{name[0]}{config.config_id[1:]}", factors={key: value})
        for config, value in zip(sweep.configs, values, strict=True)
    ]
    configs = [
        dataclasses.replace(
            config, runs=tuple(dataclasses.replace(run, config_id=config.config_id) for run in config.runs)
        )
        for config in configs
    ]
    return dataclasses.replace(sweep, factors=(key,), configs=tuple(configs))


def test_several_sweeps_recommend_one_configuration(tmp_path: Path, synthetic: ModuleType) -> None:
    made = [
        varied(tmp_path, synthetic, "ensemble", "num_q", (2, 1), 500.0, 700.0),
        varied(tmp_path, synthetic, "tau", "tau", (0.01, 0.1), 700.0, 400.0),
        varied(tmp_path, synthetic, "short", "pi_lr_scale", (0.3, 1.0), 600.0, 700.0, states={(1, 1): "running"}),
        varied(tmp_path, synthetic, "first", "pi_update_freq", (1, 2), 400.0, 700.0),
        varied(tmp_path, synthetic, "other", "pi_update_freq", (1, 4), 400.0, 700.0),
    ]
    summary = summarise(made)
    assert [tuple(row) for row in overview.recommended_rows(summary.sweeps)] == [
        ("num_q", "1", "2", "best in ensemble", True),
        ("tau", "0.01", "0.01", "best in tau", False),
        ("pi_lr_scale", "0.3", "0.3", "no best configuration yet in short", False),
        ("pi_update_freq", "1", "1",
         "first recommends 2, other recommends 4: the baseline's value is kept", False),
    ]  # fmt: skip
    text = render(summary)
    check(text)
    table = text.partition("<summary>Recommended configuration</summary>")[2].partition("</table>")[0]
    assert '<th scope="row">num_q</th><td class="lead">1</td><td>2</td>' in table
    assert overview.recommended_rows(summary.sweeps[:1]) == []
    assert overview.recommended_rows(summary.sweeps[2:3] * 2) == []  # nothing is decided
    of_two_tasks = dataclasses.replace(
        made[1],
        configs=tuple(dataclasses.replace(c, config={**c.config, "task": "walker-walk"}) for c in made[1].configs),
    )
    assert overview.recommended_rows(summarise([made[0], of_two_tasks]).sweeps) == []


def test_values_that_were_best_together_are_recommended_together_or_not_at_all(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    """`joint` is best with pi_lr_scale=0.3 at pi_update_freq=2; another sweep keeps pi_update_freq at 1."""
    joint = varied(tmp_path, synthetic, "joint", "pi_lr_scale", (1.0, 0.3), 400.0, 700.0)
    joint = dataclasses.replace(
        joint,
        factors=("pi_lr_scale", "pi_update_freq"),
        configs=tuple(
            dataclasses.replace(config, factors={**config.factors, "pi_update_freq": freq})
            for config, freq in zip(joint.configs, (1, 2), strict=True)
        ),
    )
    alone = varied(tmp_path, synthetic, "alone", "pi_update_freq", (1, 4), 700.0, 400.0)
    other = varied(tmp_path, synthetic, "other", "pi_lr_scale", (1.0, 0.3), 400.0, 700.0)
    sweeps = summarise([joint, alone]).sweeps
    assert [tuple(row) for row in overview.recommended_rows(sweeps)] == [
        ("pi_lr_scale", "1", "1", "joint recommends 0.3 together with a value of pi_update_freq on which another "
         "sweep differs: the baseline's value is kept", False),
        ("pi_update_freq", "1", "1", "joint recommends 2, alone recommends 1: the baseline's value is kept", False),
    ]  # fmt: skip
    rows = overview.recommended_rows(summarise([joint, alone, other]).sweeps)
    assert rows[0] == ("pi_lr_scale", "0.3", "1", "best in other", True)
    rows = overview.recommended_rows(summarise([joint, other]).sweeps)
    assert [row.value for row in rows] == ["0.3", "2"]


def test_the_page_of_several_sweeps_begins_with_totals_and_the_first_command(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    """A configuration of two sweeps counts once; failed runs are trained again before anything is adopted."""
    clear = synthetic.make_sweep(tmp_path / "clear", (500.0, 700.0), 4, name="clear", lean=True)
    again = dataclasses.replace(clear, name="again")
    failed = varied(tmp_path, synthetic, "failed", "tau", (0.01, 0.1), 700.0, 400.0, states={(1, 1): "failed"})
    text = render(summarise([clear, again, failed]))
    check(text)
    assert "3 sweeps, 4 configurations, 16 runs: 15 done, 1 failed" in text
    first = re.sub("<[^>]+>", "", text.partition("All sweeps</h1>")[2].partition("<table")[0])
    assert "Next sweeps rerun failed --failed for failed;" in first
    text = render(summarise([clear, again]))
    assert "2 sweeps, 2 configurations, 8 runs: 8 done" in text
    first = re.sub("<[^>]+>", "", text.partition("All sweeps</h1>")[2].partition("<table")[0])
    assert "Next sweeps adopt clear --from-verdict for clear;" in first


def test_a_recommendation_says_where_runs_are_missing(tmp_path: Path, synthetic: ModuleType) -> None:
    made = [
        varied(tmp_path, synthetic, "ensemble", "num_q", (2, 1), 500.0, 700.0, states={(0, 4): "failed"}),
        varied(tmp_path, synthetic, "tau", "tau", (0.01, 0.1), 700.0, 400.0),
    ]
    rows = overview.recommended_rows(summarise(made).sweeps)
    assert [row.why for row in rows] == ["best in ensemble, whose runs have not all finished", "best in tau"]


def test_the_first_screen_names_the_configurations_with_unstable_seeds(tmp_path: Path, synthetic: ModuleType) -> None:
    labels = ("tau=1", "tau=2", "tau=3")
    states = {(1, 2): "diverged"}
    made = synthetic.make_sweep(tmp_path, (700.0, 600.0, 650.0), 4, labels=labels, special={2: {"collapse": True}},
                                states=states)  # fmt: skip
    text = render(summarise([made]))
    assert "<b>Unstable</b> <span>tau=3: 4 of 4 seeds collapsed; tau=2: 1 of 4 seeds diverged</span>" in text
    stable = synthetic.make_sweep(tmp_path / "stable", (700.0, 600.0), 4, lean=True)
    assert "<b>Unstable</b>" not in render(summarise([stable]))


def test_a_sweep_without_a_result_says_only_what_is_missing(tmp_path: Path, synthetic: ModuleType) -> None:
    states = {(0, 1): "running", (0, 2): "running", (1, 1): "running", (1, 2): "new"}
    (sweep,) = summarise([synthetic.make_sweep(tmp_path, (600.0, 700.0), 2, states=states, lean=True)]).sweeps
    line = overview.sweep_line(sweep, verdict(sweep))
    assert [text for name, text in line.items() if name not in ("final", "missing", "next")] == [""] * 5
    assert (line["missing"], line["next"].command) == ("4", "sweeps rerun ensemble --missing")
