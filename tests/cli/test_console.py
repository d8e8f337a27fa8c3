"""Progress where there is no terminal: lines a log can keep."""

from __future__ import annotations

from shan_cli import console


def test_a_log_gets_lines_with_time_left_and_note(monkeypatch, capsys):
    monkeypatch.setattr(console, "LOG_SECONDS", 0)
    with console.progress("training", "steps") as (on_start, on_done):
        on_start(2000)
        on_done(500)  # where a resumed run begins: says nothing of the speed
        on_done(1000, "loss 0.500")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("training: 1,000 of 2,000 steps, 0:00:0")
    assert lines[0].endswith(" left, loss 0.500")


def test_a_short_job_says_nothing_between(capsys):
    with console.progress("indexing", "images") as (on_start, on_done):
        on_start(10)
        on_done(5)
        on_done(10)
    assert capsys.readouterr().err == ""
