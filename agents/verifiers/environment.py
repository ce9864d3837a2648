"""`LudusEnv`: one agent plays one task, in this process."""

from typing import Any

import verifiers.v1 as vf


class LudusEnvConfig(vf.EnvConfig):
    agent: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())
    """The policy. Nothing that it says is run in its runtime, so it needs no machine of its own."""


class LudusEnv(vf.Env[LudusEnvConfig]):
    """An episode is one agent's rollout."""

    async def run(self, task: vf.Task, agents: Any) -> None:
        await agents.agent.run(task)
