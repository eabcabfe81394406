"""What each system call's arguments are: syscalls(2), one line a call.

    name(argument:kind argument:kind ...) result

kind        argument                                       what the kernel side copies
d u l U     signed, unsigned 32 bits; 64 bits              -
x o p       hexadecimal, octal, a pointer                  -
fd dirfd    a descriptor; one or AT_FDCWD                  which open file it is
pid sig     a process, a signal                            -
|set =set   flags, one of (calls.names)                    -
s           a string, often a path                         the string, at entry
buf< buf>   data; its length is the next argument, or      up to the string size, at entry or return
            the result
<t >t <>t   a struct `t` (calls.structs), read or written  at entry, at return, at both
<t[] >t[n]  an array; elements: the next argument, or the  as many as fit
            result (`[ret]`)
argv        the arguments of execve(2)                     pointers and the first strings
iov< iov>   iovecs, their number is the next argument      iovecs, and data of the first
msg< msg>   a struct msghdr                                name, iovecs, data of the first, control
else        a word whose meaning calls.decode knows

Arguments of calls that are not here have the types the kernel gives them (tracefs).
"""

from __future__ import annotations

import os

from dsight.value import Value

_TABLE = """
read(fd:fd buf:buf> count:U) d
write(fd:fd buf:buf< count:U) d
open(path:s flags:oflags mode:omode) fd
openat(dirfd:dirfd path:s flags:oflags mode:omode) fd
openat2(dirfd:dirfd path:s how:<open_how size:U) fd
creat(path:s mode:o) fd
close(fd:fd)
close_range(first:u last:u flags:|close_range)
stat(path:s statbuf:>stat)
fstat(fd:fd statbuf:>stat)
lstat(path:s statbuf:>stat)
newfstatat(dirfd:dirfd path:s statbuf:>stat flags:|at)
statx(dirfd:dirfd path:s flags:statxflags mask:|statx statxbuf:>statx)
statfs(path:s buf:>statfs)
fstatfs(fd:fd buf:>statfs)
poll(fds:<>pollfd[] nfds:u timeout:d) poll
ppoll(fds:<>pollfd[] nfds:u timeout:<timespec sigmask:<sigset sigsetsize:U) poll
select(nfds:d readfds:<>fdset writefds:<>fdset exceptfds:p timeout:<timeval)
pselect6(nfds:d readfds:<>fdset writefds:<>fdset exceptfds:p timeout:<timespec sigmask:p)
lseek(fd:fd offset:l whence:=seek)
mmap(addr:p length:U prot:|prot flags:mmapflags fd:fd offset:x) x
mprotect(addr:p length:U prot:|prot)
munmap(addr:p length:U)
mremap(addr:p old_size:U new_size:U flags:|mremap new_addr:p) x
msync(addr:p length:U flags:|msync)
madvise(addr:p length:U advice:=advice)
mlock(addr:p length:U)
munlock(addr:p length:U)
mlock2(addr:p length:U flags:x)
mlockall(flags:|mlockall)
munlockall()
mincore(addr:p length:U vec:p)
brk(addr:p) x
pkey_mprotect(addr:p length:U prot:|prot pkey:d)
pkey_alloc(flags:x access:|pkey)
pkey_free(pkey:d)
membarrier(cmd:=membarrier flags:x cpu_id:d)
rt_sigaction(signum:sig act:<sigaction oldact:>sigaction sigsetsize:U)
rt_sigprocmask(how:=sigmask set:<sigset oldset:>sigset sigsetsize:U)
rt_sigreturn()
rt_sigpending(set:>sigset sigsetsize:U)
rt_sigsuspend(mask:<sigset sigsetsize:U)
rt_sigtimedwait(set:<sigset info:>siginfo timeout:<timespec sigsetsize:U) sig
rt_sigqueueinfo(pid:pid sig:sig info:<siginfo)
sigaltstack(ss:<stack_t old_ss:>stack_t)
signalfd4(fd:fd mask:<sigset sigsetsize:U flags:|signalfd) fd
kill(pid:pid sig:sig)
tkill(tid:pid sig:sig)
tgkill(tgid:pid tid:pid sig:sig)
pause()
alarm(seconds:u)
ioctl(fd:fd request:ioctlcmd arg:ioctlarg)
pread64(fd:fd buf:buf> count:U offset:l)
pwrite64(fd:fd buf:buf< count:U offset:l)
readv(fd:fd iov:iov> iovcnt:d)
writev(fd:fd iov:iov< iovcnt:d)
preadv(fd:fd iov:iov> iovcnt:d offset:l pos_h:x)
pwritev(fd:fd iov:iov< iovcnt:d offset:l pos_h:x)
preadv2(fd:fd iov:iov> iovcnt:d offset:l pos_h:x flags:|rwf)
pwritev2(fd:fd iov:iov< iovcnt:d offset:l pos_h:x flags:|rwf)
access(path:s mode:|access)
faccessat(dirfd:dirfd path:s mode:|access)
faccessat2(dirfd:dirfd path:s mode:|access flags:|faccessat)
pipe(pipefd:>fds)
pipe2(pipefd:>fds flags:pipeflags)
dup(fd:fd) fd
dup2(fd:fd newfd:d) fd
dup3(fd:fd newfd:d flags:oflags0) fd
sched_yield()
nanosleep(req:<timespec rem:p)
clock_nanosleep(clockid:clock flags:|timer req:<timespec rem:p)
clock_gettime(clockid:clock tp:>timespec)
clock_settime(clockid:clock tp:<timespec)
clock_getres(clockid:clock res:>timespec)
gettimeofday(tv:>timeval tz:p)
time(tloc:p)
getitimer(which:=itimer value:>itimerval)
setitimer(which:=itimer new:<itimerval old:>itimerval)
timerfd_create(clockid:=clock flags:|timerfd) fd
timerfd_settime(fd:fd flags:|timer new:<itimerspec old:>itimerspec)
timerfd_gettime(fd:fd curr:>itimerspec)
getpid()
getppid()
gettid()
getpgrp()
getpgid(pid:pid)
setpgid(pid:pid pgid:pid)
getsid(pid:pid)
setsid()
getuid()
geteuid()
getgid()
getegid()
setuid(uid:u)
setgid(gid:u)
setreuid(ruid:d euid:d)
setregid(rgid:d egid:d)
setresuid(ruid:d euid:d suid:d)
setresgid(rgid:d egid:d sgid:d)
getresuid(ruid:>uint euid:>uint suid:>uint)
getresgid(rgid:>uint egid:>uint sgid:>uint)
setfsuid(uid:u)
setfsgid(gid:u)
getgroups(size:d list:>gid[ret])
setgroups(size:d list:p)
capget(hdr:<caphdr data:>capdata)
capset(hdr:<caphdr data:<capdata)
sendfile(out_fd:fd in_fd:fd offset:<>off count:U) d
copy_file_range(fd_in:fd off_in:<>off fd_out:fd off_out:<>off len:U flags:x) d
splice(fd_in:fd off_in:<>off fd_out:fd off_out:<>off len:U flags:|splice) d
tee(fd_in:fd fd_out:fd len:U flags:|splice) d
vmsplice(fd:fd iov:iov< nr_segs:U flags:|splice) d
socket(domain:=af type:socktype protocol:proto) fd
socketpair(domain:=af type:socktype protocol:proto sv:>fds)
connect(fd:fd addr:<sockaddr addrlen:u)
bind(fd:fd addr:<sockaddr addrlen:u)
listen(fd:fd backlog:d)
accept(fd:fd addr:>sockaddr addrlen:<>uint) fd
accept4(fd:fd addr:>sockaddr addrlen:<>uint flags:|sock) fd
getsockname(fd:fd addr:>sockaddr addrlen:<>uint)
getpeername(fd:fd addr:>sockaddr addrlen:<>uint)
sendto(fd:fd buf:buf< len:U flags:|msg addr:<sockaddr addrlen:u) d
recvfrom(fd:fd buf:buf> size:U flags:|msg addr:>sockaddr addrlen:<>uint) d
sendmsg(fd:fd msg:msg< flags:|msg) d
recvmsg(fd:fd msg:msg> flags:|msg) d
sendmmsg(fd:fd msgvec:mmsg< vlen:u flags:|msg) d
recvmmsg(fd:fd msgvec:mmsg> vlen:u flags:|msg timeout:<timespec) d
shutdown(fd:fd how:=shut)
setsockopt(fd:fd level:=sol optname:optname optval:<opt optlen:u)
getsockopt(fd:fd level:=sol optname:optname optval:>opt optlen:<>uint)
clone(flags:cloneflags child_stack:p parent_tidptr:p child_tidptr:p tls:x) pid
clone3(args:<clone_args size:U) pid
fork() pid
vfork() pid
execve(path:s argv:argv envp:p)
execveat(dirfd:dirfd path:s argv:argv envp:p flags:|at)
exit(status:d)
exit_group(status:d)
wait4(pid:pid wstatus:>wstatus options:|wait4 rusage:p) pid
waitid(idtype:=idtype id:pid infop:>siginfo options:|wait rusage:p)
uname(buf:>utsname)
fcntl(fd:fd cmd:=fcntl arg:fcntlarg) fcntl
flock(fd:fd operation:=flock)
fsync(fd:fd)
fdatasync(fd:fd)
sync()
syncfs(fd:fd)
sync_file_range(fd:fd offset:l nbytes:l flags:x)
truncate(path:s length:l)
ftruncate(fd:fd length:l)
fallocate(fd:fd mode:x offset:l len:l)
fadvise64(fd:fd offset:l len:l advice:=fadvise)
readahead(fd:fd offset:l count:U)
getdents(fd:fd dirp:p count:u) d
getdents64(fd:fd dirp:p count:u) d
getcwd(buf:cwd> size:U) d
chdir(path:s)
fchdir(fd:fd)
rename(oldpath:s newpath:s)
renameat(olddirfd:dirfd oldpath:s newdirfd:dirfd newpath:s)
renameat2(olddirfd:dirfd oldpath:s newdirfd:dirfd newpath:s flags:|rename)
mkdir(path:s mode:o)
mkdirat(dirfd:dirfd path:s mode:o)
mknod(path:s mode:o dev:x)
mknodat(dirfd:dirfd path:s mode:o dev:x)
rmdir(path:s)
link(oldpath:s newpath:s)
linkat(olddirfd:dirfd oldpath:s newdirfd:dirfd newpath:s flags:|at)
unlink(path:s)
unlinkat(dirfd:dirfd path:s flags:|at)
symlink(target:s linkpath:s)
symlinkat(target:s newdirfd:dirfd linkpath:s)
readlink(path:s buf:buf> size:U) d
readlinkat(dirfd:dirfd path:s buf:buf> size:U) d
chmod(path:s mode:o)
fchmod(fd:fd mode:o)
fchmodat(dirfd:dirfd path:s mode:o)
fchmodat2(dirfd:dirfd path:s mode:o flags:|at)
chown(path:s owner:d group:d)
fchown(fd:fd owner:d group:d)
lchown(path:s owner:d group:d)
fchownat(dirfd:dirfd path:s owner:d group:d flags:|at)
utime(path:s times:p)
utimes(path:s times:p)
utimensat(dirfd:dirfd path:s times:<timespec2 flags:|at)
umask(mask:o) o
chroot(path:s)
pivot_root(new_root:s put_old:s)
mount(source:s target:s type:s flags:|mount data:p)
umount2(target:s flags:|umount)
swapon(path:s flags:x)
swapoff(path:s)
setxattr(path:s name:s value:buf< size:U flags:|xattr)
lsetxattr(path:s name:s value:buf< size:U flags:|xattr)
fsetxattr(fd:fd name:s value:buf< size:U flags:|xattr)
getxattr(path:s name:s value:buf> size:U) d
lgetxattr(path:s name:s value:buf> size:U) d
fgetxattr(fd:fd name:s value:buf> size:U) d
listxattr(path:s list:buf> size:U) d
llistxattr(path:s list:buf> size:U) d
flistxattr(fd:fd list:buf> size:U) d
removexattr(path:s name:s)
lremovexattr(path:s name:s)
fremovexattr(fd:fd name:s)
acct(path:s)
quotactl(cmd:x special:s id:d addr:p)
futex(uaddr:p op:futexop val:u timeout:futexarg uaddr2:p val3:bitset)
futex_waitv(waiters:p nr_futexes:u flags:x timeout:<timespec clockid:=clock)
set_tid_address(tidptr:p)
set_robust_list(head:p len:U)
get_robust_list(pid:pid head_ptr:p len_ptr:p)
rseq(rseq:p rseq_len:x flags:x sig:x)
epoll_create(size:d) fd
epoll_create1(flags:|epoll_create) fd
epoll_ctl(epfd:fd op:=epoll_ctl fd:fd event:<epoll_event)
epoll_wait(epfd:fd events:>epoll_event[ret] maxevents:d timeout:d) d
epoll_pwait(epfd:fd events:>epoll_event[ret] maxevents:d timeout:d sigmask:<sigset sigsetsize:U) d
epoll_pwait2(epfd:fd events:>epoll_event[ret] maxevents:d timeout:<timespec sigmask:<sigset sigsetsize:U) d
eventfd(initval:u) fd
eventfd2(initval:u flags:|eventfd) fd
inotify_init() fd
inotify_init1(flags:|inotify_init) fd
inotify_add_watch(fd:fd path:s mask:|inotify)
inotify_rm_watch(fd:fd wd:d)
memfd_create(name:s flags:|memfd) fd
getrandom(buf:buf> buflen:U flags:|getrandom) d
arch_prctl(op:=arch_prctl addr:p)
prctl(option:=prctl arg2:prctlarg arg3:x arg4:x arg5:x)
getrlimit(resource:=rlimit rlim:>rlimit)
setrlimit(resource:=rlimit rlim:<rlimit)
prlimit64(pid:pid resource:=rlimit new_limit:<rlimit old_limit:>rlimit)
getrusage(who:=rusage usage:>rusage)
sysinfo(info:>sysinfo)
times(buf:p)
getpriority(which:=which_prio who:d)
setpriority(which:=which_prio who:d prio:d)
sched_setaffinity(pid:pid cpusetsize:U mask:<cpuset)
sched_getaffinity(pid:pid cpusetsize:U mask:>cpuset)
sched_setscheduler(pid:pid policy:=sched param:<int)
sched_getscheduler(pid:pid) =sched
sched_setparam(pid:pid param:<int)
sched_getparam(pid:pid param:>int)
sched_get_priority_max(policy:=sched)
sched_get_priority_min(policy:=sched)
getcpu(cpu:>uint node:>uint unused:p)
personality(persona:x)
ptrace(request:=ptrace pid:pid addr:p data:p)
process_vm_readv(pid:pid local_iov:iov> liovcnt:U remote_iov:p riovcnt:U flags:x) d
process_vm_writev(pid:pid local_iov:iov< liovcnt:U remote_iov:p riovcnt:U flags:x) d
kcmp(pid1:pid pid2:pid type:d idx1:x idx2:x)
seccomp(operation:=seccomp flags:x args:p)
bpf(cmd:=bpf attr:p size:u)
perf_event_open(attr:p pid:pid cpu:d group_fd:d flags:x) fd
userfaultfd(flags:oflags0) fd
unshare(flags:|clone)
setns(fd:fd nstype:|clone)
sethostname(name:buf< len:U)
setdomainname(name:buf< len:U)
pidfd_open(pid:pid flags:|pidfd) fd
pidfd_send_signal(pidfd:fd sig:sig info:p flags:x)
pidfd_getfd(pidfd:fd targetfd:d flags:x) fd
io_uring_setup(entries:u params:p) fd
io_uring_enter(fd:fd to_submit:u min_complete:u flags:x arg:p argsz:U) d
io_uring_register(fd:fd opcode:u arg:p nr_args:u)
open_tree(dirfd:dirfd path:s flags:x) fd
move_mount(from_dirfd:dirfd from_path:s to_dirfd:dirfd to_path:s flags:x)
fsopen(fsname:s flags:x) fd
fsmount(fs_fd:fd flags:x attr_flags:x) fd
syslog(type:d buf:p len:d)
add_key(type:s description:s payload:p plen:U keyring:d)
request_key(type:s description:s callout:s dest_keyring:d)
keyctl(cmd:d arg2:x arg3:x arg4:x arg5:x)
shmget(key:x size:U shmflg:x)
shmat(shmid:d shmaddr:p shmflg:x) x
shmdt(shmaddr:p)
shmctl(shmid:d cmd:d buf:p)
semget(key:x nsems:d semflg:x)
semop(semid:d sops:p nsops:U)
msgget(key:x msgflg:x)
mq_open(name:s oflag:oflags mode:omode attr:p) fd
mq_unlink(name:s)
restart_syscall()
"""

