"""Answers of a search as JSON has them: what `search --json` prints and the page's server sends."""

from __future__ import annotations

from typing import Any

from shan_engine.search.captions import CaptionHits
from shan_engine.search.results import Hit, QueryHits


def as_dict(result: QueryHits) -> dict[str, Any]:
    """A search for photos as JSON has it."""
    return {
        "query": result.query,
        "error": result.error or None,
        "replaced_words": dict(result.replaced),
        "unknown_words": list(result.unknown),
        "unlearnt_words": list(result.unlearnt),
        "best_probability": result.best_probability,
        "words_left_out": result.left_out,
        "hints": list(result.hints),
        "matching": result.matching,
        "scanned": vars(result.stages) if result.stages else None,
        "score_parts": list(result.score_parts),
        "missing": [vars(one) for one in result.missing],
        "hits": [hit_as_dict(hit) for hit in result.hits],
    }


def hit_as_dict(hit: Hit) -> dict[str, Any]:
    """One photo that was found as JSON has it."""
    return {
        "rank": hit.rank,
        "score": hit.score,
        "probability": hit.probability,
        "id": hit.image.id,
        "path": hit.image.path,
        "step_scores": list(hit.step_scores),
        "hubness": hit.hubness,
        "words": [vars(word) for word in hit.words],
        "seen": [vars(one) for one in hit.seen],
        "written": [vars(line) for line in hit.written],
        "metadata": dict(hit.metadata),
    }


def captions_as_dict(result: CaptionHits) -> dict[str, Any]:
    """A search for captions as JSON has it."""
    hits = [{**vars(hit), "words": [vars(word) for word in hit.words]} for hit in result.hits]
    parts = list(result.score_parts)
    return {"photo": str(result.photo), "captions": result.captions, "score_parts": parts, "hits": hits}
