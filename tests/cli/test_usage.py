"""Flags, exit codes, errors."""

import inspect

import pytest

import fastattn as fa
from fastattn.cli import main
from fastattn.cli.app import generate, train


def flags_of(command):
    names = [name for name in inspect.signature(command).parameters if name != "folder"]
    return ["--" + name.replace("_", "-") for name in names]


FLAGS = flags_of(train)
ALL = [(command.__name__, flag) for command in (train, generate) for flag in flags_of(command)]
SWITCHES = {"--quiet", "--json"}
TEXTS = {"--text", "--resume", "--out", "--prompt", "--stop"}


def one_line(captured):
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("fastattn: ")
    return captured.err


@pytest.mark.parametrize(("command", "flag"), ALL)
def test_a_typo_in_any_flag_is_one_line(command, flag, capsys):
    assert main([command, flag[:-1] + "zz", "1"]) == 2
    assert f"No such option: {flag[:-1]}zz" in one_line(capsys.readouterr())


@pytest.mark.parametrize(("command", "flag"), [pair for pair in ALL if pair[1] not in SWITCHES | TEXTS])
@pytest.mark.parametrize("value", ["x", "-1"])
def test_a_bad_value_of_any_flag_is_one_line(command, flag, value, capsys):
    assert main([command, flag, value]) == 2
    assert flag in one_line(capsys.readouterr())


@pytest.mark.parametrize(("command", "flag"), [pair for pair in ALL if pair[1] not in SWITCHES])
def test_a_flag_without_its_value(command, flag, capsys):
    assert main([command, flag]) == 2
    assert flag in one_line(capsys.readouterr())


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["trian"], 2, "No such command 'trian'"),
        (["--verison"], 2, "No such option: --verison"),
        (["train", "extra"], 2, "unexpected extra argument"),
        (["train", "--steps", "5", "--tokens", "5"], 2, "--steps and --tokens say the same thing; pass one of them"),
        (["train", "--resume", "x", "--lr", "1", "--steps", "2"], 2, "settings of the run; drop --steps, --lr"),
        (["train", "--resume", "nowhere"], 1, "nowhere is no run to resume: it has no run.json"),
        (["train", "--text", "nowhere.txt"], 1, "no such text file: nowhere.txt"),
        (["train", "--width", "10", "--heads", "3"], 2, "--width 10 is not a multiple of --heads 3"),
        (["train", "--seed", str(2**64)], 2, "seed"),
        (["train", "--lr", "nan"], 2, "lr"),
        (["train", "--device", "cuad"], 2, "Invalid value for '--device': 'cuad' is no device; expected cpu, cuda or"),
        (["generate"], 2, "Missing argument 'RUN'; see fastattn generate --help"),
        (["generate", "nowhere"], 1, "no such folder: nowhere"),
    ],
)
def test_errors(args, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(args) == code
    assert message in one_line(capsys.readouterr())
    assert list(tmp_path.iterdir()) == [], "a refused run leaves nothing behind"


@pytest.mark.smoke
def test_version(fastattn):
    from fastattn import __version__

    assert fastattn("--version").stdout == f"fastattn {__version__}\n"


def test_help_names_every_flag(fastattn):
    for command in ("train", "generate"):
        text = fastattn(command, "--help").stdout
        assert all(flag in text for name, flag in ALL if name == command)
    assert "train" in fastattn().stdout


def test_help_tells_the_true_defaults(fastattn):
    import dataclasses

    from fastattn.cli import train as command
    from fastattn.train import TrainConfig

    text = " ".join(fastattn("train", "--help").stdout.split())
    defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig) if "--" + f.name.replace("_", "-") in FLAGS}
    defaults |= {"layers": command.LAYERS, "width": command.WIDTH, "heads": command.HEADS}
    for name, value in defaults.items():
        after = text.partition(f"--{name.replace('_', '-')} ")[2]
        assert (
            f"[default: {value if isinstance(value, str) else format(value, 'g')}]" in after[: after.find("]") + 1]
        ), name


def test_internal_faults_are_one_line_too(monkeypatch, capsys):
    import fastattn.cli.info

    def fault(_):
        raise KeyError("x")

    monkeypatch.setattr(fastattn.cli.info, "print_info", fault)
    assert main(["info"]) == 1
    assert "internal error, KeyError: 'x'" in one_line(capsys.readouterr())


@pytest.mark.skipif(fa.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("command", [["train"], ["generate", "."]], ids=["train", "generate"])
def test_no_gpu(fastattn, command, tmp_path):
    """Before a folder is made or a file read."""
    err = fastattn(*command, "--device", "cuda", code=1).stderr
    assert err == f"fastattn: --device: there is no device 'cuda': {fa.cuda.unavailable()}\n"
    assert not list(tmp_path.iterdir())
