"""Compare the photos of some folders with a store: which are new, known under another name, copies, or gone.

An image's id follows its photo's path, its features follow the photo's bytes. A file with the path, size and time of
the last run is not read. Another one is hashed if it may have the bytes of a known photo, which their sizes tell.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from shan_engine.base.errors import InputError, StoreError
from shan_engine.photos.find import FoundPhotos, Photo, find_photos
from shan_engine.photos.known import Absence, KnownImage, content_hashes, is_gone, known_images, size_of
from shan_engine.photos.naming import is_another
from shan_engine.store.contents import Content, Place
from shan_engine.store.feature_store import FeatureStore


@dataclass
class Plan:
    """How a store differs from some folders.

    `extract` are new and changed photos, `copies` further files of those, by id, and `hashes` those known so far, by
    id. `contents` are as in `FeatureStore.relocate`, `delete` are ids. `held` are the ids in the store afterwards.
    `kept` are the photos whose features stay, `unhashed` what is known of those that an older version extracted, by id.
    `vanished`
    counts the photos of folders without any photo, which stay in the store. The numbers count files.
    """

    listing: FoundPhotos
    extract: list[Photo] = field(default_factory=list)
    copies: defaultdict[str, list[Photo]] = field(default_factory=lambda: defaultdict(list))
    hashes: dict[str, str] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    delete: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    kept: list[Photo] = field(default_factory=list)
    unhashed: dict[str, Content] = field(default_factory=dict)
    vanished: Counter[Path] = field(default_factory=Counter)
    unchanged: int = 0
    renamed: int = 0
    copied: int = 0
    removed: int = 0

    def content(self, photo: Photo) -> Content:
        """What a photo to extract, now hashed, is stored with."""
        return Content(self.hashes[photo.id], tuple(map(_place, (photo, *self.copies[photo.id]))))


def make_plan(
    folders: Path | Sequence[Path],
    store_path: Path,
    extractor: str,
    *,
    exclude: Sequence[str] = (),
    prune: bool = False,
    workers: int = 2,
) -> Plan:
    """Find the photos below `folders` and compare them with a store.

    Raises InputError as `find_photos` does, and if the store has another existing photo under a photo's id. Raises
    StoreError if it has features of another extractor.
    """
    images: dict[str, KnownImage] = {}
    store = FeatureStore.open_if_made(store_path)
    if store is not None:
        with store:
            if store.schema.feature_extractor != extractor:
                raise StoreError(
                    f"the store {store_path} holds features of '{store.schema.feature_extractor}', "
                    f"not of '{extractor}': name a new store"
                )
            images = known_images(store)
    known = {file.path: file.id for image in images.values() for file in image.content.files if file.path}
    listing = find_photos(folders, exclude=exclude, known=known)
    return _Comparison(listing, images, store_path).plan(prune, workers)


class _Comparison:
    """One comparison. `_found` are the photos of each known image, by its id; `_joined` those of them that are new.

    `_settled` are the paths that were found, and those that the same photo had before.
    """

    def __init__(self, listing: FoundPhotos, images: dict[str, KnownImage], store_path: Path) -> None:
        self._images, self._store_path = images, store_path
        files = [(id, file) for id, image in images.items() for file in image.content.files]
        self._by_path = {file.path: (id, file) for id, file in files if file.path}
        self._by_id = {file.id: (id, file) for id, file in files}
        self._found: defaultdict[str, list[Photo]] = defaultdict(list)
        self._joined: defaultdict[str, list[Photo]] = defaultdict(list)
        self._settled: set[str] = set()
        self._plan = Plan(listing)

    def plan(self, prune: bool, workers: int) -> Plan:
        fresh = [photo for photo in self._plan.listing.photos if not self._is_unchanged(photo)]
        self._match(fresh, self._hashes(fresh, workers))
        self._settle(prune)
        return self._plan

    def _known(self, photo: Photo) -> tuple[str, Place] | None:
        """The image that had this path or, elsewhere, this id. Raises InputError if that is another existing photo."""
        path = str(photo.path)
        known = self._by_path.get(path) or self._by_id.get(photo.id)
        if known is not None and known[1].path != path and is_another(known[1].path, path):
            raise InputError(
                f"the store {self._store_path} already has '{photo.id}' from {known[1].path}: name a new "
                "store, or extract both folders in one command"
            )
        return known

    def _is_unchanged(self, photo: Photo) -> bool:
        known = self._known(photo)
        self._settled.add(str(photo.path))
        if known is None:
            return False
        id, file = known
        if file.path:  # imported features have none
            self._settled.add(file.path)
        if file.stamp == photo.stamp:
            self._keep(photo, id)
        return file.stamp == photo.stamp

    def _keep(self, photo: Photo, id: str) -> None:
        self._found[id].append(photo)
        self._plan.unchanged += 1

    def _hashes(self, fresh: list[Photo], workers: int) -> dict[str, str]:
        """The hashes, by path, of new and changed files that may have the bytes of another one.

        Their sizes tell or, among new files, also their beginnings: scans without compression all have one size. Images
        of older stores get their hashes too where they may be needed.
        """
        sizes = {str(photo.path): size_of(photo.stamp) for photo in fresh}
        known = {image.bytes for image in self._images.values()}
        counts = Counter(sizes.values())
        old = [id for id in self._found if not self._images[id].hash and self._images[id].bytes in counts]
        old_paths = {id: str(self._found[id][0].path) for id in old}
        alike = [path for path, size in sizes.items() if counts[size] > 1 and size not in known]
        beginnings = content_hashes(alike, workers, beginning=True)
        numbers = Counter(beginnings.values())
        paths = [path for path, size in sizes.items() if size in known or numbers[beginnings.get(path, "")] > 1]
        hashes = content_hashes([*paths, *old_paths.values()], workers)
        for id, path in old_paths.items():
            self._images[id] = replace(self._images[id], hash=hashes[path])
        return hashes

    def _match(self, fresh: list[Photo], hashes: dict[str, str]) -> None:
        """Find the images that new and changed files have the bytes of; the others are to be extracted."""
        by_hash = {image.hash: id for id, image in reversed(self._images.items()) if image.hash}
        first: dict[str, str] = {}
        for photo in fresh:
            found, known = hashes.get(str(photo.path), ""), self._known(photo)
            if found and known is not None and self._images[known[0]].hash == found:
                self._keep(photo, known[0])
            elif found in by_hash:
                self._found[by_hash[found]].append(photo)
                self._joined[by_hash[found]].append(photo)
            elif found in first:
                self._plan.copies[first[found]].append(photo)
                self._plan.copied += 1
            else:
                self._plan.extract.append(photo)
                if found:
                    first[found] = photo.id
                    self._plan.hashes[photo.id] = found

    def _settle(self, prune: bool) -> None:
        """Plan what becomes of each image, by the files that are left of it."""
        absence = Absence(self._plan.listing)
        extracted = {photo.id for photo in self._plan.extract}
        for image in self._images.values():
            found = {str(photo.path): photo for photo in self._found.get(image.id, ())}
            joined = [str(photo.path) for photo in self._joined.get(image.id, ())]
            stays = []
            for file in image.files:
                replaced = file.path in self._settled or file.id in extracted
                if file.path not in found and self._stays(file.path, absence, joined, replaced=replaced, prune=prune):
                    stays.append(file)
            self._plan.copied += len(joined)  # those left have taken the place of no other file
            files = sorted([*map(_place, found.values()), *stays], key=lambda file: file.id)
            if files:
                self._settle_image(image, files, found)
            elif image.id not in extracted:
                self._plan.delete.append(image.id)
            else:
                self._plan.held.add(image.id)

    def _stays(self, path: str, absence: Absence, joined: list[str], *, replaced: bool, prune: bool) -> bool:
        """Whether an image keeps a file that was not found as it was. One that has a new name takes it from `joined`.

        `replaced` says that another photo has its place.
        """
        below = absence.below_roots(path)
        if not replaced and below and absence.left_out(path):
            self._plan.removed += 1
            return False
        gone = replaced or is_gone(path)
        same = [other for other in joined if gone or not is_another(path, other)]
        if same:
            joined.remove(same[0])
            self._plan.renamed += 1
        if same or replaced:
            return False
        if not path or not gone or not below:
            return True
        folder = None if prune else absence.vanished(path)
        if folder is None:
            self._plan.removed += 1
            return False
        self._plan.vanished[folder] += 1
        return True

    def _settle_image(self, image: KnownImage, files: list[Place], found: dict[str, Photo]) -> None:
        """Plan which of its files is an image's own: the one that was, else one that was found."""
        own = min(files, key=lambda file: (file.id != image.id, file.path not in found))
        self._plan.held.add(own.id)
        files.remove(own)
        content = Content(image.hash, (own, *files))
        if content != image.content:
            self._plan.contents[image.id] = content
        if own.path in found:
            self._plan.kept.append(found[own.path])
            if not image.hash:
                self._plan.unhashed[own.id] = content


def _place(photo: Photo) -> Place:
    return Place(photo.id, str(photo.path), photo.stamp)
