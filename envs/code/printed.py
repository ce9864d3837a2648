"""What an agent sees of a program that it had run."""

from ludus.tools.sandbox import Limits, Result, Verdict

MAX_SHOWN = 2_000
"""The most characters of a program's output that the agent sees."""


def printed(result: Result, limits: Limits) -> str:
    """The head of the output, the tail of the errors, and how it ended."""
    parts = []
    if output := result.stdout.rstrip():
        parts.append(output if len(output) <= MAX_SHOWN else f"{output[:MAX_SHOWN]}\n… (cut off)")
    if errors := result.stderr.strip():
        parts.append(errors[-MAX_SHOWN:])
    match result.verdict:
        case Verdict.TIME_LIMIT:
            parts.append(f"It was stopped: it took longer than {limits.wall_s:g} seconds.")
        case Verdict.MEMORY_LIMIT:
            parts.append(f"It was stopped: it took more than {limits.memory_mb} MiB of memory.")
        case Verdict.OUTPUT_LIMIT:
            parts.append(f"It was stopped: it printed more than {limits.output_kb} KiB.")
        case Verdict.DISK_LIMIT:
            parts.append(f"It was stopped: it wrote more than {limits.disk_mb} MiB.")
        case Verdict.REFUSED:
            parts.append("It was stopped: it asked for something that no program here may have.")
        case Verdict.RUNTIME_ERROR if not errors:
            parts.append(f"It ended with {f'signal {result.signal}' if result.signal else 'an error'}.")
    return "\n".join(parts) or "(It printed nothing: print what you want to see.)"
