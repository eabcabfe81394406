"""Actions without a value of their own: speculations, destructive actions; and what may follow what in a clause."""

from __future__ import annotations

from dsight.errors import CompileError, fail
from dsight.lang import ast
from dsight.lang.check_convert import computable, convert, is_int, is_ptr
from dsight.lang.check_ops import operand
from dsight.lang.scope import Scope
from dsight.lang.typed import ActionStmt, AggStmt, Call, Clause, ExprStmt, If, TExpr, TStmt
from dsight.lang.types import INT, ULONG, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.source import Span

# Actions that put data into the record (Dynamic Tracing Guide, "Data Recording Actions").
RECORDING = frozenset(
    "trace printf printa print tracemem stack ustack jstack func mod sym uaddr ufunc umod usym pcap".split()
)
# Actions and subroutines that change what is traced: -w, or #pragma D option destructive.
DESTRUCTIVE = frozenset("copyout copyoutstr raise stop system freopen chill breakpoint panic".split())

# What no Linux lets a BPF program do.
IMPOSSIBLE = {
    "breakpoint": ("a BPF program cannot enter a kernel debugger", "print where you are with stack()"),
    "panic": ("a BPF program cannot bring the kernel down", "leave the trace with exit(), or raise() a signal"),
}

CHILL_MOST = 500_000_000  # ns, of each second of a CPU
LINKS = ("PCAP_ETHER", "PCAP_PPP", "PCAP_IP", "PCAP_WIFI", "PCAP_IPNET", "PCAP_IPOIB")  # dlib/pcap.d
SIGNALS = range(1, 65)  # signal(7): 1 to SIGRTMAX


def integer(cx: Scope, call: ast.Call, what: str, to: Type = INT) -> TExpr:
    """The one argument of an action, an integer."""
    if len(call.args) != 1:
        n = len(call.args)
        raise fail(
            "D_PROTO_LEN", f"{call.name}() takes one argument, {what}; {n} {'is' if n == 1 else 'are'} given",
            call.span, f"{call.name}({what.split()[-1]})",
        )  # fmt: skip
    given = call.args[0]
    if isinstance(given, ast.TypeName):
        raise fail("D_PROTO_ARG", f"{call.name}() takes a value, this is a type", given.span)
    value = operand(cx, given)
    if not is_int(value.type):
        raise fail("D_PROTO_ARG", f'argument 1 of {call.name}() must be an integer, this is "{value.type}"', given.span)
    computable(value, "D_PROTO_ARG", f"{call.name}()")
    return convert(value, to)


def speculative(cx: Scope, call: ast.Call) -> TStmt:
    """speculate(id), commit(id), discard(id)"""
    return ActionStmt(call.span, call.name, (integer(cx, call, "a speculation id"),))


def raise_(cx: Scope, call: ast.Call) -> TStmt:
    """raise(signal)"""
    from dsight.lang.typed import Const

    value = integer(cx, call, "a signal")
    if isinstance(value, Const) and value.value not in SIGNALS:
        raise fail(
            "D_PROTO_ARG", f"there is no signal {value.value}", call.args[0].span, "signals are 1 to 64: SIGUSR1, ..."
        )
    return ActionStmt(call.span, "raise", (value,))


def without(cx: Scope, call: ast.Call) -> TStmt:
    """stop(), breakpoint(), panic()"""
    if call.args:
        raise fail("D_PROTO_LEN", f"{call.name}() takes no arguments", call.span, f"{call.name}()")
    if call.name in IMPOSSIBLE:
        why, hint = IMPOSSIBLE[call.name]
        raise fail("D_UNKNOWN", f"{call.name}() cannot be had on Linux: {why}", call.span, hint)
    return ActionStmt(call.span, call.name, ())


def chill(cx: Scope, call: ast.Call) -> TStmt:
    """chill(nanoseconds)"""
    from dsight.lang.typed import Const

    value = integer(cx, call, "a number of nanoseconds", ULONG)
    if isinstance(value, Const) and value.value > CHILL_MOST:
        raise fail(
            "D_PROTO_ARG", f"chill() takes at most {CHILL_MOST} ns (half a second)", call.args[0].span,
            "that is the limit for each second of a CPU",
        )  # fmt: skip
    return ActionStmt(call.span, "chill", (value,))


