"""Our own programs for the sandbox; their output is not trusted either."""

import json
import struct
import zlib
from collections.abc import Mapping

from ludus.tools.sandbox import Limits

LIMITS = Limits(wall_s=10, cpu_s=5, memory_mb=512, output_kb=64, disk_mb=16)
PACKAGES = ("pandas", "matplotlib")
PRELOAD = ("pandas", "matplotlib.pyplot")

SQL_ROWS = 50
SQL_CELL = 60
"""The most rows of a result, and the most characters of a value."""

PLOTS = 2
"""The most figures shown for a cell."""
PLOT_BYTES = 48 * 1024
PLOT_PIXELS = 640
"""The most pixels of a figure's longer side."""
PLOT_FILES = tuple(f".plot-{number}.png" for number in range(PLOTS))

SQL_PROGRAM = f"""
import json, sqlite3, sys
order = json.load(sys.stdin)
connection = sqlite3.connect("file:" + order["database"] + "?mode=ro", uri=True)
try:
    cursor = connection.execute(order["query"])
    rows = cursor.fetchmany({SQL_ROWS} + 1)
except sqlite3.Error as error:
    sys.exit(str(error))
if cursor.description is None:
    sys.exit("the query gives no table; write a SELECT")
shown = [["NULL" if value is None else str(value) for value in row] for row in rows[:{SQL_ROWS}]]
table = [[column[0] for column in cursor.description], *shown]
short = lambda value: value if len(value) <= {SQL_CELL} else value[:{SQL_CELL} - 1] + "…"
table = [[short(value) for value in row] for row in table]
widths = [max(map(len, column)) for column in zip(*table)]
table.insert(1, ["-" * width for width in widths])
for row in table:
    print(" | ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip())
more = len(rows) > {SQL_ROWS}
print("… more rows; only the first {SQL_ROWS} are shown" if more else f"{{len(rows)}} rows")
"""

OPENING_CELL = """
import matplotlib.pyplot
matplotlib.pyplot.show = lambda *args, **kwargs: None
del matplotlib
"""
"""`show` does nothing, since figures are shown at the end of the cell."""

PLOT_CELL = f"""
def _show_figures():
    import os
    from matplotlib import pyplot
    for name in {PLOT_FILES!r}:
        if os.path.lexists(name):
            os.remove(name)
    try:
        for name, number in zip({PLOT_FILES!r}, pyplot.get_fignums()):
            figure = pyplot.figure(number)
            size = figure.get_size_inches()
            figure.set_size_inches(size * min(1, 10 / max(size)))
            dpi = min(100, {PLOT_PIXELS} / max(figure.get_size_inches()))
            for share in (1, 0.6, 0.3, 0.15):
                figure.savefig(name, dpi=dpi * share, format="png")
                if os.path.getsize(name) <= {PLOT_BYTES}:
                    break
    finally:
        pyplot.close("all")
_show_figures()
del _show_figures
"""
"""Runs after every cell, and writes the open figures to `PLOT_FILES`."""


def sql_order(database: str, query: str) -> str:
    """The input of `SQL_PROGRAM`."""
    return json.dumps({"database": database, "query": query})


def is_plot(data: bytes) -> bool:
    """Whether bytes are a complete PNG file, not too large and of the kind that matplotlib writes (eight bits
    each of red, green, blue and alpha), so that no forgery can trip up a viewer.

    From the PNG specification: a signature; then chunks of length, kind, data and checksum.
    """
    if not 33 <= len(data) <= PLOT_BYTES or data[:16] != b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR":
        return False
    width, height = struct.unpack(">II", data[16:24])
    if not (
        0 < width <= 2 * PLOT_PIXELS and 0 < height <= 2 * PLOT_PIXELS and data[24:29] == b"\x08\x06\0\0\0"
    ):
        return False
    packed, place, kind = b"", 8, b""
    while place + 12 <= len(data) and kind != b"IEND":
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if zlib.crc32(data[place + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return False
        if kind not in (b"IHDR", b"tEXt", b"pHYs", b"IDAT", b"IEND") or (kind == b"IHDR") != (place == 8):
            return False
        packed += data[place + 8 : end] if kind == b"IDAT" else b""
        place = end + 4
    return kind == b"IEND" and place == len(data) and _are_rows(packed, 1 + 4 * width, height)


def _are_rows(packed: bytes, size: int, count: int) -> bool:
    """Whether this unpacks to exactly this many rows, each a filter number followed by the pixels."""
    stream = zlib.decompressobj()
    try:
        rows = stream.decompress(packed, size * count + 1)
    except zlib.error:
        return False
    whole = stream.eof and not stream.unused_data and len(rows) == size * count
    return whole and max(rows[::size]) <= 4


def plots(files: Mapping[str, bytes]) -> tuple[bytes, ...]:
    """The figures among the files left by a cell."""
    return tuple(files[name] for name in PLOT_FILES if name in files and is_plot(files[name]))
