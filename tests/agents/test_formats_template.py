"""`TemplateFormat`: what was sampled is kept as it was sampled, whatever the chat template does."""

import asyncio
import copy
from dataclasses import replace

import gymnasium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from ludus.agents.engines.base import Completion, Sampling
from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.formats.template import FormatError, TemplateFormat
from ludus.agents.policy import EnginePolicy
from ludus.envs.chat import assistant, image_part, system, text_part, tool_result, user
from ludus.tools.tool import tool

LOOP = "{%- for m in messages -%}"
END = "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
CHATML = LOOP + "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}" + END
TRIMMING = LOOP + "{{ '<|im_start|>' + m.role + '\n' + (m.content | trim) + '<|im_end|>' + '\n' }}" + END
DEFAULT_SYSTEM = (
    "{%- if messages[0].role != 'system' -%}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{%- endif -%}"
    + CHATML
)
WITH_BOS = "{{ '<s>' }}" + CHATML
NO_SYSTEM = (
    "{%- if messages[0].role == 'system' -%}{{ raise_exception('no system role') }}{%- endif -%}" + CHATML
)
TOOLS = "{%- for tool in tools or [] -%}{{ tool.function.name + '\n' }}{%- endfor -%}" + CHATML
PLAIN_END = (
    "{%- for m in messages -%}{{ m.role + ': ' + m.content + '\n\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'assistant: ' }}{%- endif -%}"
)
# As Qwen3's does: what was thought before the last user message is dropped.
THINKING = (
    "{%- set last = namespace(user=-1) -%}"
    + LOOP
    + "{%- if m.role == 'user' -%}{%- set last.user = loop.index0 -%}{%- endif -%}{%- endfor -%}"
    + LOOP
    + "{%- set said = m.content -%}"
    "{%- if m.role == 'assistant' and '</think>' in said and loop.index0 < last.user -%}"
    "{%- set said = said.split('</think>')[-1].lstrip('\n') -%}"
    "{%- endif -%}"
    "{{ '<|im_start|>' + m.role + '\n' + said + '<|im_end|>' + '\n' }}" + END
)
REWRITING = (THINKING, TRIMMING)


@tool
def forecast(place: str) -> None:
    """The weather.

    Args:
        place: Where.
    """


def byte_level_tokenizer(template, bos=False):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        ["left right left right system user assistant the answer is the answer"] * 4,
        BpeTrainer(
            vocab_size=330,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    backend.add_tokens(["<think>", "</think>"])
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        bos_token="<s>",
        pad_token="<|endoftext|>",
        chat_template=template,
    )


def sentence_piece_tokenizer(template):
    """As Llama 2's: a word begins with ▁, and so does every text."""
    words = ["▁", "▁left", "▁right", "left", "\n", *map(chr, range(33, 127))]
    vocabulary = {token: id for id, token in enumerate(["<unk>", "<s>", "</s>", *words])}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", bos_token="<s>", unk_token="<unk>", chat_template=template
    )


def encode(tokenizer, text):
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def rendered(tokenizer, messages, generate=True):
    return encode(
        tokenizer, tokenizer.apply_chat_template(messages, add_generation_prompt=generate, tokenize=False)
    )


START = [system("Play."), user("the answer is left?")]


@pytest.mark.parametrize("template", [CHATML, THINKING, TRIMMING, DEFAULT_SYSTEM, WITH_BOS])
@pytest.mark.parametrize("make", [byte_level_tokenizer, sentence_piece_tokenizer])
@pytest.mark.parametrize("start", [START, START[1:]])
def test_appending_gives_what_the_template_gives(template, make, start):
    """Where nothing is rewritten and the model spells as the tokenizer does, the ids are the template's."""
    tokenizer = make(template)
    chat_format = TemplateFormat(tokenizer)
    history, context = list(start), chat_format.first_prompt(start).ids
    assert context == rendered(tokenizer, start)
    for reply, answer in (("left", "right?"), ("right the answer é😀", "  spaces \n\n"), ("is", "")):
        said = tokenizer.apply_chat_template(history, add_generation_prompt=True, tokenize=False) + reply
        spelled = encode(tokenizer, said + "<|im_end|>")
        assert spelled[: len(context)] == context
        history += [assistant(reply), user(answer)]
        added = chat_format.next_prompt(history[:-1], spelled, history[-1:])
        assert not added.fork
        context = spelled + added.ids
        assert context == rendered(tokenizer, history)


