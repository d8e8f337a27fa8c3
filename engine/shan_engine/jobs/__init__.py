"""Jobs: score a file of captions with whole galleries, on one machine or many.

A job is cut into blocks. A journal keeps each finished block, so that a job that was killed resumes where it stopped.
In reading order:

- `options`: which pairs a job keeps, and within what memory.
- `run`: `score_job`, the way in; the job's folder and its lock.
- `job`: one job while a process works on it. `identity` says what makes it this job and no other, `held` what its
  journal keeps of that.
- `plan`, `compute`: the cut into blocks, and the work of one block.
- `kept_pairs`: the pairs that a block keeps, and their order.
- `journal`, `merge`: finished blocks on disk, and their merge into one table.
- `since`: an earlier result that a job builds on.
- `ray_run`: the same blocks on a Ray cluster.

Imports every package of the engine but `api`.
"""
