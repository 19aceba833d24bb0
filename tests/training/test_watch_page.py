"""report.html shows a run as far as it has come, from metrics.jsonl alone, never half of it."""

import json
import math
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import watched_run as run

from hanlin.errors import ConfigError, NotFoundError
from hanlin.reports import Figure, Samples, Table
from hanlin.training import watch
from hanlin.training.watch.history import History
from hanlin.training.watch.metrics import METRICS, MetricsLog


class Texts(HTMLParser):
    """What a reader sees of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.inside):
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.seen)


def told(output: Path, start: int = 0, stop: int = 200, *, end: bool = True) -> None:
    with (output.parent / "terminal").open("w") as stream:
        run.tell(watch.watchers(stream=stream, language="en"), output, start, stop, end=end)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


def figures(output: Path) -> dict[str, Figure]:
    return {one.title[0]: one for one in watch.report(output).parts if isinstance(one, Figure)}


def test_the_page_has_all_that_was_promised(output: Path) -> None:
    told(output)
    page = Texts((output / watch.PAGE).read_text()).text
    for words in ("Validation loss", "Bits per byte", "Learning rate", "Gradient norm", "Speed",
                  "验证损失", "学习率", "Samples", "upon step 200", "upon step 50", "Evaluations",
                  "Plan", "Machine", "torch", "Configuration", "family: llama", "红楼梦.txt",
                  "Events", "checkpoints/step-00000150", "finished", "41% of the measured peak",
                  "327 GFLOP/s"):  # fmt: skip
        assert words in page, words


def test_a_resumed_run_has_the_whole_curve_and_says_where_it_went_on(
    output: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    told(whole)
    told(output, 0, 130, end=False)
    told(output, 100, 200)
    assert {name: one.series for name, one in figures(output).items()} == {
        name: one.series for name, one in figures(whole).items()
    }
    assert [at for at, _ in figures(output)["Loss"].marks] == [100.0]
    assert "resumed" in (output / watch.PAGE).read_text()


def test_the_loss_is_drawn_raw_and_smoothed_with_the_validation(output: Path) -> None:
    told(output)
    raw, smooth, validation = figures(output)["Loss"].series
    assert list(raw.y) == [run.step(n).loss for n in range(1, 201)]
    assert raw.faint
    assert not smooth.faint
    late = [run.step(n).loss for n in range(150, 200)]
    assert max(smooth.y[150:]) - min(smooth.y[150:]) < (max(late) - min(late)) / 2
    assert list(validation.x) == [50, 100, 150, 200]
    assert list(validation.y) == [run.evaluation(n).loss for n in (50, 100, 150, 200)]


def test_a_long_run_stays_a_small_page(output: Path) -> None:
    history = History()
    log = MetricsLog(history, problem=pytest.fail)
    log.start(run.plan(output, total=None))
    worst = run.step(4_777, loss=50.0)
    for n in range(1, 6_001):
        log.step(worst if n == 4_777 else run.step(n, total=6_000))
        if n % 20 == 0:
            log.evaluation(run.evaluation(n))
            log.saved(n, output / f"step-{n}")
    report = watch.run_report(history)
    assert len(report.html()) < 1_000_000
    loss = next(one for one in report.parts if isinstance(one, Figure))
    assert len(loss.series[0].x) <= 1024
    assert (4_777.0, 50.0) in zip(loss.series[0].x, loss.series[0].y, strict=True)
    samples = [one for one in report.parts if isinstance(one, Samples)]
    assert samples[0].samples[0].text == " upon step 6000"
    shown = [int(one.text.split()[-1]) for one in samples[1].samples if "step" in one.text]
    assert len(shown) <= 48
    assert shown == sorted(shown, reverse=True)
    assert min(shown) == 20, "the first is kept"
    gaps = {a - b for a, b in pairwise(shown[1:])}
    assert len(gaps) == 1, "and of the others every so manieth"


def test_skipped_steps_are_events(output: Path) -> None:
    one = MetricsLog(history := History(), problem=pytest.fail)
    one.start(run.plan(output))
    one.step(run.step(1))
    one.step(run.step(2, loss=math.nan, skipped=True, reason="the loss is <b>NaN</b>"))
    report = watch.run_report(history)
    events = next(x for x in report.parts if isinstance(x, Table) and x.title[0] == "Events")
    assert events.rows[0][:3] == (2, ("step skipped", "跳过一步"), "the loss is <b>NaN</b>")
    assert "&lt;b&gt;NaN" in report.html()
    assert "<b>NaN" not in report.html()


@pytest.mark.parametrize("stop", [0, 1])
def test_a_run_that_has_barely_begun_has_a_page(output: Path, stop: int) -> None:
    told(output, 0, stop, end=False)
    page = (output / watch.PAGE).read_text()
    assert "data-reload" in page, "it looks for news"
    watch.report(output).terminal(language="zh")
    told(output, 0, stop, end=True)
    assert "data-reload" not in (output / watch.PAGE).read_text()


def test_a_run_without_validation_has_curves(output: Path) -> None:
    one = MetricsLog(history := History(), problem=pytest.fail)
    one.start(run.plan(output, validation_tokens=0, total=None, peak_flops=None))
    for n in range(1, 50):
        one.step(run.step(n, share_of_peak=None, bits_per_byte=None, eta_seconds=None))
    report = watch.run_report(history)
    names = [x.title[0] for x in report.parts if isinstance(x, Figure)]
    assert names == ["Loss", "Learning rate", "Gradient norm", "Speed"]
    report.html()


def test_a_page_that_cannot_be_written_is_said_once_and_retried(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    page = watch.RunPage(History(), language="en", problem=said.append)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hanlin.training.watch.page.write_whole", full)
        page.start(run.plan(output))
        page.evaluation(run.evaluation(1))
        page.evaluation(run.evaluation(2))
    assert len(said) == 1
    assert "No space" in said[0]
    page.evaluation(run.evaluation(3))
    assert (output / watch.PAGE).is_file()


def test_the_report_of_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="metrics"):
        watch.report(tmp_path)


def test_the_report_says_the_same_to_programs(output: Path) -> None:
    told(output)
    data = json.loads(watch.report(output).json())
    [loss] = [one for one in data["parts"] if one.get("title") == {"en": "Loss", "zh": "损失"}]
    assert loss["series"][2]["y"][-1] == run.evaluation(200).loss
    assert re.search("Loss", watch.report(output).terminal(language="en"))


def test_tensorboard_has_the_scalars_without_doubles(output: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, stop in ((0, 130), (100, 200)):
        run.tell([watch.Board(every=0.0)], output, start, stop, end=True)
    events = EventAccumulator(str(output / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    loss = events.Scalars("train/loss")
    assert [one.step for one in loss] == list(range(1, 201))
    assert loss[9].value == pytest.approx(run.step(10).loss)
    assert [one.step for one in events.Scalars("validation/loss")] == [50, 100, 150, 200]


def test_tensorboard_that_is_missing_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"hanlin\[track\]"):
        watch.watchers(["tensorboard"])


def test_watching_does_not_import_torch_or_tensorboard() -> None:
    import subprocess

    code = (
        "import sys; from hanlin.training.watch import watchers; watchers(); "
        "assert not {'torch', 'tensorboard', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metrics_lie_beside_the_page(output: Path) -> None:
    told(output)
    assert sorted(one.name for one in output.iterdir()) == [METRICS, watch.PAGE]
