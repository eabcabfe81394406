"""Text of system calls: each kind of argument, made by hand; and whatever bytes there are, text that can be shown."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsight.calls import decode, names, narrow, specs, structs
from dsight.calls.call import Call, Memory
from dsight.calls.decode import arguments, result
from dsight.kernel import syscalls
from dsight.ui.truss_text import Lines

AT = 0x7F0000001000


def made(name: str, *args: int, seen=None, back=None, texts=None, value: int | None = 0, files=("", "")) -> Call:
    """A call that has returned; memory by address: bytes, or (its size there, bytes)."""
    spec = specs.spec(name)
    assert spec is not None
    call = Call(10, 7, 7, spec, tuple(arg & (1 << 64) - 1 for arg in args) + (0,) * (6 - len(args)))
    call.seen, call.back = Memory(), Memory()
    call.seen.texts.update(texts or {})
    for memory, blocks in ((call.seen, seen), (call.back, back)):
        for address, block in (blocks or {}).items():
            memory.blocks[address] = block if isinstance(block, tuple) else (len(block), block)
    call.result, call.files = value, files
    return call


def shown(name: str, *args: int, **more) -> str:
    return ", ".join(arguments(made(name, *args, **more), 32))


def structs_epoll(events: int, value: int) -> bytes:
    return struct.pack("=IQ" if structs.SIZES["epoll_event"] == 12 else "IxxxxQ", events, value)


INET = struct.pack("=HH4s8x", 2, 0xBB01, bytes([10, 0, 0, 7]))
INET6 = struct.pack("=HHI16sI", 10, 0xBB01, 0, bytes(15) + b"\1", 3)


@pytest.mark.parametrize(
    "data, said",
    [
        (INET, '{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("10.0.0.7")}'),
        (
            INET6,
            "{sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
            'inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=3}',
        ),
        (b"\1\0/run/x\0rest", '{sa_family=AF_UNIX, sun_path="/run/x"}'),
        (b"\1\0\0abstract\0", '{sa_family=AF_UNIX, sun_path=@"abstract\\x00"}'),
        (struct.pack("=HHII", 16, 0, 0, 5), "{sa_family=AF_NETLINK, nl_pid=0, nl_groups=0x000005}"),
        (struct.pack("=HHI12x", 17, 0x0300, 2), "{sa_family=AF_PACKET, sll_protocol=htons(0x3), sll_ifindex=2}"),
        (b"\x63\0ab", '{sa_family=99, sa_data="ab"}'),
        (b"\2", '"\\x02"'),
        (b"\2\0\0", '{sa_family=AF_INET, sa_data="\\x00"}'),
    ],
)
def test_addresses(data: bytes, said: str) -> None:
    assert shown("connect", 3, AT, len(data), seen={AT: data}) == f"3, {said}, {len(data)}"


TIME = struct.pack("qq", 1, 500)


@pytest.mark.parametrize(
    "call, said",
    [
        (made("openat", -100, AT, 0x80241, 0o644, texts={AT: b"/a\n\x1b"}),
         'AT_FDCWD, "/a\\n\\x1b", O_WRONLY|O_CLOEXEC|O_CREAT|O_TRUNC, 0644'),
        (made("openat", 3, AT, 0, 0o644, texts={AT: b"x"}, files=("/etc", "")), '3</etc>, "x", O_RDONLY'),
        (made("open", AT, 0o2), f"{AT:#x}, O_RDWR"),
        (made("open", AT, 0x40, 0o600), f"{AT:#x}, O_RDONLY|O_CREAT, 0600"),
        (made("mmap", 0, 4096, 3, 0x22, -1, 0),
         "NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0"),
        (made("read", 0, AT, 9, back={AT: b"abc"}, value=3), '0, "abc", 9'),
        (made("read", 0, AT, 9, value=0), '0, "", 9'),
        (made("read", 0, AT, 9, value=-11), f"0, {AT:#x}, 9"),
        (made("write", 1, AT, 40, seen={AT: (40, b"y" * 32)}), f'1, "{"y" * 32}"..., 40'),
        (made("poll", AT, 2, -1, seen={AT: struct.pack("iHHiHH", 3, 1, 0, 4, 4, 0)},
              back={AT: struct.pack("iHHiHH", 3, 1, 0x11, 4, 4, 0)}, value=1),
         "[{fd=3, events=POLLIN, revents=POLLIN|POLLHUP}, {fd=4, events=POLLOUT}], 2, -1"),
        (made("nanosleep", AT, 0, seen={AT: TIME}), "{tv_sec=1, tv_nsec=500}, NULL"),
        (made("clock_nanosleep", 1, 1, AT, 0, seen={AT: TIME}),
         "CLOCK_MONOTONIC, TIMER_ABSTIME, {tv_sec=1, tv_nsec=500}, NULL"),
        (made("clock_gettime", ~77 << 3 | 6, AT, back={AT: TIME}),
         "MAKE_THREAD_CPUCLOCK(77, CPUCLOCK_SCHED), {tv_sec=1, tv_nsec=500}"),
        (made("wait4", -1, AT, 1, 0, back={AT: struct.pack("i", 3 << 8)}, value=9),
         "-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], WNOHANG, NULL"),
        (made("wait4", -1, AT, 0, 0, back={AT: struct.pack("i", 0x8B)}, value=9),
         "-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)}], 0, NULL"),
        (made("wait4", -1, AT, 2, 0, back={AT: struct.pack("i", 0x137F)}, value=9),
         "-1, [{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}], WUNTRACED, NULL"),
        (made("wait4", -1, AT, 1, 0, back={AT: b"\x4f\0\0\0"}, value=0), f"-1, {AT:#x}, WNOHANG, NULL"),
        (made("epoll_ctl", 4, 1, 5, AT, seen={AT: structs_epoll(0x80000001, 5)}),
         "4, EPOLL_CTL_ADD, 5, {events=EPOLLIN|EPOLLET, data={u32=5, u64=5}}"),
        (made("epoll_wait", 4, AT, 8, -1, back={AT: structs_epoll(1, 5)}, value=1),
         "4, [{events=EPOLLIN, data={u32=5, u64=5}}], 8, -1"),
        (made("epoll_wait", 4, AT, 8, 0, value=0), "4, [], 8, 0"),
        (made("socket", 2, 0x80801, 6), "AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_TCP"),
        (made("socket", 16, 3, 4), "AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG"),
        (made("setsockopt", 3, 6, 1, AT, 4, seen={AT: b"\1\0\0\0"}), "3, SOL_TCP, TCP_NODELAY, [1], 4"),
        (made("getsockopt", 3, 1, 4, AT, AT + 8, seen={AT + 8: b"\4\0\0\0"},
              back={AT: b"\x6f\0\0\0", AT + 8: b"\4\0\0\0"}), "3, SOL_SOCKET, SO_ERROR, [ECONNREFUSED], [4]"),
        (made("getsockname", 3, AT, AT + 64, seen={AT + 64: b"\x80\0\0\0"},
              back={AT: INET, AT + 64: b"\x10\0\0\0"}),
         '3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("10.0.0.7")}, [128 => 16]'),
        (made("fcntl", 3, 4, 0x802), "3, F_SETFL, O_RDWR|O_NONBLOCK"),
        (made("fcntl", 3, 1, 77), "3, F_GETFD"),
        (made("fcntl", 3, 6, AT, seen={AT: struct.pack("=hhxxxxqq", 1, 0, 0, 0)}),
         "3, F_SETLK, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=0, l_len=0}"),
        (made("futex", AT, 0x189, 0, 0, 5, 0xFFFFFFFF),
         f"{AT:#x}, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 0, NULL, FUTEX_BITSET_MATCH_ANY"),
        (made("futex", AT, 0x81, 1, 9, 9, 9), f"{AT:#x}, FUTEX_WAKE_PRIVATE, 1"),
        (made("futex", AT, 0x80, 1, AT + 8, seen={AT + 8: TIME}),
         f"{AT:#x}, FUTEX_WAIT_PRIVATE, 1, {{tv_sec=1, tv_nsec=500}}"),
        (made("ioctl", 0, 0x5413, AT, back={AT: struct.pack("HHHH", 24, 80, 0, 0)}),
         "0, TIOCGWINSZ, {ws_row=24, ws_col=80, ...}"),
        (made("ioctl", 0, 0xC0185879, AT), f"0, FITRIM, {AT:#x}"),
        (made("ioctl", 0, 0x80047A01, AT), f"0, _IOC(_IOC_READ, 0x7a, 0x1, 0x4), {AT:#x}"),
        (made("prctl", 15, AT, 1, 2, 3, seen={AT: b"worker\0xxxxxxxxx"}), 'PR_SET_NAME, "worker"'),
        (made("prctl", 23, 21, 5, 5, 5), "PR_CAPBSET_READ, CAP_SYS_ADMIN"),
        (made("capget", AT, AT + 8, seen={AT: struct.pack("Ii", 0x20080522, 0)},
              back={AT + 8: struct.pack("6I", 1 << 10, 0x400, 0, 1 << 7, 0, 0)}),
         "{version=_LINUX_CAPABILITY_VERSION_3, pid=0}, {effective=1<<CAP_NET_BIND_SERVICE|1<<CAP_BPF, "
         "permitted=1<<CAP_NET_BIND_SERVICE, inheritable=0}"),
        (made("rt_sigaction", 11, AT, 0, 8, seen={AT: struct.pack("QQQQ", 1, 0x4, 0, 1 << 1)}),
         "SIGSEGV, {sa_handler=SIG_IGN, sa_mask=[INT], sa_flags=SA_SIGINFO}, NULL, 8"),
        (made("rt_sigprocmask", 0, AT, 0, 8, seen={AT: b"\xff" * 3 + b"\x7f\xfe" + b"\xff" * 3}),
         "SIG_BLOCK, ~[RTMIN RT_1], NULL, 8"),
        (made("kill", 5, 34), "5, SIGRT_2"),
        (made("newfstatat", -100, AT, AT + 64, 0x100, texts={AT: b"/dev/null"}, value=-2),
         f'AT_FDCWD, "/dev/null", {AT + 64:#x}, AT_SYMLINK_NOFOLLOW'),
        (made("statx", 3, 0, 0, 0, 0), "3, NULL, AT_STATX_SYNC_AS_STAT, 0, NULL"),
        (made("pipe2", AT, 0x80000, back={AT: struct.pack("ii", 3, 4)}), "[3, 4], O_CLOEXEC"),
        (made("prlimit64", 0, 7, AT, 0, seen={AT: struct.pack("QQ", 1024 * 4, (1 << 64) - 1)}),
         "0, RLIMIT_NOFILE, {rlim_cur=4*1024, rlim_max=RLIM64_INFINITY}, NULL"),
        (made("select", 5, AT, 0, 0, 0, seen={AT: b"\x18" + bytes(127)}, value=-4),
         "5, [3 4], NULL, NULL, NULL"),
        (made("sched_getaffinity", 0, 128, AT, back={AT: b"\3" + b"\xff" * 127}, value=8),
         "0, 128, [" + " ".join(map(str, (0, 1, *range(8, 64)))) + "]"),
        (made("writev", 1, AT, 2, seen={AT: struct.pack("QQQQ", 16, 2, 32, 3), 16: b"ab", 32: b"cde"}),
         '1, [{iov_base="ab", iov_len=2}, {iov_base="cde", iov_len=3}], 2'),
        (made("readv", 1, AT, 2, value=3,
              back={AT: struct.pack("QQQQ", 16, 2, 32, 9), 16: b"ab", 32: b"cXXXX"}),
         '1, [{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=9}], 2'),
        (made("getgroups", 9, AT, back={AT: struct.pack("II", 0, 33)}, value=2), "9, [0, 33]"),
        (made("exit_group", -1), "-1"),
    ],
)  # fmt: skip
def test_arguments(call: Call, said: str) -> None:
    assert ", ".join(arguments(call, 32)) == said


def test_messages_with_descriptors() -> None:
    head = struct.pack("QIxxxxQQQQi4x", 16, 16, 32, 1, 64, 24, 0)
    control = struct.pack("Qiiii", 24, 1, 1, 5, 6)
    memory = {AT: head, 16: INET, 32: struct.pack("QQ", 48, 2), 48: b"hi", 64: control}
    assert shown("sendmsg", 3, AT, 0x4000, seen=memory, value=2) == (
        '3, {msg_name={sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("10.0.0.7")}, msg_namelen=16, '
        'msg_iov=[{iov_base="hi", iov_len=2}], msg_iovlen=1, msg_control=[{cmsg_len=24, cmsg_level=SOL_SOCKET, '
        "cmsg_type=SCM_RIGHTS, cmsg_data=[5, 6]}], msg_controllen=24, msg_flags=0}, MSG_NOSIGNAL"
    )


def message(kind: int, flags: int, rest: bytes) -> bytes:
    return struct.pack("IHHII", 16 + len(rest), kind, flags, 7, 0) + rest


@pytest.mark.parametrize(
    "protocol, data, said",
    [
        ("ROUTE", message(18, 0x301, b"\x11"), 'RTM_GETLINK, nlmsg_flags=NLM_F_DUMP|NLM_F_REQUEST, nlmsg_seq=7, '
         'nlmsg_pid=0}, "\\x11"]'),
        ("ROUTE", message(24, 0x605, b""), 'RTM_NEWROUTE, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|NLM_F_EXCL|NLM_F_CREATE, '
         'nlmsg_seq=7, nlmsg_pid=0}, ""]'),
        ("SOCK_DIAG", message(20, 2, b"x"), 'SOCK_DIAG_BY_FAMILY, nlmsg_flags=NLM_F_MULTI, nlmsg_seq=7, nlmsg_pid=0}, '
         '"x"]'),
        ("AUDIT", message(2, 0x100, b"\xfe\xff\xff\xff"), "NLMSG_ERROR, nlmsg_flags=NLM_F_CAPPED, nlmsg_seq=7, "
         "nlmsg_pid=0}, {error=-ENOENT, ...}]"),
    ],
)  # fmt: skip
def test_netlink_messages(protocol: str, data: bytes, said: str) -> None:
    call = made("write", 3, AT, len(data), seen={AT: data}, files=(f"NETLINK:[{protocol}:9]", ""))
    assert arguments(call, 99)[1] == f"[{{nlmsg_len={len(data)}, nlmsg_type={said}"


def test_clone_by_what_its_flags_say_is_read() -> None:
    names_of = [arg.name for arg in specs.spec("clone").args]  # type: ignore[union-attr]
    values = {"flags": 0x1200011, "child_stack": 0, "parent_tidptr": 5, "child_tidptr": AT, "tls": 6}
    said = f"child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr={AT:#x}"
    assert shown("clone", *[values[name] for name in names_of]) == said
    data = struct.pack("11Q", 0x10100, 0, 0, 0, 17, 0x1000, 0x2000, 0, 0, 0, 0)
    wanted = "{flags=CLONE_VM|CLONE_THREAD, exit_signal=SIGCHLD, stack=0x1000, stack_size=0x2000}, 88"
    assert shown("clone3", AT, 88, seen={AT: data}) == wanted


def test_the_words_of_execve() -> None:
    words = {AT: struct.pack("QQQ", 16, 32, 0)}
    texts = {8: b"/bin/x", 16: b"x", 32: b"a b"}
    assert shown("execve", 8, AT, 0, seen=words, texts=texts, value=-2) == '"/bin/x", ["x", "a b"], NULL'
    # more words than are copied at entry: the rest of the new program's memory, without what a script's "#!" put there
    many = {AT: struct.pack("8Q", 16, 32, *range(100, 106))}
    back = {0: (30, b"/bin/sh\0-e\0/x\0a b\0c\0d\0e\0f\0g\0h\0")}
    assert (
        shown("execve", 8, AT, 0, seen=many, back=back, texts=texts)
        == '"/bin/x", ["x", "a b", "c", "d", "e", "f", "g", "h"], NULL'
    )
    assert shown("execve", 8, AT, 0, back={0: (2, b"y\0")}, texts=texts) == '"/bin/x", ["y"], NULL'
    assert shown("execve", 8, AT, 0, texts=texts) == f'"/bin/x", {AT:#x}, NULL'


@pytest.mark.parametrize(
    "call, said",
    [
        (made("read", 3, AT, 1, value=-9), "-1 EBADF (Bad file descriptor)"),
        (made("read", 3, AT, 1, value=-512), "? ERESTARTSYS (To be restarted if SA_RESTART is set)"),
        (made("mmap", 0, 1, value=0x7F0000000000), "0x7f0000000000"),
        (made("poll", AT, 1, 5, value=0), "0 (Timeout)"),
        (made("umask", 0o22, value=0o22), "022"),
        (made("fcntl", 3, 3, value=0x8002), "0x8002 (flags O_RDWR|O_LARGEFILE)"),
        (made("exit_group", 0, value=None), "?"),
        (made("lseek", 0, 0, 2, value=1 << 40), str(1 << 40)),
    ],
)
def test_results(call: Call, said: str) -> None:
    assert result(call) == said


@pytest.mark.parametrize(
    "name, kinds, meant",
    [
        ("mmap2", "p u |prot mmapflags fd pages", "mmap"),
        ("read", "fd buf> u", "read"),
        ("stat64", "s p", "stat"),
        ("getgroups32", "d >gid[ret]", "getgroups"),
        ("getgroups", "d p", "getgroups"),
        ("clock_gettime", "clock >timespec32", "clock_gettime"),
        ("clock_gettime64", "clock >timespec", "clock_gettime"),
        ("futex", "p futexop u p p bitset", "futex"),
        ("futex_time64", "p futexop u futexarg p bitset", "futex"),
        ("prlimit64", "pid =rlimit <rlimit >rlimit", "prlimit64"),
        ("writev", "fd p d", "writev"),
        ("vm86", "u u u u u u", "vm86"),
    ],
)
def test_calls_of_32_bit_programs(name: str, kinds: str, meant: str) -> None:
    one = narrow.spec(name)
    assert one.narrow and [arg.kind for arg in one.args] == kinds.split()
    assert narrow.meant(name) == meant


def test_what_descriptors_in_memory_are_open_on() -> None:
    call = made("poll", AT, 2, -1, seen={AT: struct.pack("iHHiHH", 3, 1, 0, 4, 4, 0)}, value=None)
    call.inner = {3: "pipe:[7]"}
    assert arguments(call, 32)[0] == "[{fd=3<pipe:[7]>, events=POLLIN}, {fd=4, events=POLLOUT}]"
    call = made("select", 5, AT, 0, 0, 0, seen={AT: b"\x18" + bytes(127)}, value=None)
    call.inner = {4: "/x"}
    assert arguments(call, 32)[1] == "[3 4</x>]"


@pytest.mark.parametrize(
    "name, value, failed", [("read", -11, True), ("read", -512, False), ("read", 5, False), ("rt_sigreturn", -4, False)]
)
def test_what_a_program_sees_as_failed(name: str, value: int, failed: bool) -> None:
    call = made(name, 0, 0, 0, value=value)
    assert call.failed is failed
    assert bool(Lines(None, 0, failed=True).line(call)) is failed  # type: ignore[arg-type]


def test_structs_of_32_bit_programs() -> None:
    assert structs.text_of("timespec32", struct.pack("ii", 1, 500), 8) == "{tv_sec=1, tv_nsec=500}"
    limit = structs.text_of("rlimit32", struct.pack("II", 8 << 20, 0xFFFFFFFF), 8)
    assert limit == "{rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}"


ALL = [*map(specs.spec, specs.names()), *map(narrow.spec, syscalls.numbers("i386"))]
words = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, 16, 32, 64, AT, (1 << 64) - 1]))
data = st.binary(max_size=300)
BLOCKS = st.dictionaries(st.sampled_from([0, 1, 16, 32, 64, AT]), st.tuples(st.integers(0, 1 << 32), data), max_size=5)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ALL), st.lists(words, min_size=6, max_size=6), BLOCKS, BLOCKS,
       st.dictionaries(st.sampled_from([1, 16, 32, AT]), st.binary(max_size=40)),
       st.one_of(st.none(), st.integers(-600, 600), words), st.integers(0, 64))  # fmt: skip
def test_whatever_is_there_is_text_that_can_be_shown(spec, args, seen, back, texts, value, limit) -> None:
    call = Call(1, 2, 2, spec, tuple(args))
    call.seen, call.back = Memory(), Memory()
    call.seen.blocks, call.back.blocks, call.seen.texts = dict(seen), dict(back), dict(texts)
    call.result = value if value is None or value < 1 << 63 else value - (1 << 64)
    call.files = ("a\x1b[2J\n" if limit % 2 else "NETLINK:[ROUTE:1]", "\udcff")
    line = Lines(None, 0, size=limit).line(call)  # type: ignore[arg-type]
    assert line.startswith(f"{call.name}(") and line.isprintable()
    assert all(isinstance(text, str) for _, text, _ in decode.named_arguments(call, limit))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(structs.SIZES)), st.binary(max_size=300), st.integers(0, 400))
def test_structs_of_any_bytes(kind: str, raw: bytes, size: int) -> None:
    assert structs.text_of(kind, raw, size).isprintable()
    assert structs.array(kind, raw, size).isprintable()


@pytest.mark.parametrize("table", sorted(names.FLAGS))
def test_flags_leave_no_bit_out(table: str) -> None:
    for value in (0, 1, 0x55555555, 0xAAAAAAAA, 0xFFFFFFFF):
        known = dict(item.split("=") for item in names.FLAGS[table].split())
        bits = 0
        for word in names.flags(value, table).split("|"):
            bits |= int(known.get(word, word if word != "0" else "0"), 0)
        assert bits == value


def test_every_kind_of_the_table_has_a_meaning() -> None:
    known = {"fd", "dirfd", "s", *decode._SIMPLE, *decode._SPECIAL}
    for spec in ALL:
        for arg in spec.args:
            kind = arg.kind
            if kind[0] in "|=":
                assert kind[1:] in (names.FLAGS if kind[0] == "|" else names.ENUMS), f"{spec.name}: {kind}"
            elif kind not in known:
                name = kind.lstrip("<>").partition("[")[0]
                assert kind[0] in "<>" and (name in structs._SHOW or name == "opt"), f"{spec.name}: {kind}"
