"""Every kind of `fastattn train`: a run from data to prediction, config files, killed and resumed."""

import json

import numpy as np
import pytest

import fastattn as fa
from fastattn.cli import main
from fastattn.cli.recipes import RECIPES

COMMON = [
    "--steps",
    "6",
    "--batch-size",
    "4",
    "--eval-every",
    "3",
    "--checkpoint-every",
    "4",
    "--warmup",
    "1",
    "--quiet",
]
SMALL = {
    "gpt": "--text text.txt --layers 1 --width 8 --heads 2 --context 16 --sample 0",
    "mlp": "--data images.npz --hidden 8",
    "vit": "--data images.npz --layers 1 --width 8 --heads 2 --patch 3 --mixup 0.3",
    "bert": "--data texts.jsonl --layers 1 --width 8 --heads 2 --context 8",
    "classifier": "--data texts.jsonl --layers 1 --width 8 --heads 2 --context 8",
    "cnn": "--data images.npz",
    "lstm": "--data texts.jsonl --embedding 4 --width 4",
    "translate": "--data pairs.jsonl --held-out 5 --layers 1 --width 8 --heads 2",
}
SMALL = {kind: flags.split() for kind, flags in SMALL.items()}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, in a folder with small data; returns its standard output."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 20)
    np.savez("images.npz", x=rng.integers(0, 256, (40, 6, 6)).astype(np.uint8), y=np.arange(40) % 3)
    words = ["good", "bad", "film", "very", "the"]
    texts = [" ".join(rng.choice(words, 5)) for _ in range(40)]
    lines = [json.dumps({"text": text, "label": "yes" if "good" in text else "no"}) for text in texts]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    pairs = [json.dumps({"source": text[:6], "target": text[:3]}) for text in texts]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs))

    def go(*args, code=0):
        found = main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        assert found == code, out + err
        if code:
            assert len(err.splitlines()) == 1, err
        return err if code else out

    return go


def train(run, kind, *more):
    run("train", kind, *SMALL[kind], *COMMON, *more)


def test_every_kind_is_tested():
    assert SMALL.keys() == RECIPES.keys()


@pytest.mark.parametrize("kind", SMALL)
def test_a_run(run, kind, tmp_path):
    out = run("train", kind, *SMALL[kind], *COMMON[:-1], "--out", "run", "--seed", 3)
    for part in ("device ", "model    " + RECIPES[kind].noun, "training 6 steps", "step 6/6 | loss", "wrote run:"):
        assert part in out
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["kind"] == kind
    assert settings["train"]["seed"] == 3
    measures = json.loads(run("eval", "run", "--json"))
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    last = dict(zip(history[0].split(","), history[-1].split(","), strict=True))
    for name in measures:
        if name != "classes":
            assert float(last[f"val_{name}"]) == pytest.approx(measures[name], rel=1e-5)
    summary = run("summary", "run")
    assert " parameters, " in summary
    assert len(summary.splitlines()) > 3


@pytest.mark.parametrize("kind", SMALL)
def test_stopped_and_resumed(run, kind, tmp_path):
    """From the checkpoint of step 4, to the same bits."""
    train(run, kind, "--out", "whole")
    train(run, kind, "--out", "part")
    whole = (tmp_path / "whole" / "model.safetensors").read_bytes()
    from fastattn.train import Progress, Trainer

    class Killed(BaseException):
        pass

    class Killer(Progress):
        def step(self, done):
            if done == 5:
                raise Killed

    for path in (tmp_path / "part").glob("*.safetensors"):
        path.unlink()
    fit = Trainer.fit
    with pytest.MonkeyPatch.context() as patch:

        def killed(self):
            self.progress = Killer()
            return fit(self)

        patch.setattr(Trainer, "fit", killed)
        with pytest.raises(Killed):
            main(["train", "--resume", "part", "--quiet"])
    assert not (tmp_path / "part" / "model.safetensors").exists()
    run("train", "--resume", "part", "--quiet")
    assert (tmp_path / "part" / "model.safetensors").read_bytes() == whole


