"""PettingZoo's base classes, or an error that says how to get them."""

try:
    from pettingzoo import AECEnv as AECEnv
    from pettingzoo import ParallelEnv as ParallelEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "this form of games needs pettingzoo, which is not installed: pip install 'ludus[games]'",
        name="pettingzoo",
    ) from error
