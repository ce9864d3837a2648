"""A run's teacher: found, compared with the policy, and loaded."""

from typing import Any

from ludus.agents.engines.server import OpenAIServer
from ludus.agents.models import (
    LoadedModel,
    count_words,
    format_for,
    load_model,
    load_tokenizer,
    tokenizer_key,
)
from ludus.trainers.config.distillation import DistillationSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.run.policy import settle
from ludus.trainers.teachers.lesson import Teacher
from ludus.trainers.teachers.local import LocalTeacher
from ludus.trainers.teachers.server import ServerTeacher


def refuse_other_teacher(policy: LoadedModel, section: DistillationSection, config: RunConfig) -> None:
    """What `load_teacher` refuses before it loads a model.

    Raises:
        ConfigError: the teacher's tokenizer or chat template is not the policy's.
        ModelLoadError: there is no such teacher.
        UserError: its server cannot be used.
    """
    if section.is_served:
        _served_teacher(policy, section, config)
    else:
        _refuse_other_tokenizer(policy, section)


def load_teacher(policy: LoadedModel, config: RunConfig) -> Teacher | None:
    """The teacher that `[distillation]` names; None: there is none.

    Raises:
        UserError: as `refuse_other_teacher`, or it cannot be loaded.
        UnsupportedModel: the trainer would compute another model.
    """
    section = config.distillation
    if section is None:
        return None
    if section.is_served:
        return _served_teacher(policy, section, config)
    _refuse_other_tokenizer(policy, section)
    model = load_model(section.teacher, config.model.dtype, config.model.device).model
    settle(model)
    return LocalTeacher(model.requires_grad_(False), section, config, count_words(policy.tokenizer))


def _served_teacher(policy: LoadedModel, section: DistillationSection, config: RunConfig) -> ServerTeacher:
    teacher = ServerTeacher(OpenAIServer.connect(section.teacher), policy.tokenizer)
    # On the day of today, which the server's template would tell.
    teacher.refuse_other_words(format_for(policy.model, policy.tokenizer, config.engine.stop_tokens))
    return teacher


def _refuse_other_tokenizer(policy: LoadedModel, section: DistillationSection) -> None:
    own, other = policy.tokenizer, load_tokenizer(section.teacher)
    if tokenizer_key(own) != tokenizer_key(other):
        raise ConfigError(
            f"distillation.teacher = {section.teacher}: {_difference(own, other)}, so what it says of the "
            "policy's tokens would mean nothing; take a teacher of the policy's own family"
        )


def _difference(own: Any, other: Any) -> str:
    """Of two tokenizers, as a phrase."""
    mine, theirs = own.get_vocab(), other.get_vocab()
    if mine == theirs:
        return "its chat template is not the policy's"
    by_id, other_by_id = ({id: token for token, id in words.items()} for words in (mine, theirs))
    apart = sorted(id for id in {*by_id, *other_by_id} if by_id.get(id) != other_by_id.get(id))
    first = apart[0]
    return (
        f"its tokenizer is not the policy's: {len(apart):,} of {len(mine):,} ids mean something else, the "
        f"first of them {first}, {other_by_id.get(first)!r} there and {by_id.get(first)!r} here"
    )
