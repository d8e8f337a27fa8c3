"""CLIP from a folder: its own cosines, its own preprocessing, and what words mean in a photo."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import vision_language
from in_process import output_of, refusal, shan
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import demo_bundle
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.extractor import FeatureExtractor, read_recipe
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.query import Query
from shan_export.vision_language.folder import Folder

PHOTOS = demo_bundle().parent / "photos"
NAMES = ("alpaca.jpg", "bee.jpg", "cat.jpg", "bison.jpg", "dog.jpg", "panda.jpg", "hedgehog.jpg")
QUERY = "two brown bison graze beside a yellow flower"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return vision_language.clip_folder(tmp_path_factory.mktemp("model") / "tiny-clip")


@pytest.fixture(scope="module")
def bundles(model, pytestconfig, tmp_path_factory):
    """Bundles of the model by scorer, made by the installed command."""
    folder = tmp_path_factory.mktemp("bundles")
    for scorer in ("clip", "late"):
        vision_language.bundle_of(model, folder / scorer, pytestconfig.cache.mkdir("bundles"), scorer)
    return folder


@pytest.fixture(scope="module")
def album(bundles, tmp_path_factory):
    """A few photos, their store, and a gallery of each scorer, made by the installed command."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "photos").mkdir()
    for name in NAMES:
        (folder / "photos" / name).symlink_to(PHOTOS / name)
    output_of("extract", folder / "photos", "--store", folder / "store", "--model", bundles / "clip")
    for scorer in ("clip", "late"):
        output_of("index", folder / "store", "--model", bundles / scorer, "--output", folder / scorer)
    return folder


@pytest.fixture(scope="module")
def reference(model):
    """Cosines of all photos with a text, and rows of the text's tokens, by transformers alone."""
    import torch
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

    own, tokenizer = CLIPModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    images = [Image.open(PHOTOS / name) for name in NAMES]
    pixels = CLIPImageProcessorPil.from_pretrained(model)(images=images, return_tensors="pt")
    text = tokenizer(QUERY, return_tensors="pt")
    with torch.no_grad():
        cosines = own(**text, **pixels).logits_per_text[0] / own.logit_scale.exp()
        rows = own.text_projection(own.text_model(**text).last_hidden_state)[0]
        patches = own.visual_projection(
            own.vision_model.post_layernorm(own.vision_model(**pixels).last_hidden_state[:, 1:])
        )
    rows = torch.nn.functional.normalize(rows, dim=-1)
    return dict(zip(NAMES, cosines.tolist(), strict=True)), rows.numpy(), dict(zip(NAMES, patches.numpy(), strict=True))


def opened(bundles, album, name):
    scorer = Scorer(Bundle.open(bundles / name), "cpu", threads=1)
    return scorer, Gallery.open(album / name, scorer.bundle)


def test_the_command_finds_what_the_models_own_cosine_finds(bundles, album, reference):
    printed = output_of("search", QUERY, "--gallery", album / "clip", "--top-k", 7, "--json")
    (answer,) = json.loads(printed)
    found = {hit["id"]: hit["score"] for hit in answer["hits"]}
    cosines, _, _ = reference
    assert list(found) == sorted(NAMES, key=lambda name: -cosines[name])
    assert found == pytest.approx(cosines, abs=1e-5)
    assert max(cosines.values()) - min(cosines.values()) > 0.05  # photos differ
    assert Bundle.open(bundles / "clip").manifest.parity < 1e-5


def test_late_interaction_adds_what_words_find_and_tells_where(bundles, album, reference):
    scorer, gallery = opened(bundles, album, "late")
    cosines, rows, patches = reference
    (answer,) = search(scorer, gallery, [QUERY], top_k=7)
    assert answer.score_parts == ("late", "global")
    tokens = scorer.encoders.caption(QUERY)
    for hit in answer.hits:
        own = patches[hit.image.id].reshape(7, 7, -1)
        regions = np.stack([own[y : y + 2, x : x + 2].mean((0, 1)) for y in range(6) for x in range(6)])
        regions /= np.linalg.norm(regions, axis=1, keepdims=True)
        near = rows[1:-1] @ regions.T
        late = 0.1 * near.max(1).mean()
        assert hit.step_scores == pytest.approx((late, cosines[hit.image.id]), abs=1e-5)
        assert hit.score == pytest.approx(late + cosines[hit.image.id], abs=1e-5)
        for word in hit.words:
            (read,) = (one for one in tokens.words if one.text == word.word)
            own_cosines = near[[place - 1 for place in read.tokens]].mean(0)
            assert word.region == 1 + own_cosines.argmax()
            assert word.weight == pytest.approx(own_cosines.max(), abs=1e-5)
            # Photos are wider than high, and the model sees their middle, to a pixel of its own.
            x0, _, x1, _ = word.box
            assert (400 - hit.image.height) / 2 - 4 <= x0 < x1 <= (400 + hit.image.height) / 2 + 4
    assert {word.word for word in answer.hits[0].words} == set(QUERY.split()) - {"a"}


