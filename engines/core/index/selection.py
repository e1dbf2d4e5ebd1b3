"""Which files of a source are a run's photos, and why the others are none."""

from __future__ import annotations

import fnmatch
import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engines.core.errors import InputError
from engines.core.index.sharding import name_hash
from engines.core.networks.image_formats import DECODED_ENDINGS, UNDECODED_ENDINGS, ending

if TYPE_CHECKING:
    # The engine interface has a selection, and loads nothing heavy.
    from engines.core.sources import Entry, Source

WHY_LEFT_OUT = {
    "excluded": "match --exclude",
    "hidden": "hidden files, or what systems leave beside photos; --hidden takes them",
    "not_decoded": "photos of formats that are not decoded",
    "not_matched": "not matched by --glob",
    "no_photo": "no photos by their names",
}
"""Every reason a file may be left out for, with its text for people."""

SYSTEM_NAMES = frozenset({
    "__macosx",  # in zip files made by macOS
    "@eadir", "#recycle", "#snapshot", "@recycle", "~snapshot",  # storage from Synology, QNAP and NetApp
    "$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini",  # Windows
    "lost+found",  # the root of a file system on Linux
})  # fmt: skip
"""Names, in lower case, that are no person's although they are not hidden by a dot."""

_MOST_NAMES = 100
"""Names that are counted apart for each reason; the files of others are counted together."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images of a source belong to a run.

    `glob`: patterns, one of which has to match; without any, every name with the ending of a format that is decoded,
    in any case. A pattern is matched against the file name, or against the whole key if it has a slash; upper and lower
    case differ, as on S3. `exclude`: what one of these patterns matches is left out; without a slash it is matched
    against the name of the file and of each folder it lies in, with one against the key and the folders' keys.
    `hidden` takes hidden files too, and those of SYSTEM_NAMES.

    `per_class` keeps at most so many images of each label, and `images` at most so many in all, chosen by hash: spread
    over the class or the source, and the same each time. `shard_size` is the number of images a shard has on average
    (1/2 to 2 times that).
    """

    glob: tuple[str, ...] = ()
    per_class: int | None = None
    shard_size: int = 512
    images: int | None = None
    exclude: tuple[str, ...] = ()
    hidden: bool = False

    def __post_init__(self) -> None:
        # One pattern as it is, and several, such as the lists that JSON has.
        for name in ("glob", "exclude"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))


@dataclass(slots=True)
class LeftOut:
    """Files that are none of a run's photos: by reason, one of WHY_LEFT_OUT, and by what says so, such as an ending.

    `by_case`: files that no glob matches only because of upper or lower case.
    """

    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    by_case: int = 0

    @property
    def files(self) -> int:
        """How many there are."""
        return sum(sum(names.values()) for names in self.reasons.values())

    def add(self, reason: str, name: str) -> None:
        """Count one more."""
        names = self.reasons.setdefault(reason, {})
        if name not in names and len(names) >= _MOST_NAMES:
            name = "others"
        names[name] = names.get(name, 0) + 1

    def remarks(self) -> list[str]:
        """What a person should know of it, in sentences."""
        undecoded = self.in_order().get("not_decoded", {})
        endings = ", ".join(f"{count:,} .{name}" for name, count in undecoded.items())
        return [f"Photos of formats that are not decoded are left out: {endings}."] if undecoded else []

    def in_order(self) -> dict[str, dict[str, int]]:
        """`reasons` in the order of WHY_LEFT_OUT, the most frequent names first."""
        return {
            reason: dict(sorted(self.reasons[reason].items(), key=lambda item: (-item[1], item[0])))
            for reason in WHY_LEFT_OUT
            if reason in self.reasons
        }


def selected(
    source: Source, selection: Selection, left_out: LeftOut, skipped: Callable[[str], None] = lambda _: None
) -> Iterator[Entry]:
    """The photos of `source` that its `selection` takes, in order, before any sampling.

    Fills `left_out`, and calls `skipped` with the key of each file that is. Raises InputError for what is taken but
    cannot be read, whatever it holds.
    """
    rules = Rules(selection, names_tell=source.names_tell)
    for entry in source.list():
        key = source.key(entry.path)
        why = rules.why_aside(key)
        if key.endswith("/"):
            # A folder that cannot be listed.
            if why is None and rules.may_match_below(key):
                source.check_entry(entry)
            left_out.add(*(why or ("not_matched", key)))
            continue
        why = why or rules.why_unmatched(key)
        if why is None:
            source.check_entry(entry)
            yield entry
            continue
        left_out.add(*why)
        left_out.by_case += why[0] == "not_matched" and rules.matches_in_another_case(key)
        skipped(key)


