"""A teacher behind a real vLLM server of the small model, which `.ci/vllm.sh start` brings up."""

import os

import pytest
import torch

from ludus.agents.models import LoadedModel, load_model
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.teachers.load import load_teacher

from .test_distillation import distilled, played

URL, MODEL = os.environ.get("LUDUS_TEST_VLLM"), os.environ.get("LUDUS_TEST_VLLM_MODEL")


@pytest.fixture(scope="module")
def student() -> LoadedModel:
    if not URL or not MODEL:
        reason = "needs a vLLM server: run `.ci/vllm.sh start` and what it prints"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return load_model(MODEL)


def test_a_server_gives_the_lesson_of_its_model(student: LoadedModel, tiny: RunConfig) -> None:
    """Its tokenizer and its template are found to be the same."""
    rows = [row for episode in played(student, tiny) for row in episode.training_sequences()]
    lessons = []
    for teacher in (str(URL), str(MODEL)):
        made = load_teacher(student, distilled(tiny, teacher))
        assert made is not None
        lessons.append(made.lesson(rows).logprobs_S)
    assert len(lessons[0]) > 50
    torch.testing.assert_close(*lessons, rtol=0, atol=1e-3)


def test_a_student_of_other_words_is_refused(
    student: LoadedModel, policy: LoadedModel, tiny: RunConfig
) -> None:
    """The server has the words of two environments, the student those of one."""
    with pytest.raises(ConfigError, match=r"its tokenizer is another|does not know all ids"):
        load_teacher(policy, distilled(tiny, str(URL)))
