"""`read_preferences`: from files of pairs to rows of tokens, with a count of what became of every pair."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ludus.agents.models import LoadedModel
from ludus.tools.errors import DataError
from ludus.trainers.batches.pairs import Pair as PairRows
from ludus.trainers.config.preferences import PreferencesSection
from ludus.trainers.data.pairs import read_pairs
from ludus.trainers.data.read import Reserved, Tally, context_of, held_out_openings, unknown_token
from ludus.trainers.data.render import dialogue_rows
from ludus.trainers.data.token_rows import TokenRows


@dataclass
class TokenPairs(Sequence[PairRows]):
    """Pairs as rows of tokens, compact."""

    rows: TokenRows = field(default_factory=TokenRows)
    sides: list[tuple[range, range]] = field(default_factory=list)
    """Of each pair the rows of its chosen and of its rejected side."""

    def add(self, pair: PairRows) -> None:
        places = []
        for side in pair:
            places.append(range(len(self.rows), len(self.rows) + len(side)))
            self.rows.extend(side)
        self.sides.append((places[0], places[1]))

    def __len__(self) -> int:
        return len(self.sides)

    def __getitem__(self, index: int) -> PairRows:  # type: ignore[override]
        chosen, rejected = ([self.rows[row] for row in side] for side in self.sides[index])
        return chosen, rejected


@dataclass(frozen=True)
class PreferenceData:
    """What was read, ready for training."""

    train: TokenPairs
    heldout: TokenPairs
    """Only measured. Pairs with the same opening are on the same side."""
    tally: Tally


def read_preferences(
    section: PreferencesSection,
    policy: LoadedModel,
    reserved: Reserved,
    on_read: Callable[[int], None] | None = None,
) -> PreferenceData:
    """Read the files of `preferences.data` in their order, once.

    Args:
        policy: Its chat format renders; its context is the longest that a conversation may be.
        on_read: Called with the number of pairs read so far.

    Raises:
        DataError: a source cannot be read or trained on, or nothing is left; one line that names the place.
    """
    tally, pairs = Tally("pairs"), TokenPairs()
    openings: list[bytes] = []
    unknown_id, longest = unknown_token(policy), context_of(policy)
    for source in section.data:
        for pair in read_pairs(Path(source)):
            tally.read += 1
            if on_read is not None:
                on_read(tally.read)
            told = pair.dialogues()
            rows = tuple(dialogue_rows(side, policy.format, unknown_id) for side in told)
            if told[0] in reserved:
                tally.dropped["on tasks held out for evaluation"] += 1
            elif any(len(row.ids) > longest for side in rows for row in side):
                tally.dropped[f"longer than the model's context of {longest:,} tokens"] += 1
            elif [row.ids for row in rows[0]] == [row.ids for row in rows[1]]:
                tally.dropped["whose two sides are the same tokens in the model's chat format"] += 1
            else:
                pairs.add((rows[0], rows[1]))
                openings.append(told[0].opening)
    if not openings:
        raise DataError(f"nothing is left to train on in {', '.join(section.data)}: {tally}")
    held = held_out_openings(openings, section.heldout_share)
    train, heldout = TokenPairs(), TokenPairs()
    for index, opening in enumerate(openings):
        (heldout if opening in held else train).add(pairs[index])
    tally.trained, tally.held_out = len(train), len(heldout)
    return PreferenceData(train, heldout, tally)
