"""Models in GGUF, llama.cpp's single file: unpacked once into a folder in `transformers`' form.

From then on such a model is like any other: it can be trained, and adapters can name it as their base.
"""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from ludus.agents.models import ModelLoadError, import_train_extra, writing_model
from ludus.tools.checksums import sha256_of
from ludus.tools.files import cache_directory
from ludus.tools.wording import first_line


def unpacked(file: Path) -> Path:
    """The folder of a GGUF file's model: tokenizer, chat template and weights, which become float32. It is in
    the cache, under a hash of the file, and made if it is not there yet.

    Raises:
        ModelLoadError: if the file is not there or damaged, or holds something that `transformers` or the
            `gguf` package cannot read, or there is no room for the weights.
    """
    if not file.is_file():
        raise ModelLoadError(f"no file {file}: check the path")
    target = cache_directory("models") / f"gguf-{sha256_of(file)[:24]}"
    if target.is_dir():
        return target
    torch, transformers = import_train_extra()
    _refuse_damaged(file)
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name, "local_files_only": True}
    try:
        with redirect_stderr(StringIO()):  # a progress bar that no setting switches off
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    except Exception as error:  # of no common kind, for an architecture, a tokenizer, a number format
        raise ModelLoadError(
            f"{file} holds a model that cannot be unpacked ({first_line(error)}): fetch it in another "
            "number format (Q4_1, Q8_0, F16), or the folder that it was made from"
        ) from error
    # The loaded one counts as quantised, and could not be saved.
    del model.config.quantization_config
    with torch.device("meta"):
        plain = type(model)(model.config)
    plain.load_state_dict(model.state_dict(), assign=True)
    try:
        with writing_model(target) as scratch:
            plain.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
    except ModelLoadError as error:
        error.add_note(f"the weights of {file} are unpacked there, as 4 bytes each; XDG_CACHE_HOME moves it")
        raise
    return target


def _refuse_damaged(file: Path) -> None:
    """Reads the table of contents, and where the last tensor ends."""
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"{file} needs the package gguf, which is not installed: pip install 'ludus[train]'"
        ) from error
    try:
        reader = GGUFReader(file)
        end = max((int(tensor.data_offset + tensor.n_bytes) for tensor in reader.tensors), default=0)
    except Exception as error:  # whatever numpy makes of bytes that are missing
        raise ModelLoadError(
            f"{file} is not a GGUF file, or damaged ({first_line(error)}): fetch it anew"
        ) from error
    if not end or end > file.stat().st_size:
        raise ModelLoadError(f"{file} is cut short: fetch it anew")
