"""`JudgeSection` and `RewardModelScorerSection`: the configuration of a judge and of a reward model, and what
makes them."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ludus.agents.chat_policy import ChatPolicy
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.config import EngineSection, make_engine
from ludus.agents.engines.server import OpenAIServer
from ludus.agents.models import load_model
from ludus.agents.policy import EnginePolicy
from ludus.agents.scorers.judge import Judge
from ludus.tools.errors import UserError
from ludus.tools.judging.prompt import MOST
from ludus.tools.judging.verdict import PREFERENCE, Scale, answer_schema
from ludus.tools.section import Section

if TYPE_CHECKING:
    from ludus.agents.scorers.reward_model import RewardModelScorer

Count = Annotated[int, Field(ge=1)]


class JudgeSection(Section):
    """A language model that judges episodes by a rubric."""

    model: Annotated[str, Field(min_length=1)]
    """The URL of a server with OpenAI's interface, such as `http://localhost:8000/v1`, followed by `#NAME` if
    it has several models; or a model's folder or name on the hub, which is loaded into this process."""
    rubric: str
    """What is judged, and what makes it good, in words."""
    mode: Literal["pointwise", "pairwise"] = "pointwise"
    """`pointwise`: each episode gets a number on the scale. `pairwise`: episodes of a group are compared in
    both orders, and get the share of comparisons that they win; where the orders disagree, it is a tie."""
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        default_factory=lambda: [0.0, 10.0]
    )
    """The worst and the best number of a pointwise verdict; scores are put on 0 to 1."""
    comparisons: Count = 3
    """With how many others of its group an episode is compared, at least."""
    constrained: bool = True
    """A server holds answers to the form of a verdict, where it can; the model then has no room to reason in
    the answer itself. What is loaded into this process always answers freely, and ends with the verdict."""
    max_tokens: Count = 512
    """The most tokens of an answer; one that is cut off is a fault."""
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Of the judge; 0 takes the likeliest tokens."""
    max_characters: Annotated[int, Field(ge=100)] = MOST
    """The most characters of a message that the judge reads; the middle of a longer one is left out."""
    concurrency: Count = 64
    """Questions at once."""
    device: str = "cpu"
    """Where the weights of a model in this process go."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of these weights."""
    engine: EngineSection = EngineSection()
    """What computes a model in this process: `embedded` or `vllm`."""

    @field_validator("rubric")
    @classmethod
    def _says_something(cls, rubric: str) -> str:
        if not rubric.strip():
            raise ValueError("the rubric is empty: say in words what is judged, and what makes it good")
        return rubric

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            Scale(*self.scale)
        except UserError as error:
            raise ValueError(str(error)) from None
        if self.engine.kind == "openai":
            raise ValueError(
                'a judge behind a server is named by its URL: set model, drop engine.kind = "openai"'
            )
        if self.is_served and self.engine != EngineSection():
            raise ValueError(
                f"[engine] is for a model in this process, and {self.model} is a server; drop it"
            )
        return self

    @property
    def is_served(self) -> bool:
        return self.model.startswith(("http://", "https://"))


class RewardModelScorerSection(Section):
    """A reward model that scores episodes: an outcome model by its reward, a process model by the value after
    the last step."""

    path: Annotated[str, Field(min_length=1)]
    """A folder, such as the `models/reward` of a run with `[reward_model]`, or a name on the hub: a
    sequence-classification model with one label."""
    device: str = "cpu"
    """Where its weights go."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of its weights."""


def make_reward_model(section: RewardModelScorerSection) -> "RewardModelScorer":
    """
    Raises:
        ModelLoadError: it cannot be loaded, or has more labels than one.
    """
    from ludus.agents.reward_model import load_reward_model
    from ludus.agents.scorers.reward_model import RewardModelScorer

    return RewardModelScorer(load_reward_model(section.path, section.device, section.dtype))


def make_judge(section: JudgeSection) -> Judge:
    """
    Raises:
        UserError: the model cannot be found, or the server cannot be used.
    """
    form = PREFERENCE if section.mode == "pairwise" else Scale(*section.scale)
    sampling = Sampling(max_tokens=section.max_tokens, temperature=section.temperature)
    if section.is_served:
        server = OpenAIServer.connect(section.model, concurrency=section.concurrency)
        schema = answer_schema(form) if section.constrained else None
        policy: ChatPolicy | EnginePolicy = ChatPolicy(server, sampling, schema=schema)
    else:
        loaded = load_model(section.model, section.dtype, section.device, section.engine.stop_tokens)
        engine = make_engine(section.engine, loaded, concurrency=section.concurrency)
        policy = EnginePolicy(engine, loaded.format, sampling)
    return Judge(section.model, policy, section.rubric, form, section.comparisons, section.max_characters)
