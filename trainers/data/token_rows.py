"""`TokenRows`: many training sequences in little memory."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from ludus.agents.episode import TrainingSequence


class TokenRows(Sequence[TrainingSequence]):
    """Training sequences end to end, nine bytes a token (a tuple of a sequence's own takes some 60), and
    each of their pictures once. Their log-probabilities, actors and turns are not kept, since supervised
    fine-tuning needs none."""

    def __init__(self, rows: Iterable[TrainingSequence] = ()) -> None:
        self._ids, self._sampled, self._ends = array("q"), bytearray(), array("q", [0])
        self._pictures: dict[str, str] = {}
        self._shown: dict[int, tuple[str, ...]] = {}
        """The pictures of those rows that have some."""
        self.extend(rows)

    def extend(self, rows: Iterable[TrainingSequence]) -> None:
        for row in rows:
            self._ids.extend(row.ids)
            self._sampled.extend(row.sampled)
            if row.pictures:
                known = (self._pictures.setdefault(url, url) for url in row.pictures)
                self._shown[len(self)] = tuple(known)
            self._ends.append(len(self._ids))

    def take(self, indices: Iterable[int]) -> "TokenRows":
        """These rows, in this order."""
        return TokenRows(self[index] for index in indices)

    @property
    def tokens(self) -> int:
        return len(self._ids)

    @property
    def sampled(self) -> int:
        """Tokens that are trained on."""
        return sum(self._sampled)

    @property
    def digest(self) -> str:
        """A hash of all content."""
        found = hashlib.sha256()
        for part in (self._ids, self._sampled, self._ends):
            found.update(bytes(part))
        for row, pictures in self._shown.items():
            found.update(repr((row, pictures)).encode())
        return found.hexdigest()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> TrainingSequence: ...
    @overload
    def __getitem__(self, index: slice) -> "TokenRows": ...
    def __getitem__(self, index: int | slice) -> "TrainingSequence | TokenRows":
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        place = range(len(self))[index]
        span = slice(self._ends[place], self._ends[place + 1])
        ids = tuple(self._ids[span])
        marks, shown = tuple(map(bool, self._sampled[span])), self._shown.get(place, ())
        return TrainingSequence(ids, marks, (0.0,) * len(ids), pictures=shown)

    def __iter__(self) -> Iterator[TrainingSequence]:
        return (self[index] for index in range(len(self)))
