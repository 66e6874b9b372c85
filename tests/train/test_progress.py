"""What is shown is what is recorded."""

import io
import re
import sys

import pytest

from fastattn.train import Bar, Lines, Progress, Row, progress_for
from fastattn.train.progress import clock


def numbers(text):
    """Step, loss and val_loss of every printed line."""
    pattern = r"step (\d+)/\d+ \| loss (\d+\.\d{4}) \| val_loss (\d+\.\d{4}) "
    return [(int(step), loss, val) for step, loss, val in re.findall(pattern, text)]


@pytest.mark.parametrize("kind", [Lines, Bar])
def test_printed_numbers_are_the_recorded_ones(make_trainer, capsys, kind):
    history = make_trainer(progress=kind()).fit()
    rows = [(r.step, f"{r.loss:.4f}", f"{r.val_loss:.4f}") for r in history.rows if r.val]
    assert numbers(capsys.readouterr().out) == rows
    assert len(rows) == 3


def test_off_a_terminal_there_is_a_line_an_evaluation(make_trainer, capsys):
    make_trainer(progress=Lines(), steps=100, log_every=1, eval_every=25).fit()
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert captured.err == ""


def test_the_bar_shows_recorded_rows_only(make_trainer, capsys):
    history = make_trainer(progress=Bar(), log_every=1).fit()
    shown = set(re.findall(r"loss (\d+\.\d{4}), val_loss (\d+\.\d{4})", capsys.readouterr().err))
    recorded = {f"{row.loss:.4f}" for row in history.rows}
    assert shown
    assert {loss for loss, _ in shown} <= recorded
    assert {val for _, val in shown} <= {f"{row.val_loss:.4f}" for row in history.rows if row.val_loss is not None}


def test_a_resumed_bar_starts_where_the_run_stands(capsys):
    bar = Bar()
    bar.start(10, 4)
    bar.step(5)
    bar.close()
    assert "5/10" in capsys.readouterr().err


def test_choice(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert type(progress_for()) is Lines
    assert type(progress_for(quiet=True)) is Progress
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert type(progress_for()) is Bar


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.4, "1:01"), (59.7, "1:00"), (3600, "1:00:00")])
def test_clock(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize("kind", [Lines, Bar])
def test_a_gpu_has_its_memory_shown(kind, capsys):
    row = Row(step=10, seen=640, loss=2.0, val={"loss": 2.5}, per_second=8000.0, memory=3 << 29)
    progress = kind()
    progress.start(10, 9)
    progress.row(row)
    progress.step(10)
    progress.close()
    captured = capsys.readouterr()
    assert "| 8,000 tokens/s | 1.50 GiB | " in captured.out
    assert kind is Lines or "8,000 tokens/s, 1.50 GiB" in captured.err
