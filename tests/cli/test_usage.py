"""Flags, exit codes, errors."""

import pytest
import typer.main

import fastattn as fa
from fastattn.cli import main
from fastattn.cli.app import app
from fastattn.cli.recipes import RECIPES

COMMANDS = typer.main.get_command(app).commands


def flags_of(command):
    return [p.opts[0] for p in command.params if p.opts[0].startswith("--")]


# Of the kinds that `train` has, the default one stands for what all share; the others for what is theirs.
ALL = [(("train",), flag) for flag in flags_of(COMMANDS["train"].commands["gpt"])]
ALL += [(("generate",), flag) for flag in flags_of(COMMANDS["generate"])]
for name in RECIPES:
    known = {flag for _, flag in ALL}
    ALL += [(("train", name), flag) for flag in flags_of(COMMANDS["train"].commands[name]) if flag not in known]
VIT = flags_of(COMMANDS["train"].commands["vit"])
SWITCHES = {"--quiet", "--json", "--flip", "--bleu", "--gradient-checkpointing"}
TEXTS = {"--text", "--resume", "--out", "--config", "--prompt", "--stop", "--data", "--start"}


def one_line(captured):
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("fastattn: ")
    return captured.err


@pytest.mark.parametrize(("command", "flag"), ALL)
def test_a_typo_in_any_flag_is_one_line(command, flag, capsys):
    assert main([*command, flag[:-1] + "zz", "1"]) == 2
    assert f"No such option: {flag[:-1]}zz" in one_line(capsys.readouterr())


@pytest.mark.parametrize(("command", "flag"), [pair for pair in ALL if pair[1] not in SWITCHES | TEXTS])
@pytest.mark.parametrize("value", ["x", "-1"])
def test_a_bad_value_of_any_flag_is_one_line(command, flag, value, capsys):
    assert main([*command, flag, value]) == 2
    assert flag in one_line(capsys.readouterr())


@pytest.mark.parametrize(("command", "flag"), [pair for pair in ALL if pair[1] not in SWITCHES])
def test_a_flag_without_its_value(command, flag, capsys):
    assert main([*command, flag]) == 2
    assert flag in one_line(capsys.readouterr())


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["trian"], 2, "No such command 'trian'"),
        (["--verison"], 2, "No such option: --verison"),
        (["train", "extra"], 2, "train: there is no kind of model 'extra'. Expected gpt, mlp,"),
        (["train", "gtp"], 2, "there is no kind of model 'gtp'. Did you mean gpt?"),
        (["train", "gpt", "extra"], 2, "unexpected extra argument"),
        (["train", "mlp", "--context", "5"], 2, "No such option: --context"),
        (["train", "mlp", "--hidden", "5,x"], 2, "--hidden is '5,x'; expected positive numbers"),
        (["train", "mlp", "--data", "mnist"], 1, "--data mnist: expected mnist_5k or digits, or a .csv"),
        (["train", "mlp", "--steps", "5", "--epochs", "5"], 2, "--steps and --epochs say the same thing"),
        (["train", "vit", "--width", "10", "--heads", "3"], 2, "--width 10 is not a multiple of --heads 3"),
        (["train", "--config", "nowhere.toml"], 1, "no such config file: nowhere.toml"),
        (["eval", "nowhere"], 1, "no such folder: nowhere"),
        (["predict", "nowhere", "x"], 1, "no such folder: nowhere"),
        (["finetune", "nowhere"], 1, "nowhere has no tokenizer: neither tokenizer.json nor vocab.json"),
        (["embed", "nowhere", "x"], 1, "no such folder: nowhere"),
        (["summary", "nothing"], 2, "'nothing' is neither a run folder nor a kind; expected one of gpt, mlp,"),
        (["train", "--steps", "5", "--tokens", "5"], 2, "--steps and --tokens say the same thing; pass one of them"),
        (["train", "--resume", "x", "--lr", "1", "--steps", "2"], 2, "settings of the run; drop --steps, --lr"),
        (["train", "--resume", "nowhere"], 1, "no such folder: nowhere"),
        (["train", "--resume", "."], 1, ". is no run to resume: it has no run.json"),
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
    for command in {command for command, _ in ALL} | {("train", "gpt")}:
        text = fastattn(*command, "--help").stdout
        wanted = ("train",) if command == ("train", "gpt") else command
        assert command == ("train",) or all(flag in text for name, flag in ALL if name == wanted)
    text = fastattn("train", "--help").stdout
    assert all(name in text for name in RECIPES)
    assert "train" in fastattn().stdout


def test_help_tells_the_true_defaults(fastattn):
    text = " ".join(fastattn("train", "vit", "--help").stdout.split())
    recipe = RECIPES["vit"]
    values = vars(recipe.defaults) | vars(recipe.options())
    defaults = {name: value for name, value in values.items() if "--" + name.replace("_", "-") in VIT}
    assert len(defaults) > 20
    for name, value in defaults.items():
        if value is None or name == "steps" or isinstance(value, bool):
            continue
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
