"""`fastattn bench`: its flags, its files, its exit codes. What it measures is tested in tests/bench."""

import json

import pytest

from fastattn.cli import bench, main

ONE = ["--op", "unary", "--case", "exp 65536", "--rounds", "1", "--seconds", "0", "--peers", ""]


def test_the_cases_are_listed(fastattn):
    lines = fastattn("bench", "--list", "--quick").stdout.splitlines()
    assert {line.partition(":")[0] for line in lines} >= {"matmul", "attention", "softmax", "adam", "end_to_end"}
    assert set(lines) < set(fastattn("bench", "--list").stdout.splitlines())


def test_a_run_leaves_a_record_and_a_page(fastattn, tmp_path):
    done = fastattn("bench", *ONE, "--threads", "1")
    (record,) = (tmp_path / "runs").glob("bench-*.json")
    assert f"kept in runs/{record.name}" in done.stdout
    content = json.loads(record.read_text())
    assert content["environment"]["threads"] == 1
    assert [c["case"] for c in content["cases"]] == ["float32 exp 65536"]
    assert "<svg" in record.with_suffix(".html").read_text()


def test_a_comparison(fastattn, tmp_path):
    fastattn("bench", *ONE, "--json", "old.json")
    old = json.loads((tmp_path / "old.json").read_text())
    (case,) = old["cases"]
    assert case["peaks"] == []

    def with_times(factor):
        """The same run, every time multiplied, on a machine that was all ours."""
        changed = json.loads(json.dumps(old))
        rounds = [[factor * t for t in r] for r in case["results"]["fastattn"]["rounds"]]
        changed["cases"][0]["results"]["fastattn"]["rounds"] = rounds
        (tmp_path / "changed.json").write_text(json.dumps(changed))

    with_times(1e-6)
    done = fastattn("bench", *ONE, "--compare", "changed.json", "--json", "new.json", "--html", "new.html", code=1)
    assert done.stderr == "fastattn: bench: 1 case is slower than in changed.json\n"
    assert "slower: unary: float32 exp 65536: +" in done.stdout
    assert "slower: unary: float32 exp 65536: +" in (tmp_path / "new.html").read_text()
    with_times(1e6)
    assert "nothing is slower" in fastattn("bench", *ONE, "--compare", "changed.json").stdout
    old["environment"]["cpu"] = "another"
    (tmp_path / "other.json").write_text(json.dumps(old))
    done = fastattn("bench", *ONE, "--compare", "other.json")
    assert "not compared, it was another machine or setting: cpu was another" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--op", "nothing"], 2, "bench: no suite of nothing; there are matmul, "),
        (["--case", "nothing"], 2, "bench: no case whose name contains 'nothing'; --list names them"),
        (["--peers", "numpy,scipy"], 2, "bench: no peer scipy; there are numpy, torch"),
        (["--rounds", "0"], 2, "'--rounds'"),
        (["--threads", "0"], 2, "'--threads'"),
        (["--stok"], 2, "No such option: --stok"),
        (["--compare", "nowhere.json"], 1, "nowhere.json"),
    ],
)
def test_errors(args, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *args]) == code
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_another_version_is_refused(capsys, tmp_path):
    path = tmp_path / "old.json"
    path.write_text('{"version": 99}')
    assert main(["bench", "--compare", str(path), "--op", "unary"]) == 1
    assert "is a record of version 99; expected 1" in capsys.readouterr().err


def test_a_package_without_its_benchmarks_says_which(monkeypatch):
    monkeypatch.setattr(bench, "PACKAGE", "no_such_package")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        bench._benchmarks()
