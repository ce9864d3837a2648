"""The operators without the extra they need."""

import subprocess
import sys

import pytest

WITHOUT_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.parametrize("statement", ["import ludus.kernels", "from ludus.kernels.paths import path_for"])
def test_without_torch_one_error_names_the_extra(statement):
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH + statement], capture_output=True, text=True)
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: ludus.kernels needs torch, which is not installed: pip install 'ludus[train]'"
    )
