"""Shards of a benchmark, joined to the run that they are shares of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ludus.agents.bench.directory import BenchError, Folder, Settings, begin
from ludus.agents.bench.journal import encode
from ludus.agents.bench.outcome import Outcome, write_results
from ludus.agents.bench.prices import Price
from ludus.agents.bench.run import Listener, play_baselines
from ludus.agents.bench.tasks import Shard
from ludus.agents.journal import Journal


def merge(
    path: Path, shards: Sequence[Folder], listener: Listener | None = None, price: Price | None = None
) -> Outcome:
    """A new run in `path` with the episodes of all shards, as if one machine had played it. What a shard
    lacks, the command of the whole run plays, with `--out`.

    Raises:
        BenchError: they are no shards of one run, one is missing, or `path` is not empty.
    """
    listener = listener or Listener()
    settings = _whole(shards)
    first = shards[0]
    folder = begin(path, settings, first.tasks, first.left_out)
    for note in dict.fromkeys(note for shard in shards for note in shard.notes):
        folder.note(note)
    with Journal(folder.journal) as journal:
        for shard in shards:
            for episode in shard.episodes():
                journal.append(encode(episode))
    baselines = play_baselines(folder.tasks, listener)
    return write_results(folder, folder.results(), baselines, price)


def _whole(shards: Sequence[Folder]) -> Settings:
    """The settings of the run that these are all the shards of."""
    numbers: dict[int, Folder] = {}
    for folder in shards:
        if not folder.settings.shard:
            raise BenchError(f"{folder.path} is a whole run, not a shard: play shares with --shard i/n")
        shard = Shard.read(folder.settings.shard)
        settings, first = folder.settings, shards[0].settings
        for name in settings.__slots__:
            ours, theirs = getattr(settings, name), getattr(first, name)
            if name == "shard":
                ours, theirs = shard.count, Shard.read(first.shard).count
            if ours != theirs:
                raise BenchError(
                    f"{folder.path} is a shard of another run than {shards[0].path}: "
                    f"{name.replace('_', '-')} is {ours!r}, not {theirs!r}"
                )
        if shard.number in numbers:
            raise BenchError(
                f"{folder.path} and {numbers[shard.number].path} are both shard {shard}: give each one once"
            )
        numbers[shard.number] = folder
    missing = [
        str(Shard(number, shard.count)) for number in range(1, shard.count + 1) if number not in numbers
    ]
    if missing:
        raise BenchError(f"shard {', '.join(missing)} is missing: play it, or name its folder too")
    return replace(shards[0].settings, shard="")
