"""Vision-language models built at random from real configurations, with real tokenizer files, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundle_cache import BundleCache
from in_process import output_of

TEXTS = (
    "a photo of an alpaca",
    "two brown bison graze on a wide meadow below the mountains",
    "a cat asleep on the sofa beside 12 dogs",
    "the bee sits in a yellow flower",
)


def clip_tokenizer() -> Any:
    """CLIP's tokenizer, with merges for the words of TEXTS of up to six letters."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces, merges = [*alphabet, *(f"{letter}</w>" for letter in alphabet)], []
    for word in sorted({word for text in TEXTS for word in text.split() if len(word) <= 6}):
        start, *others = [*word[:-1], f"{word[-1]}</w>"]
        for letter in others:
            merges.append((start, letter))
            start += letter
            pieces.append(start)
    pieces = list(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(dict.fromkeys(merges)), model_max_length=77)


def clip_folder(folder: Path, **vision: Any) -> Path:
    """A CLIP of two layers a side, 7 x 7 patches, as `save_pretrained` writes it."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    tokenizer = clip_tokenizer()
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={
            **small,
            "vocab_size": len(tokenizer),
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**small, "image_size": 56, "patch_size": 8, **vision},
        projection_dim=24,
    )
    model = CLIPModel(config)
    spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = config.vision_config.image_size
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(
        folder
    )
    return folder


def bundle_of(model: Path, output: Path, kept: Path, scorer: str = "clip") -> Path:
    """The bundle of a model's folder, made by the installed command, or earlier and kept in the folder `kept`."""

    def export(folder: Path, output: Path, scorer: str) -> None:
        output_of("export", "--from", folder, "--output", output, "--scorer", scorer)

    BundleCache(kept, export, module="shan_export.vision_language.bundle")(model, output, scorer=scorer)
    return output


def siglip_tokenizer() -> Any:
    """A Unigram tokenizer that drops punctuation and ends texts as SigLIP's does."""
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    words = sorted({f"▁{word}" for text in TEXTS for word in text.split()})
    pieces = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")]
    pieces += [(word, -5.0) for word in words] + [(letter, -9.0) for letter in "▁abcdefghijklmnopqrstuvwxyz0123456789"]
    draft = Tokenizer(Unigram(pieces, unk_id=2))
    draft.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"\p{P}"), ""), normalizers.Strip()]
    )
    draft.pre_tokenizer = pre_tokenizers.Metaspace()
    draft.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=draft, eos_token="</s>", pad_token="</s>", unk_token="<unk>")


def siglip2_tokenizer() -> Any:
    """A byte-fallback BPE tokenizer such as Gemma's, which tells capitals from small letters."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    draft = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    draft.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # no merge goes beyond a word
    letters = [f"<0x{number:02X}>" for number in range(256)]
    draft.train_from_iterator(TEXTS * 4, trainers.BpeTrainer(vocab_size=500, special_tokens=special + letters))
    draft.normalizer = normalizers.Replace(" ", "▁")
    draft.pre_tokenizer = pre_tokenizers.Split(pattern=" ", behavior="merged_with_previous")
    draft.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=draft, eos_token="<eos>", pad_token="<pad>", bos_token="<bos>", unk_token="<unk>"
    )


def siglip_folder(folder: Path, tokenizer: Any) -> Path:
    """A SigLIP of two layers a side, 4 x 4 patches, with one of the tokenizers above."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = SiglipConfig(
        text_config={**small, "vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 32},
        vision_config={**small, "image_size": 32, "patch_size": 8},
    )
    model = SiglipModel(config)
    spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=2).save_pretrained(folder)
    return folder


def spread(model: Any) -> None:
    """Weights large enough that all nonlinearities bend and no two photos look alike."""
    import torch

    for name, tensor in model.named_parameters():
        if tensor.ndim > 1 and "norm" not in name:
            torch.nn.init.normal_(tensor, std=1.5 / tensor[0].numel() ** 0.5 if "embedding" not in name else 0.5)
