"""C's conversions: literals, promotion, usual arithmetic conversions, constants; against a C compiler's answers."""

from __future__ import annotations

import pytest
from fakecatalog import CHAR, checked

from dsight.lang import typed
from dsight.lang.check_convert import fold, literal_type, promote, usual, wrap
from dsight.lang.typedump import expr
from dsight.lang.types import BOOL, INT, LONG, LONGLONG, UCHAR, UINT, ULONG, ULONGLONG, Enum, Type


def value(text: str, before: str = "") -> typed.TExpr:
    """The typed expression of `text`, as trace()'s argument."""
    script = checked(f"BEGIN {{ {before} trace({text}); }}")
    last = script.clauses[0].body[-1]
    assert isinstance(last, typed.ActionStmt)
    return last.args[0]


@pytest.mark.parametrize(
    ("text", "type_", "number"),
    [
        ("1", "int", 1),
        ("2147483647", "int", 2147483647),
        ("2147483648", "long", 2147483648),
        ("0x7fffffff", "int", 0x7FFFFFFF),
        ("0x80000000", "unsigned int", 0x80000000),
        ("0xffffffff", "unsigned int", 0xFFFFFFFF),
        ("0x100000000", "long", 1 << 32),
        ("0x8000000000000000", "unsigned long", 1 << 63),
        ("017", "int", 15),
        ("1u", "unsigned int", 1),
        ("4294967296u", "unsigned long", 1 << 32),
        ("1l", "long", 1),
        ("1ul", "unsigned long", 1),
        ("1ll", "long long", 1),
        ("1ull", "unsigned long long", 1),
        ("'a'", "int", 97),
        ("-1", "int", -1),
        ("-2147483648", "long", -2147483648),
        ("~0", "int", -1),
        ("~0u", "unsigned int", 0xFFFFFFFF),
        ("-1u", "unsigned int", 0xFFFFFFFF),
        ("!5", "int", 0),
        ("1 + 1u", "unsigned int", 2),
        ("1u - 2", "unsigned int", 0xFFFFFFFF),
        ("1 - 2l", "long", -1),
        ("-1 < 1u", "int", 0),  # -1 becomes unsigned
        ("-1 < 1l", "int", 1),
        ("-1l < 1u", "int", 1),  # long holds every unsigned int
        ("-7 / 2", "int", -3),
        ("-7 % 2", "int", -1),
        ("7 / -2", "int", -3),
        ("-1 >> 1", "int", -1),
        ("-1u >> 31", "unsigned int", 1),
        ("1 << 31", "int", -2147483648),
        ("1u << 4l", "unsigned int", 16),  # a shift has its left operand's type
        ("1 ? 2 : 3l", "long", 2),
        ("1 ^^ 1", "int", 0),
        ("2 && 0", "int", 0),
        ("0 || 3", "int", 1),
        ("(char)200", "char", -56),
        ("(unsigned char)456", "unsigned char", 200),
        ("(uint8_t)-1", "uint8_t", 255),
        ("(int16_t)0x8000", "int16_t", -32768),
        ("(uint64_t)-1", "uint64_t", (1 << 64) - 1),
        ("(uint_t)200", "uint_t", 200),
        ("sizeof (long)", "size_t", 8),
        ("sizeof (struct sockaddr)", "size_t", 16),
        ("sizeof (curthread->comm)", "size_t", 16),
        ("offsetof(struct task_struct, comm)", "size_t", 16),
        ("offsetof(struct sock, sk_name)", "size_t", 72),
        ("ECONNREFUSED", "int", 111),
        ("SIGKILL", "int", 9),
        ("AF_INET6", "int", 10),
        ("IPPROTO_UDP", "int", 17),
        ("O_WRONLY", "int", 1),
        ("DTRACEFLT_DIVZERO", "int", 4),
        ("TCP_STATE_ESTABLISHED", "int", 0),
        ("TH_PSH == TH_PUSH", "int", 1),
        ("TCP_SYN_SENT", "int", 2),  # the kernel's
        ("NULL", "void *", 0),
    ],
)
def test_constants(text: str, type_: str, number: int) -> None:
    found = value(text)
    assert isinstance(found, typed.Const), expr(found)
    assert (str(found.type), found.value) == (type_, number)


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        (INT, INT, INT), (INT, UINT, UINT), (UINT, LONG, LONG), (INT, ULONG, ULONG), (LONG, ULONG, ULONG),
        (LONG, LONGLONG, LONGLONG), (ULONG, LONGLONG, ULONGLONG), (UINT, LONGLONG, LONGLONG),
    ],
)  # fmt: skip
def test_usual_arithmetic_conversions(a: Type, b: Type, common: Type) -> None:
    assert usual(a, b) == usual(b, a) == common


