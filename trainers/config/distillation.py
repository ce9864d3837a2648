"""`[distillation]`: the teacher that goes with `grpo.credit = "teacher"`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ludus.tools.section import Section
from ludus.trainers.config.values import CountOrNone


class DistillationSection(Section):
    """The teacher: a model that says how likely it would have sampled what the policy sampled."""

    teacher: Annotated[str, Field(min_length=1)]
    """A folder in `transformers`' form, of a model or of an adapter, or a name on the hub; or the URL of a
    vLLM server, such as `http://localhost:8000/v1`, followed by `#NAME` if it has several models. Its
    tokenizer and chat template must be the policy's."""
    top_k: CountOrNone = 0
    """0: a token's advantage is the teacher's log-probability of it less the policy's, which on average
    descends the reverse divergence. Above 0: the divergence itself is descended, at every sampled token, over
    the teacher's so many likeliest ids and all others as one; as many as the vocabulary has: exactly. For a
    teacher in this process."""
    beta: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Which divergence: 1 the reverse, KL(policy || teacher); 0 the forward, KL(teacher || policy); between,
    the generalised mix of the two (GKD, arXiv:2306.13649). Below 1 it needs `top_k`."""

    @property
    def is_served(self) -> bool:
        """Whether the teacher is behind a server."""
        return self.teacher.startswith(("http://", "https://"))

    @model_validator(mode="after")
    def _likeliest_have_a_teacher(self) -> Self:
        if self.beta != 1 and not self.top_k:
            raise ValueError(
                f"beta = {self.beta:g} weighs what the teacher holds likely, of which top_k = 0 asks for "
                "nothing; take top_k = 64, or drop beta"
            )
        if self.top_k and self.is_served:
            raise ValueError(
                f"top_k = {self.top_k} needs a teacher in this process, and {self.teacher} is a server, "
                "which is asked for sampled tokens alone; name the model's folder, or drop top_k"
            )
        return self
