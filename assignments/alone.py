"""Runs a student's cell by itself, for the test cells; copied into every release. A changed copy is refused by them.

The cell runs in a new process in which the package is out of reach, whatever the notebook overrode before. It is no
sandbox: who grades strangers does it in a container.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 10  # a cell that is right takes about one

_CHILD = r"""
import importlib.util, json, os, sys, traceback
import numpy as np

message, out = json.load(sys.stdin), sys.stdout
sys.stdout = sys.stderr
spec, refused = importlib.util.find_spec("micro_paper"), []
home = os.path.realpath(os.path.dirname(spec.origin)) + os.sep if spec else None
roots = tuple(os.path.realpath(p) + os.sep for p in {*sys.path, sys.prefix, sys.base_prefix} if p)
LEAVE = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "socket.connect")

def guard(event, args):
    if event == "import" and args[0].partition(".")[0] == "micro_paper":
        refused.append(args[0])
        raise ImportError("the package is not available here")
    if event == "open" and isinstance(args[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(args[0]))
        if home and path.startswith(home):
            refused.append(path)
        if home and path.startswith(home) or not path.startswith(roots):
            raise PermissionError("files are not available here")
    if event in LEAVE:
        raise PermissionError(f"{event} is not available here")

class Refuse:  # importlib raises no event for what it is asked by name
    @staticmethod
    def find_spec(name, *_):
        if name.partition(".")[0] == "micro_paper":
            refused.append(name)
            raise ImportError("the package is not available here")

def plain(x):
    if isinstance(x, (np.ndarray, np.generic)):
        return plain(x.tolist())
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    if x is None or type(x) in (bool, int, float, str):
        return x
    raise TypeError(f"{message['name']} returns a {type(x).__name__}: return numbers, words or numpy arrays")

def given(x):
    return np.array(x) if isinstance(x, list) else x

def answers():
    exec(message["helper"], helper := {"__name__": "helper"})
    space = {n: v for n, v in helper.items() if not n.startswith("_")} | {"__name__": "__main__", "np": np}
    exec(compile(message["cell"], "<your cell>", "exec"), space)
    for call in message["calls"]:
        args, before = [given(x) for x in call], [given(x) for x in call]
        try:
            with np.errstate(all="ignore"):
                value = plain(space[message["name"]](*args))
        except Exception as error:
            if not message["raises"]:
                raise
            value = {"raised": type(error).__name__}
        if value is None:
            raise ValueError(f"`{message['name']}` returned nothing: is `return` missing?")
        for a, b in zip(args, before):
            if not np.array_equal(a, b, equal_nan=getattr(a, "dtype", np.dtype(object)).kind == "f"):
                raise ValueError(f"{message['name']} changes its input: work on a copy")
        yield value

sys.meta_path.insert(0, Refuse)
sys.addaudithook(guard)
try:
    answer = {"values": list(answers())}
except BaseException as error:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<your cell>"]
    where = f" (line {lines[-1]} of the cell)" if lines else ""
    hint = ": what a function needs must stand in its own cell" if type(error) is NameError else ""
    answer = {"error": f"{type(error).__name__}: {error}{where}{hint}"}
json.dump({**answer, "refused": refused}, out)
"""


def run_alone(history, name, *calls, helper=None, raises=False):
    """Run the cell that defines `name` by itself, in a new process without the package, and return what calls give.

    Args:
        history: the cells run so far (`In`), the test cell last.
        calls: the arguments of each call, a tuple each; a list or an array arrives as an array.
        helper: a Python file whose public names the answer may use, besides np.
        raises: return {"raised": name} for a call that raises, instead of failing.

    Returns:
        One value a call; arrays come back as lists.
    """
    cell = next((c for c in reversed(history[:-1]) if f"def {name}(" in c), None)
    assert cell is not None, f"no cell that was run defines {name}: keep its line `def {name}(...)` and run the cell"
    text = Path(helper).read_text(encoding="utf-8") if helper else ""
    message = {"helper": text, "cell": cell, "name": name, "calls": calls, "raises": raises}
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", _CHILD],
                input=json.dumps(message, default=lambda array: array.tolist()),
                capture_output=True,
                text=True,
                timeout=SECONDS,
                cwd=empty,
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} was stopped after {SECONDS} s: does a loop end?") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"{name} ended its process: {done.stderr[-300:]}") from None
    assert not answer["refused"], f"{name} uses the package: write the answer yourself"
    assert "error" not in answer, f"your cell, run by itself, fails: {answer['error']}"
    return answer["values"]


def close(found, wanted, tolerance=1e-8):
    """Return whether two numbers, or two arrays of one shape, agree: none off by more than tolerance (1 + |wanted|)."""
    found, wanted = (x.tolist() if hasattr(x, "tolist") else x for x in (found, wanted))
    if isinstance(wanted, (list, tuple)):
        alike = isinstance(found, (list, tuple)) and len(found) == len(wanted)
        return alike and all(close(a, b, tolerance) for a, b in zip(found, wanted, strict=True))
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return False
    return found == wanted or abs(found - wanted) <= tolerance * (1 + abs(wanted)) < float("inf")
