from __future__ import annotations

import numpy as np
import pytest
import torch
from shan_engine import evaluation
from shan_engine.captions import CaptionTable
from shan_engine.errors import InputError, ShanError
from shan_engine.evaluation import recall
from shan_engine.records import pad_regions
from shan_model import loss, training
from shan_model.checkpoint import load_checkpoint
from shan_model.config import ShanConfig
from shan_model.data import build_vocabulary, read_word_vectors, vector_table
from shan_model.factorised import caption_terms, image_terms
from shan_model.loss import hardest_pairs, mined_loss, pair_hinge
from shan_model.schedule import TrainConfig, epoch_batches, schedule
from shan_model.shan import Shan
from shan_model.training import train

NOUNS = ("dog", "cat", "bike", "river", "child", "hat")
PLACES = ("grass", "street", "beach")
F = 10


class Photos:
    """Synthetic photos: the id's noun and place, each as some regions' direction, with noise."""

    feature_dim = F

    def regions(self, ids):
        from shan_engine.records import RegionRecord

        records = []
        for id in ids:
            _, noun, place, copy = id.split("-")
            random = np.random.default_rng((NOUNS.index(noun), PLACES.index(place), int(copy)))
            features = random.normal(size=(3 + int(copy), F)) * 0.2
            features[0, NOUNS.index(noun)] += 2
            features[1, 6 + PLACES.index(place)] += 2
            records.append(RegionRecord(id, features.astype(np.float32)))
        return pad_regions(records)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Tiny tensors: several threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    lines = ["split\timage\tcaption"]
    for noun in NOUNS:
        for place in PLACES:
            for copy in range(2):
                split = "dev" if copy else "train"
                image = f"x-{noun}-{place}-{copy}"
                lines += [
                    f"{split}\t{image}\ta {noun} on the {place}",
                    f"{split}\t{image}\tthe {place} with a {noun} .",
                ]
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    random = np.random.default_rng(0)
    words = ["a", "on", "the", "with", ".", *NOUNS, *PLACES]
    (folder / "vectors.txt").write_text(
        "".join(word + " " + " ".join(f"{x:.3f}" for x in random.normal(size=6)) + "\n" for word in words)
    )
    return CaptionTable.read(folder / "captions.tsv"), folder / "vectors.txt"


def settings(**changes):
    values = {
        "epochs": 2, "batch_size": 6, "embed_dim": 16, "embedding_dim": 4, "warmup_steps": 2, "device": "cpu",
        "min_count": 1, "warmup_epochs": 1,
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})


@pytest.mark.parametrize("hardest", [True, False])
def test_the_loss_on_pairs_is_the_dense_loss(hardest):
    torch.manual_seed(0)
    B, margin = 7, 0.2
    scores = torch.randn(B, B, dtype=torch.float64)
    images, captions = hardest_pairs(scores, B - 1)  # all negatives, so the mean is the dense mean
    found = pair_hinge(scores[images, captions], B, margin, hardest=hardest)
    total = 0.0
    for i in range(B):
        rows = [max(0.0, margin - scores[i, i].item() + scores[i, j].item()) for j in range(B) if j != i]
        columns = [max(0.0, margin - scores[i, i].item() + scores[j, i].item()) for j in range(B) if j != i]
        total += max(rows) + max(columns) if hardest else np.mean(rows) + np.mean(columns)
    assert found.item() == pytest.approx(total / B, abs=1e-12)


@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize("steps", [("l2l",), ("l2l", "g2l", "g2g")])
def test_the_losss_gradients_are_those_of_the_plain_module(hardest, steps, monkeypatch):
    """With every negative a candidate: the mined loss against both hinges over the plain module's scores."""
    torch.manual_seed(3)
    B, K, n, margin = 5, 4, 6, 0.2
    monkeypatch.setattr(loss, "CANDIDATES", B - 1)
    config = ShanConfig(feature_dim=F, vocab_size=20, embed_dim=12, word_vector_dim=6, embedding_dim=4, steps=steps)
    model = Shan(config).double()
    features, mask = torch.randn(B, K, F, dtype=torch.float64), torch.arange(K) < torch.tensor([4, 2, 3, 4, 1])[:, None]
    tokens, lengths = torch.randint(3, 20, (B, n)), torch.tensor([6, 3, 4, 5, 3])

    words, word_mask = model.text_encoder(tokens, lengths)
    image = image_terms(model.alignment, model.image_encoder(features), mask)
    mined = mined_loss(model, image, caption_terms(model.alignment, words, word_mask), margin, hardest=hardest)
    found = torch.autograd.grad(mined, [p for p in model.parameters() if p.requires_grad], allow_unused=True)

    rows, columns = (grid.flatten() for grid in torch.meshgrid(torch.arange(B), torch.arange(B), indexing="ij"))
    words, word_mask = model.text_encoder(tokens, lengths)
    parts = model.alignment(model.image_encoder(features)[rows], mask[rows], words[columns], word_mask[columns])
    expected = torch.zeros((), dtype=torch.float64)
    for scores, mean in ((parts[:, 0], False), (parts.sum(-1), True))[: 1 if len(steps) == 1 else 2]:
        scores = scores.reshape(B, B)
        for turned in (scores, scores.T):
            for i in range(B):
                hinges = torch.stack([(margin - turned[i, i] + turned[i, j]).clamp_min(0) for j in range(B) if j != i])
                expected = expected + (hinges.max() if hardest else hinges.mean() if mean else hinges.sum()) / B
    torch.testing.assert_close(mined, expected)
    wanted = torch.autograd.grad(expected, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    for name, one, other in zip(
        [name for name, p in model.named_parameters() if p.requires_grad], found, wanted, strict=True
    ):
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one, other, msg=name)


