"""A run's policy: the model it starts from, its engine, and the player that samples from it."""

from pathlib import Path

from transformers import PreTrainedModel

from ludus.agents.adapters.files import save_adapter, sharing_base
from ludus.agents.adapters.lora import adapter_terms, add_adapter, targeted_layers
from ludus.agents.engines.base import Engine
from ludus.agents.engines.config import make_engine
from ludus.agents.models import LoadedModel, adapter_base, load_model, quiet_transformers
from ludus.agents.policy import EnginePolicy
from ludus.agents.sight import save_reader
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.kernels import apply_kernels, kernels_problem
from ludus.tools.checksums import seal_folder
from ludus.trainers.config.adapter import AdapterSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.disk import replacing
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.mixture import mixture_of
from ludus.trainers.models.checkpoint import checkpoints
from ludus.trainers.models.forward import reach
from ludus.trainers.run.directory import initial_folder


def initial_model(config: RunConfig, run: Path) -> str | Path:
    """The model that a run starts from: a name, a folder, the small one made for the environments, or what a
    run kept of it when it began.

    Raises:
        RunError: if the run trained a small model but did not keep the one that it began with.
    """
    kept = initial_folder(run)
    if kept.exists():
        return kept
    if config.model.path != "small":
        return config.model.path
    if checkpoints(run / "checkpoints"):
        raise RunError(
            f"{run} has checkpoints, but not the model that it began with ({kept}); its tokenizer may "
            "be another today: resume the run with the version of Ludus that began it, or begin a new one"
        )
    shape = SmallModelShape(**config.model.small.model_dump())
    return build_small_model(mixture_of(config).specs, shape, seed=config.run.seed)


def load_policy(path: str | Path, config: RunConfig) -> LoadedModel:
    """A model whose weights are in memory of their own, with the adapter of `[adapter]`, what is not to be
    trained frozen, and fused operators where they pay off.

    The alignment of the weights in memory decides which instructions linear algebra uses, so results would
    differ in their last bits between weights trained in memory and the same weights mapped from a file.

    Raises:
        ModelLoadError: if the model cannot be loaded, or has no layer that `[adapter]` names.
        ConfigError: if it is an adapter of another shape than `[adapter]` has, or nothing of it could be
            trained.
        UnsupportedModel: if the trainer would compute another model.
    """
    section = config.model
    if section.quantize != "none" and config.adapter is None and adapter_base(path) is None:
        raise ConfigError(
            f'model.quantize = "{section.quantize}" leaves weights that cannot be trained, and there is no '
            "[adapter] that could be trained in their place; add one, or drop model.quantize"
        )
    policy = load_model(
        path, section.dtype, section.device, config.engine.stop_tokens, config.run.day, section.quantize
    )
    if config.adapter is not None:
        adapt(policy.model, config.adapter, config.run.seed, path)
    if not section.train_embeddings:
        for embedding in (policy.model.get_input_embeddings(), policy.model.get_output_embeddings()):
            embedding.requires_grad_(False)
    settle(policy.model)
    return policy


def settle(model: PreTrainedModel) -> None:
    """Weights in memory of their own, see `load_policy`, and fused operators where they pay off.

    Raises:
        UnsupportedModel: if the trainer would compute another model.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    if kernels_pay(model):
        apply_kernels(model)
    reach(model)


def adapt(model: PreTrainedModel, section: AdapterSection, seed: int, path: str | Path) -> None:
    """Give a model the adapter that the section describes, unless it came with it.

    Args:
        path: Where it came from.
    """
    terms = adapter_terms(model)
    if not terms:
        add_adapter(model, section.rank, section.scaling, section.targets, section.init, seed)
        return
    layers = targeted_layers(model, section.targets)
    for name in sorted({*layers, *terms}):
        wanted = f"rank {section.rank} and scale {section.scaling:g}" if name in layers else "no term"
        term = terms.get(name)
        there = "no term" if term is None else f"rank {len(term.a_RI)} and scale {term.scaling:g}"
        if wanted != there:
            raise ConfigError(
                f"[adapter] gives {name} {wanted}, but {path} is an adapter with {there} there: drop "
                "[adapter] to train that one further, or name its base in model.path for a new one"
            )


def load_beside(policy: LoadedModel, folder: Path, config: RunConfig) -> PreTrainedModel:
    """The model that a run kept in a folder, beside the policy: with an adapter, they share their base."""
    if not adapter_terms(policy.model):
        return load_policy(folder, config).model
    model = sharing_base(policy.model, folder)
    if kernels_pay(model):
        apply_kernels(model)
    return model


def kernels_pay(model: PreTrainedModel) -> bool:
    """On a GPU, for the models that they support. On a CPU a run is limited by time rather than memory, and
    fusing saves only memory there."""
    return model.device.type == "cuda" and not kernels_problem(model)


def save_policy(policy: LoadedModel, folder: Path) -> None:
    """In `transformers`' form; of a model with an adapter, the adapter alone, in PEFT's."""
    with replacing(folder) as scratch, quiet_transformers():
        write_model(policy.model, scratch)
        policy.tokenizer.save_pretrained(scratch)
        seal_folder(scratch)


def write_model(model: PreTrainedModel, folder: Path) -> None:
    if adapter_terms(model):
        save_adapter(model, folder)
    else:
        model.save_pretrained(folder)
        save_reader(model, folder)


def run_engine(policy: LoadedModel, config: RunConfig) -> Engine:
    """The engine of `[engine]`, to be closed when it is done.

    The embedded engine waits for every episode for as long as an environment may take for a step. With less
    patience, a single slow step (something compiles, or the machine is busy) would change which episodes are
    computed together, and a resumed run would not end with the same bits.
    """
    settings = config.rollout
    # Against itself, a policy has two sessions in a game, whose keys and values are kept.
    sessions = settings.concurrency * (1 if config.opponents is None else 2)
    return make_engine(config.engine, policy, concurrency=sessions, patience_s=settings.step_seconds)


def engine_policy(engine: Engine, policy: LoadedModel, config: RunConfig, temperature: float) -> EnginePolicy:
    return EnginePolicy(engine, policy.format, config.rollout.sampling(temperature), seed=config.run.seed)