NO_RETURN = frozenset({"exit", "exit_group"})
FORKS = frozenset({"fork", "vfork", "clone", "clone3"})
EXECS = frozenset({"execve", "execveat"})

# strace's classes, those that are not told by the arguments
CLASSES = {
    "network": "socket socketpair connect bind listen accept accept4 getsockname getpeername sendto recvfrom sendmsg "
    "recvmsg sendmmsg recvmmsg shutdown setsockopt getsockopt sendfile getpmsg putpmsg",
    "process": "fork vfork clone clone3 execve execveat exit exit_group wait4 waitid kill tkill tgkill "
    "rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal unshare",
    "memory": "mmap mprotect munmap mremap msync madvise mlock munlock mlock2 mlockall munlockall mincore brk "
    "pkey_mprotect pkey_alloc pkey_free membarrier mbind get_mempolicy set_mempolicy migrate_pages move_pages "
    "remap_file_pages process_madvise memfd_secret mseal shmat shmdt",
    "signal": "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo "
    "rt_tgsigqueueinfo sigaltstack signalfd signalfd4 kill tkill tgkill pause pidfd_send_signal",
    "ipc": "shmget shmat shmdt shmctl semget semop semctl semtimedop msgget msgsnd msgrcv msgctl",
    "clock": "clock_gettime clock_settime clock_getres clock_adjtime gettimeofday settimeofday time adjtimex",
    "creds": "getuid geteuid getgid getegid setuid setgid setreuid setregid setresuid setresgid getresuid getresgid "
    "setfsuid setfsgid getgroups setgroups capget capset prctl",
}
_CLASS_NAMES = ("file", "desc", *CLASSES)
_DESC_TOO = frozenset(
    "open openat openat2 creat socket accept accept4 pipe pipe2 epoll_create epoll_create1 eventfd eventfd2 poll ppoll "
    "select pselect6 inotify_init inotify_init1 memfd_create timerfd_create perf_event_open io_uring_setup dup "
    "userfaultfd pidfd_open bpf socketpair close_range".split()
)


