"""The D program for the calls asked for: truss.d, files.d and events.d, with what the calls need.

The comment in front of a clause says what its record is (tracing.clause_kinds).
"""

from __future__ import annotations

from dsight.calls.fetch import LARGE, SLOTS, SMALL, WHAT, Fetch
from dsight.source import beside
from dsight.tracing import clause_kinds
from dsight.value import Value

TEXT_SIZE = 512  # bytes of a path, at most
ARGUMENTS = 6  # strings of argv that are copied before execve(2)
VECTORS = 2  # iovecs whose data is copied
_KINDS = frozenset("Call Return Text Memory File Socket Fork Exec Args Exit Fatal Signal".split())

# struct pt_regs: registers of the arguments at entry, of the first one at return, of the call's number; those of a
# 32-bit call, whose numbers are others, and a condition that is true for it (providers/syscall.py).
_INTEL_32 = ("bx", "cx", "dx", "si", "di", "bp")
_ARM = ("regs[0]", "regs[1]", "regs[2]", "regs[3]", "regs[4]", "regs[5]")
_MACHINES = {
    "x86_64": (
        ("di", "si", "dx", "r10", "r8", "r9"), "di", "orig_ax", _INTEL_32, "(curthread->thread_info.status & 2) != 0",
    ),
    "aarch64": (_ARM, "orig_x0", "syscallno", _ARM, "(curthread->thread_info.flags & (1 << 22)) != 0"),
}  # fmt: skip

_BOTH = "rawtp:::sys_enter, rawtp:::sys_exit"

_TEXT = """
/* Text */
{both}
/this->w && this->text >> {shift} & 7/
{{
	this->p = this->a[(this->text >> {shift} & 7) - 1];
	trace(this->t); trace(tid); trace(this->p); trace(copyinstr(this->p));
}}
"""

_MEMORY = """
{both}
/this->w && this->{d}/
{{
	this->p = this->a[(this->{d} & 7) - 1];
	this->n = (this->{d} & 7) % 6;
	this->size = this->{d} >> 8 & 0xffff;
	this->how = this->{d} >> 3 & 3;
	this->size = this->how == 1 ? this->size * (uint32_t)this->a[this->n] : this->how == 2 ?
		this->size * (uint32_t)this->ret : this->size;
	this->how = this->p < 4096 || this->how != 3 ? 0 : this->a[this->n];
	this->size = this->p < 4096 ? 0 : this->size;
	this->size = this->how ? *(uint32_t *)copyin(this->how, 4) : this->size;
}}

/* Memory */
{both}
/this->w && this->{d} && this->size && !(this->{d} & 0x20)/
{{
	trace(this->t); trace(tid); trace(this->p); trace(this->size);
	tracemem(copyin(this->p, this->size < {small} ? this->size : {small}), {small});
}}

/* Memory */
{both}
/this->w && this->{d} && this->size && this->{d} & 0x20/
{{
	trace(this->t); trace(tid); trace(this->p); trace(this->size);
	tracemem(copyin(this->p, this->size < {large} ? this->size : {large}), {large});
}}
"""

# struct msghdr: name 0, its length 8, iovecs 16, their number 24, control 32, its length 40.
_MESSAGE = """
{both}
/this->w && this->iov/
{{
	this->n = this->iov;
	this->iov = this->a[this->n - 1];
	this->count = this->a[this->n % 6];
}}

{both}
/this->w && this->msg/
{{
	this->m = (uint64_t *)copyin(this->a[this->msg - 1], 48);
	this->iov = this->m[2];
	this->count = this->m[3];
	this->name = this->m[0];
	this->size = (uint32_t)this->m[1];
	this->control = this->m[4];
	this->length = (uint32_t)this->m[5];
}}

/* Memory */
{both}
/this->w && this->msg && this->name && this->size/
{{
	trace(this->t); trace(tid); trace(this->name); trace(this->size);
	tracemem(copyin(this->name, this->size < {large} ? this->size : {large}), {large});
}}

/* Memory */
{both}
/this->w && this->msg && this->control && this->length/
{{
	trace(this->t); trace(tid); trace(this->control); trace(this->length);
	tracemem(copyin(this->control, this->length < {large} ? this->length : {large}), {large});
}}

/* Memory */
{both}
/this->w && this->msg && this->iov && this->count/
{{
	this->size = this->count < 16 ? (uint32_t)this->count * 16 : {large};
	trace(this->t); trace(tid); trace(this->iov); trace(this->size);
	tracemem(copyin(this->iov, this->size < {large} ? this->size : {large}), {large});
}}
"""

_VECTOR = """
{both}
/this->w && this->iov && this->count > {n}/
{{
	this->m = (uint64_t *)copyin(this->iov + {at}, 16);
	this->p = this->m[0];
	this->size = this->m[1] < {small} ? (uint32_t)this->m[1] : {small};
}}

/* Memory */
{both}
/this->w && this->iov && this->count > {n} && this->p && this->size/
{{
	trace(this->t); trace(tid); trace(this->p); trace(this->size);
	tracemem(copyin(this->p, this->size), {small});
}}
"""