def test_two_candidates_hold_each_row_and_columns_hardest():
    torch.manual_seed(1)
    scores = torch.randn(9, 9)
    images, captions = hardest_pairs(scores, 2)
    assert len(images) == 9 + 2 * 18
    assert (images[:9] == captions[:9]).all()
    assert (images[9:] != captions[9:]).all()
    dense = scores.clone().fill_diagonal_(-torch.inf)
    own = scores.diag()
    expected = ((0.2 - own + dense.amax(1)).clamp_min(0) + (0.2 - own + dense.amax(0)).clamp_min(0)).mean()
    torch.testing.assert_close(pair_hinge(scores[images, captions], 9, 0.2, hardest=True), expected)


def test_a_batch_has_no_image_twice_and_depends_on_seed_and_epoch_alone(files):
    split, config = files[0].split("train"), settings()
    batches = epoch_batches(split, config, 1)
    assert len(batches) == 6
    for batch in batches:
        assert len({int(split.caption_images[caption]) for caption in batch}) == len(batch) == 6
    used = [caption for batch in batches for caption in batch]
    assert sorted(used) == list(range(len(split.captions)))
    assert epoch_batches(split, config, 1) == batches
    assert epoch_batches(split, config, 2) != batches
    assert epoch_batches(split, settings(seed=1), 1) != batches


def test_the_schedule_warms_up_then_falls_to_one_percent():
    values = [schedule(step, 100, 10) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert values[9] == values[10] == 1
    assert values[100] == pytest.approx(0.01)
    assert values[10:] == sorted(values[10:], reverse=True)


def test_dropped_regions_are_real_ones_first():
    torch.manual_seed(0)
    features = torch.arange(24.0).reshape(3, 8, 1) + 1
    mask = torch.tensor([[True] * 8, [True] * 2 + [False] * 6, [False] * 7 + [True]])
    kept, kept_mask = training.drop_regions(features, mask, 0.5)
    assert kept.shape == (3, 4, 1)
    assert kept_mask.sum(1).tolist() == [4, 2, 1]
    for row in range(3):
        values = kept[row, kept_mask[row], 0].tolist()
        assert len(set(values)) == len(values)
        assert set(values) <= set(features[row, mask[row], 0].tolist())


def weights(folder):
    return torch.load(folder / "last.pt", weights_only=True)


@pytest.mark.parametrize("inside", [False, True], ids=["after-a-step", "inside-a-step"])
@pytest.mark.parametrize("stop", [3, 6, 8])
def test_interrupted_and_resumed_gives_the_same_weights(files, tmp_path, monkeypatch, stop, inside):
    table, vectors = files
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    whole = train(Photos(), table, vectors, tmp_path / "whole", settings())

    def interrupt(state):
        if state.done_steps == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if inside:  # the weights have moved, the step is not yet counted
            update = training._Run.update

            def cut(run, *args):
                loss = update(run, *args)
                if run.step == stop:
                    raise KeyboardInterrupt
                return loss

            patch.setattr(training._Run, "update", cut)
        with pytest.raises(KeyboardInterrupt):
            train(
                Photos(), table, vectors, tmp_path / "cut", settings(),
                on_progress=(lambda state: None) if inside else interrupt,
            )  # fmt: skip
    assert 0 < weights(tmp_path / "cut")["step"] <= stop
    resumed = train(Photos(), table, vectors, tmp_path / "cut", settings())
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert one["step"] == other["step"] == 12
    for part in ("model", "averaged"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), (part, name)
    assert one["best"] == other["best"]
    assert whole == resumed == one["best"]
    best, again = (load_checkpoint(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(best[name], again[name]) for name in best)


def test_training_learns(files, tmp_path):
    table, vectors = files
    rsum = train(
        Photos(), table, vectors, tmp_path / "model",
        settings(epochs=25, batch_size=9, embed_dim=24, learning_rate=5e-3, average=0.9),
    )  # fmt: skip
    assert rsum > 400  # chance is about 170
    model, vocabulary = load_checkpoint(tmp_path / "model")
    assert model.config.feature_dim == F
    assert "beach" in vocabulary.word2idx
    assert len((tmp_path / "model" / "metrics.jsonl").read_text().splitlines()) == 25


def test_other_settings_are_refused_but_more_epochs_are_not(files, tmp_path):
    table, vectors = files
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1))
    with pytest.raises(InputError, match=r"margin 0\.2, not 0\.3"):
        train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1, margin=0.3))
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=2))
    assert weights(tmp_path / "m")["step"] == 12
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1, margin=0.3), resume=False)
    assert weights(tmp_path / "m")["step"] == 6


