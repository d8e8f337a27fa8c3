"""Run a job from its captions to its result, in a locked folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.base.files import foreign_name, make_folder, write_failure
from shan_engine.base.locks import LOCK, hold_lock
from shan_engine.base.optional import import_pyarrow
from shan_engine.gallery.images import Images
from shan_engine.gallery.manifest import check_same_bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.querybank import refuse_unlike
from shan_engine.jobs.compute import Runner, run_here
from shan_engine.jobs.job import MATRIX, Job, Progress
from shan_engine.jobs.journal import JOURNAL, NEW
from shan_engine.jobs.options import JobOptions, check_output
from shan_engine.jobs.since import LastResult
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.query_files import QueryLine
from shan_engine.text.unknown_words import UnknownWords

LAST = "last.parquet"


@dataclass(frozen=True)
class JobResult:
    """What a run did.

    `finished` is false if the run was asked to stop; the same call then resumes it. `resumed` counts the blocks that
    were done before. `rows` is the number of rows written. `unknown` counts captions of mostly unknown words.
    """

    finished: bool
    captions: int
    images: int
    rows: int
    blocks: int
    resumed: int
    unknown: UnknownWords


def score_job(
    scorer: Scorer,
    galleries: Sequence[Gallery],
    queries: Iterable[QueryLine],
    output: Path,
    *,
    options: JobOptions | None = None,
    restart: bool = False,
    since: Path | None = None,
    with_text: bool = False,
    runner: Runner = run_here,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> JobResult:
    """Score captions with all images of some galleries into `output`, or resume a job that was started before.

    A `.parquet` output has one row for each kept pair. A `.npy` output is the full matrix: captions x images, or
    images x captions, depending on the direction.

    Finished blocks are kept in `<output>.job/`, which is removed at the end. If the process is killed at any moment,
    the same call resumes the job. The result has the same bytes as that of an uninterrupted run on the same kind of
    processor. With `since`, an earlier result of the same captions, only images added since then are scored. `runner`
    computes the blocks, in any order. `with_text` adds a column `text`: the lines in a photo that have words of
    the caption. `stop` is called between blocks and stops the job by returning true.

    Raises InputError, before any scoring, if captions, options or output cannot be used, or if the job's folder holds
    another job or is in use by another process. Raises GalleryError for a damaged image or a gallery of another bundle.
    """
    options = options or JobOptions()
    matrix = check_output(output, options)
    if with_text and matrix:
        raise InputError(f"--with-text needs a .parquet output, not {output}: name it .parquet, or leave it out")
    if since and matrix:
        raise InputError(f"--since needs a .parquet output, not {output}: name it .parquet, or leave out --since")
    if not matrix:
        import_pyarrow()
    if output.is_dir():
        raise InputError(f"{output} is a folder: name a file for the result")
    images = Images(galleries)
    for gallery in galleries:
        check_same_bundle(gallery.path, gallery.manifest, scorer.bundle)
    scorer = scorer.reading(galleries)
    if with_text and not scorer.written_words:
        raise InputError(
            "--with-text: these galleries do not know what is written in their photos: read it with `shan-engine "
            "extract PHOTOS --read-text` and index again, or leave it out"
        )
    if not len(images):
        places = " and ".join(str(gallery.path) for gallery in galleries) or "given"
        raise InputError(f"the gallery {places} is empty: index some images first")
    refuse_unlike(galleries)
    folder = output.with_name(f"{output.name}.job")
    _refuse_foreign(folder, output)
    with _locked(folder):
        job = Job(scorer, images, output, folder, options, matrix, with_text=with_text)
        last = _last_result(since, images, output, folder, restart) if since else None
        with job.open_journal(queries, restart, last) as journal:
            finished, resumed = job.run(journal, runner, stop, on_progress)
            rows = job.finish(journal) if finished else 0
        if finished:
            _remove(folder)
    return JobResult(finished, job.captions, len(images), rows, job.total_blocks, resumed, job.unknown)


def _last_result(since: Path, images: Images, output: Path, folder: Path, restart: bool) -> LastResult:
    """Read the earlier result that a job builds on.

    If the new result replaces it, the job's folder keeps a copy, because the job may be killed after that.
    """
    if since.resolve() != output.resolve():
        return LastResult.read(since, images)
    held = folder / LAST
    if held.exists() and (folder / JOURNAL).exists() and not restart:
        return LastResult.read(held, images)
    last = LastResult.read(since, images)
    held.unlink(missing_ok=True)
    shutil.copyfile(since, held)
    return last


def _refuse_foreign(folder: Path, output: Path) -> None:
    """Raise InputError if the job's folder, which is removed at the end, holds files that are not a job's."""
    databases = [f"{name}{end}" for name in (JOURNAL, NEW) for end in ("", "-journal")]
    try:
        foreign = foreign_name(folder, (LOCK, *databases, MATRIX, LAST, output.name))
    except OSError as error:
        raise InputError(write_failure(folder, error)) from error
    if foreign:
        raise InputError(
            f"{folder} is this job's folder, but it holds '{foreign}': move that file elsewhere, or name another output"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the job's folder, making it if needed. It is removed again if the job could not start."""
    busy = InputError(f"another process is working on {folder}: wait for it, or name another output")
    try:
        make_folder(folder)
        with hold_lock(folder / LOCK, busy):
            if not (folder / LOCK).exists():  # the process that finished the job has just removed it
                raise busy
            try:
                yield
            finally:
                if folder.exists() and not (folder / JOURNAL).exists():
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise InputError(write_failure(folder, error)) from error


def _remove(folder: Path) -> None:
    # Rename it first: a half-removed folder would look like a job that lost its blocks.
    gone = folder.with_name(f".{folder.name}.done")
    shutil.rmtree(gone, ignore_errors=True)
    folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)