class Arg(Value):
    """One argument of a call."""

    name: str
    kind: str


class Spec(Value):
    """One system call: its arguments, and the kind of its result ("" a number)."""

    name: str
    args: tuple[Arg, ...]
    result: str = ""
    known: bool = True  # False: made of the kernel's types
    narrow: bool = False  # of a 32-bit program (calls.narrow)


_lines: dict[str, str] = {}
_specs: dict[str, Spec] = {}


def spec(name: str) -> Spec | None:
    """A call's line of the table, read when first asked for."""
    made = _specs.get(name)
    if made is None:
        if not _lines:
            for line in _TABLE.split("\n"):
                if line:
                    _lines[line[: line.index("(")]] = line
            if os.uname().machine == "aarch64":  # CONFIG_CLONE_BACKWARDS
                _lines["clone"] = _lines["clone"].replace(" child_tidptr:p tls:x", " tls:x child_tidptr:p")
        line_of = _lines.get(name)
        if line_of is None:
            return None
        made = _specs[name] = of_line(line_of)
    return made


def of_line(line: str) -> Spec:
    """What a line of a table says."""
    name, _, rest = line.partition("(")
    inside, _, result = rest.partition(")")
    return Spec(name, tuple([Arg(*word.split(":")) for word in inside.split()]), result.strip())


