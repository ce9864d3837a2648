"""Sets of places as the bits of a number, for compiled searches. Numba's cache does not notice edits here."""

from ludus.tools.compiling import inner


@inner
def bits_in(board: int) -> int:
    """How many places a board has."""
    count = 0
    while board:
        board &= board - 1
        count += 1
    return count
