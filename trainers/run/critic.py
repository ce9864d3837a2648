"""A run's value model: what it begins as, and how it is kept."""

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from ludus.agents.models import LoadedModel, ModelLoadError, quiet_transformers
from ludus.tools.checksums import seal_folder
from ludus.trainers.config.run import RunConfig
from ludus.trainers.critic import Critic
from ludus.trainers.disk import replacing
from ludus.trainers.errors import ConfigError
from ludus.trainers.models.optimizer import build_optimizer
from ludus.trainers.models.value import ValueModel
from ludus.trainers.run.policy import load_beside, load_policy, write_model

HEAD = "value_head.safetensors"


def load_critic(policy: LoadedModel, config: RunConfig, start: Path) -> Critic | None:
    """The value model that `[critic]` describes, as it begins; None: there is none.

    Args:
        start: The folder of the model that the policy begins as.

    Raises:
        ModelLoadError: if it cannot be loaded.
        ConfigError: if its vocabulary is not the policy's.
    """
    section = config.critic
    if section is None:
        return None
    width, device = policy.model.get_output_embeddings().in_features, policy.model.device
    if section.kind == "head":
        model = ValueModel(width, device, share=section.coefficient)
    elif not section.path:
        model = ValueModel(width, device, load_beside(policy, start, config))
    else:
        own = load_policy(section.path, config)
        if own.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
            raise ConfigError(
                f"critic.path = {section.path}: its vocabulary ({len(own.tokenizer)} ids) is not the "
                f"policy's ({len(policy.tokenizer)} ids), so it would read other tokens than were sampled; "
                "take a model with the same tokenizer, or drop path for a copy of the primed model"
            )
        model = ValueModel(own.model.get_output_embeddings().in_features, device, own.model)
        _load_head(model, Path(section.path) / HEAD)
    return Critic(model, build_optimizer(model, section, config.model.masters), section, policy.format)


def save_critic(critic: Critic, policy: LoadedModel, folder: Path) -> None:
    """A model of its own as `save_policy` writes one, with the policy's tokenizer, which it shares; the head
    beside it."""
    with replacing(folder) as scratch, quiet_transformers():
        if critic.model.model is not None:
            write_model(critic.model.model, scratch)
            policy.tokenizer.save_pretrained(scratch)
        head = {name: tensor.cpu().contiguous() for name, tensor in critic.model.head.state_dict().items()}
        safetensors.torch.save_file(head, scratch / HEAD)
        seal_folder(scratch)


def _load_head(model: ValueModel, file: Path) -> None:
    """The head of a value model that another run trained; a language model has none, and begins with 0."""
    if not file.exists():
        return
    try:
        model.head.load_state_dict(safetensors.torch.load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise ModelLoadError(
            f"{file} is not the head of this value model: it is corrupt, or from another one; fetch it anew, "
            "or remove it to begin with values of 0"
        ) from error
