"""The training loop: factorised scores, averaged weights, early stopping. It can be resumed at any moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.base.errors import InputError, ShanError
from shan_engine.evaluation.recall import CUTS, Recall, recall
from shan_engine.text.captions import CaptionSplit, CaptionTable
from shan_engine.text.tokenizer import pad
from shan_engine.text.unknown_words import UnknownWords
from torch import Tensor

from shan_model.checkpoint import refuse_checkpoint_alone, save_checkpoint
from shan_model.clip.pretrained import PretrainedText
from shan_model.registry import find_registration
from shan_model.retrieval import RetrievalModel
from shan_model.training.augment import Batch, augmented_loss, mix_views
from shan_model.training.data import AnyOf, RegionSource, refuse_missing, refuse_other_features
from shan_model.training.grid import score_split
from shan_model.training.loss import RankingLoss
from shan_model.training.machine import (
    choose_device,
    choose_precision,
    explain_memory_errors,
    keep_freed_memory,
    keep_to_quota,
)
from shan_model.training.parameters import frozen_state, parameter_groups
from shan_model.training.phrases import Phrases
from shan_model.training.plot import plot_metrics
from shan_model.training.schedule import TrainConfig, epoch_batches, schedule
from shan_model.training.state import FIX, STATE, TrainState, data_digests, lock_output, write_metrics
from shan_model.training.text import TrainText, prepare_text

SAVE_EVERY = 100


@dataclass(frozen=True)
class TrainProgress:
    """How far training is; `message` is a line to show, or empty."""

    done_steps: int
    total_steps: int
    loss: float
    pairs_per_second: float
    message: str = ""


def train(
    source: RegionSource,
    captions: CaptionTable,
    text_source: Path | PretrainedText,
    output: Path,
    config: TrainConfig,
    *,
    views: Sequence[RegionSource] = (),
    resume: bool = True,
    on_progress: Callable[[TrainProgress], None] = lambda state: None,
    on_warning: Callable[[str], None] = lambda sentence: None,
) -> float:
    """Train on split `train`; `output` gets the checkpoint with the best dev rSum, which is returned.

    `text_source` is a file of word vectors, the folder of a text encoder or of a sentence model, or for `clip-shan` the
    text side of a vision-language model.

    `views` are other features of training images, such as those of their mirror images. Each training step takes an
    image from a randomly chosen source that has it. With `resume`, an interrupted run continues from its last state; on
    a CPU it reaches the same weights. `on_warning` hears how many captions have words that are mostly unknown.

    Raises ShanError if the loss is not finite. Raises InputError if an image has no features, if the state is damaged
    or was made with other settings or data, if a checkpoint has no state, or if another process trains there.
    """
    find_registration(config.model)  # before anything slow
    device = choose_device(config.device)
    config = replace(config, precision=choose_precision(config.precision, device))
    keep_freed_memory()
    keep_to_quota()
    training, dev = captions.split("train"), captions.split("dev").images_between(0, config.dev_images)
    text = prepare_text(text_source, training, dev, config, source)
    sources = AnyOf((source, *views))
    refuse_missing(sources, training, dev)
    refuse_missing(source, dev)
    refuse_other_features(source, views)
    torch.manual_seed(config.seed)
    model = text.new_model(config, source.schema.feature_dim)
    holders = sources.holders(training.images)
    schemas = [part.schema for part in (source, *views)]
    data = data_digests(training, dev, text, schemas, holders)
    run = _Run((source, *views), holders, text, training, dev, data, model.to(device), output, config, device)
    with lock_output(output), explain_memory_errors(config.batch_size):
        if told := run.unknown.sentence():
            on_warning(told)
        if not (resume and run.load()):
            run.save()  # replaces an older state, which a killed run would otherwise continue
        return run.train(on_progress)


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        views: tuple[RegionSource, ...],
        holders: NDArray[np.bool_],
        text: TrainText,
        training: CaptionSplit,
        dev: CaptionSplit,
        data: dict[str, str],
        model: RetrievalModel,
        output: Path,
        config: TrainConfig,
        device: torch.device,
    ) -> None:
        self.views, self.holders, self.text = views, holders, text
        self.training, self.dev, self.data = training, dev, data
        self.model, self.output, self.config, self.device = model, output, config, device
        read = [text.tokenizer.encode(caption, model.most_tokens) for caption in training.captions]
        self.tokens = [one.tokens for one in read]
        self.unknown = UnknownWords()
        for caption, one in zip(training.captions, read, strict=True):
            self.unknown.add(caption, one, text.unknown(one))
        self.phrases = Phrases(training)
        self.loss = RankingLoss(
            config.loss, candidates=config.candidates, margin=config.margin, temperature=config.loss_temperature
        ).to(device)
        self.rates, groups = parameter_groups(model, self.loss, config)
        self.parameters = [parameter for group in groups for parameter in group]
        self.optimiser = torch.optim.Adam([{"params": group} for group in groups], lr=config.learning_rate)
        self.averaged = {name: tensor.clone() for name, tensor in model.trained_state().items()}
        self.per_epoch = len(epoch_batches(training, config, 0))
        if not self.per_epoch:
            raise InputError(f"the captions have fewer than {config.batch_size} images: use a smaller batch size")
        self.step, self.best, self.best_epoch = 0, -1.0, 0
        self.losses: list[float] = []  # of the epoch so far

    def train(self, on_progress: Callable[[TrainProgress], None]) -> float:
        config, total = self.config, self.config.epochs * self.per_epoch
        while self.step < total and not self.stale():
            epoch = self.step // self.per_epoch
            began, first = time.perf_counter(), self.step
            for batch in self.batches(epoch, self.step % self.per_epoch):
                self.losses.append(self.update(batch, epoch, total))
                self.step += 1
                speed = (self.step - first) * config.batch_size**2 / (time.perf_counter() - began)
                on_progress(TrainProgress(self.step, total, self.losses[-1], speed))
                if self.step % SAVE_EVERY == 0 and self.step % self.per_epoch:
                    self.save()
            outcome = self.evaluate()
            line = {
                "epoch": epoch + 1,
                "loss": float(np.mean(self.losses)),
                **outcome.as_dict(),
                "pairs_per_second": round(speed),
                "precision": config.precision,
            }
            write_metrics(self.output, line)
            plot_metrics(self.output)
            if outcome.rsum > self.best:
                self.best, self.best_epoch = outcome.rsum, epoch + 1
                self.save_best()
            last, self.losses = self.losses[-1], []
            self.save()
            message = f"epoch {epoch + 1}: loss {line['loss']:.4f}, dev {recall_line(outcome)} (best {self.best:.1f})"
            on_progress(TrainProgress(self.step, total, last, speed, message))
        return self.best

    def stale(self) -> bool:
        """Whether the last `patience` epochs were no better than the best one."""
        epochs, rest = divmod(self.step, self.per_epoch)
        return not rest and epochs - self.best_epoch >= self.config.patience

    def batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """The epoch's batches after the first `skip`, one read ahead."""
        plan = islice(enumerate(epoch_batches(self.training, self.config, epoch)), skip, None)
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self.read, captions, (epoch, number)) for number, captions in islice(plan, 2)]
            while ahead:
                batch = ahead.pop(0).result()
                ahead.extend(pool.submit(self.read, captions, (epoch, number)) for number, captions in islice(plan, 1))
                yield batch

    def read(self, captions: Sequence[int], place: tuple[int, int]) -> Batch:
        """Features and tokens of some captions, by number; `place` (epoch, batch) seeds the random choices."""
        rows = self.training.caption_images[captions]
        ids = [self.training.images[row] for row in rows]
        random = np.random.default_rng((self.config.seed, *place))
        features, mask = mix_views(self.views, ids, self.holders[rows], random)
        short = random.random(len(captions)) < self.config.phrases
        phrases = [self.phrases.cut(i, random) if cut else None for i, cut in zip(captions, short, strict=True)]
        tokens, lengths = pad(
            [
                self.text.tokenizer.encode(phrase.text).tokens if phrase else self.tokens[i]
                for i, phrase in zip(captions, phrases, strict=True)
            ]
        )
        arrays = (features, mask, tokens, lengths, self.phrases.matches(rows.tolist(), phrases))
        return Batch(*(torch.from_numpy(array).to(self.device) for array in arrays))

    def update(self, batch: Batch, epoch: int, total: int) -> float:
        """Take one training step; returns the loss before it."""
        torch.manual_seed(hash((self.config.seed, self.step)) & 0x7FFFFFFF)
        factor = schedule(self.step, total, self.config.warmup_steps)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        loss = augmented_loss(self.model, self.loss, batch, self.config, hardest=epoch >= self.config.warmup_epochs)
        value = float(loss.detach())
        if not math.isfinite(value):
            fix = "lower --learning-rate and run again with --restart"
            raise ShanError(f"the loss is {value} at step {self.step}: {fix}")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        self.optimiser.step()
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.model.trained_state().items():
                if tensor.is_floating_point():
                    self.averaged[name].lerp_(tensor, 1 - decay)
                else:  # a count, as batch normalisation has
                    self.averaged[name].copy_(tensor)
        return value

    def evaluate(self) -> Recall:
        """Recall of the averaged weights on all dev pairs."""
        held = {name: tensor.clone() for name, tensor in self.model.trained_state().items()}
        self.set_weights(self.averaged)
        self.model.eval()
        try:
            scores = score_split(self.model, self.views[0], self.text.tokenizer, self.dev, self.device)
        finally:
            self.model.train()
            self.set_weights(held)
        return recall(scores, self.dev.caption_images)

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Give the model these trained weights. Raises RuntimeError if they do not fit."""
        self.model.load_state_dict({**frozen_state(self.model), **weights})

    def save_best(self) -> None:
        """Write the averaged weights as the checkpoint."""
        save_checkpoint(self.text.trained(self.model, self.averaged), self.text.tokenizer, self.output)

    def save(self) -> None:
        """Write all that resuming needs."""
        TrainState(
            config=asdict(self.config),
            data=self.data,
            step=self.step,
            best=self.best,
            best_epoch=self.best_epoch,
            losses=self.losses,
            loss=self.loss.state_dict(),
            model=self.model.trained_state(),
            averaged=self.averaged,
            optimiser=self.optimiser.state_dict(),
        ).save(self.output)

    def load(self) -> bool:
        """Continue from the output's last state, if there is one. Raises InputError if it does not fit."""
        state = TrainState.load(self.output)
        if state is None:
            refuse_checkpoint_alone(self.output)
            return False
        state.refuse_other(self.output, self.config, self.data)
        try:
            self.set_weights(state.model)
            self.loss.load_state_dict(state.loss)
            self.optimiser.load_state_dict(state.optimiser)
            self.averaged = {name: state.averaged[name].to(self.device) for name in self.averaged}
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{self.output / STATE} does not fit this version's model: use {FIX}") from error
        self.step, self.best, self.best_epoch, self.losses = state.step, state.best, state.best_epoch, state.losses
        return True


def recall_line(outcome: Recall) -> str:
    """Recall at every cut both ways, and their sum, in a line."""
    cuts = "/".join(map(str, CUTS))
    text, image = (
        "/".join(f"{value:.1f}" for value in values) for values in (outcome.text_retrieval, outcome.image_retrieval)
    )
    return f"text R@{cuts} {text}, image {image}, rSum {outcome.rsum:.1f}"
