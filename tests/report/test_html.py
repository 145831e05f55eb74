"""The page is whole, holds the numbers, runs nothing and loads nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from flyweight.base import UserError
from flyweight.events import EventWriter, RolledBack, StepSkipped
from flyweight.planning import plan_recipe
from flyweight.planning.timelines import planned_shares
from flyweight.report import figures, read_run, write_report
from flyweight.report.markup import Html, h, text
from flyweight.report.sections import source_rows
from flyweight.report.style import CSS


def test_every_declaration_of_the_style_is_one():
    blocks = re.findall(r"\{([^{}]*)\}", CSS)
    assert len(blocks) > 50
    for declaration in (part.strip() for block in blocks for part in block.split(";")):
        assert re.fullmatch(r"(-{0,2}[a-z][a-z-]*[a-z0-9]:\s.+)?", declaration, re.DOTALL), declaration


VOID = {"meta", "br", "img", "hr", "link", "input"}


class Checker(HTMLParser):
    """Elements must close in order; what a reader sees, and what a browser would load or run, is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.seen = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "data") and not (
                value or ""
            ).startswith(("#", "data:")):
                self.loads.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.handlers.append(f"{tag} {name}={value}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.seen += data


def check(page: Path) -> tuple[Checker, str]:
    source = page.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(source)
    checker.close()
    assert checker.open == []
    assert checker.loads == []
    assert checker.handlers == []
    assert "script" not in checker.tags
    assert not re.search(r"@import|url\((?!#)", source)
    return checker, source


@pytest.fixture(scope="module")
def page(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    write_report([finished_run], out)
    return out


def test_the_page_is_whole_and_safe(page: Path):
    checker, source = check(page)
    assert source.startswith("<!doctype html>")
    assert "<script>" not in source
    assert "<script>alert('x')</script>" in checker.seen  # as text, for the reader to see
    assert checker.tags.count("svg") >= 10
    assert 'name="viewport"' in source
    names = re.findall(r'\bid="([^"]+)"', source)
    assert len(names) == len(set(names))
    assert "prefers-color-scheme: dark" in source


def test_the_page_holds_the_numbers(page: Path):
    seen = check(page)[0].seen
    for number in (
        "10.26K",  # parameters
        "16.38K",  # tokens
        "2.008",  # training loss
        "512",  # tokens per second
        "32%",  # share of peak
        "6.123", "1.777", "2.345", "2.222", "zstd -19", "lzma",  # bits per byte
        "31.2%", "± 1.2%", "25.0%", "1,400", "operands 2", "51.0%", "72.1%", "67,000", "12.35",  # tasks
        "62.50%", "37.50%", "5.12", "1,234", "mit",  # sources: 0.75 and 0.5 for half a run each
        "10,256", "48",  # parameters, and the step from which the rate decays
        "a note", "sample of 16384", "upon a time", "Test CPU <9000>", "2.13.0", "a1", "a2",
        "4.096K tokens",  # from which the second attempt went on
        "training loss", "Learning rate by role", "Optimizer", "Muon", "Throughput", "Gradient norm",
        "seed: 7", "notes.txt",
    ):  # fmt: skip
        assert number in seen, number
    assert "99.0" not in seen  # undone by the second attempt


def test_long_groups_are_folded_away(page: Path):
    source = check(page)[1]
    folded = source.split(">by subset (20 rows)")[1].split("</details>")[0]
    assert "uid_19" in folded
    assert "uid_19" not in source.replace(folded, "")


def test_what_is_not_there_is_not_spoken_of(run: Path, tmp_path: Path):
    (run / "results.json").unlink()
    (run / "plan.json").unlink()
    write_report([run], tmp_path / "r.html")
    checker, _ = check(tmp_path / "r.html")
    for word in ("zstd", "arithmark-gen", "chance", "epochs", "documents", "nan", "None"):
        assert word not in checker.seen.split("Every value, with defaults")[0], word
    assert "after training" in checker.seen  # from the run's own validations


def test_a_run_that_has_only_begun(run: Path, tmp_path: Path):
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    (run / "events.jsonl").write_text(lines[0] + "\n", encoding="utf-8")
    (run / "results.json").unlink()
    write_report([run], tmp_path / "r.html")
    seen = check(tmp_path / "r.html")[0].seen
    assert "This run is not finished: running or killed." in seen
    assert "Learning rate by role" in seen
    assert "Throughput" not in seen


def test_a_loss_that_was_not_finite_leaves_a_gap(run: Path, tmp_path: Path):
    events = (run / "events.jsonl").read_text(encoding="utf-8")
    (run / "events.jsonl").write_text(
        events.replace('"grad_norm": 2.0', '"grad_norm": "nan"'), encoding="utf-8"
    )
    write_report([run], tmp_path / "r.html")
    assert "nan" not in check(tmp_path / "r.html")[0].seen


def test_several_runs_side_by_side(run: Path, other_run: Path, tmp_path: Path):
    write_report([run, other_run], tmp_path / "r.html")
    checker, source = check(tmp_path / "r.html")
    assert "2 runs side by side" in checker.seen
    assert checker.seen.count("tiny (first)") >= 3  # heading, column, legend
    assert checker.seen.count("tiny (second)") >= 3
    comparison = source.split(">In numbers</h2>")[1].split("</section>")[0]
    loss = comparison.split("training loss, mean of the last steps")[1].split("</tr>")[0]
    assert re.findall(r"<td>(.*?)</td>", loss) == ["2.008", "2.549"]
    accuracy = comparison.split("arithmark-gen acc")[1].split("</tr>")[0]
    assert re.findall(r"<td>(.*?)</td>", accuracy) == ["31.2% ± 1.2%", ""]
    bits = comparison.split('<th scope="row">english</th>')[1].split("</tr>")[0]
    assert re.findall(r"<td>(.*?)</td>", bits) == ["1.531", "1.542"]


def test_no_run_is_a_mistake(tmp_path: Path):
    with pytest.raises(UserError, match="no run to report on"):
        write_report([], tmp_path / "r.html")
    with pytest.raises(UserError, match="no such folder"):
        write_report([tmp_path / "nothing"], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_recipe_is_no_run_and_is_not_written_over(run: Path, tmp_path: Path):
    recipe = run / "recipe.yaml"
    before = recipe.read_bytes()
    with pytest.raises(UserError, match="is not an HTML page"):
        write_report([run], recipe)
    assert recipe.read_bytes() == before
    with pytest.raises(UserError, match="a file, not a run folder"):
        write_report([recipe], tmp_path / "r.html")


@pytest.mark.parametrize("content", ["", "  <!DOCTYPE html><p>", "<html>"])
def test_a_page_is_written_over_whatever_its_name(run: Path, tmp_path: Path, content: str):
    page = tmp_path / "page"
    page.write_text(content)
    write_report([run], page)
    check(page)


def test_hostile_names_of_sources_reach_drawings_as_text(run: Path, tmp_path: Path):
    for name in ("recipe.yaml", "plan.json", "events.jsonl", "results.json"):
        file = run / name
        file.write_text(file.read_text(encoding="utf-8").replace("mine", "_<b>$x_1$"), encoding="utf-8")
    write_report([run], tmp_path / "r.html")
    checker, _ = check(tmp_path / "r.html")
    assert "b" not in checker.tags[checker.tags.index("svg") :]
    assert checker.seen.count("_<b>$x_1$") >= 4


def test_markup_escapes_all_but_itself():
    assert h("td", "a<b", class_='"') == '<td class="&quot;">a&lt;b</td>'
    assert text(["<", Html("<br>"), "&"]) == "&lt;<br>&amp;"


def test_figures_hold_the_runs_values(run: Path):
    record = read_run(run)
    (line,) = figures.loss_figure([record]).axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == [step["loss"] for step in record.steps]
    bits = {series.label: series.y.tolist() for series in figures.bits_series(record)}
    assert set(bits) == {"english", "mine"}
    assert len(bits["mine"]) == len(record.of("validated"))
    mean = figures.mean_bits(record, "x")
    assert mean.y.tolist() == pytest.approx([(a + b) / 2 for a, b in zip(*bits.values(), strict=True)])


def test_the_realised_mixture_follows_the_planned_one(run: Path):
    record = read_run(run)
    planned = planned_shares(record.recipe)
    assert record.realised is not None
    realised = record.realised.shares()
    assert np.allclose(sum(realised.by_source.values()), 1)
    half = realised.tokens <= 8192
    # Eight sequences a step, each source within one sequence of its plan.
    assert np.abs(realised.by_source["mine"][half].mean() - 0.25) < 0.02
    assert np.abs(realised.by_source["mine"][~half].mean() - 0.5) < 0.02
    assert realised.tokens[-1] == planned.tokens[-1] == 16384


def test_both_stacks_hold_the_shares_in_the_same_colours(run: Path):
    record = read_run(run)
    for event in record.events:  # the log's order of sources is not the plan's
        if event["kind"] == "step":
            event["realised"] = dict(reversed(event["realised"].items()))
    planned, realised = figures.mixture_figure(record).axes
    assert [pane.get_ylabel() for pane in (planned, realised)] == ["planned", "realised"]
    for pane in (planned, realised):
        assert [band.get_label() for band in pane.collections] == ["english", "mine"]
    for lower, upper in zip(planned.collections, realised.collections, strict=True):
        assert np.array_equal(np.asarray(lower.get_facecolor()), np.asarray(upper.get_facecolor()))
    height = np.asarray(realised.collections[0].get_paths()[0].vertices)[:, 1].max()
    assert 0.7 < height < 0.8  # english lies at the bottom: about three quarters, then half


def test_a_run_under_way_is_laid_beside_the_plan_up_to_there(other_run: Path):
    record = read_run(other_run)
    plan = plan_recipe(record.recipe, record.corpus_tokens, realised=record.realised)
    header, (english, mine) = source_rows(record, plan)
    assert header[:4] == ["source", "planned", "planned so far", "realised"]
    # 0.75 for half of the run, 0.5 for the quarter after it; the whole plan ends with another quarter at 0.5.
    assert (english[1], english[2], english[3]) == ("62.50%", "66.67%", "66.67%")
    assert (mine[1], mine[2], mine[3]) == ("37.50%", "33.33%", "33.33%")


def test_a_finished_run_needs_no_second_column(run: Path):
    record = read_run(run)
    header, _ = source_rows(record, plan_recipe(record.recipe, realised=record.realised))
    assert "planned so far" not in header
    assert "realised" in header


def test_sources_read_too_often_are_warned_of_and_missing_text_is_said(run: Path, tmp_path: Path):
    write_report([run], tmp_path / "r.html")
    seen = check(tmp_path / "r.html")[0].seen
    assert "Warning: english is read 5.1 times; beyond 4 epochs" in seen
    assert "Warning: mine" not in seen
    assert "text needed" not in seen
    (run / "plan.json").unlink()
    write_report([run], tmp_path / "r.html")
    seen = check(tmp_path / "r.html")[0].seen
    assert "text needed" in seen
    assert "at an assumed 1.8 bytes a token" in seen  # of a vocabulary of 300
    assert "about 18.9KB" in seen


def test_faults_stand_on_the_page_and_what_was_undone_does_not(run, tmp_path):
    """A step that was skipped, and a return to a checkpoint: the steps past it no longer count."""
    before = read_run(run)
    clocks = [step["clock"] for step in before.steps]
    back = clocks[len(clocks) // 2]
    events = [
        StepSkipped(9, back, "the loss is nan", float("nan"), 1.0, 40, 48, 1),
        RolledBack(9, back, clocks[-1], "the gradient's norm is inf", 48, 96, 1, 0.5),
    ]
    writer = EventWriter(run, "faulty")
    for event in events:
        writer.write(event)
    writer.close()
    after = read_run(run)
    assert after.clock == back
    write_report([run], tmp_path / "page.html")
    page = Checker()
    page.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    for words in ("step skipped", "the loss is nan", "went back", f"{back:,} from {clocks[-1]:,}", "inf"):
        assert words in page.seen
