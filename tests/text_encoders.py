"""Text transformers built at random from real configurations, with real tokenizer files, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXTS = (
    "a dog on the grass",
    "the beach with a child .",
    "a hat on the street",
    "the river with a bike and unbelievably long grasshoppers",
)
KINDS = ("bert", "distilbert", "roberta", "xlm-roberta")


def text_encoder(folder: Path, kind: str = "bert", *, positions: int = 40) -> Path:
    """A model of two layers and its tokenizer, as `save_pretrained` writes it."""
    import torch
    import transformers

    tokenizer = word_pieces() if "roberta" not in kind else byte_pieces() if kind == "roberta" else unigrams()
    torch.manual_seed(0)
    small: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size() + 3}
    if kind == "distilbert":
        small |= {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40, "max_position_embeddings": positions}
        model = transformers.DistilBertModel(transformers.DistilBertConfig(**small))
    else:
        small |= {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
        if kind == "bert":
            model = transformers.BertModel(transformers.BertConfig(**small, max_position_embeddings=positions))
        else:
            name = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta"}[kind]
            config = getattr(transformers, f"{name}Config")(
                **small, max_position_embeddings=positions + 2, layer_norm_eps=1e-5, type_vocab_size=1, pad_token_id=1
            )
            model = getattr(transformers, f"{name}Model")(config)
    for parameter_name, tensor in model.named_parameters():
        if tensor.ndim > 1:
            torch.nn.init.normal_(tensor, std=0.5 if "embedding" in parameter_name else 1.5 / tensor.shape[1] ** 0.5)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def word_pieces() -> Any:
    """WordPiece, as BERT's."""
    from tokenizers import BertWordPieceTokenizer

    # Written out: training breaks ties in another order each time, and with it every figure of a model over the pieces.
    words = sorted({word for text in TEXTS for word in text.split()} - {"unbelievably", "grasshoppers"})
    letters = sorted({letter for text in TEXTS for letter in text if letter.isalpha()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{one}" for one in letters), *words]
    made = BertWordPieceTokenizer({one: number for number, one in enumerate(dict.fromkeys(pieces))}, lowercase=True)
    made.enable_truncation(8)  # as published files have; the engine does not use it
    made.post_processor = _markers("[CLS]", "[SEP]", made)
    return made


def byte_pieces() -> Any:
    """Byte-level BPE, as RoBERTa's."""
    from tokenizers import ByteLevelBPETokenizer

    made = ByteLevelBPETokenizer()
    made.train_from_iterator(
        TEXTS * 4, vocab_size=310, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False
    )
    made.post_processor = _markers("<s>", "</s>", made)
    return made


def unigrams() -> Any:
    """Unigram, as XLM-RoBERTa's and multilingual E5's."""
    from tokenizers import AddedToken, Tokenizer, pre_tokenizers
    from tokenizers.models import Unigram

    words = sorted({f"▁{word}" for text in TEXTS for word in text.split() if len(word) < 7})
    pieces = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(word, -5.0) for word in words] + [(letter, -9.0) for letter in "▁abcdefghijklmnopqrstuvwxyz.,'"]
    made = Tokenizer(Unigram(pieces, unk_id=3))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.add_special_tokens([AddedToken(marker, special=True) for marker in ("<s>", "<pad>", "</s>", "<unk>")])
    made.post_processor = _markers("<s>", "</s>", made)
    return made


def _markers(first: str, last: str, tokenizer: Any) -> Any:
    from tokenizers import processors

    numbers = [(marker, tokenizer.token_to_id(marker)) for marker in (first, last)]
    return processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=numbers)
