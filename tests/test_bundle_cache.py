"""The cache of exported bundles: one export for each set of inputs, and none served after a change."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from bundle_cache import EXPORTER, BundleCache, code_digest, sources
from shan_engine.bundle.contents import Bundle


@pytest.fixture
def exports(bundle_path):
    """A stand-in for `export_bundle` that notes its calls and writes a bundle that is there already."""

    class Exports(list):
        def __call__(self, checkpoint, output, **options):
            self.append((checkpoint, options))
            output.mkdir()
            for file in bundle_path.iterdir():
                (output / file.name).write_bytes(file.read_bytes())

    return Exports()


def test_a_bundle_is_exported_once(exports, checkpoint, bundle_path, tmp_path):
    def export(name):
        return BundleCache(tmp_path / "cache", exports)(checkpoint.folder, tmp_path / name, max_words=9)

    with ThreadPoolExecutor(4) as pool:
        manifests = list(pool.map(export, "abcd"))
    assert exports == [(checkpoint.folder, {"max_words": 9})]
    assert manifests == [Bundle.open(bundle_path).manifest] * 4
    assert all(Bundle.open(tmp_path / name).manifest == manifests[0] for name in "abcd")


def test_other_inputs_are_other_bundles(exports, make_checkpoint, tmp_path):
    cache, extractor = BundleCache(tmp_path / "cache", exports), tmp_path / "extractor.onnx"
    extractor.write_bytes(b"graph")
    extractor.with_suffix(".json").write_bytes(b"recipe")
    first, second = make_checkpoint(seed=1).folder, make_checkpoint(seed=2).folder
    asked = [(first, {}), (second, {}), (first, {"max_words": 9}), (first, {"feature_extractor": extractor})]
    for number, (folder, options) in enumerate([*asked, *asked]):
        cache(folder, tmp_path / f"{number}", **options)
    assert exports == asked
    extractor.with_suffix(".json").write_bytes(b"another recipe")
    cache(first, tmp_path / "last", feature_extractor=extractor)
    assert len(exports) == 5


def test_a_failed_export_leaves_nothing_to_serve(checkpoint, exports, tmp_path):
    def fail(checkpoint, output, **options):
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        BundleCache(tmp_path / "cache", fail)(checkpoint.folder, tmp_path / "a")
    BundleCache(tmp_path / "cache", exports)(checkpoint.folder, tmp_path / "a")
    assert len(exports) == 1


@pytest.mark.parametrize("changed", ["__init__.py", "writer.py", "graphs/__init__.py", "graphs/image.py", "lazy.py"])
def test_the_key_changes_with_every_source_that_is_imported(tmp_path, monkeypatch, changed):
    package = tmp_path / "shan_tried"
    texts = {
        "__init__.py": "from shan_tried.writer import write",
        "writer.py": "from shan_tried import graphs\nimport json\nOTHERS = ['shan_tried.lazy']",
        "graphs/__init__.py": "def f():\n    from shan_tried.graphs.image import g",
        "graphs/image.py": "import shan_tried.writer",
        "lazy.py": "",
        "apart.py": "",
    }
    for name, text in texts.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = code_digest("shan_tried.writer")
    (package / "apart.py").write_text("changed = True")
    assert code_digest("shan_tried.writer") == before
    (package / changed).write_text(f"{texts[changed]}\nchanged = True")
    assert code_digest("shan_tried.writer") != before
    assert "shan_tried" not in sys.modules


def test_the_exporters_sources_are_those_that_shape_a_bundle():
    found = set(sources(EXPORTER))
    assert {
        "shan_export.wrappers",
        "shan_model.shan.network",
        "shan_model.cross.scan",
        "shan_engine.text.vocabulary",
    } <= found
    assert not [name for name in found if name.startswith(("shan_engine.search", "shan_engine.jobs", "shan_cli"))]
