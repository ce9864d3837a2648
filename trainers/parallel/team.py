"""`Team`: the processes among which a batch is dealt out, this one the first of them.

All map the same weights, so an update by one is there for all. Each adds up the gradients of its part, and
these are added to this process's in the order of the members: the same number of members gives the same bits.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from multiprocessing import Pipe
from typing import Any, Self

from torch import Tensor, nn
from transformers import PreTrainedModel

from ludus.agents.models import LoadedModel
from ludus.tools.errors import UserError
from ludus.tools.memory import give_back
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.parallel.member import Function, Load, Member, Unload, pickled
from ludus.trainers.parallel.memory import Layout, nameless_file

_EXIT_SECONDS = 5.0


class Team:
    """Use it in a `with` block; a team of one starts no process.

    Args:
        config: The run's; `run.workers` says how many members there are.

    Raises:
        ConfigError: if there are not as many cores, or the system is not Linux.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self.size = config.run.workers
        if self.size > 1:
            _refuse_without_cores(self.size, config.run.threads)
        self._processes = [_Process(number, config) for number in range(1, self.size)]
        self._member: Member | None = None
        self._trained: list[nn.Parameter] = []
        self._gradients: list[list[Tensor]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._processes:
            self._processes.pop().close()

    @contextmanager
    def computing_with(self, policy: LoadedModel) -> Iterator[None]:
        """Inside, the team computes with this model. With several members its parameters move to shared
        memory."""
        self._member = Member(policy, self._config)
        if self._processes:
            self._share(policy)
        with closing(self._member):
            yield
        # Its weights are not to be in memory beside those of the model that comes next.
        self._member, self._trained, self._gradients = None, [], []
        for process in self._processes:
            process.send(Unload())
        for process in self._processes:
            process.receive()
        give_back()

    def _share(self, policy: LoadedModel) -> None:
        parameters = list(policy.model.parameters())
        self._trained = [parameter for parameter in parameters if parameter.requires_grad]
        layout, gradient_layout = Layout.of(parameters), Layout.of_gradients(self._trained)
        self._gradients = []
        with ExitStack() as opened:
            weights = opened.enter_context(nameless_file())
            for parameter, shared in zip(parameters, layout.map(weights), strict=True):
                shared.copy_(parameter.data)
                parameter.data = shared
            content = pickled(policy, parameters)
            is_trained = tuple(parameter.requires_grad for parameter in parameters)
            for process in self._processes:
                gradients = opened.enter_context(nameless_file())
                self._gradients.append(gradient_layout.map(gradients))
                process.send(Load(content, layout, is_trained, weights, gradients, gradient_layout))
            for process in self._processes:
                process.receive()  # by then it has mapped the files

    @property
    def model(self) -> PreTrainedModel:
        """What the team computes with."""
        assert self._member is not None, "load a model first"
        model: PreTrainedModel = self._member.policy.model
        return model

    def map(self, function: Function, parts: Sequence[Any]) -> list[Any]:
        """What `function` gives for each part, in order: the first is computed here, the others elsewhere at
        the same time.

        Args:
            parts: At most as many as there are members.

        Raises:
            RunError: if a process ended.
            Exception: what `function` raises; the team is of no use afterwards.
        """
        assert self._member is not None, "load a model first"
        busy = self._processes[: len(parts[1:])]
        for process, part in zip(busy, parts[1:], strict=True):
            process.send((function, part))
        try:
            return [function(self._member, part) for part in parts[:1]] + [p.receive() for p in busy]
        except BaseException:
            self.__exit__()
            raise

    def add_gradients(self, members: int) -> None:
        """Add to this process's gradients those of the other members, of the first `members`."""
        for gradients in self._gradients[: members - 1]:
            for parameter, gradient in zip(self._trained, gradients, strict=True):
                if parameter.grad is None:
                    parameter.grad = gradient.clone()
                else:
                    parameter.grad.add_(gradient)


def _refuse_without_cores(workers: int, threads: int) -> None:
    if sys.platform != "linux":
        raise ConfigError(
            f"run.workers = {workers}: processes that share their weights need Linux; drop run.workers"
        )
    cores, wanted = len(os.sched_getaffinity(0)), workers * threads
    if wanted > cores:
        raise ConfigError(
            f"run.workers = {workers} with run.threads = {threads} keep {wanted} cores busy, but this "
            f"process may use {cores}: they would wait for each other; take fewer"
        )


class _Process:
    def __init__(self, number: int, config: RunConfig) -> None:
        self.number, self._of = number, config.run.workers
        self._connection, theirs = Pipe()
        program = f"from ludus.trainers.parallel.member import serve; serve({theirs.fileno()})"
        command = [sys.executable, "-c", program]
        # In a session of its own: Ctrl-C in the terminal is the affair of the process that began the run.
        self._process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        self.send((config, sys.path))

    def send(self, message: object) -> None:
        try:
            self._connection.send_bytes(pickle.dumps(message))
        except (BrokenPipeError, ConnectionResetError):
            raise self._ended() from None

    def receive(self) -> Any:
        try:
            answer, error = pickle.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            raise self._ended() from None
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        self._connection.close()
        self._process.terminate()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ended(self) -> UserError:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        why = "; likely the system ran out of memory" if code == -9 else ""
        return RunError(
            f"worker {self.number} of {self._of} {how}{why}; continue with --resume, or with fewer "
            "run.workers in a new run"
        )


def deal(sizes: Sequence[int], members: int) -> list[list[int]]:
    """Which member takes which item, so that each has about as much: the largest item first, to whom has
    least. Every list is in order; members without any are left out."""
    loads, taken = [0] * members, [list[int]() for _ in range(members)]
    for item in sorted(range(len(sizes)), key=lambda item: (-sizes[item], item)):
        member = loads.index(min(loads))
        loads[member] += sizes[item]
        taken[member].append(item)
    return [sorted(items) for items in taken if items]
