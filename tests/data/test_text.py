"""The spelling that reviews are brought into before they are split into tokens."""

import pytest

from lab.data import text


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [
        ("it\x92s", ["it", "'s"]),  # Windows-1252 taken for Latin-1
        ("amaze me\x97by", ["amaze", "me", "—", "by"]),
        ("rare \x96 a film\x85and", ["rare", "–", "a", "film", "…", "and"]),
        ("\x93So bad\x94", ['"', "so", "bad", '"']),
        ("I don’t like it", ["i", "do", "n't", "like", "it"]),  # what a word processor writes
        ("I don´t", ["i", "do", "n't"]),
        ("“good”", ['"', "good", '"']),
        ("good\x08movie\x7fagain\x81end", ["good", "movie", "again", "end"]),
        ("won\xadder\u200bful\ufeff", ["wonderful"]),
        ("cafe\u0301", ["café"]),
        ("a<br />b<BR>c< br/ >d", ["a", "b", "c", "d"]),
        ("tab\tnew\nline\r\nno\xa0break", ["tab", "new", "line", "no", "break"]),
    ],
)
def test_one_spelling(raw, tokens):
    assert text.tokenize(raw) == tokens


def test_every_windows_1252_character_reads_as_itself():
    for code in range(0x80, 0xA0):
        try:
            meant = bytes([code]).decode("cp1252")
        except UnicodeDecodeError:
            meant = " "
        assert text.clean(f"a{chr(code)}b") == text.clean(f"a{meant}b")
        assert not any(0x7F <= ord(character) <= 0x9F for character in text.clean(chr(code)))


def test_plain_text_stays():
    plain = "A wonderful film: 9/10, isn't it? (Yes -- \"really\".) Müller's café £5 ½"
    assert text.clean(plain) == plain
