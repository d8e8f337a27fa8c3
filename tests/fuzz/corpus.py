"""The valid files that fuzzing begins with: `corpus.py FOLDER BUNDLES` writes a folder for each reader.

BUNDLES keeps what was exported.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

import own_home  # noqa: F401 before anything of the engine is imported
from bundle_cache import BundleCache
from readers import Shared, all_readers
from tiny import EXTRACTOR, random_tensors, tiny_config, write_checkpoint
from written_photos import TEXTS, write_texts


def make(folder: Path, bundles: Path) -> None:
    """Write the corpus into a new folder; `bundles` keeps what was exported."""
    from tiny import make_store

    shared = Shared(folder / "shared")
    config = tiny_config()
    write_checkpoint(shared.checkpoint, config, random_tensors(config))
    bundles.mkdir(parents=True, exist_ok=True)
    BundleCache(bundles)(shared.checkpoint, shared.bundle, feature_extractor_name=EXTRACTOR)
    make_store(shared.store, range(120)).close()
    write_texts(shared.store, TEXTS)
    for reader in all_readers(shared):
        (folder / reader.name).mkdir()
        reader.make(folder / reader.name)


def fresh(folder: Path, bundles: Path) -> Path:
    """`make`, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    make(folder, bundles)
    return folder


if __name__ == "__main__":
    fresh(Path(sys.argv[1]), Path(sys.argv[2]))
