"""SGRAF's checkpoints (Paranioar/SGRAF): one of SGR, or one of SAF."""

from __future__ import annotations

from shan_model.cross.sgraf import Sgraf, SgrafConfig
from shan_model.published.recurrent import LINEAR, gru_sizes
from shan_model.published.states import IMAGE, PAIR, TEXT, States

WORDS = {"embed.": "text_encoder.embedding.", "cap_rnn.": "text_encoder.gru."}
WHOLES = {
    "v_global_w.embedding_local.0.": "image_whole.local.",
    "v_global_w.embedding_local.1.": "image_whole.local_norm.",
    "v_global_w.embedding_global.0.": "image_whole.whole.",
    "v_global_w.embedding_global.1.": "image_whole.whole_norm.",
    "v_global_w.embedding_common.0.": "image_whole.weigh.",
    "t_global_w.embedding_local.0.": "text_whole.local.",
    "t_global_w.embedding_global.0.": "text_whole.whole.",
    "t_global_w.embedding_common.0.": "text_whole.weigh.",
    "sim_tranloc_w.": "of_words.",
    "sim_tranglo_w.": "of_wholes.",
    "sim_eval_w.": "score.",
    "SAF_module.attn_sim_w.": "judge.weigh.",
    "SAF_module.bn.": "judge.norm.",
}
STEP = {"graph_query_w.": "query.", "graph_key_w.": "key.", "sim_graph_w.": "output."}


def fits(states: States) -> bool:
    """Whether the tensors are those of SGRAF."""
    return states.has(PAIR, "sim_eval_w.")


def read(states: States) -> Sgraf:
    """SGR or SAF, as the tensors say."""
    steps = 0
    while states.has(PAIR, f"SGR_module.{steps}."):
        steps += 1
    config = SgrafConfig(
        **gru_sizes(states, gru="cap_rnn"),
        module="sgr" if steps else "saf",
        most_regions=len(states[PAIR, "v_global_w.embedding_local.1.weight"]),
        similarity_dim=len(states[PAIR, "sim_tranloc_w.weight"]),
        reasoning_steps=steps or 3,
    )
    states.rename(IMAGE, LINEAR)
    states.rename(TEXT, WORDS)
    states.rename(PAIR, WHOLES)
    for step in range(steps):
        states.rename(PAIR, {f"SGR_module.{step}.{old}": f"judge.steps.{step}.{new}" for old, new in STEP.items()})
    return states.fill(Sgraf(config))