def test_turns_that_end_without_a_special_token():
    tokenizer = byte_level_tokenizer(PLAIN_END)
    chat_format = TemplateFormat(tokenizer)
    assert chat_format.stop_ids == (tokenizer.eos_token_id,)
    policy, seen = scripted_policy(
        chat_format, [encode(tokenizer, "left"), encode(tokenizer, "right<|im_end|>"), ()]
    )
    turns = play(policy, [START, [user("a")], [user("b")]])
    assert not any(turn.fork for turn in turns)
    assert tokenizer.decode(seen[2]) == (
        "system: Play.\n\nuser: the answer is left?\n\nassistant: left\n\n"
        "user: a\n\nassistant: right<|im_end|>\n\nuser: b\n\nassistant: "
    )


@pytest.mark.parametrize("template", [CHATML, PLAIN_END])
@pytest.mark.parametrize("make", [byte_level_tokenizer, sentence_piece_tokenizer])
def test_a_demonstration_is_spelled_as_behind_a_prompt(template, make):
    tokenizer = make(template)
    chat_format = TemplateFormat(tokenizer)
    for text in ("left the answer", "", "<think>\nhm\n</think>\n\nright"):
        ids = chat_format.demonstrate(assistant(text))
        assert chat_format.parse(ids) == assistant(text)
        if template == CHATML:
            whole = tokenizer.apply_chat_template([*START, assistant(text)], tokenize=False)
            assert (*chat_format.first_prompt(START).ids, *ids) == encode(tokenizer, whole.removesuffix("\n"))


def test_the_newline_behind_the_end_of_turn_belongs_to_the_next_prompt():
    tokenizer = byte_level_tokenizer(CHATML)
    chat_format = TemplateFormat(tokenizer)
    context = (*chat_format.first_prompt(START).ids, *encode(tokenizer, "left"), chat_format.stop_ids[0])
    added = chat_format.next_prompt([*START, assistant("left")], context, [user("right")])
    assert tokenizer.decode(added.ids) == "\n<|im_start|>user\nright<|im_end|>\n<|im_start|>assistant\n"


def test_a_reply_cut_by_length_is_closed_with_an_unsampled_end_of_turn():
    tokenizer = byte_level_tokenizer(CHATML)
    chat_format = TemplateFormat(tokenizer)
    cut = encode(tokenizer, "the answer is ")
    reply = chat_format.parse(cut)
    assert reply == assistant("the answer is ")
    added = chat_format.next_prompt(
        [*START, reply], (*chat_format.first_prompt(START).ids, *cut), [user("?")]
    )
    assert added.ids[0] == chat_format.stop_ids[0]
    assert tokenizer.decode(added.ids) == "<|im_end|>\n<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n"


def test_an_end_of_text_token_also_ends_a_turn():
    tokenizer = sentence_piece_tokenizer(CHATML)
    chat_format = TemplateFormat(tokenizer)
    end_of_turn, end_of_text = tokenizer.convert_tokens_to_ids(["<|im_end|>", "</s>"])
    assert chat_format.stop_ids == (end_of_turn, end_of_text)
    for stop in chat_format.stop_ids:
        context = (*chat_format.first_prompt(START).ids, 7, stop)
        assert chat_format.parse((7, stop)) == chat_format.parse((7,))
        reply = chat_format.parse((7, stop))
        added = chat_format.next_prompt([*START, reply], context, [user("?")])
        assert not added.fork
        assert end_of_turn not in added.ids[:1]


def test_two_encodings_of_one_text_the_sampled_one_is_kept():
    tokenizer = byte_level_tokenizer(CHATML)
    chat_format = TemplateFormat(tokenizer)
    canonical = encode(tokenizer, "left")
    spelled = tuple(tokenizer.convert_tokens_to_ids(list("left")))
    assert canonical != spelled
    assert tokenizer.decode(canonical) == tokenizer.decode(spelled)
    policy, seen = scripted_policy(chat_format, [(*spelled, chat_format.stop_ids[0])] * 3)
    turns = play(policy, [START, [user("right?")], [user("left?")]])
    assert not any(turn.fork for turn in turns)
    (row,) = episode(turns).training_sequences()
    assert row.ids == seen[-1] + turns[-1].completion_ids
    text = row.ids
    assert sum(text[i : i + 4] == spelled for i in range(len(text))) == 3


