"""What the labels of the nearest rows say: accuracy, confusion, and labels in doubt. Whole numbers throughout.

The vote of a row's neighbours, without the row itself, is a classifier that was never shown the row. Its shares of
votes are the probabilities of confident learning (Northcutt, Jiang and Chuang, "Confident learning: estimating
uncertainty in dataset labels", JAIR 70, 2021): a class is confident for a row when its share reaches the mean share
that this class has among its own rows. Few neighbours know a share in whole votes only, so the mean is taken in whole
votes too, rounded down: of ten neighbours, nine are enough where the mean is 9.6. Nothing else is rounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NO_LABEL = -1


@dataclass(frozen=True, eq=False)
class Codes:
    """Labels as numbers: `names` in alphabetical order, `of`: int64[n], NO_LABEL where the label is ""."""

    names: list[str]
    of: Int64

    @classmethod
    def number(cls, labels: Sequence[str]) -> Codes:
        """The codes of these labels."""
        names = sorted(set(labels) - {""})
        numbers = {name: number for number, name in enumerate(names)} | {"": NO_LABEL}
        return cls(names, np.array([numbers[label] for label in labels], np.int64))

    def name(self, code: int) -> str:
        """The inverse of `of`."""
        return "" if code == NO_LABEL else self.names[code]


@dataclass(frozen=True, eq=False)
class Votes:
    """Of each of n rows: its own label, the labels of its neighbours (nearest first), and how often each is there.

    `own`: int64[n]; `labels`, `counts`: int64[n, k], `counts` are 0 for neighbours without a label.
    """

    own: Int64
    labels: Int64
    counts: Int64

    @classmethod
    def of(cls, own: Int64, neighbours: Int64) -> Votes:
        """From the codes of the rows and of their neighbours, int64[n] and int64[n, k]."""
        counts = np.zeros_like(neighbours)
        for place in range(neighbours.shape[1]):
            counts += neighbours == neighbours[:, place : place + 1]
        return cls(own, neighbours, np.where(neighbours == NO_LABEL, 0, counts))

    @property
    def winners(self) -> Int64:
        """int64[n]: the label most neighbours have, of equals the nearest's; NO_LABEL where none has a label."""
        return _at(self.labels, self.counts.argmax(axis=1))

    @property
    def for_own(self) -> Int64:
        """int64[n]: neighbours with the row's own label."""
        same = (self.labels == self.own[:, np.newaxis]) & (self.own != NO_LABEL)[:, np.newaxis]
        return np.asarray(same.sum(axis=1), np.int64)

    @property
    def voters(self) -> Int64:
        """int64[n]: neighbours that have a label."""
        return np.asarray((self.labels != NO_LABEL).sum(axis=1), np.int64)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares of right answers among `rows` labelled rows: by the vote of all neighbours, and by the nearest alone."""

    rows: int
    vote: float
    nearest: float


def accuracy_of(votes: Votes) -> Accuracy | None:
    """The accuracy over the rows that have a label; None where no two labels are known."""
    labelled = votes.own != NO_LABEL
    if len(np.unique(votes.own[labelled])) < 2:
        return None
    rows = int(labelled.sum())
    vote = int((votes.winners == votes.own)[labelled].sum())
    nearest = int((votes.labels[:, 0] == votes.own)[labelled].sum())
    return Accuracy(rows, vote / rows, nearest / rows)


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """One class: its rows, the share of them that the vote calls right, and of those called so the share that is."""

    label: str
    rows: int
    recall: float
    precision: float


def class_accuracies(votes: Votes, names: Sequence[str]) -> list[ClassAccuracy]:
    """One per class, the worst recall first."""
    labelled = votes.own != NO_LABEL
    own, winners = votes.own[labelled], votes.winners[labelled]
    rows = np.bincount(own, minlength=len(names))
    called = np.bincount(winners[winners != NO_LABEL], minlength=len(names))
    right = np.bincount(own[own == winners], minlength=len(names))
    found = [
        ClassAccuracy(name, int(n), int(hits) / int(n), int(hits) / int(said) if said else 0.0)
        for name, n, said, hits in zip(names, rows, called, right, strict=True)
        if n
    ]
    return sorted(found, key=lambda each: (each.recall, each.label))


@dataclass(frozen=True, slots=True)
class Confusion:
    """So many rows of `label` that the vote calls `predicted`."""

    label: str
    predicted: str
    rows: int


def confusions(votes: Votes, codes: Codes) -> list[Confusion]:
    """Every pair of classes that is confused, the most frequent first."""
    winners = votes.winners
    wrong = (votes.own != NO_LABEL) & (winners != NO_LABEL) & (winners != votes.own)
    counts = Counter(zip(votes.own[wrong].tolist(), winners[wrong].tolist(), strict=True))
    pairs = [Confusion(codes.names[own], codes.names[said], rows) for (own, said), rows in counts.items()]
    return sorted(pairs, key=lambda pair: (-pair.rows, pair.label, pair.predicted))


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """Per row: whether the neighbours are confident of another label, and the share of votes for the given one."""

    is_issue: Bools
    score: Float64
    predicted: Int64


def label_issues(votes: Votes, classes: int) -> LabelIssues:
    """Rows off the diagonal of the confident joint. A row without label has none; without voters its score is 1."""
    own, for_own, voters = votes.own, votes.for_own, votes.voters
    labelled = own != NO_LABEL
    members = np.bincount(own[labelled], minlength=classes)
    shares = np.zeros(classes, np.int64)  # votes for the own label, summed over the members of each class
    np.add.at(shares, own[labelled], for_own[labelled])
    # Every row has as many neighbours, so that counts stand for shares: more than the mean less one vote.
    known = np.where(votes.labels == NO_LABEL, 0, votes.labels)
    confident = (votes.counts + 1) * members[known] > shares[known] if classes else np.zeros_like(votes.counts, bool)
    counts = np.where(confident & (votes.labels != NO_LABEL), votes.counts, 0)
    place = counts.argmax(axis=1)
    best = _at(votes.labels, place)
    is_issue = labelled & (_at(counts, place) > for_own) & (best != own)
    score = np.where(labelled & (voters > 0), for_own / np.maximum(voters, 1), 1.0)
    return LabelIssues(is_issue, score, np.where(is_issue, best, votes.winners))


def _at(matrix: Int64, places: Int64) -> Int64:
    return np.asarray(matrix[np.arange(len(matrix)), places], np.int64)
