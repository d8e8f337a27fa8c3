"""One job while a process works on it: its identity, its journal, the missing blocks, the merged output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.base.files import sync_names
from shan_engine.gallery.images import Images
from shan_engine.jobs.compute import Found, Runner, Task, View, Work
from shan_engine.jobs.held import HeldJob
from shan_engine.jobs.identity import JobIdentity, refuse_another
from shan_engine.jobs.journal import JOURNAL, NEW, Journal, damaged_journal
from shan_engine.jobs.merge import Merge
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.plan import JobBlock, Plan, Portion, job_blocks, make_plan, most_pairs
from shan_engine.jobs.since import LastResult
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.query_files import QueryLine
from shan_engine.text.unknown_words import UnknownWords
from shan_engine.writers.hits_parquet import hits_writer
from shan_engine.writers.matrix_npy import MatrixFile, columns_path, rows_path, write_ids

MATRIX = "matrix.npy"


@dataclass(frozen=True)
class Progress:
    """How far a job is: how many of its blocks and pairs are done."""

    blocks_done: int
    blocks: int
    pairs_done: int
    pairs: int


class Job:
    """One job while this process works on it."""

    def __init__(
        self,
        scorer: Scorer,
        images: Images,
        output: Path,
        folder: Path,
        options: JobOptions,
        matrix: bool,
        *,
        with_text: bool = False,
    ) -> None:
        self._words = scorer.written_words if with_text else None
        self._scorer, self._images, self._output, self._folder = scorer, images, output, folder
        self._options, self._matrix = options, matrix
        self._by_image = options.direction == "image-to-text"
        self._names = images.names()
        self._views: tuple[View, ...] = ()
        self._blocks: list[JobBlock] = []
        self._rows_checked = True
        self.captions = 0
        self.unknown = UnknownWords()

    @property
    def total_blocks(self) -> int:
        """How many blocks the job has."""
        return len(self._blocks)

    @contextmanager
    def open_journal(self, queries: Iterable[QueryLine], restart: bool, last: LastResult | None) -> Iterator[Journal]:
        """Open the job's journal if there is one, else start a new one. `restart` always starts a new one.

        Raises InputError if the journal is of another job or a caption cannot be used.
        """
        path = self._folder / JOURNAL
        with ExitStack() as stack:
            stack.callback((self._folder / NEW).unlink, missing_ok=True)
            new = stack.enter_context(Journal.create(self._folder / NEW))
            longest: list[int] = []
            self.captions, digest = new.add_queries(self._checked(queries, longest))
            self.identity = JobIdentity.of(
                self._scorer,
                self._images,
                self._names,
                self._options,
                self._matrix,
                digest,
                last.digest if last else "",
            )
            if path.exists() and not restart:
                journal = stack.enter_context(Journal.open(path))
                held = HeldJob.read(journal)
                refuse_another(self._folder, held.identity, self.identity)
                held.refuse_changed(journal)
                (self._folder / NEW).unlink(missing_ok=True)
                self._plan, lost, self._rows_checked = held.plan, held.lost, held.sealed
            else:
                if last:
                    last.check(self.identity)
                lost = last.take_over(new, self._images, self.identity, self._scorer) if last else ()
                self._plan = self._planned(longest)
                new.set_facts(**HeldJob(asdict(self.identity), self._plan, lost).as_facts())
                # Captions and options are now known to be valid. The journal goes first: the rest depends on it.
                for name in (JOURNAL, f"{JOURNAL}-journal", MATRIX) if restart else ():
                    (self._folder / name).unlink(missing_ok=True)
                journal = stack.enter_context(new.publish(path))
            self._views, portions = (
                last.views(lost) if last else ((View(self._images),), (Portion(0, len(self._images)),))
            )
            self._blocks = list(job_blocks(self._plan, self.captions, portions))
            yield journal

    def _checked(self, queries: Iterable[QueryLine], longest: list[int]) -> Iterator[QueryLine]:
        """Check that the model can read each caption, and yield it. `longest` receives the tokens of the longest."""
        for query in queries:
            try:
                read = self._scorer.encoders.caption(query.text)
            except InputError as error:
                raise InputError(f"{query.place}: {error}") from error
            self.unknown.add(query.text, read)
            if len(read.tokens) > len(longest):
                longest[:] = read.tokens
            yield query
        if not longest:
            raise InputError("there are no captions to score: give at least one")

    def _planned(self, longest: list[int]) -> Plan:
        encoded = self._scorer.encoders.encode_captions([longest])
        return make_plan(
            self.captions,
            len(self._images),
            self._options,
            steps=len(self._scorer.score_parts),
            matrix=self._matrix,
            caption_bytes=sum(array.nbytes for array in encoded.values()),
        )

    @property
    def _task(self) -> Task:
        top_k, threshold = (None, None) if self._matrix else self._options.kept
        return Task(self._plan, self._by_image, self._matrix, top_k, threshold)

    @property
    def _shape(self) -> tuple[int, int]:
        """Rows and columns of the full matrix."""
        return (len(self._images), self.captions) if self._by_image else (self.captions, len(self._images))

    def run(
        self, journal: Journal, runner: Runner, stop: Callable[[], bool], on_progress: Callable[[Progress], None]
    ) -> tuple[bool, int]:
        """Compute the missing blocks. Returns whether all blocks are now done, and how many were done before."""
        with ExitStack() as stack:
            matrix = None
            if self._matrix:
                path = self._folder / MATRIX
                if not path.exists() and journal.facts().get("finishing") and self._output.exists():
                    self._output.replace(
                        path
                    )  # an earlier run ended between the last rename and the removal of the folder
                matrix = stack.enter_context(MatrixFile(path, self._shape))
            done = self._sound(journal, matrix)
            resumed = len(done)
            pairs_done = sum(block.pairs for block in self._blocks if block.number in done)
            pairs = sum(block.pairs for block in self._blocks)
            on_progress(Progress(len(done), len(self._blocks), pairs_done, pairs))
            missing = [block for block in self._blocks if block.number not in done]

            def texts(block: JobBlock) -> list[str]:
                return [text for _, text in journal.queries(block.captions)]

            work = Work(self._scorer, self._views, self._task, missing, texts, stop)
            for block, found in runner(work) if missing else ():
                self._keep(journal, matrix, block, found)
                done.add(block.number)
                pairs_done += block.pairs
                on_progress(Progress(len(done), len(self._blocks), pairs_done, pairs))
        return len(done) == len(self._blocks), resumed

    def _sound(self, journal: Journal, matrix: MatrixFile | None) -> set[int]:
        """Numbers of the finished blocks whose bytes match their checksum; the journal drops the others."""
        done, damaged = set(), []
        for block in journal.done():
            data = block.pairs
            if matrix and 0 <= block.number < len(self._blocks):
                row, column, shape = self._blocks[block.number].rectangle(by_image=self._by_image)
                data = matrix.read(row, column, shape).tobytes()
            sound = data is not None and block.is_sound(data, covers_row=self._rows_checked)
            if block.number < 0 and not sound:
                raise damaged_journal(journal.path, "the pairs of an earlier result have changed")
            if sound and block.number < len(self._blocks):
                done.add(block.number)
            elif block.number >= 0:
                damaged.append(block.number)
        journal.forget(damaged)
        return {number for number in done if number >= 0}

    def _keep(self, journal: Journal, matrix: MatrixFile | None, block: JobBlock, found: Found) -> None:
        data, first, last = found.tobytes(), 0, -1
        if matrix:
            row, column, _ = block.rectangle(by_image=self._by_image)
            matrix.write(row, column, found)
        elif len(found):
            first, last = int(found["row"][0]), int(found["row"][-1])
        journal.add_block(block.number, first, last, data, keep=not matrix)

    def finish(self, journal: Journal) -> int:
        """Write the result. Returns how many rows it has."""
        if self._matrix:
            self._finish_matrix(journal)
            return self._shape[0]
        kept = self._options.kept
        merge = Merge(
            journal,
            self._images,
            self._names,
            self._scorer.score_parts,
            self._by_image,
            kept[0],
            self._shape[0],
            self._plan.images if self._by_image else self._plan.captions,
            most_pairs(self._options.memory, len(self._scorer.score_parts)),
            self._words,
        )
        result = (
            self._folder / self._output.name
        )  # if the job is killed, its unfinished result is removed with the folder
        with hits_writer(
            result,
            self._scorer.score_parts,
            len(self._names) > 1,
            self.identity.metadata(self._images, self._names),
            with_text=self._words is not None,
        ) as writer:
            merge.write(writer)
        result.replace(self._output)
        sync_names(self._output.parent)  # before the journal goes
        return writer.rows

    def _finish_matrix(self, journal: Journal) -> None:
        sides = [rows_path(self._output), columns_path(self._output)]
        image_ids, query_ids = sides if self._by_image else sides[::-1]
        write_ids(query_ids, self._query_ids(journal))
        write_ids(image_ids, self._image_ids())
        journal.set_facts(finishing=True)
        (self._folder / MATRIX).replace(self._output)
        sync_names(self._output.parent)

    def _query_ids(self, journal: Journal) -> Iterator[tuple[str]]:
        for first in range(0, self.captions, self._plan.captions):
            for id in journal.query_ids(first, first + self._plan.captions):
                yield (id,)

    def _image_ids(self) -> Iterator[tuple[str, ...]]:
        for number, block in self._images.blocks:
            for id, _ in block.checksums():
                yield (self._names[number], id) if len(self._names) > 1 else (id,)
