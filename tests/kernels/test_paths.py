"""Which path runs, and the message if it cannot."""

import logging

import pytest
import torch

from ludus.kernels import linear_logprob
from ludus.kernels.paths import VARIABLE, fall_back, path_for, triton_problem


def test_without_a_word_tensors_on_a_cpu_take_the_cpu_path(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert path_for(torch.zeros(1)) == "cpu"


@pytest.mark.parametrize("forced", ["reference", "cpu"])
def test_the_variable_forces_a_path(monkeypatch, forced):
    monkeypatch.setenv(VARIABLE, forced)
    assert path_for(torch.zeros(1)) == forced


def test_an_unknown_path_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "cuda")
    with pytest.raises(
        ValueError, match="LUDUS_KERNELS='cuda' is not a path; set it to one of reference, cpu"
    ):
        path_for(torch.zeros(1))


def test_triton_on_a_cpu_says_what_it_needs(monkeypatch):
    monkeypatch.setenv(VARIABLE, "triton")
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1 before its import"):
        linear_logprob(torch.zeros(2, 3), torch.zeros(4, 3), torch.tensor([0, 1]))


def test_a_missing_triton_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "triton is not installed" in triton_problem.__wrapped__(torch.device("cuda"))


def test_a_fall_back_is_logged_once(caplog):
    fall_back.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            fall_back("swiglu", "float64 is not fused")
    assert [record.getMessage() for record in caplog.records] == [
        "swiglu: float64 is not fused; the chunked torch path runs instead of the fused kernel"
    ]