@pytest.mark.parametrize("size", [(400, 225), (99, 140), (57, 56), (56, 56), (1000, 301)])
def test_an_extractor_sees_the_pixels_that_the_models_processor_makes(bundles, model, tmp_path, size):
    from transformers import CLIPImageProcessorPil

    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (*size[::-1], 3), np.uint8)).save(tmp_path / "a.jpg")
    processor = CLIPImageProcessorPil.from_pretrained(model, do_rescale=False, do_normalize=False)
    (wanted,) = processor(images=Image.open(tmp_path / "a.jpg"), return_tensors="np")["pixel_values"]
    recipe = read_recipe(bundles / "clip" / "feature_extractor.onnx")
    scaled = read_scaled(tmp_path / "a.jpg", recipe.width, recipe.height, fit=recipe.fit)
    np.testing.assert_array_equal(scaled.pixels, wanted.transpose(1, 2, 0))
    x0, y0, x1, y1 = scaled.in_pixels(np.array([[0, 0, 1, 1]], np.float32))[0]
    assert (x1 - x0, y1 - y0) == pytest.approx([min(size)] * 2, rel=0.02)
    assert (x0 + x1, y0 + y1) == pytest.approx(size, abs=min(size) / 56 + 1)


@pytest.mark.parametrize("name", ["clip", "late"])
def test_a_photo_finds_itself(bundles, album, name):
    scorer, gallery = opened(bundles, album, name)
    extractor = FeatureExtractor(scorer.bundle.feature_extractor, "cpu")
    photo = QueryPhoto.read(PHOTOS / "cat.jpg", scorer.encoders, lambda: extractor)
    (answer,) = search(scorer, gallery, [Query(photo=photo)])
    assert answer.hits[0].image.id == "cat.jpg"
    assert len(answer.hits) == len(NAMES)


def test_a_wrong_folder_is_named_in_a_sentence(model, tmp_path):
    def refused(folder):
        with pytest.raises(InputError) as error:
            Folder.open(folder)
        return str(error.value)

    def changed(name, drop=(), **config):
        shutil.copytree(model, tmp_path / name, ignore=shutil.ignore_patterns(*drop))
        file = tmp_path / name / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
        return tmp_path / name

    assert "is not a folder" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no config.json: name the whole folder of a model" in refused(tmp_path / "empty")
    assert "holds a model of type 'bert': --from takes CLIP" in refused(changed("bert", model_type="bert"))
    assert "a SigLIP 2 of variable resolution (NaFlex)" in refused(changed("naflex", model_type="siglip2"))
    assert "has no tokenizer: copy tokenizer.json" in refused(changed("dumb", drop=["tokenizer.json"]))
    assert "has no weights: copy model.safetensors" in refused(changed("light", drop=["*.safetensors"]))
    assert "has no settings of its image preprocessing" in refused(changed("blind", drop=["preproc*"]))
    printed = refusal("export", "--from", tmp_path / "light", "--output", tmp_path / "bundle")
    assert printed == refused(tmp_path / "light")
    assert not (tmp_path / "bundle").exists()


def test_weights_of_another_size_are_named(model, tmp_path):
    from shan_export.vision_language.pretrained import load_model

    shutil.copytree(model, tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "projection_dim": 16}))
    with pytest.raises(
        InputError, match=r"of another model than config.json: text_projection.weight has shape \[24, 32\]"
    ):
        load_model(tmp_path / "model")
    config["vision_config"]["num_hidden_layers"] = 3
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"they have no vision_model.encoder.layers.2.*tensors are missing"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "name either a checkpoint or a model with --from"),
        (["checkpoint", "--from", "model"], "name either a checkpoint or a model with --from"),
        (["--from", "model", "--feature-extractor", "mine.onnx"], "brings its own feature extractor"),
    ],
)
def test_options_that_do_not_fit_together_are_wrong_usage(options, part):
    done = shan("export", *options, "--output", "bundle")
    assert done.returncode == 2
    assert part in done.stderr


def test_a_caption_longer_than_the_model_takes_is_refused(bundles, album, tmp_path):
    (tmp_path / "captions.txt").write_text("a bee " * 50)
    sentence = refusal(
        "score",
        "--queries",
        tmp_path / "captions.txt",
        "--gallery",
        album / "clip",
        "--output",
        tmp_path / "scores.parquet",
    )
    assert "has 100 tokens, the model takes 75: shorten it" in sentence
