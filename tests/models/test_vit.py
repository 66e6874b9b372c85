"""ViT and its classifier against transformers, folders of either, and what they promise by themselves."""

import json
import re

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import ViT, ViTConfig, ViTForImageClassification
from fastattn.models.vit import PretrainedViT

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "image_size": 12,
    "patch_size": 4,
}
CLASSES = [ViT, ViTForImageClassification]
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


@pytest.fixture(autouse=True)
def seed():
    fa.manual_seed(0)


def config(**changes):
    return ViTConfig(**{**SIZES, **changes})


def images_of(config, count=3):
    return np.random.default_rng(0).standard_normal((count, config.num_channels, *config.image))


def theirs_of(cls, **changes):
    """transformers' model of random weights, biases and norms too."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, cls.architecture)(transformers.ViTConfig(**{**SIZES, **changes}))
    generator = np.random.default_rng(1)
    for p in theirs.parameters():
        p.data = torch.from_numpy(generator.standard_normal(p.shape) * 0.2 + 0.3 * (p.ndim == 1)).float()
    return theirs


def here(name):
    """Our name of a tensor of transformers 5."""
    for pattern, replacement in PretrainedViT.renamed:
        name = re.sub(pattern, replacement, name)
    return name


def outputs_of(output):
    return [output[key] for key in ("last_hidden_state", "pooler_output", "logits") if key in output]


def ours_of(output):
    return list(output) if isinstance(output, tuple) else [output]


VARIANTS = [
    {},
    {"hidden_act": "gelu_new", "layer_norm_eps": 0.1},
    {"qkv_bias": False},
    {"num_channels": 1},
    {"patch_size": 12},
    {"patch_size": 1, "image_size": 5},
]


@pytest.mark.parity
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_outputs_and_gradients_are_transformers(cls, changes):
    torch = pytest.importorskip("torch")
    theirs = theirs_of(cls, **changes).double()
    ours = cls(config(**changes)).double()
    assert sorted(ours.state_dict()) == sorted(map(here, theirs.state_dict()))
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    images = images_of(ours.config)
    mine, other = fa.tensor(images, requires_grad=True), torch.tensor(images, requires_grad=True)
    found, expected = ours_of(ours(mine)), outputs_of(theirs(other))
    weights = [np.random.default_rng(2).standard_normal(y.shape) for y in found]
    for y, z in zip(found, expected, strict=True):
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), **CLOSE)
    sum((y * fa.Tensor(w)).sum() for y, w in zip(found, weights, strict=True)).backward()
    sum((y * torch.from_numpy(w)).sum() for y, w in zip(expected, weights, strict=True)).backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-8, atol=1e-10)
    grads = {here(name): q.grad for name, q in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), grads[name].numpy(), rtol=1e-8, atol=1e-10, err_msg=name)


RNG = np.random.default_rng(3)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("count", "labels"),
    [(5, np.array([4, 0, 2])), (2, np.array([1, 0, 1])), (5, RNG.integers(0, 2, (3, 5)) * 1.0), (1, RNG.random(3))],
    ids=["classes", "two classes", "several at once", "numbers"],
)
def test_losses_are_transformers(count, labels):
    torch = pytest.importorskip("torch")
    theirs = theirs_of(ViTForImageClassification, num_labels=count).double()
    ours = ViTForImageClassification(config(num_labels=count)).double()
    ours.load_state_dict(theirs.state_dict())
    images = images_of(ours.config)
    expected = theirs(torch.from_numpy(images), labels=torch.from_numpy(labels))
    logits, loss = ours(images, labels)
    np.testing.assert_allclose(logits.detach().numpy(), expected.logits.detach().numpy(), **CLOSE)
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)


@pytest.mark.parity
def test_first_weights_are_distributed_as_transformers():
    transformers = pytest.importorskip("transformers")
    wide = {**SIZES, "hidden_size": 64, "patch_size": 2}
    ours, theirs = ViT(ViTConfig(**wide)), transformers.ViTModel(transformers.ViTConfig(**wide))
    expected = {here(name): q.detach().numpy() for name, q in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        a, b = p.detach().numpy(), expected[name]
        if a.size < 700 or not b.std():
            assert (a.std() > 0) == (b.std() > 0), name
            assert b.std() > 0 or a.flat[0] == b.flat[0], name
        else:
            assert a.std() == pytest.approx(b.std(), rel=0.15), name


@pytest.mark.parity
@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_we_open_theirs(cls, tmp_path):
    torch = pytest.importorskip("torch")
    theirs = theirs_of(cls, image_size=[8, 12], num_labels=5).eval()
    theirs.save_pretrained(tmp_path)
    ours = fa.io.from_pretrained(tmp_path).eval()
    assert type(ours) is cls
    assert set(fa.io.load_tensors(tmp_path / "model.safetensors")) == set(ours.state_dict())
    images = images_of(ours.config).astype(np.float32)
    with fa.no_grad():
        for y, expected in zip(ours_of(ours(images)), outputs_of(theirs(torch.from_numpy(images))), strict=True):
            np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_transformers_opens_ours(cls, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ours = cls(config(num_labels=3)).eval()
    ours.save_pretrained(tmp_path)
    theirs, report = getattr(transformers, cls.architecture).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    images = images_of(ours.config).astype(np.float32)
    with fa.no_grad():
        for y, expected in zip(ours_of(ours(images)), outputs_of(theirs.eval()(torch.from_numpy(images))), strict=True):
            np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_round_trip(cls, tmp_path):
    model = cls(config(num_labels=3, image_size=(8, 12))).eval()
    model.save_pretrained(tmp_path)
    other = fa.io.from_pretrained(tmp_path).eval()
    assert type(other) is cls
    images = images_of(model.config).astype(np.float32)
    with fa.no_grad():
        for y, z in zip(ours_of(model(images)), ours_of(other(images)), strict=True):
            assert y.numpy().tobytes() == z.numpy().tobytes()


def test_another_head_starts_anew(tmp_path):
    ViT(config()).save_pretrained(tmp_path)
    other = ViTForImageClassification.from_pretrained(tmp_path, num_labels=7)
    assert other.classifier.weight.shape == (7, 24)
    tensors = fa.io.load_tensors(tmp_path / "model.safetensors")
    assert {name for name in tensors if not name.startswith("pooler.")} == set(other.vit.state_dict())
    for name, value in other.vit.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), tensors[name])
    other.save_pretrained(tmp_path)
    bare = ViT.from_pretrained(tmp_path)
    assert (bare.layernorm.weight == other.vit.layernorm.weight).all()
    missing, unexpected = other.load_state_dict(bare.state_dict(), strict=False)
    assert (missing, unexpected) == (["classifier.weight", "classifier.bias"], [])


# By itself -------------------------------------------------------------------------------------------------------------


def test_patches_are_what_a_convolution_sees():
    model = ViT(config(image_size=(8, 12), patch_size=(4, 2))).double()
    layer = model.embeddings.patch_embeddings.projection
    images = images_of(model.config)
    found = model.embeddings.patch_embeddings(fa.Tensor(images)).detach().numpy().reshape(3, 2, 6, 24)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    for i in range(2):
        for j in range(6):
            patch = images[:, :, 4 * i : 4 * i + 4, 2 * j : 2 * j + 2]
            expected = np.einsum("bchw,ochw->bo", patch, weight) + bias
            np.testing.assert_allclose(found[:, i, j], expected, **CLOSE)


def test_images_of_other_dtypes_and_layouts():
    model = ViT(config()).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
    channels_first = images.transpose(0, 3, 1, 2)  # a view that is not contiguous
    expected = model(np.ascontiguousarray(channels_first).astype(np.float32))[0]
    np.testing.assert_array_equal(model(channels_first)[0].tolist(), expected.tolist())


def test_it_learns():
    """Where in the image the bright patch is."""
    model = ViTForImageClassification(config(num_labels=9, num_channels=1))
    optimizer = fa.optim.AdamW(model.parameters(), lr=2e-3)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(400):
        labels = rng.integers(0, 9, 16)
        images = rng.standard_normal((16, 1, 3, 4, 3, 4)) * 0.1
        images[np.arange(16), 0, labels // 3, :, labels % 3] += 1
        _, loss = model(images.reshape(16, 1, 12, 12).astype(np.float32), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(9), abs=0.3)
    assert np.mean(losses[-5:]) < 0.1 * losses[0]


def test_dropout_trains_and_eval_does_not():
    model = ViTForImageClassification(config(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2))
    images = images_of(model.config).astype(np.float32)
    assert not (model(images) == model(images)).all()
    model(images, np.array([0, 1, 1]))[1].backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    assert (model(images) == model(images)).all()


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda: config(hidden_size=0), ValueError, "^ViTConfig: hidden_size is 0; expected a positive number$"),
        (
            lambda: config(num_attention_heads=5),
            ValueError,
            "hidden_size 24 is not a multiple of num_attention_heads 5",
        ),
        (lambda: config(hidden_act="mish"), ValueError, "^ViTConfig: hidden_act is 'mish'"),
        (
            lambda: config(image_size=13),
            ValueError,
            "^ViTConfig: image_size is 13; expected multiples of patch_size 4$",
        ),
        (lambda: config(image_size=(12, 10)), ValueError, r"^ViTConfig: image_size is \(12, 10\)"),
        (lambda: config(patch_size=0), ValueError, "^ViTConfig: patch_size is 0; expected positive numbers$"),
        (lambda: config(num_labels=0), ValueError, "^ViTConfig: num_labels is 0"),
        (
            lambda: ViT(config())(np.zeros((2, 3, 12, 11))),
            ValueError,
            r"^ViT: pixel_values has shape \(2, 3, 12, 11\); expected \(B, 3, 12, 12\)$",
        ),
        (lambda: ViT(config())(np.zeros((3, 12, 12))), ValueError, r"^ViT: pixel_values has shape \(3, 12, 12\)"),
        (
            lambda: ViT(config())([0.0]),
            TypeError,
            "^ViT: pixel_values is a list; expected a Tensor or an array of images$",
        ),
        (
            lambda: ViTForImageClassification(config())(np.zeros((2, 3, 12, 12)), np.zeros(3, int)),
            ValueError,
            r"^ViTForImageClassification: labels has shape \(3,\); expected \(2,\)$",
        ),
    ],
)
def test_errors(run, error, message):
    with pytest.raises(error, match=message):
        run()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"pooler_act": "relu"}, "pooler_act is 'relu', expected 'tanh'"), ({"patch_size": 5}, "image_size is 12")],
)
def test_configs_of_other_models(tmp_path, change, message):
    ViT(config()).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        fa.io.from_pretrained(tmp_path)
