"""The packed table of a sentence model, and the folder that holds it."""

from __future__ import annotations

import pytest
import torch
from sentences import PIECES, tiny_sentence_model, tiny_tokenizer
from shan_engine.base.errors import InputError
from shan_model.sentence.folder import load_sentence_model, save_sentence_model
from shan_model.sentence.piece_table import WholeTable, pack


def test_packed_rows_are_close_to_the_whole_ones_and_the_first_ones_closer():
    torch.manual_seed(0)
    table = WholeTable(2000, 16)
    table.codes.copy_((torch.randn(2000, 16) * 2 + 32).round().clamp(0, 63))
    table.scale.uniform_(0.1, 0.5)
    table.offset.copy_(-32 * table.scale)
    rows = table(torch.arange(2000))
    packed = pack(table, 1000, sample=4000)
    left = (packed(torch.arange(2000)) - rows).square().sum(1) / rows.square().sum(1)
    assert left[1000:].mean() < 0.12
    assert left[:1000].mean() < 0.02


def test_a_folder_gives_back_the_model(tmp_path):
    model = tiny_sentence_model()
    save_sentence_model(model, tiny_tokenizer(), tmp_path)
    loaded, tokenizer = load_sentence_model(tmp_path)
    tokens, lengths = torch.tensor([tokenizer.encode("a dog runs").tokens]), torch.tensor([5])
    assert tokens.shape == (1, 5)
    assert len(tokenizer) == len(PIECES)
    assert torch.equal(loaded.sentence(tokens, lengths), model.sentence(tokens, lengths))


def test_a_folder_without_a_file_or_with_a_damaged_one_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no sentence model .*pack_sentence_model"):
        load_sentence_model(tmp_path)
    save_sentence_model(tiny_sentence_model(), tiny_tokenizer(), tmp_path)
    path = tmp_path / "sentence_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"sentence_model\.safetensors cannot be read"):
        load_sentence_model(tmp_path)
