"""A run's policy: the model it starts from, its engine, and the player that samples from it."""

from pathlib import Path

from transformers import PreTrainedModel

from ludus.agents.engines.base import Engine, Sampling
from ludus.agents.engines.config import make_engine
from ludus.agents.models import LoadedModel, load_model, quiet_transformers
from ludus.agents.policy import EnginePolicy
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.kernels import apply_kernels, kernels_problem
from ludus.tools.checksums import seal_folder
from ludus.trainers.config.run import RunConfig
from ludus.trainers.disk import replacing
from ludus.trainers.errors import RunError
from ludus.trainers.mixture import mixture_of
from ludus.trainers.models.checkpoint import checkpoints
from ludus.trainers.models.forward import reach
from ludus.trainers.run.directory import initial_folder


def initial_model(config: RunConfig, run: Path) -> str | Path:
    """The model that a run starts from: a name, a folder, or the small one made for the environments.

    Raises:
        RunError: if the run trained a small model but did not keep the one that it began with.
    """
    if config.model.path != "small":
        return config.model.path
    kept = initial_folder(run)
    if kept.exists():
        return kept
    if checkpoints(run / "checkpoints"):
        raise RunError(
            f"{run} has checkpoints, but not the model that it began with ({kept}); its tokenizer may "
            "be another today: resume the run with the version of Ludus that began it, or begin a new one"
        )
    shape = SmallModelShape(**config.model.small.model_dump())
    return build_small_model(mixture_of(config).specs, shape, seed=config.run.seed)


def load_policy(path: str | Path, config: RunConfig) -> LoadedModel:
    """A model whose weights are in memory of their own, with fused operators where they pay off.

    The alignment of the weights in memory decides which instructions linear algebra uses, so results would
    differ in their last bits between weights trained in memory and the same weights mapped from a file.

    Raises:
        ModelLoadError: it cannot be loaded.
        UnsupportedModel: the trainer would compute another model.
    """
    policy = load_model(path, config.model.dtype, config.model.device)
    for parameter in policy.model.parameters():
        parameter.data = parameter.data.clone()
    if kernels_pay(policy.model):
        apply_kernels(policy.model)
    reach(policy.model)
    return policy


def kernels_pay(model: PreTrainedModel) -> bool:
    """On a GPU, for the models that they support. On a CPU a run is limited by time rather than memory, and
    fusing saves only memory there."""
    return model.device.type == "cuda" and not kernels_problem(model)


def save_policy(policy: LoadedModel, folder: Path) -> None:
    with replacing(folder) as scratch, quiet_transformers():
        policy.model.save_pretrained(scratch)
        policy.tokenizer.save_pretrained(scratch)
        seal_folder(scratch)


def run_engine(policy: LoadedModel, config: RunConfig) -> Engine:
    """The engine of `[engine]`, to be closed when it is done.

    The embedded engine waits for every episode for as long as an environment may take for a step. With less
    patience, a single slow step (something compiles, or the machine is busy) would change which episodes are
    computed together, and a resumed run would not end with the same bits.
    """
    settings = config.rollout
    return make_engine(
        config.engine, policy, concurrency=settings.concurrency, patience_s=settings.step_seconds
    )


def engine_policy(engine: Engine, policy: LoadedModel, config: RunConfig, temperature: float) -> EnginePolicy:
    sampling = Sampling(max_tokens=config.rollout.max_tokens, temperature=temperature)
    return EnginePolicy(engine, policy.format, sampling, seed=config.run.seed)