def test_thinking_that_the_template_drops_makes_the_episode_fork():
    tokenizer = byte_level_tokenizer(THINKING)
    chat_format = TemplateFormat(tokenizer)
    thought = encode(tokenizer, "<think>\nleft or right\n</think>\n\nleft<|im_end|>")
    plain = encode(tokenizer, "right<|im_end|>")
    policy, seen = scripted_policy(chat_format, [thought, thought, plain, plain])
    turns = play(policy, [START, [user("a")], [user("b")], [user("c")]])
    assert [turn.fork for turn in turns] == [False, True, True, False]
    assert [turn.reply["content"] for turn in turns] == ["<think>\nleft or right\n</think>\n\nleft"] * 2 + [
        "right"
    ] * 2
    replies = [assistant("left"), user("a"), assistant("left"), user("b")]
    assert turns[2].prompt_ids == rendered(tokenizer, [*START, *replies])
    rows = episode(turns).training_sequences()
    assert [sum(row.sampled) for row in rows] == [len(thought), len(thought), 2 * len(plain)]
    assert rows[2].ids == seen[3] + plain


def test_thinking_is_kept_while_no_user_has_spoken_since():
    chat_format = TemplateFormat(byte_level_tokenizer(THINKING))
    thought = encode(chat_format._tokenizer, "<think>\nleft\n</think>\n\nleft<|im_end|>")
    policy, _ = scripted_policy(chat_format, [thought] * 2)
    turns = play(policy, [START, [{"role": "tool", "content": "ok"}]])
    assert [turn.fork for turn in turns] == [False, False]


def test_a_template_that_trims_forks_only_where_there_was_something_to_trim():
    tokenizer = byte_level_tokenizer(TRIMMING)
    chat_format = TemplateFormat(tokenizer)
    trimmed, spaced = (encode(tokenizer, text + "<|im_end|>") for text in ("left", "left \n"))
    policy, _ = scripted_policy(chat_format, [trimmed, spaced, trimmed, trimmed])
    turns = play(policy, [START, [user(" a ")], [user("b")], [user("c")]])
    assert [turn.fork for turn in turns] == [False, False, True, False]
    assert "left<|im_end|>" in tokenizer.decode(turns[2].prompt_ids)


def test_words_added_behind_a_reply_are_seen_as_rewriting():
    template = (
        LOOP
        + "{{ '<|im_start|>' + m.role + '\n' + m.content + ('' if loop.last else '!') + '<|im_end|>' }}"
        + END
    )
    tokenizer = byte_level_tokenizer(template)
    chat_format = TemplateFormat(tokenizer)
    context = (*chat_format.first_prompt(START).ids, *encode(tokenizer, "left<|im_end|>"))
    assert chat_format.next_prompt([*START, assistant("left")], context, [user("?")]).fork


def test_the_default_system_prompt_comes_once():
    tokenizer = byte_level_tokenizer(DEFAULT_SYSTEM)
    chat_format = TemplateFormat(tokenizer)
    policy, seen = scripted_policy(chat_format, [encode(tokenizer, "left<|im_end|>")] * 2)
    play(policy, [START[1:], [user("right")]])
    assert tokenizer.decode(seen[-1]).count("Be kind.") == 1


@pytest.mark.parametrize("template", [CHATML, WITH_BOS])
def test_the_beginning_of_text_stands_where_the_template_puts_it(template):
    tokenizer = byte_level_tokenizer(template, bos=True)
    assert tokenizer.encode("left")[0] == tokenizer.bos_token_id
    chat_format = TemplateFormat(tokenizer)
    policy, seen = scripted_policy(chat_format, [encode(tokenizer, "left<|im_end|>")] * 2)
    play(policy, [START, [user("right")]])
    assert seen[-1].count(tokenizer.bos_token_id) == (template == WITH_BOS)
    assert (seen[-1][0] == tokenizer.bos_token_id) == (template == WITH_BOS)


def test_tools_reach_the_template():
    tokenizer = byte_level_tokenizer(TOOLS)
    chat_format = TemplateFormat(tokenizer, calls="hermes")
    tools = ({"type": "function", "function": {"name": "forecast", "parameters": {}}},)
    prompt = chat_format.first_prompt(START, tools)
    assert tokenizer.decode(prompt.ids).startswith("forecast\n")
    context = (*prompt.ids, *encode(tokenizer, "left<|im_end|>"))
    added = chat_format.next_prompt([*START, assistant("left")], context, [user("?")], tools)
    assert not added.fork
    assert "forecast" not in tokenizer.decode(added.ids)


def test_an_image_reads_as_its_mark():
    chat_format = TemplateFormat(byte_level_tokenizer(CHATML))
    parts = [text_part("look"), image_part(b"png")]
    shown = chat_format.first_prompt([{"role": "user", "content": parts}])
    assert shown == chat_format.first_prompt([{"role": "user", "content": "look\n[image]"}])