def test_predictions_of_images(run, tmp_path):
    train(run, "mlp", "--out", "run")
    x = np.load("images.npz")["x"]
    np.save("one.npy", x[0])
    np.save("many.npy", x[:3].reshape(3, -1))
    lines = run("predict", "run", "one.npy", "many.npy", "--top", 2).splitlines()
    assert [line.split(":")[0] for line in lines] == ["one.npy", "many.npy[0]", "many.npy[1]", "many.npy[2]"]
    assert lines[0].split(": ")[1] == lines[1].split(": ")[1]
    found = [json.loads(line) for line in run("predict", "run", "many.npy", "--json").splitlines()]
    assert sum(found[0]["classes"].values()) == pytest.approx(1)
    np.save("wrong.npy", x[:, :5])
    assert "wrong.npy has images of (1, 5, 6); the model takes (1, 6, 6)" in run("predict", "run", "wrong.npy", code=1)
    assert "no such file: no.npy" in run("predict", "run", "no.npy", code=1)
    (tmp_path / "a.txt").write_text("")
    assert "expected a .npy, .npz, .png, .csv or IDX file" in run("predict", "run", "a.txt", code=2)


def test_predictions_of_texts(run):
    train(run, "translate", "--out", "pairs")
    assert len(run("predict", "pairs", "good f", "bad").splitlines()) == 2
    assert "a text is empty" in run("predict", "pairs", "", code=1)
    train(run, "gpt", "--out", "gpt")
    assert "continue a text with: fastattn generate gpt --prompt TEXT" in run("predict", "gpt", "x", code=2)


def test_bleu(run):
    pytest.importorskip("sacrebleu")
    train(run, "translate", "--out", "pairs", "--bleu")
    measures = json.loads(run("eval", "pairs", "--json"))
    assert 0 <= measures["bleu"] <= 100


def test_picture_of_attention(run, tmp_path):
    pytest.importorskip("matplotlib")
    train(run, "classifier", "--out", "texts")
    plain = run("predict", "texts", "good film")
    assert run("predict", "texts", "good film", "--attention", "a.png") == plain
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "--attention draws one input; got 2" in run("predict", "texts", "a", "b", "--attention", "b.png", code=2)
    train(run, "lstm", "--out", "lstm")
    text = run("predict", "lstm", "good film", "--attention", "b.png", code=2)
    assert "lstm is no model whose attention reads an input as a whole" in text
    assert not (tmp_path / "b.png").exists()


def test_pretrained_then_fine_tuned(run, tmp_path):
    train(run, "bert", "--out", "bert")
    assert len(run("predict", "bert", "the [MASK] film", "--top", 2).split(",")) == 2
    assert "has no [MASK] to be found" in run("predict", "bert", "the film", code=2)
    flags = ["--data", "texts.jsonl", "--context", 8, *COMMON]
    run("finetune", "bert", *flags, "--labels", 20, "--out", "tuned")
    found = json.loads(run("predict", "tuned", "a good film", "--json"))
    assert found["classes"].keys() == {"yes", "no"}
    vectors = [json.loads(line) for line in run("embed", "bert", "good film", "bad", "--json").splitlines()]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, rel=1e-5)
    assert run("embed", "bert", "good film", "bad").splitlines()[0].startswith(" 1.0000")
    # What it started from may go: the folder holds all of it.
    run("eval", "tuned")
    (tmp_path / "bert").rename("elsewhere")
    assert run("predict", "tuned", "a good film")


