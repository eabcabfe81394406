"""System calls of 32-bit programs on x86-64: other numbers, 32-bit words, narrower structs (syscall_32.tbl).

Where a call is as the 64-bit one of its name, its line in calls.specs holds; of structs only those that look the same
are read, and of argv, iovecs and messages, which hold pointers, nothing.
"""

from __future__ import annotations

from dsight.calls import specs
from dsight.calls.specs import Arg, Spec

FIRST = 512  # in tables of calls, their numbers stand from here on

# Calls that 64-bit programs do not have, or have otherwise.
_TABLE = """
mmap(args:p) x
mmap2(addr:p length:U prot:|prot flags:mmapflags fd:fd pgoffset:pages) x
select(args:p)
clone(flags:cloneflags child_stack:p parent_tidptr:p tls:x child_tidptr:p) pid
socketcall(call:=socketcall args:p) d
ipc(call:u first:d second:x third:x ptr:p fifth:x) d
_llseek(fd:fd offset_high:x offset_low:x result:>off whence:=seek)
_newselect(nfds:d readfds:<>fdset writefds:<>fdset exceptfds:p timeout:p)
pread64(fd:fd buf:buf> count:U offset_low:x offset_high:x) d
pwrite64(fd:fd buf:buf< count:U offset_low:x offset_high:x) d
truncate64(path:s length_low:x length_high:x)
ftruncate64(fd:fd length_low:x length_high:x)
fallocate(fd:fd mode:x offset_low:x offset_high:x len_low:x len_high:x)
fadvise64(fd:fd offset_low:x offset_high:x len:U advice:=fadvise)
fadvise64_64(fd:fd offset_low:x offset_high:x len_low:x len_high:x advice:=fadvise)
readahead(fd:fd offset_low:x offset_high:x count:U)
stat64(path:s statbuf:p)
lstat64(path:s statbuf:p)
fstat64(fd:fd statbuf:p)
fstatat64(dirfd:dirfd path:s statbuf:p flags:|at)
statfs64(path:s size:U buf:p)
fstatfs64(fd:fd size:U buf:p)
sendfile(out_fd:fd in_fd:fd offset:p count:U) d
sendfile64(out_fd:fd in_fd:fd offset:<>off count:U) d
fcntl64(fd:fd cmd:=fcntl arg:fcntlarg) fcntl
waitpid(pid:pid wstatus:>wstatus options:|wait4) pid
ugetrlimit(resource:=rlimit rlim:>rlimit)
clock_getres_time64(clockid:clock res:>timespec)
sigreturn()
signal(signum:sig handler:p) x
sigaction(signum:sig act:p oldact:p)
sigprocmask(how:=sigmask set:p oldset:p)
getresuid(ruid:p euid:p suid:p)
getresgid(rgid:p egid:p sgid:p)
getgroups(size:d list:p)
nice(inc:d)
umount(target:s)
stime(tptr:p)
set_thread_area(u_info:p)
"""

# Of which 64-bit call one under another name is: so that it is meant where that is asked for.
_MEANT = {
    "mmap2": "mmap", "_newselect": "select", "_llseek": "lseek", "waitpid": "wait4", "ugetrlimit": "getrlimit",
    "fstatat64": "newfstatat", "sigreturn": "rt_sigreturn", "sigaction": "rt_sigaction", "umount": "umount2",
    "sigprocmask": "rt_sigprocmask", "fadvise64_64": "fadvise64", "socketcall": "socket",
}  # fmt: skip

_SAME = frozenset(
    "pollfd fdset sigset int uint fds wstatus utsname cpuset epoll_event sockaddr opt statx open_how clone_args caphdr "
    "capdata off gid".split()
)
_WIDE_TIMES = frozenset("timespec timespec2 itimerspec rlimit".split())  # of calls whose names end in 64
_NARROWER = {"timespec": "timespec32", "timeval": "timeval32", "rlimit": "rlimit32"}
_lines: dict[str, str] = {}


def spec(name: str) -> Spec:
    """A call of 32-bit programs."""
    if not _lines:
        _lines.update({line[: line.index("(")]: line for line in _TABLE.split("\n") if line})
    line = _lines.get(name)
    made = specs.of_line(line) if line is not None else specs.spec(meant(name))
    if made is None:
        made = specs.guess(name, [("unsigned int", f"arg{n}") for n in range(6)])
    same = _SAME | _WIDE_TIMES if name.endswith("64") else _SAME
    return Spec(name, tuple([Arg(arg.name, _kind(arg.kind, same)) for arg in made.args]), made.result, made.known, True)


def meant(name: str) -> str:
    """The 64-bit call that one of a 32-bit program is about."""
    found = _MEANT.get(name, name)
    for end in ("_time64", "64", "32"):
        short = found.removesuffix(end)
        if short != found and specs.spec(found) is None and specs.spec(short) is not None:
            return short
    return found


def _kind(kind: str, same: frozenset[str]) -> str:
    """An argument's kind where words have 32 bits."""
    if kind in ("iov<", "iov>", "msg<", "msg>", "mmsg<", "mmsg>"):
        return "p"
    if kind == "futexarg" and "timespec" not in same:
        return "p"
    if kind[0] in "<>":
        name = kind.lstrip("<>").partition("[")[0]
        return kind if name in same else kind.replace(name, _NARROWER[name]) if name in _NARROWER else "p"
    return {"l": "d", "U": "u"}.get(kind, kind)
