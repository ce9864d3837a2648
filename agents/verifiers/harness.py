"""`LudusHarness`: plays an environment with verifiers' model, in this process."""

import ssl
from functools import cache, partial
from typing import Any

import httpx
import verifiers.v1 as vf
from openai import APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import Field
from verifiers.v1.dialects.chat import message_to_wire
from verifiers.v1.harnesses.utils.compaction import is_context_overflow

from ludus.agents.policy import tool_schemas
from ludus.agents.worker import EnvironmentWorker
from ludus.envs.conformance.surfaces.surface import anchor_of, make_chat
from ludus.envs.faults import EnvironmentFault

EPISODE = "episode"
"""Where in a trace's `info` the episode is."""


class LudusHarnessConfig(vf.HarnessConfig):
    step_seconds: float | None = Field(60.0, gt=0)
    """Time for one `reset` or `step`; taking longer is a fault of the environment. None: no limit."""


class LudusHarness(vf.Harness[LudusHarnessConfig]):
    """The conversation between the model and the environment. A turn is one call of the model and one step of
    the environment, which runs in a thread of its own.

    A trace's `info["episode"]` has `turns`, for each step its `reward`, `terms` (unweighted), `terminated`,
    `truncated` and `anchor` (as text); the `task`, the key of its content; at the end `success`, and the
    `messages` that answered the last reply, which no model reads.
    """

    APPENDS_SYSTEM_PROMPT = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        """
        Raises:
            TaskError: the environment broke. Nothing is scored then.
        """
        make = partial(make_chat, data.environment, data.arguments)
        worker = EnvironmentWorker(data.environment, make, self.config.step_seconds)
        system, prompt = self.resolve_prompt(data)
        begun = [message_to_wire(message) for message in prompt]
        if system is not None:
            begun = [{"role": "system", "content": system}, *begun]
        try:
            http = DefaultAsyncHttpxClient(verify=_tls(), timeout=None)
            async with AsyncOpenAI(
                base_url=endpoint, api_key=secret, timeout=None, http_client=http
            ) as client:
                await _play(worker, _Model(client, ctx.model, trace), data.seed, begun, trace)
        except EnvironmentFault as fault:
            raise vf.TaskError(f"EnvironmentFault: {fault}") from fault
        finally:
            await worker.close()
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


@cache
def _tls() -> ssl.SSLContext:
    """One for all rollouts: to read the certificates takes longer than a turn."""
    return httpx.create_ssl_context()


class _Model:
    """The model, as verifiers gives it to harnesses."""

    def __init__(self, client: AsyncOpenAI, name: str, trace: vf.Trace) -> None:
        self._client, self._name, self._trace = client, name, trace

    async def reply(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """What it says; None, where a limit ends the rollout, verifiers' own or that of the context."""
        offered = {"tools": tools} if tools else {}
        try:
            answer = await self._client.chat.completions.create(
                model=self._name, messages=messages, **offered
            )
        except APIStatusError as error:
            if self._trace.stop_condition is not None or is_context_overflow(error):
                return None
            raise
        return {"content": "", **answer.choices[0].message.model_dump(exclude_none=True)}


async def _play(
    worker: EnvironmentWorker,
    model: _Model,
    seed: int,
    messages: list[dict[str, Any]],
    trace: vf.Trace,
) -> None:
    env = await worker.open()
    _, info = await worker.call(env.reset, seed=seed)
    turns: list[dict[str, Any]] = []
    episode = trace.info[EPISODE] = {"task": str(info["task"]), "anchor": anchor_of(info), "turns": turns}
    tools = tool_schemas(env)
    ended = False
    while not ended and (reply := await model.reply(messages, tools)) is not None:
        added, reward, terminated, truncated, info = await worker.call(env.step, reply)
        ended = terminated or truncated
        turns.append(
            {
                "reward": float(reward),
                "terms": {name: float(value) for name, value in info["reward_terms"].items()},
                "terminated": terminated,
                "truncated": truncated,
                "anchor": anchor_of(info),
            }
        )
        if ended:
            episode |= {"success": info["success"], "messages": added}
        messages = [*messages, reply, *added]