_ARGUMENT = """
rawtp:::sys_enter
/this->w && this->argv/
{{
	this->p = *(uint64_t *)copyin(this->argv + {at}, 8);
	this->argv = this->p ? this->argv : 0;
}}

/* Text */
rawtp:::sys_enter
/this->w && this->argv/
{{
	trace(this->t); trace(tid); trace(this->p); trace(copyinstr(this->p));
}}
"""

_CLOSED = """
rawtp:::sys_enter
/this->w & 4 && this->f1/
{
	named[this->f1] = 0;
}
"""

_SUMMARY = """
rawtp:::sys_enter
/this->w/
{
	self->began = this->t;
	self->number = this->nr + 1;
}

rawtp:::sys_exit
/this->w && self->began/
{
	this->took = this->t - self->began;
	this->nr = self->number - 1;
	self->began = 0;
	self->number = 0;
	@calls[this->nr] = count();
	@total[this->nr] = sum(this->took);
	@slowest[this->nr] = max(this->took);
	@times[this->nr] = llquantize(this->took, 10, 2, 10, 20);
}

rawtp:::sys_exit
/this->w && this->ret < 0 && this->ret > -4096/
{
	@errors[this->nr] = count();
}
"""


class Program(Value):
    """A D program, and which record each of its clauses leaves ("" none), in the order of clauses."""

    text: str
    records: tuple[str, ...]


def script(
    calls: dict[int, Fetch], machine: str, getpgid: int, strings: int, buffer: int, summary: bool = False,
    other: bool = False,
) -> Program:  # fmt: skip
    """The program for calls (by number).

    `getpgid`: the number of that call, by which the tracer adds processes; `strings`: how many bytes of data;
    `buffer`: bytes of the ring buffer; `summary`: counts instead of records; `other`: calls of unknown numbers too.
    """
    registers, first_back, number, narrow_registers, narrow = _MACHINES[machine]
    small, large = max(SMALL, strings), max(LARGE, strings)
    parts = {"INIT": _init(calls, other), "FILES": "", "TEXTS": "", "MEMORY": "", "VECTORS": "", "ARGV": ""}
    whats = [call.what for call in calls.values()]
    if not summary:
        if any(what >> WHAT["fd0"] & 7 or what & 2 for what in whats):
            parts["FILES"] += beside(__file__, "files.d").replace("FILE", "file")
        if any(what >> WHAT["fd1"] & 7 for what in whats):
            parts["FILES"] += beside(__file__, "files.d").replace("FILE", "file2")
        if any(what & 4 for what in whats):
            parts["FILES"] += _CLOSED
        for slot in range(3):
            if any(what >> WHAT[f"str{slot}"] & 7 for what in whats):
                parts["TEXTS"] += _TEXT.format(both=_BOTH, shift=3 * slot)
        for slot in range(SLOTS):
            if any(any(words[slot : slot + 1]) for call in calls.values() for words in (call.entry, call.back)):
                parts["MEMORY"] += _MEMORY.format(both=_BOTH, d=f"d{slot}", small=small, large=large)
        if any(what & 0x78 for what in whats):
            parts["VECTORS"] = _MESSAGE.format(both=_BOTH, large=large)
            for n in range(VECTORS):
                parts["VECTORS"] += _VECTOR.format(both=_BOTH, n=n, at=16 * n, small=small)
        if any(what & 0x80 for what in whats):
            parts["ARGV"] = "".join([_ARGUMENT.format(at=8 * n) for n in range(ARGUMENTS)])
    text = beside(__file__, "truss.d")
    if summary:
        text = text[: text.index("/* Call */")] + _SUMMARY + "/*EVENTS*/"
    text = text.replace("/*EVENTS*/", beside(__file__, "events.d"))
    for name, part in parts.items():
        text = text.replace(f"/*{name}*/", part)
    for n, register in enumerate(registers):
        text = text.replace(f"/*REG{n}*/", register)
    for n, register in enumerate(narrow_registers):
        text = text.replace(f"/*NARROW{n}*/", register)
    text = text.replace("/*RET0*/", first_back).replace("/*NUMBER*/", number).replace("/*NARROW*/", narrow)
    text = text.replace("/*GETPGID*/", str(getpgid))
    options = f"#pragma D option strsize={TEXT_SIZE}\n#pragma D option scratchsize={2 * large + 3072}\n"
    options += f"#pragma D option bufsize={buffer}\n#pragma D option dynvarsize=4m\n"
    return Program(options + text, clause_kinds(text, _KINDS))


def _init(calls: dict[int, Fetch], other: bool) -> str:
    lines = ["tracer = pid;", f"truss_other = {other:d};"]
    for number, call in calls.items():
        lines.append(f"truss_what[{number}] = {call.what:#x};")
        lines += [f"truss_in{n}[{number}] = {word:#x};" for n, word in enumerate(call.entry) if word]
        lines += [f"truss_out{n}[{number}] = {word:#x};" for n, word in enumerate(call.back) if word]
    return "BEGIN\n{\n\t" + "\n\t".join(lines) + "\n}\n"
