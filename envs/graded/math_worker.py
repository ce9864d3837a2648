"""Compares mathematical expressions, in a process of its own: a line of JSON in, a line of JSON out.

Symbolic algebra may take forever or all memory, and its own time limit only works in a main thread; this
process can be killed. It is run as a file and imports nothing of the project.
"""

import json
import logging
import resource
import sys

MEMORY = 2 << 30
"""Bytes of address space."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    for line in sys.stdin:
        wanted, given = (f"${text}$" for text in json.loads(line))
        try:
            # The time limits are the owner's.
            gold = parse(wanted, parsing_timeout=None)
            answer = parse(given, parsing_timeout=None)
            equal = bool(gold and answer) and verify(gold, answer, timeout_seconds=None)
            said = "" if gold and answer else "unread"
        except Exception as error:
            equal, said = False, type(error).__name__
        print(json.dumps([bool(equal), said]), flush=True)


if __name__ == "__main__":
    main()
