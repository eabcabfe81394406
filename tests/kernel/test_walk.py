"""Chains of pointers from the running thread on load whatever is done with what they give, in programs of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dsight.api import Trace
from dsight.errors import CompileError
from dsight.lang.macros import Macros
from dsight.machine import Machine
from dsight.source import Source

pytestmark = pytest.mark.kernel

# Pointers to named, unnamed and undefined structs, to a union, to numbers; arrays; under RCU; that may be 0.
MEMBERS = """signal->tty->index cred->uid.val real_cred->euid.val fs->pwd.dentry->d_inode->i_ino
    nsproxy->net_ns->ns.inum
    files->fdt->max_fds mm->exe_file->f_inode->i_ino mm->pgd mm->mmap_base sighand->count.refs.counter thread_pid->level
    group_leader->group_leader->real_parent->parent->pid cgroups->dfl_cgrp->kn->id cgroups->subsys[0]->cgroup->kn->id
    se.vruntime se.cfs_rq signal->pids[1]->level stack_vm_area->size io_context bio_list cpus_ptr->bits[0] sched_class
    active_mm->mm_users.counter audit_context io_uring signal->rlim[3].rlim_cur tasks.next vfork_done->done
    set_child_tid robust_list mm->exe_file->f_path.dentry->d_name.name atomic_flags personality in_execve""".split()
USES = (
    "trace({m});",
    "this->x = (uint64_t)({m}); trace(this->x + 1); trace(this->x * 3);",
    'if (({m}) != 0) {{ @["y"] = count(); }} self->z = (uint64_t)({m}) ^ 5; trace(self->z);',
    "this->a = curthread; this->b = this->a; trace({m}); trace((uint64_t)this->b & 255);",
)


@pytest.fixture
def machine() -> Iterator[Machine]:
    here = Machine()
    yield here
    here.close()


@pytest.mark.parametrize("probe", ["BEGIN", "syscall::getppid:entry", "tick-1h", "rawtp:::sys_enter"])
@pytest.mark.parametrize("use", USES, ids=["traced", "computed with", "compared and kept", "with the thread itself"])
def test_programs_load(machine: Machine, probe: str, use: str) -> None:
    known = []
    for member in MEMBERS:
        here = use.format(m=f"curthread->{member}")
        try:
            machine.compile([Source("one", f"BEGIN {{ {here} }}")], Macros(0, "one"))
        except CompileError as e:
            assert "has no member" in str(e), (member, e)  # another kernel's
            continue
        known.append(here)
    assert len(known) > 20
    text = "".join(
        f'{probe} /pid == 1 && execname == "x{n}" && uid == 1/ {{ {" ".join(known[n : n + 4])} }}\n'
        for n in range(0, len(known), 4)
    )
    made, options = machine.compile([Source("chains", text)], Macros(0, "chains"))
    with Trace(made, on=machine, plain=True, options=options) as trace:
        trace.rows(0.0)
