"""Pack the multilingual Universal Sentence Encoder for training: `sentence_model.safetensors` and `tokenizer.json`.

Its package (extra `sentence`) has a table of 128,000 pieces with 512 numbers each, 66 MB. The packed table has 23 MB;
sentence vectors keep a cosine of 0.98 to 0.99 with the package's. It takes some minutes.

    python -m shan_export.pack_sentence_model --output sentence-model
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from shan_model.sentence.folder import save_sentence_model
from shan_model.sentence.package import package_folder, read_sentence_model
from shan_model.sentence.piece_table import WholeTable, pack

from shan_export.sentence_tokenizer import read_sentence_pieces, tokenizer_definition

REFINED = 48_000  # pieces with four bits a value, of 100 pieces of captions about 95


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--refined", type=int, default=REFINED, help="pieces that have four bits a value")
    options = parser.parse_args()
    held = read_sentence_pieces(package_folder() / "sp.model")
    model = read_sentence_model(package_folder(), held.pieces)
    assert isinstance(model.table, WholeTable)
    with torch.no_grad():
        model.table = pack(model.table, options.refined)
    options.output.mkdir(parents=True, exist_ok=True)
    save_sentence_model(model, HuggingFaceTokenizer(tokenizer_definition(held)), options.output)


if __name__ == "__main__":
    main()
