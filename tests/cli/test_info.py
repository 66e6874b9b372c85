"""`fastattn info`."""

import json

import pytest

import fastattn as fa


@pytest.mark.smoke
def test_info(fastattn):
    text = fastattn("info").stdout
    content = json.loads(fastattn("info", "--json").stdout)
    assert content["isa"]["active"] in content["isa"]["available"]
    for value in (content["version"], content["isa"]["active"], content["cpu"], content["numpy"], content["python"]):
        assert value in text
    assert (content["cuda"], content["no_gpu"]) == (fa.cuda.is_available(), fa.cuda.unavailable())
    assert f"CUDA      {content['no_gpu'] or content['gpus'][0]}" in text


def test_info_says_what_is_forced(fastattn):
    content = json.loads(fastattn("info", "--json", FASTATTN_ISA="scalar", FASTATTN_NUM_THREADS="3").stdout)
    assert content["isa"]["active"] == "scalar"
    assert content["threads"]["used"] == 3
    assert content["environment"] == {"FASTATTN_ISA": "scalar", "FASTATTN_NUM_THREADS": "3"}
