"""SCAN's checkpoints (kuanghuei/SCAN): a linear layer, a GRU, and the settings of its attention."""

from __future__ import annotations

from shan_model.cross.scan import Scan, ScanConfig
from shan_model.published.recurrent import GRU, LINEAR, gru_sizes
from shan_model.published.states import IMAGE, PAIR, TEXT, States

PUBLIC_SLOPE = 0.1  # of LeakyReLU, in `clipped_l2norm` of the public code
POOLINGS = {"LogSumExp": "lse", "Mean": "mean"}


def fits(states: States) -> bool:
    """Whether the tensors are those of SCAN."""
    return (
        states.has(IMAGE, "fc.")
        and states.has(TEXT, "rnn.")
        and "cross_attn" in states.settings
        and not states.has(PAIR, "")
    )


def read(states: States) -> Scan:
    """SCAN with its own direction, pooling and temperatures. Raises InputError for variants that are not built."""
    states.demand_setting("raw_feature_norm", "clipped_l2norm")
    states.demand_setting("agg_func", *POOLINGS)
    states.demand_setting("cross_attn", "t2i", "i2t")
    config = ScanConfig(
        **gru_sizes(states),
        direction=states.setting("cross_attn"),
        pooling=POOLINGS[states.setting("agg_func")],
        temperature=float(states.setting("lambda_softmax")),
        pooling_temperature=float(states.setting("lambda_lse", 6.0)),
        negative_slope=PUBLIC_SLOPE,
    )
    states.rename(IMAGE, LINEAR)
    states.rename(TEXT, GRU)
    return states.fill(Scan(config))