def test_what_a_template_refuses_is_explained():
    chat_format = TemplateFormat(byte_level_tokenizer(NO_SYSTEM))
    with pytest.raises(FormatError, match=r"roles system, user \(no system role\): use a model"):
        chat_format.first_prompt(START)
    with pytest.raises(FormatError, match="leaves out what the assistant says"):
        TemplateFormat(byte_level_tokenizer("{{ messages[0].content }}"))
    endless = sentence_piece_tokenizer(PLAIN_END)
    endless.eos_token = None
    with pytest.raises(FormatError, match="neither its chat template nor its tokenizer"):
        TemplateFormat(endless)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("{{ 1 / 0 }}", r"refuses messages with the roles user \(division by zero\)"),
        ("{{ messages['0'][1].x }}", "refuses messages"),
        ("{{ messages[9].content[0] }}", "refuses messages"),
        ("{{ 'x'.encode('utf-7', 'nothing').decode(3) }}", "refuses messages"),
        ("\n{% for m in messages %}{{ m.content }", r"is broken \(line 2: .*put the model's own back"),
    ],
)
def test_a_template_that_fails_is_one_line(broken, told):
    with pytest.raises(FormatError, match=told) as refused:
        TemplateFormat(byte_level_tokenizer(broken))
    assert "\n" not in str(refused.value)


def test_the_history_must_end_with_the_reply():
    with pytest.raises(ValueError, match="assistant's reply"):
        TemplateFormat(byte_level_tokenizer(CHATML)).next_prompt(START, (1, 2), [])


def test_decode_shows_every_id_apart():
    chat_format = TemplateFormat(byte_level_tokenizer(CHATML))
    ids = encode(chat_format._tokenizer, " left é\ufffd<|im_end|>")
    texts = chat_format.decode(ids)
    assert texts[0] == " left"
    assert texts[1:4] == [" ", "<0xC3>", "<0xA9>"]
    assert texts[-1] == "<|im_end|>"


def test_decode_keeps_the_space_that_sentence_piece_drops():
    tokenizer = sentence_piece_tokenizer(CHATML)
    chat_format = TemplateFormat(tokenizer)
    assert chat_format.decode(tokenizer.convert_tokens_to_ids(["▁left", "▁right", "left", "<0xC3>"])) == [
        " left",
        " right",
        "left",
        "<0xC3>",
    ]


def test_parse_mends_broken_utf8():
    tokenizer = byte_level_tokenizer(CHATML)
    chat_format = TemplateFormat(tokenizer)
    broken = encode(tokenizer, "é")[:1]
    assert chat_format.parse((*broken, chat_format.stop_ids[0])) == assistant("\ufffd")
    assert chat_format.parse(()) == assistant("")
    context = (*chat_format.first_prompt(START).ids, *broken)
    assert not chat_format.next_prompt([*START, assistant("\ufffd")], context, [user("?")]).fork


# Any policy, any environment: ids may be drawn from the whole vocabulary, and turns may be cut anywhere.


class ScriptedSession:
    def __init__(self, completions, seen):
        self._completions, self._seen = iter(completions), seen

    async def generate(self, ids, sampling, seed, pictures=()):
        self._seen.append(tuple(ids))
        said = tuple(next(self._completions))
        finish = "stop" if said and said[-1] in sampling.stop_ids else "length"
        return Completion(said, (-1.0,) * len(said), finish, 0)

    def close(self):
        pass


def scripted_policy(chat_format, completions):
    seen = []

    class ScriptedEngine:
        max_context = 10_000

        def session(self):
            return ScriptedSession(completions, seen)

    return EnginePolicy(ScriptedEngine(), chat_format, Sampling()), seen


def play(policy, observations):
    async def run():
        player = policy.player(gymnasium.Env(), 0)
        return [(observation, await player.act(observation, {})) for observation in observations]

    return [
        Turn(
            observation=observation,
            reply=action.reply,
            reward=0.0,
            reward_terms={},
            prompt_ids=action.prompt_ids,
            completion_ids=action.completion_ids,
            logprobs=action.logprobs,
            finish=action.finish,
            fork=action.fork,
        )
        for observation, action in asyncio.run(run())
    ]


