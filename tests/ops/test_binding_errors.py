"""The checks of the bindings that no public function can fail, because the op descriptions call them rightly: gradients'
shapes above all. Called directly, so that a new description that calls them wrongly gets an error and not a crash. And a
test that every error message of the bindings is asserted somewhere."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from fastattn import _C
from fastattn.testing import unchanged

Z = np.zeros
F32 = np.float32
CSRC = Path(__file__).parents[2] / "csrc" / "bindings"


def attention_bwd(o, rows=None, **changes):
    """_C.attention_bwd of query (1, 2, 3, 4), key (1, 2, 5, 4), value (1, 2, 5, 6), mask (3, 5); o takes the gradient."""
    arguments = {
        "query": Z((1, 2, 3, 4)),
        "key": Z((1, 2, 5, 4)),
        "value": Z((1, 2, 5, 6)),
        "attn_mask": Z((3, 5)),
        "alibi_slopes": None,
        "sinks": None,
        "out": Z((1, 2, 3, 6)),
        "lse": Z((1, 2, 3)),
        "weights.indices": None,
        "dout": Z((1, 2, 3, 6)),
        "dlse": None,
        "dweights": None,
        "dquery": o,
        "dkey": None,
        "dvalue": None,
        "dattn_mask": None,
        "dalibi_slopes": None,
        "dsinks": None,
        **changes,
    }
    options = (False, 0.0, 0, 0, False, None, False, 0, -1, -1, 0.0, None, rows, False)
    _C.attention_bwd(*arguments.values(), *options)


ERRORS = [
    (
        lambda o: attention_bwd(o, dout=Z((1, 2, 3, 5))),
        ValueError,
        "out and dout differ from what the forward gives; out (1, 2, 3, 6), dout (1, 2, 3, 5)",
    ),
    (lambda o: attention_bwd(o, out=Z((1, 2, 4, 6))), ValueError, "out and dout differ from what the forward gives"),
    (lambda o: attention_bwd(o, out=Z((1, 1, 1, 2, 3, 6))), ValueError, "out and dout differ from what the forward"),
    (lambda o: attention_bwd(o, lse=Z((1, 2, 4))), ValueError, "lse has shape (1, 2, 4); expected (1, 2, 3)"),
    (lambda o: attention_bwd(o, lse=Z((1, 1, 2, 3))), ValueError, "lse has shape (1, 1, 2, 3); expected (1, 2, 3)"),
    (lambda o: attention_bwd(o, lse=None), TypeError, "lse is None; expected an array"),
    (lambda o: attention_bwd(o, dlse=Z((1, 2, 4))), ValueError, "dlse has shape (1, 2, 4); expected (1, 2, 3)"),
    (lambda o: attention_bwd(o, dweights=Z((3, 5))), ValueError, "dweights has shape (3, 5); expected (1, 2, 3, 5)"),
    (lambda o: attention_bwd(o, Z((1, 1), int)), ValueError, "weights.rows is not a row of numbers"),
    (lambda o: attention_bwd(o, Z(1, F32)), TypeError, "weights.rows has dtype float32; expected int64"),
    (
        lambda o: attention_bwd(o, sinks=Z(2), dsinks=Z(2, F32)),
        TypeError,
        "a gradient of slopes or sinks has not their dtype",
    ),
    (
        lambda o: attention_bwd(None, dquery=o[..., :3]),
        ValueError,
        "dquery has shape (1, 2, 3, 3); expected (1, 2, 3, 4)",
    ),
    (lambda o: attention_bwd(None, dkey=o), ValueError, "dkey has shape (1, 2, 3, 4); expected (1, 2, 5, 4)"),
    (lambda o: attention_bwd(None, dvalue=o), ValueError, "dvalue has shape (1, 2, 3, 4); expected (1, 2, 5, 6)"),
    (lambda o: attention_bwd(o, dattn_mask=Z((1, 5))), ValueError, "dattn_mask has shape (1, 5); expected (3, 5)"),
    (
        lambda o: attention_bwd(None, dquery=np.asfortranarray(o)),
        ValueError,
        "dquery is not contiguous along its last axis",
    ),
    (lambda o: attention_bwd(o, dout=o[:, :, :, :1].repeat(6, 3).astype(F32)), TypeError, "and dout is float32"),
    (
        lambda o: _C.matmul_bwd(Z((3, 2)), Z((2, 4)), Z((3, 5)), None, None, None, False, False),
        ValueError,
        "matmul backward: dout has shape (3, 5); expected (3, 4)",
    ),
    (
        lambda o: _C.matmul_bwd(Z((3, 2)), Z((2, 4)), Z((3, 4)), o[0, 0], None, None, False, False),
        ValueError,
        "matmul backward: da has shape (3, 4); expected (3, 2)",
    ),
    (
        lambda o: _C.matmul_bwd(Z((3, 2)), Z((2, 4)), Z((3, 4)), None, o[0, 0], None, False, False),
        ValueError,
        "matmul backward: db has shape (3, 4); expected (2, 4)",
    ),
    (
        lambda o: _C.matmul_bwd(Z((3, 2)), Z((2, 4)), Z((3, 4)), None, None, o[0, 0, 0, :3], False, False),
        ValueError,
        "matmul backward: dbias has shape (3,); expected (4,)",
    ),
    (
        lambda o: _C.matmul(Z((3, 2)), Z((2, 4)), None, None, Z((3, 4)), o[0, 0, :2], False, False, 1),
        ValueError,
        "matmul: preact has shape (2, 4); expected (3, 4)",
    ),
    (
        lambda o: _C.softmax_bwd(Z(4), Z(3), o[0, 0, 0], 0, 1.0, False),
        ValueError,
        "softmax: dout has shape (3,); expected",
    ),
    (
        lambda o: _C.softmax_bwd(Z(3), Z(3), o[0, 0, 0], 0, 1.0, True),
        ValueError,
        "log_softmax: dx has shape (4,); expected",
    ),
    (lambda o: _C.activation_bwd(Z(4), Z(3), o[0, 0, 0], 1), ValueError, "gelu: dout has shape (3,); expected (4,)"),
    (lambda o: _C.activation_bwd(Z(3), Z(3), o[0, 0, 0], 1), ValueError, "gelu: dx has shape (4,); expected (3,)"),
    (
        lambda o: _C.layer_norm_bwd(Z((3, 4)), None, Z(2), Z(3), Z((3, 4)), o[0, 0], None, None, (4,)),
        ValueError,
        "layer_norm: mean has shape (2,); expected (3,)",
    ),
    (
        lambda o: _C.layer_norm_bwd(Z((3, 4)), None, Z(3), Z(2), Z((3, 4)), o[0, 0], None, None, (4,)),
        ValueError,
        "layer_norm: rstd has shape (2,); expected (3,)",
    ),
    (
        lambda o: _C.layer_norm_bwd(Z((3, 4)), None, Z(3), Z(3), Z((3, 5)), o[0, 0], None, None, (4,)),
        ValueError,
        "layer_norm: dout has shape (3, 5); expected (3, 4)",
    ),
    (
        lambda o: _C.layer_norm_bwd(Z((3, 4)), None, Z(3), Z(3), Z((3, 4)), None, o[0, 0, 0, :3], None, (4,)),
        ValueError,
        "layer_norm: dweight has shape (3,); expected (4,)",
    ),
    (
        lambda o: _C.layer_norm_bwd(Z((3, 4)), None, Z(3), Z(3), Z((3, 4)), None, None, o[0, 0, 0, :3], (4,)),
        ValueError,
        "layer_norm: dbias has shape (3,); expected (4,)",
    ),
    (
        lambda o: _C.embedding_bwd(Z(3, int), Z((3, 5)), o[0, 0], -1),
        ValueError,
        "embedding: dout has shape (3, 5); expected (3, 4)",
    ),
    (
        lambda o: _C.embedding_bwd(Z(3, int), Z((3, 4)), o[0], -1),
        ValueError,
        "embedding: dweight needs two axes (V, D); dweight (2, 3, 4)",
    ),
    (
        lambda o: _C.embedding_bwd(Z(3, int), Z((3, 3)), o[0, 0].T, -1),
        ValueError,
        "embedding: dweight is not contiguous",
    ),
    (
        lambda o: _C.embedding_bwd(Z(3, int), np.ones((4, 3)).T, o[0, 0], -1),
        ValueError,
        "embedding: dout is not contiguous",
    ),
    (
        lambda o: _C.embedding_fwd(Z((5, 4)), Z((2, 6), int)[:, :3], o[0]),
        ValueError,
        "embedding: index's axes do not fold into one stride; pass numpy.ascontiguousarray of it",
    ),
    (
        lambda o: _C.embedding_bwd(Z((1,) * 8, int), Z((1,) * 8), o[0, 0], -1),
        ValueError,
        "embedding: index has too many axes; index (1, 1, 1, 1, 1, 1, 1, 1)",
    ),
    (
        lambda o: _C.cross_entropy_bwd(Z((3, 4)), Z(3, int), None, Z(2), Z(()), o[0, 0], None, -100, 2, 0.0),
        ValueError,
        "cross_entropy: lse has shape (2,); expected (3,)",
    ),
    (
        lambda o: _C.cross_entropy_bwd(Z((3, 4)), Z(3, int), None, Z(3), Z(3), o[0, 0], None, -100, 2, 0.0),
        ValueError,
        "cross_entropy: dloss has shape (3,); expected ()",
    ),
    (
        lambda o: _C.cross_entropy_bwd(Z((3, 4)), Z(3, int), None, Z(3), Z(()), o[0, 0], None, -100, 0, 0.0),
        ValueError,
        "cross_entropy: dloss has shape (); expected (3,)",
    ),
    (
        lambda o: _C.cross_entropy_bwd(Z((3, 3)), Z(3, int), None, Z(3), Z(()), o[0, 0], None, -100, 2, 0.0),
        ValueError,
        "cross_entropy: dinput has shape (3, 4); expected (3, 3)",
    ),
    (
        lambda o: _C.cross_entropy_bwd(Z((4, 3)), Z(4, int), None, Z(4), Z(()), o[0, 0].T, None, -100, 2, 0.0),
        ValueError,
        "cross_entropy: dinput is not contiguous along its classes",
    ),
    (
        lambda o: _C.cross_entropy_fwd(Z((3, 4)), Z(3, int), None, o[0, 0, 0, :3], None, -100, 2, 0.0),
        ValueError,
        "cross_entropy: loss has shape (3,); expected ()",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:60] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((1, 2, 3, 4), 7.0)
    with unchanged(out), pytest.raises(error, match=re.escape(text)):
        call(out)


LITERAL = r'"(?:[^"\\]|\\.)*"'
STATEMENT = rf"(?:value_error|type_error|throw py::\w+)\((?:[^;\"]|{LITERAL})*;"


def messages():
    """The longest literal of every value_error, type_error and throw of the bindings."""
    for path in sorted(CSRC.glob("*.cpp")):
        for statement in re.findall(STATEMENT, path.read_text()):
            # Adjacent literals are one; what stands between them by + is another.
            literals = re.sub(r'"\s+"', "", " ".join(statement.split()))
            texts = [ast.literal_eval(t) for t in re.findall(LITERAL, literals)]
            if texts:
                yield path.name, max(texts, key=len).strip(" :;,()")


def test_every_message_is_asserted():
    if not CSRC.exists():
        pytest.skip("needs the sources")
    tests = "".join(
        p.read_text()
        for folder in ("ops", "interop", "core", "cuda")
        for p in Path(__file__).parents[1].glob(f"{folder}/*.py")
    )
    tests = re.sub(r'"\s*\n\s*"', "", tests).replace("\\", "")
    missing = [f"{name}: {text}" for name, text in messages() if text not in tests]
    assert missing == []
