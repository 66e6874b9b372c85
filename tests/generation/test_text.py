"""Text token by token: whole characters, stop strings, decoders that look at what is before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastattn.generation import Detokenizer


class Bytes:
    """A token is a byte."""

    def decode(self, ids):
        return bytes(ids).decode("utf-8", "replace")


class Words:
    """A token is a word; a text has no space at its beginning, as in decoders of SentencePiece."""

    def decode(self, ids):
        return " ".join("abcdefgh"[i] for i in ids)


def pieces(text, tokens):
    out = []
    for token in tokens:
        out.append(text.push(token))
        if text.stopped:
            break
    return [*out, text.flush()]


def test_characters_of_several_bytes_come_whole():
    text = "aé€😀z"
    expected = [c for c in text for c in [""] * (len(c.encode()) - 1) + [c]]
    assert pieces(Detokenizer(Bytes()), text.encode()) == [*expected, ""]


def test_a_character_that_never_ends():
    assert pieces(Detokenizer(Bytes()), "a😀".encode()[:-1]) == ["a", "", "", "", "�"]
    assert "".join(pieces(Detokenizer(Bytes()), b"\xff\xfeab\xff")) == "��ab�"


def test_spaces_between_words_and_after_the_prompt():
    assert pieces(Detokenizer(Words()), [0, 1, 2]) == ["a", " b", " c", ""]
    assert pieces(Detokenizer(Words(), prompt=[7] * 20), [0, 1]) == [" a", " b", ""]


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("hello world", ["wor"], "hello "),
        ("aab", ["ab"], "a"),
        ("aaab", ["aab"], "a"),
        ("abcabd", ["abd"], "abc"),
        ("one\n\ntwo", ["\n\n"], "one"),
        ("never", ["no", "x"], "never"),
        ("ends in sto", ["stop"], "ends in sto"),
        ("xyz", ["z", "yz"], "x"),
        ("x", ["x"], ""),
        ("naïve€!", ["€"], "naïve"),
    ],
)
def test_stop_strings(text, stops, expected):
    detokenizer = Detokenizer(Bytes(), stop_strings=stops)
    assert "".join(pieces(detokenizer, text.encode())) == expected
    assert detokenizer.stopped == any(stop in text for stop in stops)


def test_only_what_may_begin_a_stop_string_is_held_back():
    assert pieces(Detokenizer(Bytes(), stop_strings=["END"]), b"aENbE") == ["a", "", "", "ENb", "", "E"]


@given(st.text(alphabet="ab€", max_size=30), st.lists(st.text(alphabet="ab€", min_size=1, max_size=4), max_size=3))
def test_it_is_the_text_before_the_first_stop(text, stops):
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    detokenizer = Detokenizer(Bytes(), stop_strings=stops)
    got = "".join(pieces(detokenizer, text.encode()))
    if ends:
        # Where one stop string ends before another begins, the one that is whole first counts.
        first = min(text.find(stop) + len(stop) for stop in stops if stop in text)
        at = min(text.find(stop) for stop in stops if stop in text and text.find(stop) + len(stop) == first)
        assert got == text[:at]
    else:
        assert got == text
    assert detokenizer.stopped == bool(ends)
