"""Shells complete commands, options, their values and files, with the scripts that `--show-completion` prints."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from installed import COMMAND, environment

BASH = """
eval "$(_SHAN_ENGINE_COMPLETE=source_bash shan-engine)"
complete -p shan-engine
for words in 'shan-engine se' 'shan-engine search --device a'; do
    COMP_WORDS=($words)
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _shan_engine_completion shan-engine
    echo "${COMPREPLY[@]}"
done
"""
FISH = """
source (_SHAN_ENGINE_COMPLETE=source_fish shan-engine | psub)
complete -C 'shan-engine index'
complete -C 'shan-engine search --gallery pict'
"""
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'autoload -Uz compinit; compinit -D; eval "$(_SHAN_ENGINE_COMPLETE=source_zsh shan-engine)"; echo RE""ADY'
zpty -r -m shell line '*READY*'
zpty -n -w shell $'shan-engine index-\\t'
zpty -r -m shell line '*captions*' && echo captions
zpty -d shell
"""


def complete(shell: str, script: str, here) -> list[str]:
    """The lines that a script prints in a shell with a home folder of its own and our command first on PATH."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    variables = environment(HOME=str(here), ZDOTDIR=str(here), TERM="dumb")
    variables["PATH"] = f"{COMMAND.parent}:{variables['PATH']}"
    flags = {"bash": ["--norc"], "fish": ["--no-config"], "zsh": ["-f"]}[shell]
    done = subprocess.run(
        [shell, *flags, "-c", script], cwd=here, env=variables, capture_output=True, text=True, check=True, timeout=240
    )
    return done.stdout.splitlines()


def test_bash(tmp_path):
    how, *found = complete("bash", BASH, tmp_path)
    assert "-o default" in how  # files, where we complete nothing
    assert found == ["search serve", "auto"]


def test_fish(tmp_path):
    (tmp_path / "pictures.gallery").mkdir()
    found = complete("fish", FISH, tmp_path)
    assert [line.split("\t")[0] for line in found] == ["index", "index-captions", "pictures.gallery/"]


def test_zsh(tmp_path):
    """Help texts with backticks and quotation marks go through its eval."""
    assert complete("zsh", ZSH, tmp_path) == ["captions"]