def test_resuming_reads_steps_that_were_saved(files, tmp_path):
    """`steps` is a tuple in the settings; saved and read again it still compares equal."""
    table, vectors = files
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1, steps=("l2l",)))
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=2, steps=("l2l",)))
    assert weights(tmp_path / "m")["step"] == 12


def test_a_loss_that_is_not_finite_stops_training(files, tmp_path):
    class Broken(Photos):
        def regions(self, ids):
            features, mask = super().regions(ids)
            return np.full_like(features, np.nan), mask

    with pytest.raises(ShanError, match="step 0: lower --learning-rate"):
        train(Broken(), *files, tmp_path / "m", settings())


def test_too_few_images_for_a_batch(files, tmp_path):
    with pytest.raises(InputError, match="fewer than 100 images"):
        train(Photos(), *files, tmp_path / "m", settings(batch_size=100))


def test_recall_against_brute_force(monkeypatch):
    monkeypatch.setattr(evaluation, "BLOCK_ROWS", 10)  # several blocks, the last one shorter
    random = np.random.default_rng(0)
    images, captions = 23, 60
    owner = np.concatenate([np.arange(images), random.integers(0, images, captions - images)])
    scores = random.normal(size=(images, captions)).astype(np.float32)
    scores[owner, np.arange(captions)] += 1
    found = recall(scores, owner)
    text = [
        1
        + min(
            sum(scores[i, m] > scores[i, own] for m in range(captions) if owner[m] != i)
            for own in np.flatnonzero(owner == i)
        )
        for i in range(images)
    ]
    image = [1 + sum(scores[i, m] > scores[owner[m], m] for i in range(images)) for m in range(captions)]
    for cut, value in zip((1, 5, 10), found.text_retrieval, strict=True):
        assert value == pytest.approx(100 * np.mean([rank <= cut for rank in text]))
    for cut, value in zip((1, 5, 10), found.image_retrieval, strict=True):
        assert value == pytest.approx(100 * np.mean([rank <= cut for rank in image]))
    assert found.text_ranks == pytest.approx((np.median(text), np.mean(text)))
    assert found.image_ranks == pytest.approx((np.median(image), np.mean(image)))
    assert found.rsum == pytest.approx(sum(found.text_retrieval) + sum(found.image_retrieval))


def test_a_tie_counts_against_the_right_answer():
    outcome = recall(np.zeros((3, 3), np.float32), np.arange(3))
    assert outcome.text_ranks == outcome.image_ranks == (3, 3)


def test_recall_refuses_nan_and_an_image_without_captions():
    with pytest.raises(InputError, match="NaN"):
        recall(np.full((2, 2), np.nan, np.float32), np.arange(2))
    with pytest.raises(InputError, match="no caption"):
        recall(np.zeros((3, 2), np.float32), np.arange(2))


def test_word_vectors(tmp_path):
    import gzip

    text = "dog 1 2 3\ncat 4 5 6\ndog 7 8 9\n"
    (tmp_path / "v.txt").write_text(text)
    with gzip.open(tmp_path / "v.gz", "wt") as file:
        file.write(text)
    for name in ("v.txt", "v.gz"):
        rows, vectors = read_word_vectors(tmp_path / name)
        assert rows == {"dog": 0, "cat": 1}
        np.testing.assert_array_equal(vectors, [[1, 2, 3], [4, 5, 6]])
    vocabulary = build_vocabulary(["a dog", "a bird"], rows, min_count=2, open_vocabulary=True)
    assert vocabulary.words[4:] == ("a", "dog", "cat")
    table = vector_table(vocabulary, rows, vectors)
    np.testing.assert_array_equal(table[4:], [[0, 0, 0], [1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("text", "part"),
    [("dog 1 2\ncat 1\n", "line 2"), ("dog 1 x\n", "cannot be read"), ("dog nan 1\n", "line 1"), ("", "empty")],
)
def test_wrong_word_vectors_are_refused(tmp_path, text, part):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(InputError, match=part):
        read_word_vectors(tmp_path / "v.txt")
    with pytest.raises(InputError, match="gone"):
        read_word_vectors(tmp_path / "gone.txt")
    (tmp_path / "v.gz").write_text(text)
    with pytest.raises(InputError, match=r"v\.gz"):
        read_word_vectors(tmp_path / "v.gz")
