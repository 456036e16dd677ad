"""Nothing that a user, a database or an exception brings can steer a terminal or fill it."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyapopt.display import LONGEST_LINE, one_line, printable, readable, shortened
from lyapopt.redaction import redacted


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("\x85\x7f\x00", r"\x85\x7f\x00"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\u2028\u2029\u200b\ufeff", r"\u2028\u2029\u200b\ufeff"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("née 学習率 λ̂\u00a0\u3000", "née 学習率 λ̂\u00a0\u3000"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_what_steers_is_escaped_and_what_people_write_stays(raw: str, shown: str) -> None:
    assert printable(raw) == shown


@given(st.text(st.characters(), max_size=200))
def test_one_line_is_one_line_and_showing_it_twice_changes_nothing(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert {unicodedata.category(c) for c in line} & {"Cc", "Cs", "Zl", "Zp"} == set()
    assert printable(line) == line
    line.encode()


def test_a_long_text_says_how_long_it_was_and_where_the_whole_is() -> None:
    line = one_line("x" * 1_000_000, 100, "lyapopt trials -f json")
    assert line.endswith("x... (1,000,000 characters; whole: lyapopt trials -f json)")
    assert len(line) == 100
    assert one_line("x" * 100, 100) == "x" * 100
    assert shortened(line, 100) == line


@pytest.mark.parametrize("piece", ["x", "x\n", "\n", "\x1b", "\x1b\n"])
def test_a_text_of_several_lines_is_bounded_however_it_is_made(piece: str) -> None:
    shown = readable(piece * 500_000)
    assert len(shown) <= 4 * 20_000
    assert max(map(len, shown.split("\n"))) <= 4 * LONGEST_LINE
    assert "characters)" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("piece", ["/:", "/a:b@", "@", "/u:p ", "?password=", "://", ":@/"])
def test_passwords_are_looked_for_in_a_megabyte_within_seconds(piece: str) -> None:
    started = time.monotonic()
    redacted("@" + piece * (1_000_000 // len(piece)))
    redacted(piece * (1_000_000 // len(piece)) + "@")
    assert time.monotonic() - started < 5


def test_a_password_is_hidden_before_a_line_is_cut() -> None:
    line = one_line("postgresql://me:" + "s3cr3t" * 500 + "@db/x", 60)
    assert line == "postgresql://me:***@db/x"