def test_tools_are_listed_in_words_for_a_template_without_a_place_for_them():
    env, tokenizer = gymnasium.Env(), byte_level_tokenizer(CHATML)
    env.tools = [forecast]
    said = '<tool_call>\n{"name": "forecast", "arguments": {"place": "Lomar"}}\n</tool_call>'
    form = TemplateFormat(tokenizer)
    policy, seen = scripted_policy(form, [(*encode(tokenizer, said), form.stop_ids[0])] * 2)
    policy = replace(policy, written_calls="hermes")
    (call, result), actions = START[:2], []

    async def run():
        player = policy.player(env, 0)
        actions.append(await player.act([call, result], {}))
        (made,) = actions[0].reply["tool_calls"]
        actions.append(await player.act([tool_result(made, "dry")], {}))

    asyncio.run(run())
    assert all(action.reply["tool_calls"][0]["function"]["name"] == "forecast" for action in actions)
    first, second = (tokenizer.decode(ids) for ids in seen)
    assert '"description": "The weather.' in first
    assert "<tool_call>" in first
    assert "<tool_response>\ndry\n</tool_response>" in second
    assert second.startswith(first + said)
    assert not actions[1].fork


def episode(turns):
    return Episode("test", {}, 0, "task", tuple(turns), StopReason.TERMINATED)


TOKENIZERS = [
    make(template)
    for make in (byte_level_tokenizer, sentence_piece_tokenizer)
    for template in (CHATML, THINKING, TRIMMING, DEFAULT_SYSTEM, WITH_BOS, PLAIN_END)
]
FORMATS = [TemplateFormat(tokenizer) for tokenizer in TOKENIZERS]
TEXTS = st.text(max_size=12) | st.sampled_from([" left ", "</think>", "<think>a</think>b", "<|im_end|>\n"])


@given(st.sampled_from(range(len(FORMATS))), st.data())
@settings(max_examples=150)
def test_what_the_model_saw_is_what_is_trained_on(which, data):
    tokenizer, chat_format = TOKENIZERS[which], FORMATS[which]
    plain = [id for id in range(len(tokenizer)) if id not in chat_format.stop_ids]
    sampled_ids = st.lists(st.sampled_from(plain), max_size=6) | TEXTS.map(
        lambda text: [id for id in encode(tokenizer, text) if id not in chat_format.stop_ids]
    )
    completions, observations = [], [[START[0], user(data.draw(TEXTS))]]
    for _ in range(data.draw(st.integers(1, 4))):
        ids = data.draw(sampled_ids)
        stop = data.draw(st.sampled_from([*chat_format.stop_ids, None])) if ids else chat_format.stop_ids[0]
        completions.append((*ids, *(() if stop is None else (stop,))))
        observations.append([user(data.draw(TEXTS)) for _ in range(data.draw(st.integers(0, 2)))])
    policy, seen = scripted_policy(chat_format, completions)
    turns = play(policy, observations[: len(completions)])

    # Each row is what the model had seen when it last spoke in it, and what it then said.
    rows = episode(turns).training_sequences()
    last_of_row = [i for i in range(len(turns)) if i + 1 == len(turns) or turns[i + 1].fork]
    assert [row.ids for row in rows] == [seen[i] + completions[i] for i in last_of_row]
    # Each sampled token is in exactly one row as sampled, with its own log-probability.
    sampled = [id for row in rows for id, mine in zip(row.ids, row.sampled, strict=True) if mine]
    assert sampled == [id for ids in completions for id in ids]
    assert sum(lp != 0 for row in rows for lp in row.logprobs) == len(sampled)
    # Nothing forks where the template rewrites nothing; a fork is the template's own text.
    messages = []
    for turn in turns:
        messages += turn.observation
        if turn.fork:
            assert turn.prompt_ids == TemplateFormat(copy.deepcopy(tokenizer)).first_prompt(messages).ids
            spelled = [token.content for token in tokenizer.added_tokens_decoder.values()]
            if not any(token in message["content"] for token in spelled for message in messages):
                assert turn.prompt_ids == rendered(tokenizer, messages)
            assert tokenizer.chat_template in REWRITING
        messages.append(turn.reply)


@given(st.lists(TEXTS, min_size=3, max_size=3))
@settings(max_examples=30)
def test_caches_do_not_mix_conversations(texts):
    tokenizer = TOKENIZERS[0]
    used, fresh = FORMATS[0], TemplateFormat(copy.deepcopy(tokenizer))
    history = [user(texts[0]), assistant(texts[1])]
    context = (*used.first_prompt(history[:1]).ids, used.stop_ids[0])
    assert used.first_prompt(history[:1]) == fresh.first_prompt(history[:1])
    assert used.next_prompt(history, context, [user(texts[2])]) == fresh.next_prompt(
        history, context, [user(texts[2])]
    )
