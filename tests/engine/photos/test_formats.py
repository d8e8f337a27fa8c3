"""Every format and mode is decoded to what other decoders see, damage is told, and memory stays bounded."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import odd_photos
import pytest
import tifffile
from extractors import detector
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image
from shan_engine.base.errors import InputError
from shan_engine.photos import formats, memory, opening
from shan_engine.photos.decode import decode_photo, read_scaled
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.photos.find import find_photos
from shan_engine.photos.memory import MemoryBudget

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"
PICTURE = odd_photos.picture(0)
KINDS = {kind: (suffix, make) for kind, suffix, make in odd_photos.kinds(PICTURE)}
# Block means as OpenCV 5.0 (most formats), tifffile 2026.3 (TIFF) and imagecodecs 2026.3 (AVIF) decode them.
SEEN_BY_OTHERS = dict(np.load(GOLDEN / "odd_photos.npz"))


def written(folder: Path, kind: str) -> Path:
    suffix, make = KINDS[kind]
    path = folder / f"a.{suffix}"
    path.write_bytes(make())
    return path


def blocks(path: Path) -> NDArray[np.int64]:
    return odd_photos.blocks(np.asarray(decode_photo(path))).astype(int)


@pytest.mark.parametrize("kind", SEEN_BY_OTHERS)
def test_pixels_are_those_of_other_decoders(tmp_path: Path, kind: str) -> None:
    assert np.abs(blocks(written(tmp_path, kind)) - SEEN_BY_OTHERS[kind]).max() <= 2


@pytest.mark.parametrize("kind", ["PNG with 20 MB of text", "PNG with a wrong checksum", "TIFF Lab", "TIFF CMYK"])
def test_sound_pixels_are_read(tmp_path: Path, kind: str) -> None:
    assert np.abs(blocks(written(tmp_path, kind)) - odd_photos.blocks(PICTURE)).max() <= 3


def test_heic() -> None:
    pytest.importorskip("pi_heif")
    assert np.abs(blocks(GOLDEN / "picture.heic") - odd_photos.blocks(PICTURE)).max() <= 3


@pytest.mark.parametrize(("kind", "module"), [("camera RAW (DNG)", "rawpy"), ("video (MP4)", "av")])
def test_raw_and_video(tmp_path: Path, kind: str, module: str) -> None:
    pytest.importorskip(module)
    photo = Image.fromarray(read_scaled(written(tmp_path, kind), odd_photos.WIDTH, odd_photos.HEIGHT).pixels)
    similar = np.corrcoef(odd_photos.blocks(np.asarray(photo)).ravel(), odd_photos.blocks(PICTURE).ravel())[0, 1]
    assert similar > 0.95


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda module: None)
    (tmp_path / "a.heic").write_bytes((GOLDEN / "picture.heic").read_bytes())
    with pytest.raises(InputError, match=r"a\.heic needs pi_heif, which is not installed: pip install '\.\[heic\]'"):
        decode_photo(tmp_path / "a.heic")


@pytest.mark.parametrize(
    "samples",
    [
        np.linspace(0, 4095, 6144).astype(np.uint16),  # a camera of 12 bits
        np.linspace(0, 100_000, 6144).astype(np.uint32),
        np.linspace(-500, 500, 6144).astype(np.int16),
        np.append(np.linspace(0, 5, 6143), np.nan).astype(np.float32),
    ],
)
def test_no_photo_turns_black_or_white(tmp_path: Path, samples: NDArray[np.generic]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", samples.reshape(64, 96))
    photo = np.asarray(decode_photo(tmp_path / "a.tif"))[..., 0].ravel()
    assert np.abs(photo[:-1].astype(int) - np.linspace(0, 255, 6144)[:-1]).max() <= 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        # 13 widths times a length is a Python tuple of gigabytes.
        ({256: (4, 13, 8), 257: (4, 1, 1 << 28)}, "has several numbers for one size"),
        # Tiles of 2^34 pixels in a photo of 2^12.
        ({322: (4, 1, 1 << 18), 323: (4, 1, 1 << 16)}, "more than 300 megapixels"),
    ],
)
def test_a_tiff_of_impossible_sizes_takes_no_memory(
    tmp_path: Path, changes: dict[int, tuple[int, int, int]], reason: str
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.float32), photometric="rgb", tile=(16, 16))  # not one of Pillow's
    with tifffile.TiffFile(path) as tiff:
        places = {tag: tiff.pages.first.tags[tag].offset for tag in changes}
    content = bytearray(path.read_bytes())
    for tag, change in changes.items():
        struct.pack_into("<HHII", content, places[tag], tag, *change)
    path.write_bytes(content)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=reason):
        decode_photo(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 1 << 20  # kB


def test_a_transparent_level_of_16_bits_is_white(tmp_path: Path) -> None:
    samples = np.full((8, 8), 30_000, np.uint16)
    samples[:4] = 5_000
    Image.fromarray(samples).save(tmp_path / "a.png", transparency=5_000)
    photo = np.asarray(decode_photo(tmp_path / "a.png"))
    assert (photo[:4] == 255).all()
    assert (photo[4:] == 30_000 >> 8).all()


def display_p3() -> bytes:
    """A minimal ICC profile: the primaries of Display P3 with a gamma of 2.2."""

    def fixed(*values: float) -> bytes:
        return b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in values)

    tags = {
        name: b"XYZ \0\0\0\0" + fixed(*value) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), P3.T, strict=True)
    }
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249)
    curve = b"curv\0\0\0\0\0\0\0\1" + round(2.2 * 256).to_bytes(2, "big") + b"\0\0"
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags[b"desc"] = b"desc\0\0\0\0\0\0\0\3P3\0" + bytes(78 + 7)
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + (start + len(body)).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        body += data + bytes(-len(data) % 4)
    head = (
        bytes(8) + b"\x02\x40\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249) + bytes(48)
    )
    profile = head + len(tags).to_bytes(4, "big") + table + body
    return len(profile).to_bytes(4, "big") + profile[4:]


P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def test_display_p3_becomes_srgb(tmp_path: Path) -> None:
    colour = np.array([200, 120, 90])
    Image.new("RGB", (16, 16), tuple(colour.tolist())).save(tmp_path / "a.png", icc_profile=display_p3())
    linear = np.linalg.solve(SRGB, P3 @ (colour / 255) ** (round(2.2 * 256) / 256))
    wanted = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(wanted - colour).max() > 8
    for pixels in (np.asarray(decode_photo(tmp_path / "a.png")), read_scaled(tmp_path / "a.png", 8, 8).pixels):
        assert np.abs(pixels - wanted).max() <= 2


def test_cmyk_pixels_of_a_profile_are_those_of_another_colour_engine(tmp_path: Path) -> None:
    # cmyk.jpg has a profile of its own inks. cmyk.npy is what Argyll 2.3.1 (`cctiff`) makes of it; ImageMagick 6.9.11
    # with Little CMS agrees to 2 levels. Without the profile, colours would be up to 75 levels away.
    wanted = np.load(GOLDEN / "cmyk.npy").astype(int)
    assert np.abs(blocks(GOLDEN / "cmyk.jpg") - wanted).max() <= 2
    with Image.open(GOLDEN / "cmyk.jpg") as photo:
        photo.save(tmp_path / "a.tif", compression="tiff_lzw", icc_profile=photo.info["icc_profile"])
        assert np.abs(odd_photos.blocks(np.asarray(photo.convert("RGB"))).astype(int) - wanted).max() > 70
    assert np.abs(blocks(tmp_path / "a.tif") - wanted).max() <= 2
    scaled = read_scaled(GOLDEN / "cmyk.jpg", odd_photos.WIDTH, odd_photos.HEIGHT).pixels
    assert np.abs(odd_photos.blocks(scaled).astype(int) - wanted).max() <= 2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "damaged" in kind])
def test_damaged_photos_are_read_as_far_as_they_go(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    assert read_scaled(path, 8, 8).damage.startswith(f"{path} is damaged: ")
    assert np.abs(blocks(path)[:1] - odd_photos.blocks(PICTURE)[:1]).max() <= 8  # the first rows are there
    with pytest.raises(InputError, match="is damaged"):
        decode_photo(path, strict=True)


def test_extract_lists_damaged_photos_and_strict_leaves_them_out(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    path = written(tmp_path / "photos", "JPEG without its end, damaged")
    Image.fromarray(PICTURE).save(tmp_path / "photos" / "b.png")
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    told = (f"{path} is damaged: it ends early",)
    lenient = extract_photos(tmp_path / "photos", tmp_path / "s", extractor)
    assert (lenient.added, lenient.damaged, lenient.broken) == (2, told, ())
    strict = extract_photos(tmp_path / "photos", tmp_path / "t", extractor, strict=True)
    assert (strict.added, strict.damaged, strict.broken) == (1, (), told)


def test_all_suffixes_are_found(tmp_path: Path) -> None:
    for suffix in formats.PLAIN:
        (tmp_path / f"a{suffix}").write_bytes(b"x")
    assert len(find_photos(tmp_path).photos) == len(formats.PLAIN)


def test_no_program_is_run_on_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker, program = tmp_path / "ran", tmp_path / "bin" / "gs"  # Pillow would call Ghostscript for EPS
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", "EPS")
    with pytest.raises(InputError, match=r"a\.jpg cannot be decoded: it is damaged or not a photo"):
        decode_photo(tmp_path / "a.jpg")
    assert not marker.exists()


def test_wrong_suffix_of_a_heic(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    (tmp_path / "a.jpg").write_bytes((GOLDEN / "picture.heic").read_bytes())
    with opening.open_photo(tmp_path / "a.jpg", 10**6) as photo:
        assert photo.size == (odd_photos.WIDTH, odd_photos.HEIGHT)


def test_a_budget_is_never_exceeded() -> None:
    budget, lock, held, most = MemoryBudget(10), threading.Lock(), [0], [0]

    def work(wanted: int) -> None:
        with budget.held(wanted):
            with lock:
                held[0] += min(wanted, 10)
                most[0] = max(most[0], held[0])
            time.sleep(0.002)
            with lock:
                held[0] -= min(wanted, 10)

    threads = [threading.Thread(target=work, args=(wanted,)) for wanted in (3, 99, 4, 6, 10, 1, 7, 5) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most[0], held[0]) == (10, 0)


def test_photos_share_a_quarter_of_a_containers_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, share in ((2 * 10**9, 5 * 10**8), (2**63, 10**9), (float("inf"), 10**9)):
        monkeypatch.setattr(memory, "memory_quota", lambda limit=limit: limit)
        assert memory.decoding_memory(10**9) == share


def peak_of_decoding(code: str, *arguments: object) -> int:
    """The largest memory of a process that runs `code`, in MB."""
    code += "print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1024)\n"
    head = (
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor\nfrom pathlib import Path\n"
        "from shan_engine.photos import decode, memory\npath = Path(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", head + code, *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_large_photos_share_a_bounded_memory(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_000), 1).save(tmp_path / "a.png")
    code = (
        "with ThreadPoolExecutor(4) as pool:\n"
        "    photos = list(pool.map(lambda _: decode.read_scaled(path, 32, 32), range(4)))\n"
        "assert all((photo.pixels == 255).all() for photo in photos)\n"
    )
    assert peak_of_decoding(code, tmp_path / "a.png") < 400  # one photo in RGB alone would take 360


def test_threads_keep_no_memory_of_photos_that_are_done(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 2900), "red").save(tmp_path / "a.png")
    code = (
        "decode._BUDGET = memory.MemoryBudget(1)\n"  # one photo at a time
        "with ThreadPoolExecutor(8) as pool:\n"
        "    list(pool.map(lambda _: decode.read_scaled(path, 32, 32), range(8)))\n"
    )
    assert peak_of_decoding(code, tmp_path / "a.png") < 200  # a photo takes 35, and the threads would keep 280