def test_promotion() -> None:
    assert promote(CHAR) == promote(UCHAR) == promote(BOOL) == INT
    assert promote(UINT, bits=5) == INT
    assert promote(UINT, bits=32) == UINT
    assert promote(Enum("e", 4, False, lambda: {"A": 1})) == INT
    assert promote(Enum("e", 4, False, lambda: {"A": 0xFFFFFFFF})) == UINT
    assert promote(Enum("e", 8, False, lambda: {"A": 1 << 40})) == ULONG


def test_the_kernels_char_is_unsigned() -> None:
    """`hport <<= 8` of an octet 192 must not be -64 << 8."""
    found = value("socks->sa_data[0]", "socks = (struct sockaddr *)copyin(arg0, 16);")
    assert isinstance(found, typed.Mem)
    assert found.type == CHAR
    assert expr(value("(uint_t)socks->sa_data[0]", "socks = (struct sockaddr *)copyin(arg0, 16);")) == (
        "(uint_t) (mem char socks + 2)"
    )


def test_mixed_expressions_convert_their_operands() -> None:
    assert expr(value("pid + 1ul")) == "(+:unsigned long (unsigned long) pid 1:unsigned long)"
    assert expr(value("pid < uid")) == "(< (unsigned int) pid uid)"
    assert expr(value("curthread->in_execve + 1")) == "(+ (int) (mem unsigned int curthread bits 320..320) 1)"
    assert expr(value("pid ? 1 : timestamp")) == "(? pid 1:unsigned long timestamp)"


def test_pointers() -> None:
    sock = "((struct sock *)arg0)"
    assert expr(value(f"{sock} + 1")) == "(+:struct sock * (struct sock *) arg0 128:long)"
    assert expr(value(f"{sock} - pid")) == "(-:struct sock * (struct sock *) arg0 (*:long (long) pid 128:long))"
    assert expr(value(f"{sock} - (struct sock *)arg1")) == (
        "(/:long (-:long (long) (struct sock *) arg0 (long) (struct sock *) arg1) 128:long)"
    )
    assert expr(value("(void *)arg0 + 2")) == "(+:void * (void *) arg0 2:long)"
    assert expr(value(f"{sock} == NULL")) == "(== (unsigned long) (struct sock *) arg0 0:unsigned long)"
    assert expr(value(f"{sock}->sk_ports[pid]")) == (
        "(mem short unsigned int (+:short unsigned int * (struct sock *) arg0 (*:long (long) pid 2:long)) + 80)"
    )
    assert expr(value(f"*{sock}->sk_ports")) == "(mem short unsigned int (struct sock *) arg0 + 80)"
    assert expr(value(f"(&{sock}->__sk_common)->skc_num")) == "(mem short unsigned int (struct sock *) arg0 + 6)"


def test_strings() -> None:
    assert expr(value('execname == "sh"')) == "(str== execname 'sh')"
    assert expr(value('curthread->comm == "sh"')) == "(str== (stringof (mem char [16] curthread + 16)) 'sh')"
    found = value("stringof(curthread->comm)")
    assert found.type.limit == 17  # type: ignore[attr-defined]
    assert expr(value("stringof(arg0)")) == "(stringof (unsigned long) arg0)"
    assert expr(value("(string)arg0")) == expr(value("stringof(arg0)"))
    assert str(value('pid ? "a" : execname').type) == "string"


@pytest.mark.parametrize("t", [INT, UINT, LONG, ULONG, UCHAR, CHAR])
@pytest.mark.parametrize("n", [0, 1, -1, 127, 128, 255, 256, 2**31, -(2**31) - 1, 2**63, 2**64 + 5])
def test_wrap_is_what_a_register_of_that_size_holds(t: Type, n: int) -> None:
    signed = t.signed  # type: ignore[attr-defined]
    low = n % (1 << 8 * t.size)
    assert wrap(n, t) == int.from_bytes(low.to_bytes(t.size, "little"), "little", signed=signed)


def test_division_by_zero_does_not_fold() -> None:
    assert fold("/", INT, 1, 0) is None
    assert fold("%", ULONG, 1, 0) is None
    assert fold("/", LONG, -(2**63), -1) == -(2**63)


def test_a_decimal_literal_too_large_for_long_is_unsigned_long() -> None:
    assert literal_type(2**63, "", True) == ULONG
