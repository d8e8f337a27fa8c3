"""The kinds of published checkpoints, and the import of one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.text.sentences import Sentences
from shan_engine.text.tokenizer import Tokenizer
from shan_engine.text.vocabulary import Vocabulary

from shan_model.bert.text_encoder import BertModel
from shan_model.checkpoint import refuse_checkpoint_alone, save_checkpoint
from shan_model.choices import PublishedKind
from shan_model.published import chan, esa, scan, sgraf, tern, vse_infinity
from shan_model.published.bert import read_bert_tokenizer
from shan_model.published.recurrent import read_vocabulary
from shan_model.published.states import States
from shan_model.published.torch_file import TorchFile
from shan_model.retrieval import RetrievalModel


@dataclass(frozen=True)
class Kind:
    """`fits` tells from names of tensors whether a checkpoint is of the kind; `read` makes the model."""

    fits: Callable[[States], bool]
    read: Callable[[States], RetrievalModel]


KINDS: dict[PublishedKind, Kind] = {
    "scan": Kind(scan.fits, scan.read),
    "vse_infty": Kind(vse_infinity.fits, vse_infinity.read),
    "sgraf": Kind(sgraf.fits, sgraf.read),
    "chan": Kind(chan.fits, chan.read),
    "esa": Kind(esa.fits, esa.read),
    "tern": Kind(tern.fits, tern.read),
}


@dataclass(frozen=True)
class Imported:
    """The model, and why tensors of the files were left out, by name."""

    model: RetrievalModel
    left_out: dict[str, str]


def import_checkpoint(
    path: Path, output: Path, *, kind: PublishedKind, vocab: Path, sentences: Path | None = None
) -> Imported:
    """Write the checkpoint `output` from a published one and its vocabulary.

    `sentences` is a folder of NLTK's `punkt_tab`; with it, captions are split exactly as by NLTK's `word_tokenize`.
    Raises InputError for a file that cannot be read, names code, or is of another kind; for a vocabulary that is
    missing or of another size; and where `output` holds a checkpoint. Then nothing is written.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: name another --output")
    refuse_checkpoint_alone(output)
    states = States(TorchFile.read(path))
    refuse_other_kind(states, kind)
    model = KINDS[kind].read(states)
    read_tokenizer = read_bert_tokenizer if isinstance(model, BertModel) else read_vocabulary
    tokenizer: Tokenizer = read_tokenizer(vocab, model.config.vocab_size)
    if sentences:
        if not isinstance(tokenizer, Vocabulary):
            raise InputError(f"{vocab} splits captions itself: leave --sentences out")
        tokenizer = replace(tokenizer, sentences=Sentences.read(sentences))
    output.mkdir(parents=True, exist_ok=True)
    save_checkpoint(model, tokenizer, output)
    return Imported(model, states.left_out)


def refuse_other_kind(states: States, kind: PublishedKind) -> None:
    """Raise InputError if the names of the tensors are not those of the kind; the message names the kinds they fit."""
    if KINDS[kind].fits(states):
        return
    fitting = [name for name, other in KINDS.items() if other.fits(states)]
    fix = f"pass --kind {' or '.join(fitting)}" if fitting else f"kinds are {', '.join(KINDS)}"
    raise InputError(f"{states.path} is not a checkpoint of the kind {kind}: {fix}")