class Rules:
    """A selection's patterns, compiled. `names_tell`: see `Source`."""

    def __init__(self, selection: Selection, *, names_tell: bool = True) -> None:
        self._selection, self._names_tell = selection, names_tell
        self._globs = _compiled(selection.glob)
        self._lower_globs = _compiled(glob.lower() for glob in selection.glob)
        self._excludes = _compiled(selection.exclude)

    def why_aside(self, key: str) -> tuple[str, str] | None:
        """Why a file is left out, or a folder (with a slash at its end), whatever the globs take, and what says so."""
        for glob, matches in self._excludes:
            if any(matches(name) for name in _names(key, whole="/" in glob)):
                return "excluded", glob
        if not self._selection.hidden and (name := _hidden_name(key)):
            return "hidden", name
        return None

    def why_unmatched(self, key: str) -> tuple[str, str] | None:
        """Why a file is left out by its name, and what says so."""
        kind = ending(key)
        if self._globs:
            return None if _any_matches(self._globs, key) else ("not_matched", kind)
        if kind in DECODED_ENDINGS or not self._names_tell:
            return None
        return ("not_decoded" if kind in UNDECODED_ENDINGS else "no_photo"), kind

    def matches_in_another_case(self, key: str) -> bool:
        """Whether a glob would match if upper and lower case were the same."""
        return _any_matches(self._lower_globs, key.lower())

    def may_match_below(self, folder: str) -> bool:
        """Whether a file in `folder`, a key with a slash at its end, may be one that a glob matches."""
        if not self._globs:
            return True
        fixed = [re.split(r"[*?[]", glob, maxsplit=1)[0] if "/" in glob else "" for glob, _ in self._globs]
        return any(folder.startswith(start) or start.startswith(folder) for start in fixed)


def choose(
    entries: Iterable[Entry], most: int, key: Callable[[Entry], str], group: Callable[[Entry], str]
) -> Iterator[Entry]:
    """The `most` images of each group with the smallest hash of their key, in path order."""
    chosen: dict[str, list[tuple[int, str, Entry]]] = {}
    for entry in entries:
        heap = chosen.setdefault(group(entry), [])
        # Negative, because heapq keeps the smallest on top and the largest hash has to go first.
        heapq.heappush(heap, (-name_hash(key(entry)), entry.path, entry))
        if len(heap) > most:
            heapq.heappop(heap)
    return iter(sorted((entry for heap in chosen.values() for _, _, entry in heap), key=lambda entry: entry.path))


def check_not_empty(source: Source, selection: Selection, taken: int, left_out: LeftOut) -> None:
    """Raise InputError when a source has no photo that its selection takes."""
    if taken:
        return
    if not left_out.files:
        raise source.nothing_there()
    which = f"matches {' or '.join(selection.glob)}" if selection.glob else "is named as a photo that can be decoded"
    also = f" ({left_out.by_case:,} would in another case)" if left_out.by_case else ""
    aside = "; ".join(
        f"{sum(names.values()):,} are left out: {WHY_LEFT_OUT[reason]}"
        for reason, names in left_out.in_order().items()
        if reason in ("excluded", "hidden")
    )
    raise InputError(
        f"none of the {left_out.files:,} files below {source.location} {which}{also}{aside and f'; {aside}'}",
        "Choose another --glob; upper and lower case differ."
        if selection.glob
        else "Say which files are photos, such as --glob '*.jpg' --glob '*.img'.",
    )


def _compiled(globs: Iterable[str]) -> list[tuple[str, Callable[[str], re.Match[str] | None]]]:
    return [(glob, re.compile(fnmatch.translate(glob)).match) for glob in globs]


def _any_matches(globs: list[tuple[str, Callable[[str], re.Match[str] | None]]], key: str) -> bool:
    name = key.rsplit("/", 1)[-1]
    return any(matches(key if "/" in glob else name) for glob, matches in globs)


def _names(key: str, *, whole: bool) -> list[str]:
    """The names in a key, or the keys of the folders it lies in and its own."""
    parts = key.removesuffix("/").split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)] if whole else parts


def _hidden_name(key: str) -> str:
    """The first name in a key that is hidden or a system's; empty if none is."""
    for part in key.split("/"):
        if part.startswith("._"):
            return "._*"  # AppleDouble: what macOS keeps of a file beside it
        if (part.startswith(".") and part not in {".", ".."}) or part.lower() in SYSTEM_NAMES:
            return part
    return ""
