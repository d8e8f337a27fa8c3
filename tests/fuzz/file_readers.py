"""Readers of features, tables, texts and words, and of what is asked."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from reader import Reader, Shared
from shan_engine.base.metadata import Metadata
from shan_engine.collections.settings import Collection
from shan_engine.photos.ignore import IgnoreRules
from shan_engine.search.query import Phrase, Query
from shan_engine.search.tuning import FORMAT as TUNING_FORMAT
from shan_engine.search.tuning import Tuning, choose_widths
from shan_engine.store.importers.bottom_up_tsv import open_tsv
from shan_engine.store.importers.npz_folder import open_npz_folder
from shan_engine.store.importers.scan_npy import open_npy, open_scan_folder
from shan_engine.store.importers.source import Source
from shan_engine.store.records import RegionRecord, check_record
from shan_engine.text.captions import CaptionTable
from shan_engine.text.query_files import read_queries
from shan_engine.text.tokenizer_files import load_tokenizer
from tiny import CAPTIONS, WORDS

CELLS = [
    ("a", 1, 2.5, "x", "2020-01-02", True),
    ("b", -3, 1e300, 'ä,"', "2020-01-02 03:04:05", False),
    ("c", 2**40, 0.0, "", "1999", True),
]
NAMES = ("id", "count", "size", "title", "taken", "sharp")


def _usable(source: Source) -> list[Any]:
    """The records of a source as `import` takes them: those that can be used are sound."""
    held = []
    for record in source.records:
        if isinstance(record, RegionRecord):
            check_record(record, feature_dim=source.feature_dim, max_regions=max(100, source.regions))
            assert np.isfinite(record.features).all()
            held.append((record.id, record.features.shape))
    return held


def _features(*shape: int, dtype: str = "f4") -> Any:
    return np.abs(np.random.default_rng(0).normal(size=shape)).astype(dtype)


def make_npy(folder: Path) -> None:
    np.save(folder / "ims.npy", _features(3, 4, 5))
    np.save(folder / "half.npy", _features(4, 5, dtype="f2"))
    np.save(folder / "order.npy", np.asfortranarray(_features(3, 4, 5, dtype=">f8")))
    np.lib.format.write_array((folder / "v2.npy").open("wb"), _features(2, 3, 4), version=(2, 0))


def make_scan(folder: Path) -> None:
    np.save(folder / "dev_ims.npy", _features(5, 2, 3))
    np.save(folder / "test_ims.npy", _features(10, 2, 3))


def make_npz(folder: Path) -> None:
    boxes = np.sort(_features(4, 4), axis=1)
    np.savez(folder / "a.npz", features=_features(4, 5), boxes=boxes, image_w=10, image_h=12)
    np.savez_compressed(folder / "b.npz", feat=_features(2, 5, dtype="f2"))


def make_tsv(folder: Path) -> None:
    from published import tsv_row, write_tsv

    rows = [tsv_row(f"im{number}", np.sort(_features(3, 4), axis=1), _features(3, 5)) for number in range(3)]
    write_tsv(folder / "plain.tsv", rows)
    names = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features"]
    write_tsv(folder / "named.tsv", [names, *rows])


def make_csv(folder: Path) -> None:
    with (folder / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([NAMES, *CELLS])
    (folder / "spaced.csv").write_text('id, year, "a b"\n1, 2020, "x, y"\n2, , \n', "utf-8")


def make_parquet(folder: Path) -> None:
    columns = {name: [row[place] for row in CELLS] for place, name in enumerate(NAMES)}
    columns["when"] = pyarrow.array([0, 10**9, None], pyarrow.timestamp("us"))
    columns["day"] = pyarrow.array([0, 9000, None], pyarrow.date32())
    for name, options in {
        "a": {},
        "b": {"compression": "zstd", "version": "1.0"},
        "c": {"use_dictionary": False},
    }.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{name}.parquet", **options)  # type: ignore[arg-type]


def make_captions(folder: Path) -> None:
    lines = [f"train\tphoto{number}\t{text}" for number, text in enumerate(CAPTIONS)]
    (folder / "plain.tsv").write_text("\n".join(["split\timage\tcaption", *lines]) + "\n", "utf-8")
    languages = [f'{line}\t"{language}"' for line in lines for language in ("en", "de")]
    (folder / "languages.tsv").write_text("\n".join(["split\timage\tcaption\tlanguage", *languages]), "utf-8")


def make_queries(folder: Path) -> None:
    (folder / "q.txt").write_text("\n".join(CAPTIONS), "utf-8")
    (folder / "q.jsonl").write_text("".join(json.dumps({"caption": text}) + "\n" for text in CAPTIONS), "utf-8")
    with (folder / "q.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["caption", "n"], *([text, "1"] for text in CAPTIONS)])
    pyarrow.parquet.write_table(pyarrow.table({"caption": list(CAPTIONS)}), folder / "q.parquet")


def make_vectors(folder: Path) -> None:
    lines = "".join(f"{word} {number}.5 -0.25 1e-3\n" for number, word in enumerate((*WORDS, "new york")))
    (folder / "v.txt").write_text(lines, "utf-8")
    with gzip.open(folder / "v.txt.gz", "wt", encoding="utf-8") as file:
        file.write(lines)


def read_vectors(folder: Path, path: Path) -> Any:
    from shan_model.training.data import read_word_vectors

    rows, vectors = read_word_vectors(path)
    assert np.isfinite(vectors).all()
    assert sorted(rows.values()) == list(range(len(vectors)))


def make_vocabulary(folder: Path) -> None:
    words = ["<pad>", "<start>", "<end>", "<unk>", *WORDS]
    held = {
        "word2idx": {word: n for n, word in enumerate(words)},
        "idx2word": {str(n): word for n, word in enumerate(words)},
    }
    (folder / "vocab.json").write_text(json.dumps({**held, "idx": len(words)}), "utf-8")


def make_tokenizers(folder: Path) -> None:
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    lines = list(CAPTIONS) * 3
    kinds = {
        "word_piece": (models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"), trainers.WordPieceTrainer),
        "bpe": (models.BPE(unk_token="[UNK]"), trainers.BpeTrainer),
        "unigram": (models.Unigram(), trainers.UnigramTrainer),
    }
    for name, (model, trainer) in kinds.items():
        made = tokenizers.Tokenizer(model)
        made.normalizer = normalizers.Lowercase()
        made.pre_tokenizer = pre_tokenizers.Metaspace() if name == "unigram" else pre_tokenizers.Whitespace()
        known = {"special_tokens": ["[UNK]", "[CLS]", "[SEP]"], "vocab_size": 60, "show_progress": False}
        made.train_from_iterator(lines, trainer(**known, **({"unk_token": "[UNK]"} if name == "unigram" else {})))
        if name == "word_piece":
            made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
        (folder / name).mkdir()
        made.save(str(folder / name / "tokenizer.json"))


def read_tokenizer(folder: Path, path: Path) -> Any:
    tokenizer = load_tokenizer(path)
    for text in ("A dog, don't run", "ünïcode 東京 42"):
        read = tokenizer.read(text, 20)
        assert all(type(token) is int and token >= 0 for token in read.tokens)
        tokenizer.encode(text)
    return len(tokenizer), len(tokenizer.content())


def make_tuning(folder: Path) -> None:
    Tuning(images=24, queries=3, top_k=10, step_1=(0.5,) * 7, all_steps=(10,) * 7, first_pass="pooled").save(folder)


def read_tuning(folder: Path, path: Path) -> Any:
    assert TUNING_FORMAT.read(path)
    widths = choose_widths(folder, 10**6, 10, 0.99)
    assert 0 < widths.all_steps <= widths.step_1


def make_collection(folder: Path) -> None:
    text = 'folders = ["~/Pictures", "b"]\nstore = "s"\ngallery = "/g"\nexclude = ["*.tif"]\nstorage = "float32"\n'
    (folder / "photos.toml").write_text(text + 'model = "m"\nread_text = true\n', "utf-8")


def make_ignore(folder: Path) -> None:
    (folder / ".shanignore").write_text("# x\n*.tif\n!a.tif\n/b/**/c\n[a-z]?\\ \n\\#r\n", "utf-8")


def read_ignore(folder: Path, path: Path) -> Any:
    rules = IgnoreRules.of(["*.gif"]).below("", path)
    return [
        rules.leave_out(name) for name in ("a.tif", "b/x/c", "r/", "x" * 60 + ".jpg", "aaaaaaaaaaaaaaaaaaaaaaaaaab")
    ]


def make_phrases(folder: Path) -> None:
    for number, text in enumerate(("on grass:0.5", "at 10:30", "a dog", "a:b:2", "rätsel 東京:1e2")):
        (folder / f"{number}.txt").write_text(text, "utf-8")


def text_of(path: Path) -> str:
    """What an operating system hands over as an argument; it has no zero bytes."""
    return path.read_bytes().replace(b"\0", b"").decode("utf-8", "surrogateescape")


def read_phrases(shared: Shared) -> Callable[[Path, Path], Any]:
    def read(folder: Path, path: Path) -> Any:
        from shan_engine.search.query import ReadQuery

        text = text_of(path)
        query = Query.of("a dog", also=[text], without=[text])
        assert all(0 < abs(phrase.weight) <= 1000 for phrase in query.phrases)
        assert Phrase.parse(text).text.strip()
        ReadQuery.read(shared.scorer.encoders, query)
        ReadQuery.read(shared.scorer.encoders, Query.of(text)).encode(shared.scorer.encoders)

    return read


def file_readers(shared: Shared) -> list[Reader]:
    csv_tokens = (b'"', b'""', b",", b"\r", b"\n", b"id", b"NaT", b"-0", b"1e5", b"2020-02-30")
    return [
        Reader(
            name="npy",
            make=make_npy,
            read=lambda _, path: _usable(open_npy(path, None)),
            tokens=(b"'|O'", b"'<U9'", b"'>f8'", b"True", b"(3,", b"), }"),
        ),
        Reader(name="scan", make=make_scan, read=lambda folder, _: _usable(open_scan_folder(folder))),
        Reader(
            name="npz",
            make=make_npz,
            read=lambda folder, _: _usable(open_npz_folder(folder)),
            tokens=(b"PK\1\2", b"PK\5\6", b"|O8"),
        ),
        Reader(
            name="tsv", make=make_tsv, read=lambda _, path: _usable(open_tsv(path)), tokens=(b"AADAfw==", b"b'", b"inf")
        ),
        Reader(name="csv", make=make_csv, read=lambda _, path: Metadata.read(path).stamp, tokens=csv_tokens),
        Reader(name="parquet", make=make_parquet, read=lambda _, path: Metadata.read(path).stamp),
        Reader(
            name="captions",
            make=make_captions,
            read=lambda _, path: CaptionTable.read(path, ["de"] if "languages" in path.name else ()).rows,
        ),
        Reader(name="queries", make=make_queries, read=lambda _, path: list(read_queries(path)), tokens=csv_tokens),
        Reader(
            name="vectors", make=make_vectors, read=read_vectors, tokens=(b" nan", b" 1e39", b" 1_0", "\u00a0".encode())
        ),
        Reader(name="vocabulary", make=make_vocabulary, read=read_tokenizer),
        Reader(name="tokenizers", make=make_tokenizers, read=read_tokenizer),
        Reader(name="tuning", make=make_tuning, read=read_tuning),
        Reader(
            name="collection",
            make=make_collection,
            read=lambda _, path: Collection.read(path, "photos"),
            tokens=(b"[[a]]", b'"""', b"1979-05-27"),
        ),
        Reader(name="ignore", make=make_ignore, read=read_ignore, tokens=(b"**", b"[!", b"\\", b"*?*?")),
        Reader(
            name="phrases",
            make=make_phrases,
            read=read_phrases(shared),
            tokens=(b":", b"1e999", b":nan", b"10:30"),
        ),
    ]