def pcap(cx: Scope, call: ast.Call) -> TStmt:
    """pcap(packet, protocol): args are time, length, protocol, bytes that lie together, and where"""
    from dsight.lang.check_xlate import find_inline, inline
    from dsight.lang.typed import Builtin, Const

    if len(call.args) != 2:
        raise fail("D_PROTO_LEN", f"pcap() has {len(call.args)} arguments", call.span, "pcap(packet, PCAP_IP)")
    packet, link = call.args
    if isinstance(packet, ast.TypeName) or not (is_int((v := operand(cx, packet)).type) or is_ptr(v.type)):
        raise fail(
            "D_PCAP_ADDR", "pcap() needs the address of a packet", packet.span,
            "args[0]->pkt_addr of a network probe, or a struct sk_buff *",
        )  # fmt: skip
    hint = f"one of {', '.join(LINKS)}"
    if isinstance(link, ast.TypeName) or not is_int((protocol := operand(cx, link)).type):
        raise fail("D_PCAP_PROTO", "the protocol of pcap() must be an integer", link.span, hint)
    known = [find_inline(cx, name) for name in LINKS]
    if isinstance(protocol, Const):
        values = [inline(cx, item, (), call.span) for item in known if item is not None]
        if protocol.value not in [v.value for v in values if isinstance(v, Const)]:
            raise fail("D_PCAP_PROTO", f"pcap() knows no protocol {protocol.value}", link.span, hint)

    def said(name: str) -> TExpr:
        item = find_inline(cx, name)
        assert item is not None
        return inline(cx, item, (packet, link), call.span)

    time = Builtin(ULONG, call.span, "walltimestamp")
    length, linear, start = said("pcap_length"), said("pcap_linear"), said("pcap_start")
    return ActionStmt(call.span, "pcap", (time, length, convert(protocol, INT), linear, start))


def return_(cx: Scope, call: ast.Call) -> TStmt:
    """return(value): what a kernel function returns instead"""
    raise fail(
        "D_UNKNOWN",
        "return() is not supported yet: it takes a probe at the entry of a kernel function (fbt)",
        call.span,
    )


RULES = {
    "pcap": pcap,
    "return": return_,
    "chill": chill,
    "speculate": speculative,
    "commit": speculative,
    "discard": speculative,
    "raise": raise_,
    "stop": without,
    "breakpoint": without,
    "panic": without,
}


# ---- the order of actions in a clause (Dynamic Tracing Guide, "Speculative Tracing")


def order(body: tuple[TStmt, ...]) -> None:
    """Raise CompileError where an action may not stand behind another of the clause.  An `if`
    counts as written out: its branches one after the other."""
    speculating = committing = recording = False
    for stmt in _flat(body):
        name = stmt.name if isinstance(stmt, ActionStmt) else ""
        span = stmt.span
        if isinstance(stmt, AggStmt):
            if committing:
                raise _follows("D_AGG_COMM", "an aggregating action", "commit()", span)
            if speculating:
                raise _follows("D_AGG_SPEC", "an aggregating action", "speculate()", span)
        elif name == "speculate":
            if speculating:
                raise _follows("D_SPEC_SPEC", "speculate()", "speculate()", span)
            if committing:
                raise _follows("D_SPEC_COMM", "speculate()", "commit()", span)
            if recording:
                raise _follows("D_SPEC_DREC", "speculate()", "an action that records data", span)
            speculating = True
        elif name == "commit":
            if recording:
                raise _follows("D_COMM_DREC", "commit()", "an action that records data", span)
            committing = True
        elif name == "exit":
            if speculating:
                raise _follows("D_EXIT_SPEC", "exit()", "speculate()", span)
        elif name in RECORDING:
            if committing:
                raise _follows("D_DREC_COMM", f"{name}()", "commit()", span)
            recording = True
        else:
            destructive = destructive_in(stmt)
            if destructive and speculating:
                raise _follows("D_ACT_SPEC", f"{destructive}()", "speculate()", span)


def _follows(tag: str, what: str, before: str, span: Span) -> CompileError:
    return fail(tag, f"{what} may not follow {before} in one clause", span, "write a clause of its own for it")


def _flat(body: tuple[TStmt, ...]) -> list[TStmt]:
    out: list[TStmt] = []
    for stmt in body:
        if isinstance(stmt, If):
            out += [*_flat(stmt.then), *_flat(stmt.other)]
        else:
            out.append(stmt)
    return out


# ---- destructive actions


def destructive_in(stmt: TStmt) -> str:
    """The destructive action this statement is, "" for others."""
    if isinstance(stmt, ActionStmt):
        return stmt.name if stmt.name in DESTRUCTIVE else ""
    if isinstance(stmt, ExprStmt) and isinstance(stmt.expr, Call) and stmt.expr.name in DESTRUCTIVE:
        return stmt.expr.name
    return ""


def permit(clauses: tuple[Clause, ...], allowed: bool) -> None:
    """Raise CompileError for the first destructive action of a script that is not allowed any.  It has no
    tag: the script is right, and runs with -w."""
    if allowed:
        return
    for clause in clauses:
        for stmt in _flat(clause.body):
            name = destructive_in(stmt)
            if name:
                raise fail(
                    "", f"destructive actions not allowed: {name}()", stmt.span,
                    "allow them with -w, or with #pragma D option destructive",
                )  # fmt: skip
