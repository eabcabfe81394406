"""Subroutines and built-ins that follow the kernel's own structures.

Offsets of members are the last arguments of the typed call, in the order of lang.builtins.MEMBERS.
"""

from __future__ import annotations

from dsight.ir import lower_builtin, lower_expr, lower_strings
from dsight.ir.loops import Body, run, words
from dsight.ir.ops import Bounded, Reg
from dsight.lang import typed
from dsight.record import BADADDR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering

PATH_MAX = 4096  # include/uapi/linux/limits.h; with the NUL
_NAME = 256  # NAME_MAX and a NUL
_COMPONENTS = 512  # of a path, mount points counted twice
_ANCESTORS = 1024  # of a process


def members(e: typed.Call, given: int) -> list[int]:
    """The offsets behind the `given` arguments of the script."""
    return [arg.value for arg in e.args[given:] if isinstance(arg, typed.Const)]


def _pointer(low: Lowering, e: typed.TExpr) -> int:
    base, offset, _ = lower_expr.place(low, e)
    return lower_expr.plus(low, base, offset)


def _read(low: Lowering, address: int, offset: int, size: int = 8) -> Reg:
    """A number from kernel memory; a bad address faults."""
    value = lower_expr.load_kernel(low, address, offset, size, None)
    assert isinstance(value, Reg)
    return value


# ---- processes


def _progeny(parent: int, tgid: int) -> Callable[[Body], None]:
    """Words: task, process wanted, whether found, then room to read.  Pointers: words."""

    def write(body: Body) -> None:
        b = body.b
        task = body.get(0)
        there = body.pointer(0)
        b.call("probe_read_kernel", b.emit("add", there, 24), 4, b.emit("add", task, tgid))
        with body.when("eq", b.load(there, 24, 4), body.get(1)):
            body.put(2, 1)
            body.stop()
        failed = b.call("probe_read_kernel", b.emit("add", there, 32), 8, b.emit("add", task, parent))
        up = body.get(4)
        with body.when("ne", failed, 0):
            body.stop()
        with body.when("eq", up, task):  # the idle task, over all
            body.stop()
        body.put(0, up)

    return write


def _progenyof(low: Lowering, e: typed.Call) -> int:
    """int progenyof(pid_t): whether the process, or one it descends from, has this id"""
    parent, tgid = members(e, 1)
    wanted = low.b.emit("zext", lower_expr.scalar(low, e.args[0]), 32)
    state = words(low, lower_builtin.builtin(low, "curthread"), wanted, 0, 0, 0)
    run(low, f"progeny_{parent}_{tgid}", _ANCESTORS, _progeny(parent, tgid), (state,))
    return low.b.load(state, 16, 8)


