"""A Catalog out of dictionaries, with a little kernel in it, and `checked` to go from D text to the typed tree.

The kernel: struct sockaddr as 6.18 has it (sa_data in an anonymous union, behind an empty struct, a
flexible array of unsigned char), struct task_struct, struct sock with a bit-field, a few typedefs, an
enum, two symbols.  The probes: dtrace, syscall (connect, open, read), tcp, profile.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from dsight.btf.types import Array, Enum, Func, Int, Member, Pointer, Struct, Type, Typedef, Void
from dsight.lang import ast
from dsight.lang.catalog import ArgType, Probe
from dsight.lang.check import check
from dsight.lang.library import Library, is_type_name
from dsight.lang.parser import parse
from dsight.lang.typed import Script
from dsight.source import Source

CHAR = Int("char", 1, False)  # -funsigned-char
UCHAR = Int("unsigned char", 1, False)
U16 = Int("short unsigned int", 2, False)
INT = Int("int", 4, True)
UINT = Int("unsigned int", 4, False)
LONG = Int("long int", 8, True)
ULONG = Int("long unsigned int", 8, False)
ULL = Int("long long unsigned int", 8, False)


class FakeCatalog:
    def __init__(
        self,
        probes: dict[str, tuple[ArgType, ...] | None],
        types: dict[str, Type] | None = None,
        symbols: dict[str, tuple[int, Type | None]] | None = None,
    ) -> None:
        """`probes`: "provider:module:function:name" to args; `types`: "struct x" or "x" (a typedef)."""
        self.listing: list[Probe] = []
        self._args: dict[int, tuple[ArgType, ...] | None] = {}
        for number, (name, args) in enumerate(probes.items(), 1):
            self.listing.append(Probe(number, *name.split(":")))
            self._args[number] = args
        self.types = types or {}
        self.symbols = symbols or {}
        self.asked: list[str] = []  # kernel types asked for, in order

    def probes(self, desc: ast.ProbeDesc) -> list[Probe]:
        if desc.id >= 0:
            return [p for p in self.listing if p.id == desc.id]
        wanted = (desc.provider, desc.module, desc.function, desc.name)
        return [
            p
            for p in self.listing
            if all(
                not want or fnmatchcase(have, want)
                for want, have in zip(wanted, (p.provider, p.module, p.function, p.name))
            )
        ]

    def args(self, probe: Probe) -> tuple[ArgType, ...] | None:
        return self._args[probe.id]

    def type(self, kind: str, name: str) -> Type | None:
        self.asked.append(f"{kind} {name}")
        return self.types.get(name if kind in ("typedef", "int") else f"{kind} {name}")

    def enumerator(self, name: str) -> int | None:
        enums = [t for t in self.types.values() if isinstance(t, Enum)]
        return next((t.values[name] for t in enums if name in t.values), None)

    def symbol(self, module: str, name: str) -> tuple[int, Type | None] | None:
        return self.symbols.get(f"{module}`{name}")

    def symbols_hint(self, name: str) -> str:
        return f"grep {name} /proc/kallsyms"


def _sockaddr() -> Struct:
    nothing = Struct("struct", "", 0, ())
    flexible = Struct("struct", "", 0, (Member("__empty_sa_data", nothing, 0), Member("sa_data", Array(CHAR, 0), 0)))
    union = Struct("union", "", 14, (Member("sa_data_min", Array(CHAR, 14), 0), Member("", flexible, 0)))
    family = Typedef("sa_family_t", Typedef("__kernel_sa_family_t", U16))
    return Struct("struct", "sockaddr", 16, (Member("sa_family", family, 0), Member("", union, 16)))


def kernel() -> FakeCatalog:
    """The little kernel."""
    task = Struct("struct", "task_struct", 0, (), True)
    task.complete(
        64,
        (
            Member("pid", Typedef("pid_t", INT), 0),
            Member("flags", UINT, 32),
            Member("real_parent", Pointer(task), 64),
            Member("comm", Array(CHAR, 16), 128),
            Member("start_time", Typedef("u64", Typedef("__u64", ULL)), 256),
            Member("in_execve", UINT, 320, 1),
            Member("exit_state", INT, 352),
        ),
    )
    in6 = Struct("struct", "in6_addr", 16, (Member("s6_addr", Array(UCHAR, 16), 0),))
    state = Enum("tcp_state", 4, False, lambda: {"TCP_ESTABLISHED": 1, "TCP_SYN_SENT": 2})
    common = Struct(
        "struct",
        "sock_common",
        64,
        (
            Member("skc_daddr", Typedef("__be32", UINT), 0),
            Member("skc_dport", Typedef("__be16", U16), 32),
            Member("skc_num", U16, 48),
            Member("skc_family", U16, 64),
            Member("skc_state", UCHAR, 80),
            Member("skc_reuse", UCHAR, 88, 4),
            Member("skc_reuseport", UCHAR, 92, 1),
            Member("skc_net", Pointer(Void()), 128),
            Member("skc_v6_daddr", in6, 192),
        ),
    )
    sock = Struct(
        "struct",
        "sock",
        128,
        (
            Member("__sk_common", common, 0),
            Member("sk_uid", UINT, 512),
            Member("sk_name", Pointer(CHAR), 576),
            Member("sk_ports", Array(U16, 4), 640),
            Member("sk_state", state, 704),
            Member("sk_hook", Pointer(Func(INT, (("x", INT),))), 768),
            Member("sk_wide", Int("__int128", 16, True), 832),
        ),
    )
    types: dict[str, Type] = {
        "struct sockaddr": _sockaddr(),
        "struct task_struct": task,
        "struct in6_addr": in6,
        "struct sock_common": common,
        "struct sock": sock,
        "struct opaque": Struct("struct", "opaque", 0, (), True),
        "enum tcp_state": state,
        "u8": Typedef("u8", UCHAR),
        "u32": Typedef("u32", UINT),
        "u64": Typedef("u64", ULL),
        "__be32": Typedef("__be32", UINT),
    }
    connect = (ArgType("int", 0), ArgType("struct sockaddr *", 1), ArgType("int", 2))
    result = (ArgType("long", 0), ArgType("long", 1))
    tcp = (
        ArgType("struct sock *", 0, "pktinfo_t *"),
        ArgType("struct sock *", 0, "csinfo_t *"),
        ArgType("struct sock *", 0, "conn_t *"),
        ArgType("void", 0),
        ArgType("int", 3, "int"),
    )
    probes: dict[str, tuple[ArgType, ...] | None] = {
        "dtrace:::BEGIN": (),
        "dtrace:::END": (),
        "dtrace:::ERROR": None,
        "syscall:vmlinux:connect:entry": connect,
        "syscall:vmlinux:connect:return": result,
        "syscall:vmlinux:open:entry": (ArgType("const char *", 0), ArgType("int", 1), ArgType("unsigned short", 2)),
        "syscall:vmlinux:open:return": result,
        "syscall:vmlinux:read:entry": (ArgType("int", 0), ArgType("void *", 1), ArgType("size_t", 2)),
        "syscall:vmlinux:read:return": result,
        "tcp:vmlinux::connect-request": tcp,
        "profile:::tick-1s": None,
    }
    symbols = {
        "`jiffies": (0xFFFF_0000, ULONG),
        "`_text": (0xFFFF_1000, None),
        "vmlinux`init_task": (0xFFFF_2000, task),
    }
    return FakeCatalog(probes, types, symbols)


def checked(
    text: str,
    catalog: FakeCatalog | None = None,
    library: dict[str, str] | None = None,
    **options: bool,
) -> Script:
    """The typed tree of a D text; `library`: further library files."""
    catalog = catalog or kernel()
    lib = Library(catalog, library)

    def is_type(name: str) -> bool:
        return lib.declares_type(name) or is_type_name(name, catalog)

    return check(parse(Source("test.d", text), None, is_type), catalog, library=lib, **options)
