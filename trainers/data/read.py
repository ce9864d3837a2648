"""`read_data`: from files to rows of tokens, with a count of what became of every conversation."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ludus.agents.models import LoadedModel
from ludus.agents.store import is_episode_file
from ludus.tools.errors import DataError
from ludus.tools.tables import is_parquet, is_saved_dataset, read_rows
from ludus.trainers.config.sft import SftSection
from ludus.trainers.data.chat import COLUMNS, read_dialogue
from ludus.trainers.data.dialogue import Dialogue
from ludus.trainers.data.render import dialogue_rows
from ludus.trainers.data.token_rows import TokenRows
from ludus.trainers.data.traces import bench_dialogues, file_dialogues, is_bench_folder
from ludus.trainers.models.forward import reach


@dataclass
class Tally:
    """What became of the conversations, or pairs."""

    kind: str = "conversations"
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""
    trained: int = 0
    held_out: int = 0
    failed: int = 0
    """Of those kept, how many are recorded as failed."""

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        dropped = f"; dropped {self.dropped.total():,}: {reasons}" if reasons else ""
        failed = (
            f"; {self.failed:,} of those kept did not succeed (sft.only_successes = true drops them)"
            if self.failed
            else ""
        )
        return (
            f"data: {self.read:,} {self.kind} read, {self.trained:,} to train on, {self.held_out:,} held "
            f"out{dropped}{failed}"
        )


@dataclass(frozen=True)
class Data:
    """What was read, ready for training."""

    train: TokenRows
    heldout: TokenRows
    """Only measured. Rows with the same opening are on the same side."""
    tally: Tally


@dataclass(frozen=True)
class Reserved:
    """What the evaluation plays, and training must not see."""

    tasks: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Environment id -> keys of tasks."""
    openings: Collection[bytes] = frozenset()
    """`Dialogue.opening` of the same tasks."""

    def __contains__(self, dialogue: Dialogue) -> bool:
        environment, key = dialogue.task or ("", "")
        return key in self.tasks.get(environment, ()) or dialogue.opening in self.openings


def read_data(
    sft: SftSection,
    policy: LoadedModel,
    reserved: Reserved = Reserved(),
    on_read: Callable[[int], None] | None = None,
) -> Data:
    """Read the files of `sft.data` in their order, once.

    Args:
        sft: What to read, and what to keep of it.
        policy: Its chat format renders; its context is the longest that a conversation may be.
        on_read: Called with the number of conversations read so far.

    Raises:
        DataError: a source cannot be read or trained on, or nothing is left; one line that names the place.
        UserError: a benchmark's folder or an episode file is damaged.
    """
    tally, rows = Tally(), TokenRows()
    kept: list[tuple[bytes, range]] = []  # of each conversation: its opening, its rows
    unknown_id = unknown_token(policy)
    longest = context_of(policy)
    for source in sft.data:
        before = tally.read
        for dialogue in dialogues(Path(source)):
            tally.read += 1
            if on_read is not None:
                on_read(tally.read)
            reason, found = _filtered(dialogue, sft, reserved), []
            if not reason:
                found = dialogue_rows(_masked(dialogue, sft), policy.format, unknown_id)
                if any(len(row.ids) > longest for row in found):
                    reason = f"longer than the model's context of {longest:,} tokens"
            if reason:
                tally.dropped[reason] += 1
                continue
            tally.failed += dialogue.success is False
            kept.append((dialogue.opening, range(len(rows), len(rows) + len(found))))
            rows.extend(found)
        if tally.read == before:
            raise DataError(f"{source} is empty: there is no conversation in it")
    if not kept:
        raise DataError(f"nothing is left to train on in {', '.join(sft.data)}: {tally}")
    held = held_out_openings([opening for opening, _ in kept], sft.heldout_share)
    tally.held_out = sum(opening in held for opening, _ in kept)
    tally.trained = len(kept) - tally.held_out
    return Data(
        rows.take(index for opening, own in kept if opening not in held for index in own),
        rows.take(index for opening, own in kept if opening in held for index in own),
        tally,
    )


def dialogues(path: Path) -> Iterator[Dialogue]:
    """The conversations of a file or folder, in its order.

    Raises:
        DataError: as `read_data`.
    """
    if path.is_dir() and is_bench_folder(path):
        return bench_dialogues(path)
    if path.is_dir() and not is_saved_dataset(path):
        raise DataError(
            f"{path} is a folder, but neither one that `ludus bench` wrote nor one of a dataset's "
            "save_to_disk; name the files in it one by one"
        )
    if path.is_file() and is_parquet(path) and is_episode_file(path):
        return file_dialogues(path)
    return map(read_dialogue, read_rows(path, COLUMNS))


def context_of(policy: LoadedModel) -> int:
    """The longest context of a model, in tokens."""
    return reach(policy.model).tokens or 2**31


def held_out_openings(openings: Sequence[bytes], share: float) -> frozenset[bytes]:
    """Openings that about `share` of the rows begin with: those with the smallest hash, so that the choice
    depends neither on the order nor on the seed. At least one if there is a share, never all."""
    counts = Counter(openings)
    wanted, held, rows = share * len(openings), [], 0
    for opening in sorted(counts)[: len(counts) - 1]:
        if rows >= wanted:
            break
        held.append(opening)
        rows += counts[opening]
    return frozenset(held)


def _filtered(dialogue: Dialogue, sft: SftSection, reserved: Reserved) -> str:
    """Why a conversation is dropped before it is rendered; empty if it is not."""
    if dialogue.unusable:
        return dialogue.unusable
    if sft.only_successes:
        if dialogue.success is None:
            raise _unrecorded(dialogue, "success", "only_successes")
        if not dialogue.success:
            return "that did not succeed"
    if sft.least_reward > -math.inf:
        if dialogue.reward is None:
            raise _unrecorded(dialogue, "reward", "least_reward")
        if dialogue.reward < sft.least_reward:
            return f"with a reward below {sft.least_reward:g}"
    return "on tasks held out for evaluation" if dialogue in reserved else ""


def _unrecorded(dialogue: Dialogue, what: str, key: str) -> DataError:
    return DataError(
        f"{dialogue.place}: its {what} is not recorded, so sft.{key} cannot judge it; add a column {what}, "
        f"or drop {key}"
    )


def _masked(dialogue: Dialogue, sft: SftSection) -> Dialogue:
    """The conversation, with what is not trained on."""
    if sft.train_on == "all":
        return dialogue
    return replace(dialogue, untrained=frozenset(range(len(dialogue.turns) - 1)))


def unknown_token(policy: LoadedModel) -> int | None:
    """What the tokenizer writes for text that it has no token for. Some name a token for it that they never
    use, such as the end of a turn."""
    id = policy.tokenizer.unk_token_id
    return None if id is None or id in policy.format.stop_ids else int(id)
