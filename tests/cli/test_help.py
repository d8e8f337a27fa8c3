"""Help texts and advice in messages are true."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer
import typer.core
from shan_cli.main import app
from shan_engine.writers import hits_parquet
from shan_model.training.schedule import TrainConfig
from typer.testing import CliRunner

TRAIN = ("train", "--store", "S", "--captions", "C", "--word-vectors", "V", "--output", "O")


def option(command: str, parameter: str) -> typer.core.TyperOption:
    """A parameter of a command, its help text not yet wrapped."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    (found,) = (one for one in commands[command].params if one.name == parameter)
    return found


def help_of(command: str, parameter: str) -> str:
    return str(option(command, parameter).help)


def test_a_bundle_is_said_to_be_what_the_command_uses_it_for():
    assert help_of("search", "model").startswith("Bundle that made the gallery")
    assert str(option("search", "model").show_default).startswith("SHAN_MODEL")
    assert help_of("score", "model") == help_of("search", "model")
    assert help_of("extract", "model").startswith("Bundle whose feature extractor is used")
    assert help_of("index", "model").startswith("Bundle to encode with")


def test_storage_is_said_to_be_kept():
    assert help_of("extract", "storage") == help_of("import", "storage")
    assert "as in the store" in str(option("extract", "storage").show_default)
    assert "as in the gallery" in str(option("index", "storage").show_default)


def test_folders_of_scan_are_said_to_be_taken():
    assert "a folder of SCAN's *_ims.npy" in help_of("import", "features")
    assert "a folder of SCAN's *_caps.txt" in help_of("train", "captions")


@pytest.mark.parametrize(("command", "extra"), [(TRAIN, "train"), (("export", "C", "--output", "B"), "export")])
def test_a_missing_package_is_fixed_by_the_commands_own_extra(monkeypatch, command, extra):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert f"torch is not installed: pip install '.[{extra}]' in the project's folder" in done.output


def test_no_fix_installs_the_projects_name():
    """It is on no package index."""
    root = Path(hits_parquet.__file__).parents[3]
    sources = [path for folder in ("engine", "cli", "export", "model") for path in (root / folder).rglob("*.py")]
    assert len(sources) > 50
    for path in sources:
        text = path.read_text("utf-8")
        assert "shan-engine[" not in text, path
        assert "--force-reinstall shan-engine" not in text, path


@pytest.fixture
def asked(monkeypatch, store_path, tmp_path):
    """What `train` makes of some options: a function from options to the configuration."""
    configs = []
    captions = tmp_path / "captions.tsv"
    captions.write_text("split\timage\tcaption\ntrain\tphoto1\ta dog\n")
    monkeypatch.setattr("shan_model.training.loop.train", lambda *args, **options: configs.append(args[4]) or 1.0)

    def ask(*options):
        command = ["train", "--store", store_path, "--captions", captions, "--word-vectors", "V", "--output", "O"]
        done = CliRunner().invoke(app, [*map(str, command), *options])
        assert done.exit_code == 0, done.output
        return configs[-1]

    return ask


def test_candidates_reach_the_training(asked):
    for config, wanted in (
        (asked(), ("contrastive", TrainConfig().candidates)),
        (asked("--loss", "triplet", "--candidates", "0"), ("triplet", 0)),
    ):
        assert (config.loss, config.candidates) == wanted


def test_words_need_vectors_or_a_sentence_model():
    for options in (TRAIN[:5] + TRAIN[7:], (*TRAIN, "--sentence-model", "M")):
        done = CliRunner().invoke(app, options)
        assert done.exit_code == 1
        assert "give one of --word-vectors, --text-encoder, --from, and --sentence-model for" in " ".join(
            done.output.split()
        )


def test_a_model_of_ones_own_is_trained_with_its_own_settings(asked):
    config = asked(
        "--model",
        "mine",
        "--set",
        "depth=3",
        "--set",
        "rate=.5",
        "--set",
        "kind=deep",
        "--set",
        "gated=false",
        "--direction",
        "i2t",
    )
    assert config.model == "mine"
    assert config.options == {"depth": 3, "rate": 0.5, "kind": "deep", "gated": False, "direction": "i2t"}


def test_settings_of_training_that_have_no_option_reach_it(asked):
    config = asked("--set", "region_dropout=0", "--set", "open_vocabulary=false", "--set", "depth=3")
    assert config == TrainConfig(region_dropout=0, open_vocabulary=False, options={"depth": 3})


def test_every_setting_of_training_has_an_option_or_is_named_as_one_to_set():
    (train,) = (one for name, one in typer.main.get_command(app).commands.items() if name == "train")
    names = {field.name for field in fields(TrainConfig)} - {"options"}
    without = names - {parameter.name for parameter in train.params}
    assert "row_dropout" in without
    assert set(re.findall("[a-z_]+", help_of("train", "settings"))) & names == without | {"model"}


def commands(group):
    """Every command of a group and of the groups in it."""
    for command in group.commands.values():
        yield from commands(command) if hasattr(command, "commands") else [command]


def test_every_command_can_log():
    found = list(commands(typer.main.get_command(app)))
    assert len(found) > 15
    for command in found:
        assert any("--verbose" in one.opts and "-v" in one.opts for one in command.params), command.name


@pytest.mark.parametrize("words", [(), ("search",), ("store",), ("store", "info")])
def test_h_is_help(words):
    short, long = (CliRunner().invoke(app, [*words, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout
    assert "Usage:" in short.stdout


@pytest.mark.parametrize("words", [("search",), ("store", "info"), ("index-captions",), ("import",)])
def test_a_named_command_is_built_alone_and_says_the_same(words):
    built = typer.main.get_command(app.of(words)).commands  # type: ignore[attr-defined]
    assert [*built] == [words[0]]
    alone, among_all = (CliRunner().invoke(one, [*words, "--help"]) for one in (app.of(words), app))
    assert alone.exit_code == 0
    assert alone.output == among_all.output


@pytest.mark.parametrize("words", [(), ("--help",), ("serach", "a dog"), ("--version", "search")])
def test_all_commands_are_built_where_none_is_named(words):
    assert app.of(words) is app
