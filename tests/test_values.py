"""Values arrive as they were typed, by every door; whatever else is given is one message that names it."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro_paper import __main__
from micro_paper.data.named import SEVERAL
from micro_paper.errors import InputError, refusal
from micro_paper.workflow import pipeline
from micro_paper.workflow.parameters import Parameter, check_value, parse_value, read_parameters, read_profile

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [
    "Note: be brief.",
    "brief # and no more",
    "",
    " ",
    "-yes",
    "--",
    "-p",
    "- a list",
    "007",
    "1e-4",
    "1_000",
    "12:30:45",
    "2020-01-01",
    "true",
    "None",
    "~",
    "{context}",
    "{{x}} ${HOME} $(date) `date` %s",
    "[1, 2",
    "{a: 1}",
    "&a *a",
    'it\'s "quoted"',
    "'quoted'",
    "a=b=c",
    "two\nlines\n",
    "tab\t back\\slash \\n",
    "é 日本 🙂",
    "*?; rm x | y & z > w",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_passes_the_command_line_and_snakemake(text):
    from snakemake.cli import parse_config

    for typed in (["-p", "context_1", text], ["-p", f"context_1={text}"]):
        options = __main__._parser().parse_args(__main__._joined(["run", "12", *typed, "--threads", "2"]))
        assert __main__._overrides(options) == ([("context_1", text)], None) and options.threads == 2
    encoded = pipeline.encode([("context_1", text)])
    assert parse_config([f"encoded={encoded}"]) == {"encoded": encoded}
    assert pipeline.decode(["profile=open", f"encoded={encoded}", "shards=3"]) == [("context_1", text)]
    assert pipeline.decode(["profile=open", f"context_1={text}"]) == [("context_1", text)]
    assert parse_value(Parameter("context_1", "str"), text) == text


def test_a_setting_that_is_none_is_named():
    with pytest.raises(InputError, match="encoded='eA' is none of ours"):
        pipeline.decode(["encoded=eA"])
    assert pipeline.decode(None) == []
    for typed in (["-p"], ["-p", "seed"], ["-p", "=3"], ["-p", "a b", "3"]):
        with pytest.raises(InputError, match="name=value|expected one argument"):
            __main__._overrides(__main__._parser().parse_args(__main__._joined(["run", "12", *typed])))


@pytest.fixture
def project(checkout, make_notebook):
    """One notebook with a text for each of TEXTS and a data set; it shows the text of its first."""
    lines = [f'text_{i}: str = "x"  # a text' for i in range(len(TEXTS))]
    parameters = "\n".join(['profile: str = "smoke"  # its name', *lines, 'train_on: str = "none"  # data'])
    make_notebook(checkout / "notebooks" / "10_texts.ipynb", "print(repr(text_0), train_on)", parameters=parameters)
    return checkout


def planned(root: Path, *config: str, cwd: Path | None = None) -> str:
    """What a dry run of plain Snakemake says."""
    command = [sys.executable, "-m", "snakemake", "-n", "--nolock", "--config", "profile=smoke", *config]
    return subprocess.run(command, cwd=cwd or root, capture_output=True, text=True, check=True).stdout


def test_all_texts_reach_the_file_that_a_notebook_is_run_with(project):
    pairs = [(f"text_{i}", text) for i, text in enumerate(TEXTS)]
    assert "notebook_10_texts" in planned(project, f"encoded={pipeline.encode(pairs)}", "train_on=jsonl:a.jsonl")
    file = project / "build" / "smoke" / "parameters" / "10_texts.json"
    written = file.read_bytes()
    values = json.loads(written)
    assert values == {"profile": "smoke", "train_on": f"jsonl:{project}/a.jsonl"} | dict(pairs)
    wanted = {"10_texts": pipeline.check_settings("smoke", [*pairs, ("train_on", "jsonl:a.jsonl")])["10_texts"]}
    pipeline.prepare("smoke", wanted, project)
    assert file.read_bytes() == written
    pipeline.prepare("smoke", {"10_texts": wanted["10_texts"] | {"text_1": "another"}}, project)
    assert json.loads(file.read_text())["text_1"] == "another"


def test_make_hands_set_over_as_typed(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, shlex, sys\nat = sys.argv.index('--settings')\n"
        "print(json.dumps(shlex.split(sys.argv[at + 1])))\n"
    )
    python.chmod(0o755)
    for typed, settings in [
        ("budget=20 n_seeds=2", ["budget=20", "n_seeds=2"]),
        ("context_1='Note: (be) brief; # now & $HOME' seed=1", ["context_1=Note: (be) brief; # now & $HOME", "seed=1"]),
        ('context_1="it\'s *"', ["context_1=it's *"]),
    ]:
        command = ["make", "-o", "python", "reproduce", f"PY={python}", "STAMP=python", f"SET={typed}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1]) == settings, done.stderr


@pytest.mark.parametrize("value", [0.1, 7, True, None])
def test_a_text_that_papermill_made_a_number_says_how_to_give_it(value):
    with pytest.raises(InputError, match="taus must be str, got .*papermill -r NAME VALUE, in YAML in quotes"):
        check_value(Parameter("taus", "str"), value)


@pytest.mark.parametrize("several", [False, True])
def test_a_path_is_that_of_the_working_directory(tmp_path, monkeypatch, several):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "house"))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    name = "bench_train" if several else "train_on"
    assert (name in SEVERAL) == several
    for typed, meant in [
        ("jsonl:a.jsonl", f"jsonl:{tmp_path}/a.jsonl"),
        ("jsonl:../a.jsonl", f"jsonl:{tmp_path.parent}/a.jsonl"),
        ("jsonl:~/a.jsonl", f"jsonl:{tmp_path}/house/a.jsonl"),
        ("jsonl:link/a.jsonl", f"jsonl:{tmp_path}/real/a.jsonl"),
        ("smoke-texts", "smoke-texts"),
    ]:
        assert parse_value(Parameter(name, "str"), typed) == check_value(Parameter(name, "str"), meant) == meant
    if several:
        typed = "summeval 'jsonl:my data/a.jsonl' jsonl:b.jsonl"
        meant = f"summeval 'jsonl:{tmp_path}/my data/a.jsonl' jsonl:{tmp_path}/b.jsonl"
        assert check_value(Parameter(name, "str"), typed) == check_value(Parameter(name, "str"), meant) == meant


def test_a_backbone_may_be_a_folder_or_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain" / "model").mkdir(parents=True)
    (tmp_path / "smollm2").mkdir()
    parameter = Parameter("backbone", "str")
    for typed in ("plain/model", "./plain/model", str(tmp_path / "plain" / "model")):
        assert check_value(parameter, typed) == str(tmp_path / "plain" / "model")
    for name in ("smollm2", "none", "org/model"):
        assert check_value(parameter, name) == name
    assert check_value(Parameter("answer_1", "str"), "./plain") == "./plain"
    with pytest.raises(InputError, match="'~nobody-here/m' is no path"):
        check_value(parameter, "~nobody-here/m")


def refused(capsys, *arguments: str) -> str:
    """The one line that a refused command says."""
    assert __main__.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("micro_paper: ") and said.count("\n") == 1 and len(said) < 700
    return said


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\nseed: 2", "line 2: 'seed' is there twice"),
        ("seed: 010", "line 1: '010' is no plain number"),
        ("seed: 1:30", "'1:30' is no plain number"),
        ("scale: 1_000.5", "'1_000.5' is no plain number"),
        ("seed: " + "9" * 6000, "is no plain number"),
        ("seed: " + "9" * 30, "seed must lie between -2^63 and 2^63"),
        ("scale: " + "9" * 90, "scale must lie between"),
        ("seed: 2020-01-01", "seed must be int, got str '2020-01-01'"),
        ("seed: !!timestamp 2020-01-01", "must be a name with one plain value"),
        ("seed: !!python/object/apply:os.system ['true']", "must be a name with one plain value"),
        ("seed: !!python/name:os.system", "could not determine a constructor"),
        ("seed: !!bool perhaps", "bad.yaml is not YAML"),
        ("a: &a [x, x]\nb: &b [*a, *a]", "line 2: write the value itself, not *alias"),
        ("<<: {seed: 1}", "'<<' must be a name with one plain value"),
        ("seed: " + "[" * 9000, "bad.yaml is not YAML: maximum recursion"),
        ("seed: {a: 1}", "'seed' must be a name with one plain value"),
        ("1: 2", "'1' must be a name"),
        ("- seed", "must hold lines of `name: value`"),
        ("a: b\n" * 60000, "must hold lines of `name: value`"),
        ("seed: \0", "bad.yaml is not YAML"),
        ('profile: "\\ud800"', "profile is no text: character 1"),
        (b"seed: \xff", "bad.yaml is not YAML: 'utf-8' codec"),
        (None, "bad.yaml: Is a directory"),
    ],
)
def test_a_bad_profile_is_one_message(checkout, make_notebook, capsys, text, says):
    make_notebook(checkout / "notebooks" / "05_stage2.ipynb")
    path = checkout / "profiles" / "bad.yaml"
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for command in (["run", "05"], ["reproduce"], ["extract"]):
        assert says in refused(capsys, *command, "--profile", "bad")
    assert not (checkout / "build").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "05", "-p", "profile", "\udcff"], "the argument '\\udcff' is no text"),
        (["run", "\udcff"], "is no text: give it in UTF-8"),
        (["run", "9" * 5000], "no notebook '999"),
        (["run", "05", "-p", "seed", "9" * 5000], "seed must be int, got '999"),
        (["run", "05", "-p", "scale", "9" * 5000], "scale must be finite"),
        (["run", "05", "-p", "x" * 5000, "1"], "unknown parameter 'xxx"),
        (["run", "05", "--profile", "x" * 5000], "unknown profile 'xxx"),
        (["run", "05", "--threads", "many"], "argument --threads: invalid int value: 'many': see"),
        (["run", "05", "-o", "."], "the output must be an .ipynb file"),
        (["run", "05", "-o", ""], "the output must be an .ipynb file"),
        (["run", "05", "-o", "profiles.ipynb"], "profiles.ipynb is there and no file"),
        (["run", "05", "-o", "Snakefile/out.ipynb"], "Snakefile/out.ipynb: File exists: a file stands where a folder"),
        (["run", "05", "-o", "/proc/none/out.ipynb"], "cannot be written: /proc/none/out.ipynb"),
        (["run", "05", "-o", "o" * 300 + ".ipynb"], "File name too long"),
        (["run", "05", "--values", "Snakefile"], "Snakefile is not JSON"),
        (["run", "05", "--values", "none.json"], "none.json: No such file or directory: check the path"),
        (["reproduce", "--settings", "seed='1"], "No closing quotation"),
        (["compare", "~nobody-here/a", "."], "argument before: "),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_bad_argument_is_one_message(checkout, make_notebook, capsys, arguments, says):
    make_notebook(checkout / "notebooks" / "05_stage2.ipynb", "1")
    (checkout / "profiles.ipynb").mkdir()
    assert says in refused(capsys, *arguments)
    assert not list(checkout.rglob("*draft*"))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "full", "/disk/a"), "/disk/a: No space left on device: make room there, or move build/"),
        (OSError(errno.EROFS, "ro", "/disk/a"), "/disk/a: Read-only file system: move build/ with MICRO_PAPER_BUILD"),
        (PermissionError(errno.EACCES, "no", b"/disk/a"), "/disk/a: Permission denied: change its permissions"),
        (OSError(errno.ENOSPC, "full"), "micro_paper: No space left on device: make room"),
        (OSError("cannot connect"), "micro_paper: cannot connect"),
        (OSError(errno.ELOOP, "loop", "/a"), "/a: Too many levels of symbolic links: name another file"),
        (RecursionError("too deep"), "doctor read is nested too deeply"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "no UTF-8 text"),
    ],
)
def test_what_the_system_refuses_is_one_message(monkeypatch, capsys, error, says):
    def refuse(options):
        raise error

    monkeypatch.setattr(__main__, "_dispatch", refuse)
    assert says in refused(capsys, "doctor")
    if isinstance(error, OSError):
        assert refusal(error) in says or says.removeprefix("micro_paper: ") in refusal(error)


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(__main__, "_dispatch", lambda options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        __main__.main(["doctor"])


def test_a_reader_that_has_enough_is_no_error():
    code = "from micro_paper import __main__ as m; m._dispatch = lambda o: print('x' * 10**6); m.main(['doctor'])"
    command = f'{sys.executable} -c "$CODE" | head -c 1'
    done = subprocess.run(command, shell=True, env=os.environ | {"CODE": code}, capture_output=True)
    assert done.stdout == b"x" and done.stderr == b""


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(TEXTS), st.characters(codec=None)
)
DECLARED = {
    name: parameter
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    for name, parameter in read_parameters(path).items()
}
YAML_PIECES = st.sampled_from(
    [*"-[]{}?!|'\"\\1~@`,\t\0é", "seed", "profile", ": ", "\n", "- ", "&a ", "*a", "!!int ", "!!binary ", "|\n ", "? "]
    + ["# c", "0x1f", ".nan", "1:30", "<<", "---\n", "%YAML 1.1\n"]
)


@given(st.lists(YAML_PIECES, max_size=20).map("".join) | st.text(max_size=60) | st.binary(max_size=40))
def test_any_profile_is_read_or_refused(tmp_path_factory, text):
    root = tmp_path_factory.getbasetemp() / "profiles-any"
    path = root / "profiles" / "any.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    try:
        values = read_profile("any", root)
    except InputError as error:
        assert "profiles/any.yaml" in str(error)
    else:
        assert all(isinstance(name, str) for name in values)


@given(st.sampled_from(sorted(DECLARED)), SCALARS | st.lists(st.integers()) | st.text().map(lambda t: f"jsonl:{t}"))
def test_any_value_is_taken_or_refused_by_name(name, value):
    for take, given_value in ((check_value, value), (parse_value, str(value) if not isinstance(value, list) else "[")):
        try:
            taken = take(DECLARED[name], given_value)
        except InputError as error:
            assert name in str(error) or "data sets" in str(error) or "is no path" in str(error)
        else:
            assert taken is None or type(taken) is DECLARED[name].base
            assert check_value(DECLARED[name], taken) == taken
            if isinstance(taken, str) and "jsonl:" not in taken and not name.endswith("backbone"):
                assert taken == given_value


@given(st.text(max_size=30))
def test_any_text_passes_the_doors(text):
    options = __main__._parser().parse_args(__main__._joined(["run", "12", "-p", "context_1", text]))
    assert options.parameters == [f"context_1={text}"]
    assert pipeline.decode([f"encoded={pipeline.encode([('context_1', text)])}"]) == [("context_1", text)]
