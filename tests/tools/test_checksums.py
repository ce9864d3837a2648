"""A flipped bit anywhere in a small file is noticed."""

import json
import tomllib

import pytest

from ludus.tools.checksums import is_damaged, is_damaged_text, sealed, sealed_text


def flips(content: bytes):
    for index in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[index // 8] ^= 1 << index % 8
        yield bytes(flipped)


def test_every_flipped_bit_of_a_record_shows() -> None:
    record = {"phase": "grpo", "step": 3, "reward": 0.1 + 0.2, "nested": {"b": [1, None], "a": float("nan")}}
    written = json.dumps(sealed(record))
    assert not is_damaged(json.loads(written))
    for flipped in flips(written.encode()):
        try:
            read = json.loads(flipped)
        except ValueError:
            continue
        content = {name: value for name, value in read.items() if name in record}
        assert is_damaged(read) or json.dumps(content) == json.dumps(record)


def test_a_record_without_a_checksum_is_taken_as_it_is() -> None:
    assert not is_damaged({"phase": "grpo", "step": 3})
    assert sealed(sealed({"a": 1})) == sealed({"a": 1})


@pytest.mark.parametrize("text", ["", "a = 1\n[b]\nc = 'x'\n", "a = '''\n# checksum: 0\n'''\n"])
def test_every_flipped_bit_of_a_text_shows(text: str) -> None:
    written = sealed_text(text)
    assert not is_damaged_text(text)
    assert not is_damaged_text(written)
    for flipped in flips(written.encode()):
        try:
            read = tomllib.loads(flipped.decode())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        assert is_damaged_text(flipped.decode()) or read == tomllib.loads(text)
