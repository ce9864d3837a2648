"""Appended to a program that is tested, in its own sandbox: it answers the calls that tests make.

The program may do with this what it wants: all it can change is what its own calls are claimed to return.
"""


def ludus_answer(call, earlier=[]):  # type: ignore[no-untyped-def]  # noqa: B006 (the calls so far)
    import itertools
    import json

    kinds = {"l": list, "t": tuple, "s": set, "z": frozenset}

    def decode(value):  # type: ignore[no-untyped-def]
        if not isinstance(value, dict):
            return value
        ((name, content),) = value.items()
        if name == "i":
            return int(content, 16)
        if name == "f":
            return float(content)
        if name == "c":
            return complex(float(content[0]), float(content[1]))
        if name == "b":
            return bytes.fromhex(content)
        if name == "r":
            return range(*content)
        if name == "d":
            return {decode(key): decode(item) for key, item in content}
        if name == "h":
            return earlier[content]
        return kinds[name](decode(item) for item in content)

    def encode(value):  # type: ignore[no-untyped-def]
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            value = int(value)
            return value if abs(value) < 2**62 else {"i": hex(value)}
        if isinstance(value, float):
            return {"f": repr(float(value))}
        if isinstance(value, complex):
            return {"c": [repr(value.real), repr(value.imag)]}
        if isinstance(value, (bytes, bytearray)):
            return {"b": bytes(value).hex()}
        if isinstance(value, range):
            return {"r": [value.start, value.stop, value.step]}
        for name, kind in kinds.items():
            if isinstance(value, kind):
                return {name: [encode(item) for item in value]}
        if isinstance(value, dict):
            return {"d": [[encode(key), encode(item)] for key, item in value.items()]}
        if hasattr(value, "__next__"):
            return {"y": [encode(item) for item in itertools.islice(value, 100_000)]}
        return {"h": 0}

    name, arguments, named = json.loads(call)
    earlier.append(None)
    try:
        earlier[-1] = globals()[name](*decode(arguments), **decode(named))
        return encode(earlier[-1])
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error)[:200]}
