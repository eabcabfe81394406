"""Strings of a random D program (random_d)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from random_base import STRING, STRSIZE, Base, Expr, World

from crules import COMPARE, INT, INTS, LONG, ULONG, Int

LENGTHS = [0, 1, 2, 6, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 127, 128, 254, 255]
ALPHABETS = ["ab", "ab", "aB", "ab/.", "a/", "a1-"]
CHAR = Int("char", 8, True)

libc = ctypes.CDLL(None)


def from_libc(name: str) -> Callable[[bytes], bytes]:
    """A function that may write to its argument."""
    function = libc[name]
    function.restype = ctypes.c_char_p
    return lambda text: bytes(function(ctypes.create_string_buffer(text)))


basename, dirname = from_libc("__xpg_basename"), from_libc("dirname")


def in_base(n: int, base: int) -> str:
    """lltostr(), whose bases 8 and 16 have a prefix."""
    digits, left = "", abs(n)
    while left or not digits:
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[left % base] + digits
        left //= base
    return ("-" if n < 0 else "") + {8: "0", 16: "0x"}.get(base, "") + digits


def token(text: bytes, separators: bytes) -> bytes:
    """The first strtok() gives."""
    text = text.lstrip(separators) if separators else text
    end = next((n for n, byte in enumerate(text) if byte in separators), len(text))
    return text[:end]


class Strings(Base):
    # -- integers made of strings

    def int_text(self, depth: int, pure: bool) -> Expr:
        a = self.string(depth, pure)
        kind = self.r.choice("compare compare compare compare strlen strlen index byte strtoll".split())
        if kind == "strlen":
            return Expr(f"strlen({a.text})", ULONG, lambda w: len(a.eval(w)))
        if kind == "strtoll":
            n = self.cast(LONG, self.integer(depth, pure))
            return Expr(f"strtoll(lltostr({n.text}))", LONG, n.eval)
        if kind == "byte":
            at = self.cast(INTS[1], self.integer(depth, pure))

            def byte(w: World) -> int:
                text, index = a.eval(w), at.eval(w)
                return CHAR.wrap(text[index]) if index < len(text) else 0

            # of what may be indexed as an array
            return Expr(f'(strjoin({a.text}, ""))[{at.text}]', CHAR, byte)
        b = self.string(depth, pure)
        if kind == "index":
            return self.index(a, b, depth, pure)
        if self.r.random() < 0.3:
            b = a if pure or depth <= 0 else b
        op = self.r.choice(list(COMPARE))
        return Expr(f"({a.text} {op} {b.text})", INT, lambda w: int(COMPARE[op](a.eval(w), b.eval(w))))

    def index(self, a: Expr, b: Expr, depth: int, pure: bool) -> Expr:
        if self.r.random() < 0.6:
            find: Callable[[bytes, bytes], int]
            last, find = self.r.choice([("", bytes.find), ("r", bytes.rfind)])
            return Expr(f"{last}index({a.text}, {b.text})", INT, lambda w: find(a.eval(w), b.eval(w)))
        start = self.cast(INTS[1], self.integer(depth, pure))

        def run(w: World) -> int:
            text, pattern = a.eval(w), b.eval(w)
            at = min(start.eval(w), len(text))
            return int(text.find(pattern, at))

        return Expr(f"index({a.text}, {b.text}, {start.text})", INT, run)

    # -- strings

    def string(self, depth: int, pure: bool = False) -> Expr:
        kind = self.r.random()
        places = [v for v in self.variables if v.type == STRING and (depth >= 0 or not v.keys)]
        if depth > 0 and kind > 0.75:
            c, a, b = self.integer(depth - 1, pure), self.string(depth - 1, pure), self.string(depth - 1, pure)
            return Expr(f"({c.text} ? {a.text} : {b.text})", STRING, lambda w: a.eval(w) if c.eval(w) else b.eval(w))
        if depth > 0 and kind > 0.55:
            return self.string_call(depth - 1, pure)
        if places and kind > 0.28:
            return self.place(self.r.choice(places), -1)[0]
        if kind > 0.23:
            with open("/proc/thread-self/comm", "rb") as f:
                comm = f.read().rstrip(b"\n")
            return Expr("execname", STRING, lambda w: comm)
        if kind > 0.2:
            return Expr("probename", STRING, lambda w: w.probe.encode())
        n = self.r.choice(LENGTHS)
        text = "".join(self.r.choices(self.r.choice(ALPHABETS), k=n)) if self.r.random() > 0.5 else "a" * n
        return Expr(f'"{text}"', STRING, lambda w: text.encode())

    def string_call(self, depth: int, pure: bool) -> Expr:
        a = self.string(depth, pure)
        kind = self.r.choice(
            "toupper tolower strjoin substr substr lltostr strchr strrchr strstr strtok basename dirname".split()
        )
        return getattr(self, "call_" + kind)(a, depth, pure)

    def call_strjoin(self, a: Expr, depth: int, pure: bool) -> Expr:
        b = self.string(depth, pure)
        return Expr(f"strjoin({a.text}, {b.text})", STRING, lambda w: (a.eval(w) + b.eval(w))[: STRSIZE - 1])

    def call_substr(self, a: Expr, depth: int, pure: bool) -> Expr:
        n = self.cast(INTS[1], self.integer(depth, pure))  # not negative
        if self.r.random() < 0.4:
            return Expr(f"substr({a.text}, {n.text})", STRING, lambda w: a.eval(w)[n.eval(w) :])
        m = self.cast(INTS[1], self.integer(depth, pure))

        def cut(w: World) -> bytes:
            text, start, count = a.eval(w), n.eval(w), m.eval(w)
            return bytes(text[start : start + count])

        return Expr(f"substr({a.text}, {n.text}, {m.text})", STRING, cut)

    def call_toupper(self, a: Expr, depth: int, pure: bool) -> Expr:
        return Expr(f"toupper({a.text})", STRING, lambda w: a.eval(w).upper())

    def call_tolower(self, a: Expr, depth: int, pure: bool) -> Expr:
        return Expr(f"tolower({a.text})", STRING, lambda w: a.eval(w).lower())

    def call_lltostr(self, a: Expr, depth: int, pure: bool) -> Expr:
        n = self.cast(LONG, self.integer(depth, pure))
        base = self.r.choice([10, 2, 8, 16, 36])
        text = f"lltostr({n.text})" if base == 10 else f"lltostr({n.text}, {base})"
        return Expr(text, STRING, lambda w: in_base(n.eval(w), base).encode())

    def call_strchr(self, a: Expr, depth: int, pure: bool) -> Expr:
        c = self.r.choice("ab/")
        return Expr(f"strchr({a.text}, '{c}')", STRING, lambda w: b"".join(a.eval(w).partition(c.encode())[1:]))

    def call_strrchr(self, a: Expr, depth: int, pure: bool) -> Expr:
        c = self.r.choice("ab/").encode()

        def run(w: World) -> bytes:
            text = a.eval(w)
            return text[text.rindex(c) :] if c in text else b""

        return Expr(f"strrchr({a.text}, '{c.decode()}')", STRING, run)

    def call_strstr(self, a: Expr, depth: int, pure: bool) -> Expr:
        b = self.string(depth, pure)

        def run(w: World) -> bytes:
            text, pattern = a.eval(w), b.eval(w)
            return text[text.index(pattern) :] if pattern in text else b""

        return Expr(f"strstr({a.text}, {b.text})", STRING, run)

    def call_strtok(self, a: Expr, depth: int, pure: bool) -> Expr:
        b = self.string(depth, pure)
        return Expr(f"strtok({a.text}, {b.text})", STRING, lambda w: token(a.eval(w), b.eval(w)))

    def call_basename(self, a: Expr, depth: int, pure: bool) -> Expr:
        return Expr(f"basename({a.text})", STRING, lambda w: basename(a.eval(w)))

    def call_dirname(self, a: Expr, depth: int, pure: bool) -> Expr:
        return Expr(f"dirname({a.text})", STRING, lambda w: dirname(a.eval(w)))
