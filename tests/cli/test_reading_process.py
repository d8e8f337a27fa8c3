"""Reading text with the real reader, in processes of its own."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import output_of
from installed import COMMAND, environment, expect_output, start, wait_for
from shan_engine.store.feature_store import FeatureStore
from writing import written

pytest.importorskip("rapidocr")
cv2 = pytest.importorskip("cv2")
PHOTOS, BATCH = 48, 16


def texts(store) -> dict[str, list[str]]:
    with FeatureStore.open(store) as held:
        return {id: [line.text for line in lines] for id, lines in held.texts()}


def test_ctrl_c_loses_nothing_that_was_read(seeing_bundle, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(PHOTOS):
        written(f"word {number}", size=(240, 120)).save(tmp_path / "photos" / f"{number:02}.png")
    extract = ["extract", tmp_path / "photos", "--store", tmp_path / "s", "--model", seeing_bundle]
    output_of(*extract)
    process = start(*extract, "--read-text")
    wait_for(lambda: len(texts(tmp_path / "s")) >= BATCH, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=240)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    held = texts(tmp_path / "s")
    assert BATCH <= len(held) < PHOTOS
    assert held == {id: [f"word {int(id.split('.')[0])}"] for id in held}
    found = json.loads(output_of(*extract, "--read-text", "--json"))["reading"]
    assert (found["known"], found["read"]) == (len(held), PHOTOS - len(held))
    assert len(texts(tmp_path / "s")) == PHOTOS


LOADED = """
import sys
from pathlib import Path
from shan_engine.photos.text_reader import TextReader
(line,) = TextReader()(Path(sys.argv[1])).lines
print(line.text)
print(*sorted({row.split()[-1] for row in open("/proc/self/maps") if ".so" in row}), sep="\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_loads_no_library_of_a_display(tmp_path):
    """OpenCV with a display needs libGL, which a server has not."""
    written("Budget").save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, tmp_path / "a.png"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    text, *loaded = done.stdout.splitlines()
    assert text == "Budget", done.stderr
    assert any("cv2" in path for path in loaded)
    own = str(Path(cv2.__file__).parents[1])  # packages that bring a library of theirs do not need the system's
    system = [Path(path).name for path in loaded if not path.startswith(own)]
    assert [name for name in system if re.match("lib(GL|EGL|X|xcb|gthread|glib|Qt)", name)] == []


HIDDEN = """
for library in $(ldconfig -p | awk '{print $NF}' | grep -E '/lib(GL|EGL|X|xcb|gthread|glib|Qt|gtk)' | xargs -r realpath)
do mount --bind /dev/null "$library" || exit 9; done
exec "$@"
"""
ALONE = ["unshare", "--mount", "--map-root-user", "bash", "-c", HIDDEN, "bash"]


def test_reading_needs_no_library_of_a_display(tmp_path):
    """As on a server: each of them that this machine has is an empty file here."""
    if not shutil.which("unshare") or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare is not installed, or may not hide libraries here")
    written("Budget").save(tmp_path / "a.png")
    called = [*ALONE, COMMAND, "read", str(tmp_path / "a.png"), "--json"]
    done = subprocess.run(called, capture_output=True, text=True, check=False, env=environment())
    assert [line["text"] for line in json.loads(expect_output(done))["lines"]] == ["Budget"]
