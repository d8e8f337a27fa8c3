"""Answers for people and for pipes: names with control characters, paths alone, queries that cannot be answered."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
from in_process import output_of, refusal, shan
from installed import COMMAND, environment
from shan_cli.console import printable
from shan_cli.paths import knows_links, named, print_paths
from shan_cli.printing import print_results, reading_line
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.search.hints import hints
from shan_engine.search.query import Phrase, Query
from shan_engine.search.results import Hit, QueryHits
from shan_engine.text.vocabulary import Vocabulary
from shan_engine.writers.json_answer import as_dict

ODD = "a\x1b]0;owned\x07\n\u202egpj.exe"
SHOWN = "a\\x1b]0;owned\\x07\\x0a\\u202egpj.exe"
WORDS = ("a", "dog", "on", "grass", "red", "hat", "without", "that", "is", "n't", "knot", "note", "''", "``")
LONG = "Summer holiday in Northern Italy/" * 6 + "IMG_1.jpg"


def hits(*names: str, **more: object) -> QueryHits:
    return QueryHits("a dog", tuple(Hit(1, 0.5, GalleryImage(name, f"/p/{name}", 8, 8, 0), **more) for name in names))


def test_a_table_never_prints_a_control_character_or_breaks_at_a_name(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    print_results([hits(ODD)], [])
    print_results([hits("b.jpg", metadata={"title": ODD})], ["title"])
    print_results([hits(ODD)], [], details=True)
    said = capsys.readouterr().out
    assert f"0.500  {SHOWN}\n" in said
    assert f"0.500  b.jpg  {SHOWN}\n" in said
    assert not set(said) & set("\x1b\x07\u202e")
    assert printable("naïve 写真 🐕.jpg") == "naïve 写真 🐕.jpg"


def test_messages_do_not_obey_names(tmp_path):
    done = shan("search", "a dog", "--gallery", f"{tmp_path}/\x1b]0;owned\x07")
    assert "\x1b" not in done.stderr
    assert "\\x1b]0;owned\\x07" in done.stderr


def test_names_with_the_code_of_a_picture_stay_as_they_are(tmp_path, capsys):
    done = shan("store", "info", f"{tmp_path}/trip:dog:1.store")
    assert f"there is no feature store at {tmp_path}/trip:dog:1.store" in done.stderr
    print_results([hits(":cat:.jpg")], [])
    print_results([hits(":cat:.jpg")], [], details=True)
    assert capsys.readouterr().out.count(":cat:.jpg") == 2


def test_outside_a_terminal_nothing_is_folded(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_results([hits(LONG, LONG[1:])], [])
    assert f"   1  0.500  {LONG}" in capsys.readouterr().out.splitlines()
    print_results([hits(LONG, LONG[1:])], [], details=True)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if f"│ {LONG} │" in line]
    assert f"/p/{LONG}" in row


def test_a_narrow_table_has_the_date_and_the_probability_instead_of_the_score(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_results([hits("a.jpg", metadata={"taken": "2023-07-14 18:30:12"}, probability=0.87)], [], details=True)
    said = capsys.readouterr().out
    assert "2023-07-14 │" in said
    assert "0.87" in said
    assert "score" not in said


def test_an_answer_without_hits_has_no_table(capsys):
    print_results([hits()], [])
    print_results([hits()], ["title"])
    assert capsys.readouterr().out == ""


def test_paths_alone_byte_for_byte(capfdbinary):
    images = [GalleryImage(name, path, 8, 8, 0) for name, path in (("a", "/p/caf\udce9 \n.jpg"), ("b", ""), ("b", ""))]
    print_paths(images, zero=True)
    print_paths(images[1:], zero=False)
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == b"/p/caf\xe9 \n.jpg\0b\0b\n"


def test_paths_through_the_command(place):
    common = ("--gallery", place.gallery, "--model", place.bundle, "-k", 3)
    (answer,) = json.loads(output_of("search", "a dog", *common, "--json"))
    wanted = [hit["path"] or hit["id"] for hit in answer["hits"]]
    assert output_of("search", "a dog", *common, "--paths").split("\n") == [*wanted, ""]
    assert output_of("search", "a dog", "a dog", *common, "--print0").split("\0") == [*wanted, ""]
    assert "--paths prints paths and nothing else: leave --json out" in refusal(
        "search", "a dog", *common, "--paths", "--json"
    )


def test_links_are_for_terminals_that_know_them(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert knows_links({"VTE_VERSION": "7201"})
    assert knows_links({"TERM_PROGRAM": "iTerm.app"})
    assert not knows_links({"VTE_VERSION": "4205", "TERM": "linux"})
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert not knows_links({"VTE_VERSION": "7201"})
    image = GalleryImage("a.jpg", "/p/a b.jpg", 8, 8, 0)
    assert named(image, links=True).style == "link file:///p/a%20b.jpg"
    assert named(image, links=False).style == ""


def test_a_query_of_a_file_that_cannot_be_answered_does_not_stop_the_others(place, tmp_path):
    common = ("--gallery", place.gallery, "--model", place.bundle)
    (tmp_path / "q.txt").write_text("a dog\nqqqqqq\nred hat\n")
    done = shan("search", "--queries", tmp_path / "q.txt", *common, "--json")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["query"] for answer in answers] == ["a dog", "qqqqqq", "red hat"]
    assert [answer["error"] and answer["error"][:30] for answer in answers] == [
        None,
        "the model knows no word of 'qq",
        None,
    ]
    assert [bool(answer["hits"]) for answer in answers] == [True, False, True]
    assert "not answered: the model knows no word of 'qqqqqq'" in done.stderr
    for answer, query in ((answers[0], "a dog"), (answers[2], "red hat")):
        (alone,) = json.loads(output_of("search", query, *common, "--json"))
        assert [(hit["id"], hit["score"]) for hit in alone["hits"]] == [
            (hit["id"], pytest.approx(hit["score"], abs=1e-5)) for hit in answer["hits"]
        ]
    (tmp_path / "q.txt").write_text("qqqqqq\nzzzzzz\n")
    assert "knows no word of 'qqqqqq'" in refusal("search", "--queries", tmp_path / "q.txt", *common)


def test_a_process_substitution_is_a_file_of_queries(place):
    command = shlex.join(map(str, (COMMAND, "search", "--gallery", place.gallery, "--model", place.bundle, "-k", 1)))
    script = f"{command} --paths --queries <(printf 'a dog\\n'); echo 'a dog' | {command} --paths --queries /dev/stdin"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=environment()
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert first == second


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("a dog without a hat", "'without' excludes nothing"),
        ("a dog that isn't red", "'isn't' excludes nothing"),
        ('a "red hat"', "quotation marks do not ask"),
        ("ein Hund auf grass", "does not know most of these words"),
        ("a dog on grass", ""),
        ("a knot on a note", ""),
    ],
)
def test_hints_about_what_cannot_work(query, said):
    vocabulary = Vocabulary.build(WORDS)
    found = hints(Query.of(query), [vocabulary.read(query, 20)])
    assert [said in hint for hint in found] == ([True] if said else [])
    told = QueryHits(query, (), hints=found)
    assert as_dict(told)["hints"] == list(found)
    assert all(hint in reading_line(told) for hint in found)


def test_a_time_is_no_weight():
    assert Phrase.parse("a clock at 10:30") == Phrase("a clock at 10:30", 1.0)
    assert Phrase.parse("a 16:9 photo:0.5") == Phrase("a 16:9 photo", 0.5)
    assert Phrase.parse("room 12:0.5") == Phrase("room 12", 0.5)


def test_the_home_folder_is_expanded_in_paths_and_variables(tmp_path):
    home = {"HOME": str(tmp_path)}
    for arguments in (("--gallery=~/g",), ("--gallery", "~/g")):
        assert f"{tmp_path}/g" in refusal("search", "a dog", *arguments, **home)
    assert f"{tmp_path}/g" in refusal("search", "a dog", SHAN_GALLERY="~/g", **home)
    assert f"{tmp_path}/s" in refusal("store", "info", "~/s", **home)
    galleries = ("--gallery", "~/a", "--gallery", "~/b", "--model", "~/m", "--model", "~/n")
    assert f"{tmp_path}/" in refusal("evaluate", *galleries, "--captions", "~/c.tsv", **home)


def test_an_option_given_twice_is_refused(place):
    done = shan("search", "a dog", "-k", 3, "--top-k", 4)
    assert done.returncode == 2
    assert "Invalid value for --top-k: it is given 2 times: give it once" in done.stderr
    common = ("--gallery", place.gallery, "--model", place.bundle)
    output_of("search", "a dog", "--with", "red", "--with", "hat", "-v", "-v", *common)


def test_the_report_is_opened(place, tmp_path):
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(seen))}\n')
    browser.chmod(0o755)
    command = [COMMAND, "search", "a dog", "--gallery", place.gallery, "--model", place.bundle, "--open"]
    variables = environment(BROWSER=f"{browser} %s", TMPDIR=str(tmp_path))
    subprocess.run([*map(str, command)], capture_output=True, check=True, env=variables)
    (report,) = tmp_path.glob("shan-engine-*/report.html")
    assert seen.read_text().strip() == report.as_uri()
    assert "a dog" in report.read_text("utf-8")