def execargs(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """The argument area of the process, spaces between the arguments; "" for a kernel thread."""
    b = low.b
    task = lower_builtin.builtin(low, "curthread")
    mm, start_at, end_at = members(e, 0)
    memory = _read(low, task, mm)

    def read() -> None:
        start, end = _read(low, memory, start_at), _read(low, memory, end_at)
        text = low.scratch_at(low.scratch_temporary(size))
        count = b.emit("sub", end, start)
        failed = b.call("probe_read_user", text, Bounded(count, size - 1), start)
        low.fault_if("ne", failed, 0, BADADDR, start)
        run(low, f"spaces_{size}", size, _spaces(size), (words(low, 0, count), text))
        b.call("probe_read_kernel_str", lower_expr.plus_reg(low, pointer, offset), size, text)

    lower_strings.either(low, "eq", memory, 0, lambda: b.store(pointer, offset, 1, 0), read)


def _spaces(size: int) -> Callable[[Body], None]:
    """NULs but the last become spaces.  Words: index, number of bytes.  Pointers: words, text."""

    def write(body: Body) -> None:
        b, text = body.b, body.pointer(1)
        i = body.get(0)
        after = b.emit("add", i, 1)
        body.put(0, after)
        whole = b.emit("or", b.emit("set", "uge", after, body.get(1)), b.emit("set", "uge", after, size))
        with body.when("ne", whole, 0):
            body.set_byte(text, after, size - 1, 0)
            body.stop()
        with body.when("eq", body.byte(text, i, size - 1), 0):
            body.set_byte(text, i, size - 1, ord(" "))

    return write


# ---- paths


def _climb(offsets: tuple[int, ...]) -> Callable[[Body], None]:
    """Words: dentry, mount, the root's dentry and mount, where the text starts, whether memory could not
    be read, then room to read: the mount's root, the dentry's parent, a mount, the name's address.
    Pointers: words, text of PATH_MAX (and a name more), a name."""
    d_parent, d_name, mnt, mnt_root, mnt_parent, mnt_mountpoint = offsets

    def write(body: Body) -> None:
        b, there, text, name = body.b, body.pointer(0), body.pointer(1), body.pointer(2)
        dentry, mount = body.get(0), body.get(1)

        def read(word: int, address: Reg, offset: int) -> Reg:
            failed = b.call("probe_read_kernel", b.emit("add", there, 8 * word), 8, b.emit("add", address, offset))
            with body.when("ne", failed, 0):
                body.put(5, 1)
                body.stop()
            return body.get(word)

        at_root = b.emit("and", b.emit("set", "eq", dentry, body.get(2)), b.emit("set", "eq", mount, body.get(3)))
        with body.when("ne", at_root, 0):
            body.stop()
        top, parent = read(6, mount, mnt + mnt_root), read(7, dentry, d_parent)
        over = b.emit("or", b.emit("set", "eq", dentry, top), b.emit("set", "eq", dentry, parent))
        with body.when("ne", over, 0):
            above = read(8, mount, mnt_parent)
            with body.when("eq", above, mount):
                body.stop()
            body.put(0, read(9, mount, mnt_mountpoint))
            body.put(1, above)
            body.again()
        source = read(9, dentry, d_name)
        got = b.call("probe_read_kernel_str", name, _NAME, source)
        with body.when("slt", got, 1):
            body.put(5, 1)
            body.stop()
        length = b.emit("sub", got, 1)
        start = b.emit("sub", b.emit("sub", body.get(4), length), 1)
        with body.when("slt", start, 0):  # longer than any path: what has been found
            body.stop()
        body.put(4, start)
        body.put(0, parent)
        body.set_byte(text, start, PATH_MAX - 1, ord("/"))
        b.call(
            "probe_read_kernel", b.emit("at", text, b.emit("add", start, 1), PATH_MAX - 1), Bounded(length, 255), name
        )

    return write


def _path(
    low: Lowering, address: int, offsets: list[int], pointer: Reg, offset: int, size: int, rooted: bool = True
) -> None:
    """The path a struct path leads to, from the process's root or (not `rooted`) from that of the mounts.
    `offsets`: those of d_path."""
    dentry_at, mnt_at, *_ = offsets
    dentry, mount = _read(low, address, dentry_at), _read(low, address, mnt_at)
    _path_of(low, dentry, mount, address, offsets, pointer, offset, size, rooted)


def _path_of(
    low: Lowering, dentry: Reg, vfsmount: int, address: int, offsets: list[int], pointer: Reg, offset: int, size: int,
    rooted: bool = True,
) -> None:  # fmt: skip
    """Likewise of a dentry and the struct vfsmount it is reached through; a fault says `address`."""
    b = low.b
    dentry_at, mnt_at, fs, root, *climbing = offsets
    mnt = climbing[2]
    here = (dentry, b.emit("sub", vfsmount, mnt))
    ends: tuple[Reg | int, Reg | int] = (0, 0)
    if rooted:
        top = b.emit("add", _read(low, lower_builtin.builtin(low, "curthread"), fs), root)
        ends = (_read(low, top, dentry_at), b.emit("sub", _read(low, top, mnt_at), mnt))
    state = words(low, *here, *ends, PATH_MAX - 1, 0, 0, 0, 0, 0)
    text = low.scratch_at(low.scratch_temporary(PATH_MAX + _NAME))
    b.store(text, PATH_MAX - 1, 1, 0)
    name = low.scratch_at(low.scratch_temporary(_NAME))
    run(low, "climb_" + "_".join(map(str, climbing)), _COMPONENTS, _climb(tuple(climbing)), (state, text, name))
    low.fault_if("ne", b.load(state, 40, 8), 0, BADADDR, address)
    start = b.load(state, 32, 8)
    base = lower_strings.number(low, text)
    lower_strings.either(
        low, "eq", start, PATH_MAX - 1,
        lambda: lower_strings.put_text(low, b"/", pointer, offset),
        lambda: lower_strings.part(low, base, start, PATH_MAX, pointer, offset, size),
    )  # fmt: skip


def d_path(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string d_path(struct path *)"""
    _path(low, _pointer(low, e.args[0]), members(e, 1), pointer, offset, size)


def d_mountpoint(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """string d_mountpoint(struct vfsmount *): the path of its root, where it is mounted"""
    offsets = members(e, 1)
    mount = _pointer(low, e.args[0])
    mnt_root = offsets[7]
    _path_of(low, _read(low, mount, mnt_root), mount, mount, offsets, pointer, offset, size)


def cwd(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """The working directory of the process."""
    pwd, *offsets = members(e, 0)
    fs = _read(low, lower_builtin.builtin(low, "curthread"), offsets[2])
    _path(low, low.b.emit("add", fs, pwd), offsets, pointer, offset, size)


def root(low: Lowering, e: typed.Call, pointer: Reg, offset: int, size: int) -> None:
    """The root directory of the process, from the root of its mounts: "/" but for chroot(2)."""
    offsets = members(e, 0)
    _, _, fs_at, root_at, *_ = offsets
    fs = _read(low, lower_builtin.builtin(low, "curthread"), fs_at)
    address = low.b.emit("add", fs, root_at)
    _path(low, address, offsets, pointer, offset, size, rooted=False)


# ---- locks: include/linux/mutex.h, rwsem.h; kernel/locking/mutex.h, rwsem.c

_MUTEX_FLAGS, _RWSEM_FLAGS = 7, 3  # low bits of `owner`
_WRITER_LOCKED, _READERS = 1, ((1 << 63) - 1) & ~0xFF  # of a rw_semaphore's `count`


def _mutex_owner(low: Lowering, e: typed.Call) -> int:
    """struct task_struct *mutex_owner(struct mutex *): NULL where nobody holds it"""
    (owner,) = members(e, 1)
    return low.b.emit("and", _read(low, _pointer(low, e.args[0]), owner), ~_MUTEX_FLAGS)


def _mutex_owned(low: Lowering, e: typed.Call) -> int:
    """int mutex_owned(struct mutex *): whether the thread holds it"""
    return low.b.emit("set", "eq", _mutex_owner(low, e), lower_builtin.builtin(low, "curthread"))


def _constant(value: int) -> Callable[[Lowering, typed.Call], int]:
    def rule(low: Lowering, e: typed.Call) -> int:
        lower_expr.effect(low, e.args[0])
        return value

    return rule


def _write_held(low: Lowering, e: typed.Call) -> int:
    """int rw_write_held(struct rw_semaphore *): whether a writer holds it"""
    count = _read(low, _pointer(low, e.args[0]), members(e, 1)[0])
    return low.b.emit("and", count, _WRITER_LOCKED)


def _read_held(low: Lowering, e: typed.Call) -> int:
    """int rw_read_held(struct rw_semaphore *): whether a reader holds it"""
    count = _read(low, _pointer(low, e.args[0]), members(e, 1)[0])
    readers = low.b.emit("set", "ne", low.b.emit("and", count, _READERS), 0)
    return low.b.emit("and", readers, low.b.emit("set", "eq", low.b.emit("and", count, _WRITER_LOCKED), 0))


def _iswriter(low: Lowering, e: typed.Call) -> int:
    """int rw_iswriter(struct rw_semaphore *): whether the thread holds it as a writer"""
    address = _pointer(low, e.args[0])
    count, owner = [_read(low, address, offset) for offset in members(e, 1)]
    mine = low.b.emit("and", owner, ~_RWSEM_FLAGS)
    is_mine = low.b.emit("set", "eq", mine, lower_builtin.builtin(low, "curthread"))
    return low.b.emit("and", is_mine, low.b.emit("and", count, _WRITER_LOCKED))


# ---- devices: include/linux/kdev_t.h

_MINOR_BITS = 20


def _getmajor(low: Lowering, e: typed.Call) -> int:
    return low.b.emit("shr", lower_expr.scalar(low, e.args[0]), _MINOR_BITS)


def _getminor(low: Lowering, e: typed.Call) -> int:
    return low.b.emit("and", lower_expr.scalar(low, e.args[0]), (1 << _MINOR_BITS) - 1)


STRINGS: dict[str, lower_strings.StringRule] = {
    "cwd": cwd,
    "d_mountpoint": d_mountpoint,
    "d_path": d_path,
    "execargs": execargs,
    "root": root,
}

SCALARS: dict[str, Callable[[Lowering, typed.Call], int]] = {
    "getmajor": _getmajor,
    "getminor": _getminor,
    "mutex_owned": _mutex_owned,
    "mutex_owner": _mutex_owner,
    "mutex_type_adaptive": _constant(1),
    "mutex_type_spin": _constant(0),
    "progenyof": _progenyof,
    "rw_iswriter": _iswriter,
    "rw_read_held": _read_held,
    "rw_write_held": _write_held,
}
