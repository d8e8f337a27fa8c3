"""A checkpoint into a bundle: three graphs, their parity with PyTorch, and the manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from shan_engine.base.errors import BundleError, InputError
from shan_engine.base.files import fresh_folder, sha256
from shan_engine.bundle.contents import CLASSES, IMAGE_TERMS, Bundle
from shan_engine.bundle.manifest import GRAPHS, Manifest
from shan_engine.kernel.constants import KERNEL_CONSTANTS
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.text.tokenizer import Tokenizer
from shan_model.checkpoint import load_checkpoint
from shan_model.retrieval import RetrievalModel, Terms
from torch import Tensor, nn

from shan_export.onnx_file import copy_whole, export_graph
from shan_export.parity import TOLERANCE, largest_difference
from shan_export.small_weights import pack_weights
from shan_export.wrappers import ImageTermsGraph, PairScorerGraph, wrap_image_encoder, wrap_text_encoder

MAX_WORDS = 128


def export_bundle(
    checkpoint: Path,
    output: Path,
    *,
    feature_extractor: Path | None = None,
    feature_extractor_name: str | None = None,
    max_words: int = MAX_WORDS,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Manifest:
    """Export `checkpoint` to the folder `output`, and prove it against the PyTorch modules.

    `feature_extractor` is an ONNX file with its recipe beside it, copied into the bundle;
    `feature_extractor_name` names one that stays outside it. The bundle takes captions of `max_words` tokens, or of
    fewer where the model cannot read as many. Raises BundleError where the graphs differ
    from PyTorch by more than 1e-4, or where `output` is there and not a bundle to `overwrite`, InputError where
    the extractor's features are not of the model's size; then nothing changes.
    """
    refuse_output(output, overwrite)
    model, tokenizer = load_checkpoint(checkpoint)
    max_words = min(max_words, model.most_tokens or max_words)
    if feature_extractor is not None:
        feature_extractor_name = extractor_name(feature_extractor, checkpoint, model.config.feature_dim)
    output = output.resolve()  # A link stays, and what it names is replaced.
    with fresh_folder(output, overwrite=overwrite) as fresh:
        write_graphs(model, fresh, on_stage)
        tokenizer.save(fresh / tokenizer.file_name)
        if model.class_names:
            (fresh / CLASSES).write_text(json.dumps(model.class_names, ensure_ascii=False) + "\n", "utf-8")
        if feature_extractor is not None:
            copy_whole(feature_extractor, fresh / "feature_extractor.onnx")
            shutil.copyfile(feature_extractor.with_suffix(".json"), fresh / "feature_extractor.json")
        on_stage("comparing with PyTorch")
        difference = largest_difference(model, fresh, max_words=max_words, markers=tokenizer.markers)
        if not difference <= TOLERANCE:
            raise BundleError(
                f"the exported graphs differ from PyTorch by {difference:.2g}, more than {TOLERANCE:g}: "
                "no bundle was written"
            )
        manifest = Manifest(
            fingerprint=fingerprint(model, tokenizer),
            model=model.config.to_dict(),
            feature_dim=model.config.feature_dim,
            feature_extractor=feature_extractor_name,
            max_words=max_words,
            parity=difference,
            parts=model.parts(),
            files={file.name: sha256(file) for file in sorted(fresh.iterdir())},
        )
        manifest.save(fresh)
        Bundle.open(fresh)
    return manifest


def extractor_name(feature_extractor: Path, checkpoint: Path, feature_dim: int) -> str:
    """The name in an extractor's recipe, after a blank photo went through it.

    Raises InputError where it cannot be run or its features are not of size `feature_dim`.
    """
    extractor = FeatureExtractor(feature_extractor, "cpu")
    recipe = extractor.recipe
    ((features, *_),) = extractor(np.zeros((1, recipe.height, recipe.width, 3), np.uint8), ["a blank photo"])
    size = features.shape[1]
    if size != feature_dim:
        raise InputError(
            f"{feature_extractor} gives features of size {size}, the checkpoint {checkpoint} takes {feature_dim}: "
            "give the extractor that it was trained on"
        )
    return recipe.name


def refuse_output(output: Path, overwrite: bool) -> None:
    """Raise BundleError where `output` is neither free nor, with `overwrite`, an empty folder or a bundle."""
    if not output.exists():
        return
    if not output.is_dir():
        raise BundleError(f"{output} is a file, not a folder: choose another place")
    if not overwrite:
        raise BundleError(f"{output} is there already: choose another place, or --overwrite")
    if any(output.iterdir()):
        try:
            Manifest.load(output)
        except BundleError as error:
            raise BundleError(
                f"{output} is not a bundle that can be read, so it is not overwritten: choose another place, "
                "or remove it first"
            ) from error


def write_graphs(
    model: RetrievalModel,
    folder: Path,
    on_stage: Callable[[str], None] = lambda stage: None,
    *,
    encoders: tuple[nn.Module, nn.Module] | None = None,
) -> None:
    """Write the ONNX files of `model` into `folder`, and the kernel's constants where it has some.

    `encoders` are those of images and of captions as graphs, by default as the model's registration wraps them.
    """
    config = model.config
    features, mask = torch.randn(3, 5, config.feature_dim), torch.ones(3, 5, dtype=torch.bool)
    tokens, lengths = torch.full((2, 4), 3), torch.tensor([4, 3])
    with torch.no_grad():
        image_graph, text_graph = encoders or (wrap_image_encoder(model), wrap_text_encoder(model))
        encoded = image_graph(features, mask)
        image = model.image_terms(model.image_encoder(features), mask)
        derived = [name for name in image if name not in (*encoded, "region_mask")]
        words, word_mask = model.text_encoder(tokens, lengths)
        caption = model.caption_terms(words, word_mask)
        vectors = model.caption_vectors(tokens, lengths, words, word_mask)
    on_stage("image encoder")
    export_graph(
        image_graph,
        inputs={"features": features, "region_mask": mask},
        outputs=list(encoded),
        dynamic={"features": {0: "images", 1: "regions"}, "region_mask": {0: "images", 1: "regions"}},
        path=folder / GRAPHS[0],
    )
    if derived:
        on_stage("image terms")
        stored = {name: image[name] for name in (*encoded, "region_mask") if name in image}
        export_graph(
            ImageTermsGraph(model),
            inputs=stored,
            outputs=derived,
            dynamic=_axes(stored, "images", "regions"),
            path=folder / IMAGE_TERMS,
        )
    constants = model.kernel_constants()
    if constants:
        np.savez(folder / KERNEL_CONSTANTS, **{name: value.detach().numpy() for name, value in constants.items()})  # type: ignore[arg-type]
    on_stage("text encoder")
    export_graph(
        text_graph,
        inputs={"tokens": tokens, "lengths": lengths},
        outputs=[*caption, *vectors],
        dynamic={"tokens": {0: "captions", 1: "words"}, "lengths": {0: "captions"}},
        path=folder / GRAPHS[1],
    )
    for graph in GRAPHS[:2]:
        pack_weights(folder / graph)
    on_stage("pair scorer")
    write_pair_scorer(model, image, caption, folder / GRAPHS[2])


def write_pair_scorer(model: RetrievalModel, image: Terms, caption: Terms, path: Path) -> None:
    """Write the ONNX file that scores pairs; the terms are examples of several images and captions."""
    with torch.no_grad():
        attended = model.score_grid(image, caption).word_attention is not None
    export_graph(
        PairScorerGraph(model, list(image), list(caption)),
        inputs={name: term.contiguous() for name, term in {**image, **caption}.items()},
        outputs=["scores", "step_scores", *(["word_attention"] if attended else [])],
        dynamic={**_axes(image, "images", "regions"), **_axes(caption, "captions", "words")},
        path=path,
    )


def _axes(terms: Mapping[str, Tensor], batch: str, inner: str) -> dict[str, dict[int, str]]:
    """The axes that change at run time: the batch, the rows of all but a vector, and a Gram matrix's columns."""
    axes = {name: {0: batch} if name.endswith("_vector") else {0: batch, 1: inner} for name in terms}
    return {name: {**held, 2: inner} if name.endswith("_gram") else held for name, held in axes.items()}


def fingerprint(model: RetrievalModel, tokenizer: Tokenizer) -> str:
    """Hex SHA-256 over the configuration, the tokenizer, every weight, and the settings of a score's further parts.

    Galleries hold hubness by the bundle's querybank, which those settings change.
    """
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    digest.update(tokenizer.content())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    if parts := model.parts():
        digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()
