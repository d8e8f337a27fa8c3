"""A gallery of captions with everything that searches it, loaded when first needed and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shan_engine.gallery.captions import CaptionGallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.captions import CaptionHits, search_captions
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.session import Session, StrPath


class CaptionEngine(Session):
    """A gallery of captions and what scores it."""

    def __init__(self, scorer: Scorer, gallery: CaptionGallery) -> None:
        super().__init__(scorer)
        self._captions = gallery

    @property
    def gallery(self) -> CaptionGallery:
        """The opened gallery. Raises InputError once the engine is closed."""
        _ = self.scorer
        return self._captions

    @property
    def path(self) -> Path:
        """The gallery's folder."""
        return self.gallery.path

    def refresh(self) -> bool:
        """Take up the captions as they are on disk now; whether they have changed. Raises GalleryError if damaged."""
        with self._lock:
            renewed = CaptionGallery.open(self.gallery.path, self.scorer.bundle)
            changed = renewed.blocks != self._captions.blocks
            if changed:
                self._captions = renewed
            return changed

    def __len__(self) -> int:
        return len(self.gallery)

    def search(
        self,
        image: StrPath | QueryPhoto,
        *,
        top_k: int = 10,
        explain: bool = True,
        on_start: Callable[[int], None] = lambda total: None,
        on_captions: Callable[[int], None] = lambda done: None,
    ) -> CaptionHits:
        """The captions that fit a photo best. Raises InputError for a photo that cannot be read."""
        photo = image if isinstance(image, QueryPhoto) else self.photo(image)
        on_start(len(self.gallery))
        with self._turn() as scorer:
            return search_captions(scorer, self.gallery, photo, top_k=top_k, explain=explain, on_captions=on_captions)
