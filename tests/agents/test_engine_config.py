"""`[engine]`: one table, one function, and engines that all follow the same protocol."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from ludus.agents.engines.base import Engine, EngineError
from ludus.agents.engines.config import EngineSection, OpenAISection, make_engine
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.openai import OpenAIEngine
from ludus.agents.engines.server import OpenAIServer
from ludus.agents.engines.vllm.engine import VllmEngine

SERVER = OpenAIServer("http://localhost:8000/v1", "m", max_context=50)


@pytest.fixture
def loaded(model: Any) -> Any:
    tokenizer = SimpleNamespace(get_vocab=lambda: {"a": 0, "z": 299})
    return SimpleNamespace(model=model, tokenizer=tokenizer)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `OpenAIServer.connect` was called with; it finds a server that says nothing about its context."""
    calls: list[Any] = []

    def connect(url: str, **options: Any) -> OpenAIServer:
        calls.append((url, options))
        return OpenAIServer(url, "m", options.get("max_context"))

    monkeypatch.setattr(OpenAIServer, "connect", connect)
    return calls


@pytest.mark.parametrize("kind", [EmbeddedEngine, OpenAIEngine, VllmEngine])
def test_every_engine_has_the_whole_protocol(kind: type) -> None:
    for name, member in vars(Engine).items():
        if name.startswith("_"):
            continue
        assert isinstance(getattr(kind, name), property) == isinstance(member, property), name
        if not isinstance(member, property):
            wanted = inspect.signature(member).parameters
            assert list(inspect.signature(getattr(kind, name)).parameters) == list(wanted), name


def test_the_default_is_the_models_own_weights(loaded: Any) -> None:
    engine = make_engine(EngineSection(), loaded, concurrency=3, patience_s=0.5)
    assert isinstance(engine, EmbeddedEngine)
    assert (engine.max_context, engine.patience_s, engine.weights_version) == (160, 0.5, 0)
    assert make_engine(EngineSection(max_context=90), loaded).max_context == 90
    with pytest.raises(EngineError, match="max_context=161, but Qwen3ForCausalLM was built for 160"):
        make_engine(EngineSection(max_context=161), loaded)


def test_a_server_is_asked_by_its_url(connected: list[Any], loaded: Any) -> None:
    section = OpenAISection(url="http://localhost:8000/v1#m", processed_logprobs=True)
    engine = make_engine(EngineSection(kind="openai", max_context=70, openai=section), loaded, concurrency=9)
    assert isinstance(engine, OpenAIEngine)
    assert (engine.max_context, engine.processed_logprobs) == (70, True)
    assert connected == [("http://localhost:8000/v1#m", {"concurrency": 9, "max_context": 70})]
    with pytest.raises(EngineError, match="does not say how long its contexts may be: set engine"):
        make_engine(EngineSection(kind="openai", openai=section), loaded)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"kind": "openai"}, 'kind = "openai" needs a server: set openai.url'),
        ({"openai": {"url": "http://there"}}, r'\[engine.openai\] belongs to kind = "openai"'),
        ({"vllm": {"cache_gib": 2}}, r'\[engine.vllm\] belongs to kind = "vllm"'),
        ({"kind": "vllm", "vllm": {"cache_gib": 0}}, "greater than 0"),
        ({"kind": "vlm"}, "embedded"),
        ({"max_context": -1}, "greater than or equal to 0"),
        ({"context": 5}, "Extra inputs"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(table: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        EngineSection.model_validate(table)


def test_a_server_refuses_a_trainers_weights_and_needs_no_sleep() -> None:
    engine = OpenAIEngine(SERVER)
    engine.sleep()
    engine.wake()
    with pytest.raises(EngineError, match=r"has its own weights.*engine.kind = \"embedded\""):
        engine.weights_changed()
    engine.close()
    assert engine.weights_version == 0