def test_a_model_of_hugging_faces_form_is_fine_tuned(run, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "good", "bad", "film"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    config = fa.models.BERTConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    fa.models.BERT(config).save_pretrained("theirs")
    tokenizer.save("theirs/tokenizer.json")
    run("finetune", "theirs", "--data", "texts.jsonl", "--context", 5, *COMMON, "--out", "tuned")
    assert (tmp_path / "tuned" / "tokenizer.json").exists()
    found = json.loads(run("predict", "tuned", "a good film", "--json"))
    assert found["classes"].keys() == {"yes", "no"}
    run("train", "--resume", "tuned")


def test_a_classifier_has_a_picture_and_a_table(run, tmp_path):
    train(run, "classifier", "--out", "run")
    out = run("eval", "run")
    assert out.splitlines()[0].startswith("loss ")
    assert "precision  recall" in out
    pytest.importorskip("matplotlib")
    assert (tmp_path / "run" / "confusion.png").exists()


def test_config_files(run, tmp_path):
    """Flags come before the file, the file before the defaults."""
    (tmp_path / "a.toml").write_text(
        'hidden = "5,4"\nbatch-size = 8\nsteps = 3\nlr = 1\nbeta1 = 0.5\ndata = "images.npz"\n'
    )
    run("train", "mlp", "--config", "a.toml", "--batch-size", 4, "--out", "run", "--quiet")
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["options"]["hidden"] == "5,4"
    assert {"steps": 3, "batch_size": 4, "lr": 1.0, "beta1": 0.5}.items() <= settings["train"].items()
    assert settings["train"]["warmup"] == 0
    run("train", "mlp", "--config", "a.toml", "--warmup", 9, "--out", "warm", "--quiet")
    assert json.loads((tmp_path / "warm" / "run.json").read_text())["train"]["warmup"] == 9
    run("train", "mlp", "--config", "a.toml", "--epochs", 0.5, "--out", "other", "--quiet")
    assert json.loads((tmp_path / "other" / "run.json").read_text())["train"]["steps"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden = '5'", "a.toml: mlp has no setting 'hiden'. Did you mean hidden?"),
        ("steps = '5'", "a.toml: steps is '5'; expected int"),
        ("steps = 0", "steps is 0; expected an integer of at least 1"),
        ("dropout = 2", "a.toml: dropout is 2.0; expected at least 0.0 and at most 1.0"),
        ("schedule = 'step'", "schedule is 'step'; expected one of cosine, linear, constant"),
        ("steps = 1\nepochs = 1", "--steps and --epochs say the same thing; pass one of them"),
        ("steps =", "a.toml is not TOML"),
    ],
)
def test_config_files_that_are_wrong(run, tmp_path, text, message):
    (tmp_path / "a.toml").write_text(text)
    assert message in run("train", "mlp", "--config", "a.toml", "--out", "run", code=2)
    assert not (tmp_path / "run").exists()


def test_images_of_other_files(run, tmp_path):
    import struct

    x = np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8)
    y = (np.arange(20) % 2).astype(np.uint8)
    (tmp_path / "idx").mkdir()
    for prefix in ("train", "t10k"):
        header = struct.pack(">BBBB3I", 0, 0, 8, 3, *x.shape)
        (tmp_path / "idx" / f"{prefix}-images-idx3-ubyte").write_bytes(header + x.tobytes())
        (tmp_path / "idx" / f"{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">BBBBI", 0, 0, 8, 1, 20) + y.tobytes()
        )
    np.savetxt("a.csv", np.concatenate([x.reshape(20, 16), y[:, None]], 1), delimiter=",", fmt="%d")
    for data in ("idx", "a.csv"):
        run("train", "mlp", "--data", data, "--hidden", 4, *COMMON, "--out", f"run-{data}")
        assert "accuracy" in run("eval", f"run-{data}")
    (tmp_path / "idx" / "t10k-labels-idx1-ubyte").unlink()
    assert "idx has no t10k-images-idx3-ubyte and" in run("train", "mlp", "--data", "idx", code=1)


def test_other_data_are_not_resumed(run, tmp_path):
    train(run, "mlp", "--out", "run")
    np.savez("images.npz", x=np.zeros((40, 6, 6), np.uint8), y=np.arange(40) % 3)
    assert "images.npz is not what run was started with" in run("train", "--resume", "run", code=1)
    assert "images.npz is not what run was started with" in run("eval", "run", code=1)
