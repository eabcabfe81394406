"""The watcher's text and JSON: lines on a pipe, lines in place on a terminal, the summary, untrusted text."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import S, lookup, report

from dsight.connections.model import Diagnosis, Endpoint, Listener, Lost, Report, to_json
from dsight.ui.jsonl import JsonFace
from dsight.ui.text import TextFace
from dsight.ui.words import clip, fit, label, width


def screen(text: str, rows: int = 50) -> list[str]:
    """What a terminal shows after the text: cursor up, erase below, carriage return, newline."""
    lines, at = [""], 0
    for piece in re.findall(r"\x1b\[\d*[A-Za-z]|\x1b\[[0-9;]*m|\n|\r|[^\x1b\r\n]+", text):
        if piece == "\n":
            at += 1
            if at == len(lines):
                lines.append("")
        elif piece.endswith("A") and piece.startswith("\x1b"):
            at -= int(piece[2:-1] or 1)
        elif piece == "\x1b[J":
            lines = [*lines[:at], ""]
        elif piece not in ("\r",) and not piece.startswith("\x1b"):
            lines[at] += piece
    return lines


def test_on_a_pipe_a_quick_attempt_is_one_line() -> None:
    out = io.StringIO()
    face = TextFace(out, 0, summary=False)
    face.show([report(), report("outcome", outcome="refused", time=5000)])
    face.refresh(S)
    head, line = out.getvalue().splitlines()
    assert head.split() == ["TIME", "PROCESS", "DESTINATION", "OUTCOME", "AFTER", "WHY"]
    assert line.split(None, 4)[1:] == ["app[7]", "10.0.0.9:9300", "refused", "5 µs  answered with a reset"]
    assert line.index("refused") == head.index("OUTCOME")


def test_on_a_pipe_a_slow_attempt_is_told_when_noticed() -> None:
    out = io.StringIO()
    face = TextFace(out, 0, summary=False)
    face.show([report()])
    assert out.getvalue() == ""
    face.refresh(S // 2)
    face.refresh(S)
    assert out.getvalue().count("connecting") == 1
    face.show([report("hanging", time=S)])
    face.show([report("outcome", outcome="connected", time=2 * S)])
    assert [li.split()[3] for li in out.getvalue().splitlines()[1:]] == ["connecting", "hanging", "connected"]


def test_on_a_terminal_open_lines_stand_below_and_nothing_is_there_twice() -> None:
    out = io.StringIO()
    face = TextFace(out, 0, live=True, summary=False, size=lambda: (200, 24))
    face.show([report(id="slow")])
    face.show([report(id="quick", comm="quick"), report("outcome", "quick", "refused", 5000, "quick")])
    shown = screen(out.getvalue())
    assert [li.split()[1:4] for li in shown[1:3]] == [
        ["quick[7]", "10.0.0.9:9300", "refused"],
        ["app[7]", "10.0.0.9:9300", "connecting"],
    ]
    face.show([report("hanging", "slow", time=S)])
    face.refresh(3 * S)
    assert "hanging" in screen(out.getvalue())[2] and "3.0 s" in screen(out.getvalue())[2]
    face.show([report("outcome", "slow", "connected", 4 * S)])
    face.finish(5 * S)
    shown = [li for li in screen(out.getvalue()) if li]
    assert len(shown) == 3 and "connected" in shown[2]


def test_open_lines_never_exceed_the_terminal() -> None:
    out = io.StringIO()
    face = TextFace(out, 0, live=True, summary=False, size=lambda: (60, 10))
    face.show([report(id=str(n), comm=f"p{n}") for n in range(50)])
    face.refresh(S)
    shown = screen(out.getvalue())
    assert sum("p4" in li for li in shown) == 8 and len(shown) <= 10
    assert all(width(li) < 60 for li in shown[1:])


def test_a_long_reason_goes_on_below() -> None:
    out = io.StringIO()
    face = TextFace(out, 0, live=True, summary=False, size=lambda: (100, 24))
    face.show([report("outcome", outcome="refused", diagnosis=Diagnosis("x", "word " * 40), time=1)])
    lines = screen(out.getvalue())[1:-1]
    assert len(lines) == 4 and all(width(li) <= 100 for li in lines) and lines[1].startswith(" " * 13 + "word")


def test_colour_only_where_asked() -> None:
    for colour in (False, True):
        out = io.StringIO()
        TextFace(out, 0, colour=colour).show([report("outcome", outcome="refused", time=1)])
        assert ("\x1b[" in out.getvalue()) is colour


def test_summary_worst_first() -> None:
    out = io.StringIO()
    face = TextFace(out, 0)
    for n in range(3):
        face.show([report("outcome", str(n), "connected", 1000)])
    face.show([report("outcome", "x", "refused", 3000), report("outcome", "y", "refused", 5000)])
    out.truncate(0)
    out.seek(0)
    face.finish(0)
    lines = out.getvalue().strip().splitlines()
    assert lines[0] == "5 attempts by 1 process"
    assert lines[2].split() == "refused 2 app 10.0.0.9:9300 3 µs 5 µs 5 µs 5 µs answered with a reset".split()
    assert lines[3].split()[:2] == ["connected", "3"]
    empty = io.StringIO()
    TextFace(empty, 0).finish(0)
    assert empty.getvalue() == ""


def test_untrusted_text_is_harmless() -> None:
    evil = "\x1b[2J\x07\n\u202e\udcff\u009b"
    out = io.StringIO()
    face = TextFace(out, 0)
    face.show([report("outcome", outcome="refused", comm=evil, time=1), Lost(0, 3, evil)])
    face.finish(0)
    assert not set(out.getvalue()) & {"\x1b", "\x07", "\u202e", "\udcff", "\u009b"}
    assert len(out.getvalue().splitlines()) == 7  # head, line, lost; empty, two heads, line
    out.getvalue().encode()


def test_widths() -> None:
    assert width("ab") == 2 and width("日本") == 4 and width("e\u0301") == 1 and width("\x1b[31mab\x1b[0m") == 2
    for text in ("short", "日本語日本語日本語", "a-very-long-process-name-indeed[4711]", "e\u0301" * 30):
        assert width(fit(text, 10)) == 10
    assert fit("a-very-long-process-name[4711]", 12).endswith("[4711]")
    assert clip("日本語", 3) == "日" and width(clip("\x1b[31mabcdef\x1b[0m", 3)) == 3


def test_label_names_the_script_of_an_interpreter() -> None:
    process = report().process.replace(comm="python3.11", args=("python3", "-u", "/srv/shop.py", "--port"))
    assert label(process) == "python3.11 shop.py[7]"
    assert label(process.replace(comm="javac")) == "javac[7]"
    assert label(process.replace(args=("python3", "-c", "import os; x"))) == "python3.11[7]"
    assert label(process.replace(args=("python3", "-Sc", "f(a)", "b"))) == "python3.11[7]"
    assert label(process.replace(args=("python3", "-E", "-W", "ignore", "shop.py"))) == "python3.11 shop.py[7]"
    assert label(process.replace(args=("python3", "-m", "http.server", "80"))) == "python3.11 http.server[7]"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("node -e fetch('http://db1/x')", "node"),
        ("node --require trace /srv/shop.js", "node shop.js"),
        ("perl -ne print", "perl"),
        ("bash -e deploy.sh", "bash deploy.sh"),
        ("java -Xmx1g -cp a.jar:b.jar org.example.Shop --port 1", "java Shop"),
        ("java -jar /srv/shop.jar", "java shop.jar"),
        ("java -version", "java"),
    ],
)
def test_label_of_other_interpreters(line: str, shown: str) -> None:
    args = tuple(line.split())
    assert label(report().process.replace(comm=args[0], args=args), False) == shown


def test_json_has_the_records_names() -> None:
    out = io.StringIO()
    face = JsonFace(out, 1_700_000_000 * S)
    listener = Endpoint("127.0.0.1", 80, None, True, Listener(5, "nginx"))
    face.show(
        [report(), report("outcome", outcome="refused", time=7, comm="a\udcff\x1b\n", remote=listener), Lost(9, 4, "w")]
    )
    attempt, outcome, lost = (json.loads(li) for li in out.getvalue().splitlines())
    assert set(attempt) == set("event time id process protocol family via local remote blocking".split())
    assert set(outcome) - set(attempt) == {"outcome", "error", "latency_ns", "syns", "diagnosis"}
    assert set(attempt["process"]) == set(
        "pid tid comm exe args ppid parents uid user cgroup container unit netns".split()
    )
    assert attempt["time"] == "2023-11-14T22:13:20.000000000Z" and outcome["time"].endswith(":20.000000007Z")
    assert outcome["remote"] == {
        "address": "127.0.0.1", "port": 80, "name": None, "self": True, "listener": {"pid": 5, "comm": "nginx"},
    }  # fmt: skip
    assert outcome["process"]["comm"] == "a\\xff\x1b\n" and attempt["process"]["parents"] == [
        {"pid": 1, "comm": "init"}
    ]
    assert lost == {"event": "lost", "time": "2023-11-14T22:13:20.000000009Z", "count": 4, "where": "w"}
    assert out.getvalue().isascii()


def lines(*reports: object, **options: object) -> list[str]:
    out = io.StringIO()
    face = TextFace(out, 0, **options)  # type: ignore[arg-type]
    face.show(list(reports))  # type: ignore[arg-type]
    face.finish(9 * S)
    return out.getvalue().splitlines()


def test_lookups_that_went_well_are_shown_where_asked_for() -> None:
    assert lines(lookup()) == []
    (line,) = lines(lookup(), names=True)[1:]
    assert line.split()[1:] == "app[7] name db1 found 5 µs 10.0.0.5, fd00::5 (/etc/hosts)".split()


def test_lookups_that_failed_or_were_slow_are_shown_and_summed_up() -> None:
    out = lines(
        lookup(error="EAI_NONAME", code="name-not-found"), lookup(error="SERVFAIL", code="lookup-failed"),
        lookup(code="slow-lookup", took=2 * S), lookup(code="name-points-here"), report("outcome", outcome="refused"),
    )  # fmt: skip
    assert [line.split()[4] for line in out[1:4]] == ["not-found", "failed", "slow"]
    assert "10.0.0.5, fd00::5 (/etc/hosts); because" in out[3]
    at = out.index("1 attempt and 3 lookups that failed or were slow by 1 process")
    assert [line.split()[0] for line in out[at + 2 :]] == ["not-found", "failed", "refused", "slow"]
    assert "1 lookup that failed or was slow by 1 process" in lines(lookup(error="X", code="lookup-failed"))


def test_a_lookup_that_lasts_is_drawn_in_place() -> None:
    out = io.StringIO()
    face = TextFace(out, 0, live=True, size=lambda: (140, 24))
    face.show([lookup("looking-up", code="slow-lookup", took=S, answers=())])
    face.refresh(4 * S)
    assert "looking-up" in screen(out.getvalue())[1] and "3.0 s" in screen(out.getvalue())[1]
    face.show([lookup(took=4 * S)])
    assert [line.split()[4] for line in screen(out.getvalue())[1:] if line] == ["found"]


def test_a_name_cannot_harm_a_terminal() -> None:
    out = "\n".join(lines(lookup(error="X", code="lookup-failed", name="a\x1b[2Jb", text="no a\x1b[2Jb")))
    assert "\x1b" not in out and "a\\x1b[2Jb" in out
    named = report("outcome", outcome="refused")
    named = named.replace(remote=named.remote.replace(name="x\x1b]0;y"))
    assert "\x1b" not in "\n".join(lines(named))


def test_the_name_stands_beside_the_address() -> None:
    named = report("outcome", outcome="connected")
    named = named.replace(remote=named.remote.replace(name="db1"))
    assert "db1 (10.0.0.9):9300" in lines(named)[1]


def test_sockets_of_lookups_are_left_to_them() -> None:
    def dns(outcome: str) -> Report:
        one = report("outcome", outcome=outcome)
        return one.replace(protocol="udp", remote=one.remote.replace(port=53))

    assert lines(dns("connected"), dns=False) == []
    assert "refused" in lines(dns("refused"), dns=False)[1]
    assert "connected" in lines(dns("connected"), dns=True)[1]


def test_a_lookup_as_json() -> None:
    out = io.StringIO()
    JsonFace(out, 0).show([lookup(error="EAI_NONAME", code="name-not-found", name="d\udcffb")])
    found = json.loads(out.getvalue())
    assert list(found) == ["event", "time", "id", "process", "via", "name", "service", "family", "answers", "error",
                           "latency_ns", "source", "queries", "diagnosis"]  # fmt: skip
    assert (found["event"], found["name"], found["error"]) == ("lookup", "d\\xffb", "EAI_NONAME")
    assert found["queries"][0]["result"] == "NOERROR" and found["diagnosis"]["code"] == "name-not-found"


KINDS = (st.text(), st.integers(0, 65535), st.booleans(), st.integers(0))
TEXT, PORT, BOOL, NUMBER = (st.none() | kind for kind in KINDS)
ENDS = st.builds(Endpoint, TEXT, PORT, TEXT, BOOL, st.none() | st.builds(Listener, NUMBER, TEXT), st.none() | TEXT)


@given(
    st.sampled_from(("attempt", "hanging", "outcome", "accepted")),
    st.fixed_dictionaries({
        "protocol": TEXT, "family": TEXT, "local": ENDS, "remote": ENDS, "blocking": BOOL, "outcome": TEXT,
        "error": TEXT, "latency_ns": NUMBER, "syns": NUMBER,
        "diagnosis": st.none() | st.builds(Diagnosis, st.just("no-answer"), st.text()),
        "datagrams": st.none() | NUMBER, "time": st.integers(0, 1 << 62),
    }),
)  # fmt: skip
def test_a_line_of_json_is_the_record(event: str, facts: dict[str, object]) -> None:
    """However it is put together."""
    out = io.StringIO()
    one = report(event).replace(**facts)
    JsonFace(out, 12345).show([one])
    assert out.getvalue() == json.dumps(to_json(one, 12345)) + "\n"


def test_what_the_faces_remember_is_bounded_and_of_this_report() -> None:
    """Reports whose parts are gone when the next ones are made: their ids are used again."""
    plain, written = io.StringIO(), io.StringIO()
    text, lines = TextFace(plain, 0, summary=False), JsonFace(written, 0)
    for n in range(5000):
        why = Diagnosis(f"code-{n % 7}", f"because {n}")
        end = Endpoint(f"10.1.{n >> 8}.{n & 255}", n)
        made = report("outcome", str(n), "aborted", 5000, f"app{n}", remote=end, diagnosis=why, error=f"E{n}")
        text.show([made])
        lines.show([made])
        assert json.loads(written.getvalue()) == to_json(made, 0)
        assert plain.getvalue().splitlines()[-1].split(None, 4)[1:] == [
            f"app{n}[7]", str(end), "aborted", f"5 µs  because {n}",
        ]  # fmt: skip
        for out in (plain, written):
            out.seek(0)
            out.truncate()
    kept = [len(table) for face in (text, lines) for table in vars(face).values() if isinstance(table, dict)]
    assert kept and max(kept) <= 1024