def names() -> list[str]:
    """All calls of the table."""
    spec("")
    return list(_lines)


def guess(name: str, fields: list[tuple[str, str]]) -> Spec:
    """A call that is not in the table, of the C declarations of its arguments: (type, name)."""
    return Spec(name, tuple([Arg(label, _guess(kind, label)) for kind, label in fields]), "", False)


def _guess(kind: str, label: str) -> str:
    if "*" in kind:
        is_text = "char" in kind and ("path" in label or "name" in label)
        return "s" if is_text else "p"
    if label in ("fd", "dfd", "dirfd"):
        return "dirfd" if label != "fd" else "fd"
    if kind.replace("const ", "") in ("int", "pid_t", "long", "clockid_t", "key_t", "timer_t", "mqd_t"):
        return "d"
    return "x" if "flag" in label else "U" if "size_t" in kind or "long" in kind else "u"


def of_class(name: str) -> frozenset[str] | None:
    """The calls of one of strace's classes, such as "network"; None: there is no such class."""
    if name in CLASSES:
        return frozenset(CLASSES[name].split())
    if name == "file":
        return frozenset(n for n in names() if any(a.kind == "s" for a in _known(n).args) and n not in _NOT_FILES)
    if name == "desc":
        return frozenset(n for n in names() if any(a.kind in ("fd", "dirfd") for a in _known(n).args)) | _DESC_TOO
    return None


def class_names() -> list[str]:
    return sorted(_CLASS_NAMES)


_NOT_FILES = frozenset({"memfd_create", "fsopen", "add_key", "request_key", "quotactl", "fsetxattr", "fgetxattr"})


def _known(name: str) -> Spec:
    found = spec(name)
    assert found is not None
    return found
