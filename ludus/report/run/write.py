"""`write_report`: a run's folder in, `report.html` and `curves.png` out."""

import errno
from pathlib import Path

import gymnasium

from ludus.report.run.comparison import compare, verdict
from ludus.report.run.curves import draw_curves
from ludus.report.run.files import ReportError, Run, read_run
from ludus.report.run.gifs import Gif, draws_pictures, game
from ludus.report.run.models import describe, saved_model
from ludus.report.run.page import Gathered, render
from ludus.report.run.pairs import match, typical
from ludus.report.run.trust import read_trust
from ludus.report.transcript import Decode
from ludus.tools.files import write_file

GIFS = {"primed": "before.gif", "final": "after.gif"}


def write_report(run_directory: Path) -> Path:
    """Write a run's `report.html` and `curves.png`; where the environment draws pictures, `before.gif` and
    `after.gif` too. It reads only the run's files, and may be called while the run goes on.

    Returns:
        The report's path.

    Raises:
        ReportError: the folder is not a run, one of its files is corrupt, or the report cannot be written.
    """
    gathered = gather(Path(run_directory))
    page = render(gathered)
    folder = gathered.run.directory
    for gif in gathered.gifs:
        _write(folder / GIFS[gif.stage], gif.data)
    _write(folder / "curves.png", draw_curves(gathered.run, gathered.rows, gathered.verdict.headline))
    _write(folder / "report.html", page.encode("utf-8"))
    return folder / "report.html"


def gather(run_directory: Path) -> Gathered:
    """Read and compute everything that the page needs; writes nothing.

    Raises:
        ReportError: as `write_report`.
    """
    run = read_run(run_directory)
    rows = compare(run)
    decode, notes = _decoder(run)
    gifs, picture_notes = _games(run)
    return Gathered(
        run=run,
        rows=rows,
        verdict=verdict(run, rows),
        trust=read_trust(run.directory),
        model=describe(run),
        decode=decode,
        gifs=gifs,
        notes=[*notes, *picture_notes],
    )


def _decoder(run: Run) -> tuple[Decode | None, list[str]]:
    """The function from token ids to text, from the tokenizer stored with the run's model."""
    sampled = any(
        turn.completion_ids for e in (*run.primed, *run.final, *run.early, *run.late) for turn in e.turns
    )
    if not sampled:
        return None, []
    folder = saved_model(run.directory)
    if folder is None:
        return None, ["No model is saved in this run yet, so replies are shown as text, without tokens."]
    from ludus.agents.models import load_format

    return load_format(folder).decode, []


def _games(run: Run) -> tuple[list[Gif], list[str]]:
    pair = typical(match(run.primed, run.final))
    if pair is None:
        return [], []
    try:
        if not draws_pictures(pair[0]):
            return [], []
        return [game(pair[0], "primed", "Before"), game(pair[1], "final", "After")], []
    except (TypeError, ValueError, gymnasium.error.Error) as changed:
        return [], [f"No pictures of games: {changed}."]


def _write(file: Path, content: bytes) -> None:
    """Write whole or not at all: an existing file stays until the new one is complete."""
    try:
        write_file(file, content)
    except OSError as error:
        cause = (
            "the disk is full; free some space"
            if error.errno == errno.ENOSPC
            else f"{error.strerror}; check it"
        )
        raise ReportError(f"{file}: cannot be written, {cause} and run `ludus view` again") from error
