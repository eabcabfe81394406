"""Kernel memory read in each way there is: by loads from what bpf_rdonly_cast gives, from any memory or from
the members of a struct only, and by the helper.  All say the same, and where there is nothing all fault."""

from __future__ import annotations

import os

import pytest

from dsight.api import Trace
from dsight.bpf.insn import call_kernel
from dsight.ir.ops import HELPERS
from dsight.kernel import features
from dsight.machine import Machine
from dsight.source import Source

pytestmark = pytest.mark.kernel

KINDS = ("raw_tp", "tp_btf", "tracepoint", "perf_event", "uprobe")


@pytest.fixture(params=["any memory", "members of a struct", "the helper"])
def machine(request, monkeypatch: pytest.MonkeyPatch):
    made = Machine()
    any_memory = features.cast("raw_tp", made.registry.btf)
    struct_id = made.registry.btf.id("struct", "timespec64")
    if any_memory is None and request.param != "the helper":
        pytest.skip("this kernel has no bpf_rdonly_cast (Linux 6.2)")
    if request.param == "members of a struct":
        monkeypatch.setattr(features, "_casts", dict.fromkeys(KINDS, (any_memory[0], struct_id)))
    elif request.param == "the helper":
        monkeypatch.setattr(features, "_casts", dict.fromkeys(KINDS))
    else:
        assert any_memory[1] == 0 or os.uname().release < "6.17"
    yield made
    made.close()


def compiled(script: str, machine: Machine):
    from dsight.lang.macros import Macros

    return machine.compile([Source("test", script)], Macros(0, "test"))[0]


def test_it_is_the_way_that_was_asked_for(machine: Machine) -> None:
    direct = machine.registry.direct("raw_tp")
    insns = compiled("BEGIN { trace((int)curthread); trace(curthread->tgid); }", machine).programs[0].spec.insns
    helper = [i for i in insns if i.code == 0x85 and i.src == 0 and i.imm == HELPERS["probe_read_kernel"]]
    # Nothing is asked of the helper about the current thread, which is there.
    assert (direct is None) == bool(helper)
    assert (direct is not None) == (
        direct is not None and call_kernel(direct[0]) in [i.replace(span=None) for i in insns]
    )


def test_values(machine: Machine) -> None:
    """Chains of pointers, zeroes, bit-fields, signs, octets, 16 bytes at once."""
    script = """BEGIN {
        this->leader = curthread->group_leader;
        trace(curthread->tgid); trace(this->leader->tgid); trace(this->leader->group_leader->real_parent->tgid);
        trace(curthread->exit_code); trace(this->leader->exit_code); trace(curthread->in_execve);
        trace(this->leader->comm[0]); trace(stringof(this->leader->comm)); tracemem(&this->leader->comm[0], 16);
        trace(curthread->mm->arg_end > curthread->mm->arg_start); trace(this->leader->prio);
    }"""
    with Trace(script, on=machine) as trace:
        records = [*trace.read(), *trace.stop()]
    with open("/proc/self/comm", "rb") as f:
        comm = f.read().rstrip(b"\n")
    with open("/proc/self/stat") as f:
        priority = int(f.read().rpartition(")")[2].split()[15]) + 100
    assert trace.faults == []
    *first, octets, after, prio = records[0].values
    me, parent = os.getpid(), os.getppid()
    assert first == [me, me, parent, 0, 0, 0, comm[0], comm.decode()]
    assert (bytes(octets)[: len(comm)], after, prio) == (comm, 1, priority)


@pytest.mark.parametrize(
    "address", [0, 8, 0x1000, 0x00007FFF_FFFF_F000, 0xDEAD_0000_0000_0100, 0xFFFF_FFFF_FFFF_F000 - 0x2000, -22]
)
@pytest.mark.parametrize("size", [1, 4, 8])
def test_nothing_there(address: int, size: int, machine: Machine) -> None:
    """NULL, what is the user's or nobody's, an error in place of a pointer: a fault that says where."""
    kind = {1: "char", 4: "int", 8: "long"}[size]
    script = f"""
        BEGIN {{ this->p = ({kind} *){address}; trace(1); trace(*this->p); }}
        BEGIN {{ this->t = (struct task_struct *){address}; trace(this->t->group_leader->tgid); }}
        BEGIN {{ trace(2); }}
        ERROR {{ trace(arg4); trace((uint64_t)arg5); }}"""
    with Trace(script, on=machine) as trace:
        records = [*trace.read(), *trace.stop()]
    leader = next(m for m in machine.registry.type("struct", "task_struct").members if m.name == "group_leader")
    said = [record.values for record in records]
    assert said == [(1, address % 2**64), (1, (address + leader.bit_offset // 8) % 2**64), (2,)]
    assert len(trace.faults) == 2


def test_a_byte_that_changes(machine: Machine) -> None:
    """What a script writes to its own memory through one pointer is read anew through another."""
    script = """int *p; int *q;
        BEGIN { p = alloca(16); q = p; *p = 7; trace(*q); *q = 0; trace(*p); p[3] = -1; trace(q[3]); trace(q[2]); }"""
    with Trace(script, on=machine) as trace:
        records = [*trace.read(), *trace.stop()]
    assert records[0].values == (7, 0, -1, 0)
    assert trace.faults == []


def test_more_pointers_than_the_stack_has_room_for(machine: Machine) -> None:
    """Each is used again at the end: what registers and stack do not hold is kept in memory."""
    n = 70
    first = " ".join(
        [
            f"this->p{i} = (struct task_struct *)((uint64_t)curthread + {i} * 0); trace(this->p{i}->tgid);"
            for i in range(n)
        ]
    )
    last = " ".join([f"trace(this->p{i}->tgid);" for i in range(n)])
    with Trace(f"BEGIN {{ {first} {last} }}", on=machine) as trace:
        records = [*trace.read(), *trace.stop()]
    assert records[0].values == (os.getpid(),) * (2 * n)
    assert trace.faults == []


def test_kinds(machine: Machine) -> None:
    """Every kind of program may read so, or none."""
    assert len({features.cast(kind, machine.registry.btf) for kind in KINDS}) == 1
