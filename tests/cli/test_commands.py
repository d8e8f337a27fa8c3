"""The installed command as its users type it: photos to answers, and what a kill leaves behind."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import installed
import numpy as np
import oracle
import pyarrow.parquet
import pytest
from in_process import output_of, shan
from installed import start, wait_for
from PIL import Image
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.function_words import is_function_word
from tiny import CAPTIONS, WORDS, make_store

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "artifacts" / "demo"


@pytest.fixture(scope="module")
def halves(make_checkpoint, seeing_bundle):
    """A checkpoint and its bundle with a feature extractor: mean colours of a photo's two halves."""
    return make_checkpoint(seed=4, feature_dim=3), seeing_bundle


def photo_folder(folder: Path, count: int, *, first: int = 0, size: int = 40) -> Path:
    random = np.random.default_rng((count, first))
    for number in range(first, first + count):
        path = folder / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (size, size), tuple(random.integers(0, 256, 3).tolist()))
        image.paste(tuple(random.integers(0, 256, 3).tolist()), (size // 2, 0, size, size))
        image.save(path)
    return folder


def test_own_photos_in_three_commands(halves, tmp_path):
    checkpoint, bundle = halves
    photos = photo_folder(tmp_path / "photos", 7)
    (photos / "broken.jpg").write_bytes(b"not a photo")
    (photos / "phone.HEIC").write_bytes(b"a photo that is not read")
    store, gallery = tmp_path / "my.store", tmp_path / "my.gallery"
    extracted = json.loads(installed.output_of("extract", photos, "--store", store, "--model", bundle, "--json"))
    assert extracted["added"] == 7
    # Without the extra for HEIC, the photo is passed over; with it, it is damaged.
    assert len(extracted["broken"]) + extracted["passed_over"].get(".heic", 0) == 2
    indexed = json.loads(installed.output_of("index", store, "--output", gallery, "--model", bundle, "--json"))
    assert indexed["added"] == 7
    answer = json.loads(
        installed.output_of("search", *CAPTIONS[:2], "--gallery", gallery, "--model", bundle, "--top-k", 3, "--json")
    )
    tokenizer = Bundle.open(bundle).tokenizer
    with FeatureStore.open(store) as opened:
        features = {id: opened.read([id])[0].features for id in opened.ids()}
    for caption, result in zip(CAPTIONS[:2], answer, strict=True):
        expected = {
            id: sum(
                oracle.shan_score(
                    checkpoint.tensors, checkpoint.config, regions, list(tokenizer.encode(caption).tokens)
                )
            )
            for id, regions in features.items()
        }
        best = sorted(expected, key=expected.__getitem__, reverse=True)[:3]
        assert result["query"] == caption
        assert [hit["id"] for hit in result["hits"]] == best
        assert [hit["rank"] for hit in result["hits"]] == [1, 2, 3]
        np.testing.assert_allclose([hit["score"] for hit in result["hits"]], [expected[id] for id in best], atol=1e-4)
        assert {Path(hit["path"]) for hit in result["hits"]} <= {path.resolve() for path in photos.rglob("*.png")}
        naming = [word for word in caption.split() if not is_function_word(word)]
        assert result["hits"][0]["words"][0]["word"] == naming[0]


def test_extract_and_index_again_do_only_what_changed(halves, tmp_path):
    _, bundle = halves
    photos = photo_folder(tmp_path / "photos", 5)
    store, gallery = tmp_path / "store", tmp_path / "gallery"
    for of_store, of_gallery in (((5, 0, 0), (5, 0, 0)), ((0, 1, 4), (1, 1, 4))):
        extracted = json.loads(output_of("extract", photos, "--store", store, "--model", bundle, "--json"))
        indexed = json.loads(output_of("index", store, "--output", gallery, "--model", bundle, "--json"))
        assert (extracted["added"], extracted["renamed"], extracted["unchanged"]) == of_store
        assert (indexed["added"], indexed["removed"], indexed["unchanged"]) == of_gallery
        if not (photos / "new.png").exists():
            (photos / "1" / "1.png").rename(photos / "new.png")


def test_the_demo_finds_photos_without_pytorch(tmp_path):
    poison = tmp_path / "torch"
    poison.mkdir()
    (poison / "__init__.py").write_text("raise RuntimeError('search imported torch')")
    done = installed.shan("search", "a dog on grass", "--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "the bundled demo" in done.stderr
    hits = json.loads(done.stdout)[0]["hits"]
    assert len(hits) == 10
    assert "dog.jpg" in [Path(hit["path"]).name for hit in hits[:3]]
    assert all(Path(hit["path"]).is_file() for hit in hits)


def test_the_table_names_rank_score_id_and_regions(gallery_path, bundle_path):
    table = output_of("search", CAPTIONS[0], "--gallery", gallery_path, "--model", bundle_path, "-k", 2, "--details")
    assert CAPTIONS[0] in table
    for column in ("rank", "score", "id", "regions", "path"):
        assert column in table
    answer = json.loads(
        output_of("search", CAPTIONS[0], "--gallery", gallery_path, "--model", bundle_path, "-k", 2, "--json")
    )
    for hit in answer[0]["hits"]:
        assert hit["id"] in table
        assert f"{hit['score']:.3f}" in table


def test_queries_come_from_a_file_and_the_gallery_from_the_environment(gallery_path, bundle_path, tmp_path):
    queries = tmp_path / "queries.txt"
    queries.write_text("\n".join(CAPTIONS) + "\n")
    where = {"SHAN_GALLERY": str(gallery_path), "SHAN_MODEL": str(bundle_path)}
    done = shan("search", CAPTIONS[1], "--queries", queries, "--json", **where)
    assert done.returncode == 0, done.stderr
    assert "SHAN_GALLERY" in done.stderr
    assert [result["query"] for result in json.loads(done.stdout)] == [CAPTIONS[1], *CAPTIONS]


def test_a_report_shows_each_query(halves, tmp_path):
    _, bundle = halves
    photos = photo_folder(tmp_path / "photos", 3)
    output_of("extract", photos, "--store", tmp_path / "s", "--model", bundle)
    output_of("index", tmp_path / "s", "--output", tmp_path / "g", "--model", bundle)
    report = tmp_path / "report.html"
    output_of("search", *CAPTIONS[:2], "--gallery", tmp_path / "g", "--model", bundle, "--html", report)
    page = report.read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") >= 3
    for caption in CAPTIONS[:2]:
        assert caption in page


def test_score_writes_the_matrix_and_the_best_rows(gallery_path, bundle_path, tmp_path):
    queries = tmp_path / "captions.txt"
    queries.write_text("\n".join(CAPTIONS))
    common = ("--gallery", gallery_path, "--model", bundle_path, "--queries", queries)
    output_of("score", *common, "--output", tmp_path / "scores.npy")
    scores = np.load(tmp_path / "scores.npy")
    ids = [image.id for image in Gallery.open(gallery_path).images()]
    assert scores.shape == (len(CAPTIONS), len(ids))
    assert scores.dtype == np.float32
    output_of("score", *common, "--output", tmp_path / "best.parquet", "--top-k", 4)
    rows = pyarrow.parquet.read_table(tmp_path / "best.parquet").to_pylist()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    assert [row["image_id"] for row in rows] == [ids[place] for place in best.flat]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4] * len(CAPTIONS)
    assert [row["query"] for row in rows] == [caption for caption in CAPTIONS for _ in range(4)]
    np.testing.assert_array_equal([row["score"] for row in rows], np.take_along_axis(scores, best, 1).ravel())


def test_a_checkpoint_is_trained_exported_and_evaluated(tmp_path):
    random = np.random.default_rng(0)
    make_store(tmp_path / "store", range(24), extractor="tiny").close()
    vectors = "".join(f"{word} {' '.join(map(str, random.normal(size=6).round(3)))}\n" for word in WORDS)
    (tmp_path / "glove.txt").write_text(vectors)
    lines = ["split\timage\tcaption"]
    for number in range(24):
        split = "train" if number < 16 else "dev" if number < 20 else "test"
        lines += [f"{split}\tphoto{number}\ta {WORDS[(number * 3 + i) % 20]} {WORDS[number % 20]}" for i in range(5)]
    (tmp_path / "captions.tsv").write_text("\n".join(lines) + "\n")
    checkpoint, bundle, gallery = tmp_path / "checkpoint", tmp_path / "bundle", tmp_path / "gallery"
    trained = shan(
        "train", "--store", tmp_path / "store", "--captions", tmp_path / "captions.tsv",
        "--word-vectors", tmp_path / "glove.txt", "--output", checkpoint,
        "--epochs", 2, "--batch-size", 8, "--embed-dim", 16, "--device", "cpu",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "epoch 1" in trained.stderr
    assert "epoch 2" in trained.stderr
    assert [json.loads(line)["epoch"] for line in (checkpoint / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    output_of("export", checkpoint, "--output", bundle, "--feature-extractor-name", "tiny")
    output_of("index", tmp_path / "store", "--output", gallery, "--model", bundle)
    common = ("--captions", tmp_path / "captions.tsv", "--gallery", gallery, "--model", bundle)
    figures = json.loads(output_of("evaluate", *common, "--json"))
    assert (figures["images"], figures["captions"]) == (4, 20)
    assert figures["image_retrieval_r5"] == 100  # only 4 images can be found
    assert 0 < figures["rsum"] < 600
    table = output_of("evaluate", *common, "--split", "dev")
    assert all(name in table for name in ("R@10", "image to text", "text to image", "rSum", "pairs/s"))
    dev = json.loads(output_of("evaluate", *common, "--split", "dev", "--json"))
    for name, (low, high) in dev["intervals_95"].items():
        assert f"({low:.1f}-{high:.1f})" in table, name


def test_store_commands(tmp_path):
    make_store(tmp_path / "s", range(6)).close()
    facts = json.loads(output_of("store", "info", tmp_path / "s", "--json"))
    assert (facts["images"], facts["feature_dim"], facts["images_with_classes"]) == (6, 24, 0)
    output_of("store", "delete", tmp_path / "s", "photo1", "photo4")
    output_of("store", "compact", tmp_path / "s")
    output_of("store", "verify", tmp_path / "s")
    with FeatureStore.open(tmp_path / "s") as store:
        assert store.ids() == ["photo0", "photo2", "photo3", "photo5"]


def test_imported_features_are_searched(bundle_path, tmp_path):
    features = np.abs(np.random.default_rng(1).normal(size=(6, 9, 24))).astype(np.float32)
    np.save(tmp_path / "test_ims.npy", features)
    (tmp_path / "ids.txt").write_text("".join(f"image {number}\n" for number in range(6)))
    output_of(
        "import", tmp_path / "test_ims.npy", "--ids", tmp_path / "ids.txt",
        "--store", tmp_path / "s", "--extractor", "tiny-extractor",
    )  # fmt: skip
    output_of("index", tmp_path / "s", "--output", tmp_path / "g", "--model", bundle_path)
    answer = json.loads(output_of("search", "a dog", "--gallery", tmp_path / "g", "--model", bundle_path, "--json"))
    assert sorted(hit["id"] for hit in answer[0]["hits"]) == [f"image {number}" for number in range(6)]


def test_doctor_finds_this_installation_sound():
    findings = json.loads(installed.output_of("doctor", "--json"))
    assert {finding["status"] for finding in findings} <= {"ok", "warning"}
    assert any("demo" in finding["name"] for finding in findings)


@pytest.mark.parametrize(
    "command",
    ["", "search", "init", "update", "watch", "extract", "import", "index", "index-captions", "store metadata", "score",
     "evaluate", "train", "export", "compile", "gallery info", "gallery split", "gallery merge"],
)  # fmt: skip
def test_help_has_an_example(command):
    assert "shan-engine " in output_of(*command.split(), "--help")


def images_in(store: Path) -> int:
    if not (store / "data.mdb").exists():
        return 0
    try:
        with FeatureStore.open(store) as opened:
            return len(opened)
    except Exception:  # its schema is being written just now
        return 0


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_an_extraction_that_was_stopped_goes_on(halves, tmp_path, how, code):
    _, bundle = halves
    photos = photo_folder(tmp_path / "photos", 150, size=700)
    command = ("extract", photos, "--store", tmp_path / "s", "--model", bundle, "--batch-size", 2, "--workers", 1)
    process = start(*command)
    wait_for(lambda: images_in(tmp_path / "s") >= 4, process)
    process.send_signal(how)
    process.communicate()
    assert process.returncode == code
    held = images_in(tmp_path / "s")
    assert 4 <= held < 150
    result = json.loads(output_of(*command, "--json"))
    assert (result["added"], result["unchanged"]) == (150 - held, held)
    output_of("store", "verify", tmp_path / "s")


def test_a_killed_index_leaves_the_old_gallery_and_is_done_again(bundle_path, gallery_copy, tmp_path):
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    make_store(tmp_path / "s", range(4000)).close()
    before = set((gallery_copy / "blocks").iterdir())
    command = ("index", tmp_path / "s", "--output", gallery_copy, "--model", bundle_path)
    process = start(*command)
    wait_for(lambda: set((gallery_copy / "blocks").iterdir()) - before, process)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    search = ("search", "a dog", "--gallery", gallery_copy, "--model", bundle_path, "--json", "-k", 5000)
    assert len(json.loads(output_of(*search))[0]["hits"]) == 41
    output_of(*command)
    assert len(Gallery.open(gallery_copy)) == 4000


def test_a_second_writer_of_a_gallery_is_told(bundle_path, gallery_copy, store_path):
    from filelock import FileLock

    with FileLock(gallery_copy / "writer.lock"):
        done = installed.shan("index", store_path, "--output", gallery_copy, "--model", bundle_path)
    assert done.returncode == 1
    assert "another process is writing the gallery" in done.stderr


def test_two_extractions_at_once_into_one_store_lose_nothing(halves, tmp_path):
    _, bundle = halves
    commands = [
        start("extract", photo_folder(tmp_path / name, 40, first=first), "--store", tmp_path / "s", "--model", bundle)
        for name, first in (("one", 0), ("two", 40))
    ]
    codes = [(process.communicate(), process.returncode) for process in commands]
    assert [code for _, code in codes] == [0, 0], codes
    output_of("store", "verify", tmp_path / "s")
    assert images_in(tmp_path / "s") == 80
