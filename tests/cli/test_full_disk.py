"""A full disk is one sentence, and what was stored stays whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from extractors import detector
from installed import output_of, refusal
from PIL import Image
from tiny import CAPTIONS, make_store


class TestFullDisk:
    def test_extract(self, small_disk, tmp_path):
        disk, folder = small_disk("256k"), tmp_path / "photos"
        folder.mkdir()
        for number in range(200):
            Image.new("RGB", (16, 8), (number, 0, 0)).save(folder / f"{'long' * 50}{number}.png")
        command = ("extract", folder, "--store", disk / "s", "--extractor", detector(tmp_path), "--batch-size", 8)
        assert "the disk is full" in refusal(*command)
        output_of("store", "verify", disk / "s")

    def test_index_keeps_the_gallery(self, small_disk, place):
        disk = small_disk("600k")
        gallery = Path(shutil.copytree(place.gallery, disk / "g"))
        make_store(place.here / "more", range(400)).close()
        sentence = refusal("index", place.here / "more", "--model", place.bundle, "--output", gallery)
        assert "the disk is full" in sentence
        search = ("search", CAPTIONS[0], "--gallery", gallery, "--model", place.bundle, "--json", "-k", 500)
        assert len(json.loads(output_of(*search))[0]["hits"]) == 41

    def test_index_captions_keeps_the_gallery(self, small_disk, place):
        disk = small_disk("600k")
        captions = place.here / "c.txt"
        index = ("index-captions", captions, "--model", place.bundle, "--output", disk / "g")
        captions.write_text("a dog\na cat\n")
        output_of(*index)
        before = sorted(disk.rglob("*"))
        captions.write_text("".join(f"a dog over {number} grass\n" for number in range(3000)))
        assert "the disk is full" in refusal(*index)
        assert sorted(disk.rglob("*")) == before

    def test_metadata_leave_the_gallery_as_it_was(self, small_disk, place):
        disk = small_disk("600k")
        gallery = Path(shutil.copytree(place.gallery, disk / "g"))
        table = place.here / "photos.csv"
        table.write_text("id,said\n" + "".join(f"photo{number},{'long ' * 3000}\n" for number in range(41)))
        output_of("store", "metadata", place.store, table)
        assert "the disk is full" in refusal("index", place.store, "--model", place.bundle, "--output", gallery)
        search = ("search", CAPTIONS[0], "--gallery", gallery, "--model", place.bundle, "--json", "-k", 500)
        assert len(json.loads(output_of(*search))[0]["hits"]) == 41

    @pytest.mark.slow  # tests/export/test_export.py does it without a process
    def test_export_leaves_no_bundle(self, small_disk, checkpoint):
        disk = small_disk("64k")
        assert "the disk is full" in refusal("export", checkpoint.folder, "--output", disk / "bundle")
        assert not list(disk.iterdir())

    def test_report(self, small_disk, place):
        disk = small_disk("4k")
        report = disk / "report.html"
        common = ("search", "a dog", "--gallery", place.gallery, "--model", place.bundle)
        assert "the disk is full" in refusal(*common, "--html", report)
        assert not report.exists()

    @pytest.mark.parametrize("command", ["split", "merge"])
    def test_galleries_leave_no_half_one(self, small_disk, place, command):
        disk = small_disk("48k")
        more = ("--parts", 2) if command == "split" else ()
        assert "the disk is full" in refusal("gallery", command, place.gallery, *more, "--output", disk / "new")
        assert not list(disk.iterdir())
