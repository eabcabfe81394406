"""What D knows by itself: built-in variables, subroutines, actions, aggregating functions, integer typedefs.

Tables of facts for the checker; types are spelled in D and made by `declare.spelled`
when a script first uses the name.  Whether the back end can do a thing yet is
lowering's answer, not this module's.
"""

from __future__ import annotations

from dsight.lang.types import (
    BOOL,
    CHAR,
    INT,
    LONG,
    LONGLONG,
    SCHAR,
    SHORT,
    UCHAR,
    UINT,
    ULONG,
    ULONGLONG,
    USHORT,
    Type,
    Typedef,
)

# Integer typedefs of other systems and of C, that scripts use whatever the kernel calls them.
# What the kernel alone defines (u32, __be16, ...) comes from the catalog.
_TYPEDEFS: dict[str, Type] = {
    "int8_t": SCHAR, "int16_t": SHORT, "int32_t": INT, "int64_t": LONG, "intmax_t": LONG,
    "uint8_t": UCHAR, "uint16_t": USHORT, "uint32_t": UINT, "uint64_t": ULONG, "uintmax_t": ULONG,
    "uchar_t": UCHAR, "ushort_t": USHORT, "uint_t": UINT, "ulong_t": ULONG,
    "u_char": UCHAR, "u_short": USHORT, "u_int": UINT, "u_long": ULONG,
    "uchar": UCHAR, "ushort": USHORT, "uint": UINT, "ulong": ULONG,
    "longlong_t": LONGLONG, "u_longlong_t": ULONGLONG,
    "intptr_t": LONG, "uintptr_t": ULONG, "size_t": ULONG, "ssize_t": LONG, "ptrdiff_t": LONG,
    "offset_t": LONG, "off_t": LONG, "time_t": LONG, "clock_t": LONG, "hrtime_t": LONG,
    "pid_t": INT, "id_t": INT, "uid_t": UINT, "gid_t": UINT, "lwpid_t": INT, "kthread_id_t": ULONG,
    "taskid_t": INT, "projid_t": INT, "zoneid_t": UINT, "poolid_t": INT, "ctid_t": INT, "psetid_t": INT,
    "processorid_t": INT, "chipid_t": INT, "lgrp_id_t": INT, "netstackid_t": UINT, "pri_t": SHORT,
    "dev_t": UINT, "major_t": UINT, "minor_t": UINT, "mode_t": UINT, "nlink_t": UINT, "ino_t": ULONG,
    "ipaddr_t": UINT, "in_addr_t": UINT, "in_port_t": USHORT, "sa_family_t": USHORT, "socklen_t": UINT,
    "boolean_t": INT, "bool": BOOL, "char_t": CHAR, "diskaddr_t": ULONG, "daddr_t": LONG, "key_t": INT,
}  # fmt: skip

# Typedefs of structs and pointers, spelled in D.
SPELLED_TYPEDEFS = {"in6_addr_t": "struct in6_addr", "caddr_t": "char *", "kthread_t": "struct task_struct"}

_made: dict[str, Typedef] = {}


def typedef(name: str) -> Typedef | None:
    """The built-in integer typedef of that name."""
    made = _made.get(name)
    if made is None:
        base = _TYPEDEFS.get(name)
        if base is None:
            return None
        made = _made[name] = Typedef(name, base)
    return made


def typedef_names() -> list[str]:
    return [*_TYPEDEFS, *SPELLED_TYPEDEFS]


# Built-in variables: type spelled in D.  `string N`: a string that needs at most N bytes.
# arg0..arg9 and args[] are not here.
VARIABLES = {
    "caller": "uintptr_t",
    "cpu": "processorid_t",
    "curthread": "struct task_struct *",
    "cwd": "string",
    "epid": "uint_t",
    "errno": "int",
    "execargs": "string",
    "execname": "string 16",
    "gid": "gid_t",
    "id": "uint_t",
    "ipl": "uint_t",
    "pid": "pid_t",
    "probefunc": "string",
    "probemod": "string",
    "probename": "string",
    "probeprov": "string",
    "root": "string",
    "stackdepth": "uint32_t",
    "tid": "id_t",
    "timestamp": "uint64_t",
    "ucaller": "uint64_t",
    "uid": "uid_t",
    "ustackdepth": "uint32_t",
    "walltimestamp": "int64_t",
}

# Built-in variables reached through a translator of the D library: (type, the D variable translated).
TRANSLATED_VARIABLES = {
    "curcpu": ("cpuinfo_t *", "cpu"),
    "curlwpsinfo": ("lwpsinfo_t *", "curthread"),
    "curpsinfo": ("psinfo_t *", "curthread"),
}

# Built-in arrays.
ARRAYS = ("args", "fds", "uregs")

# Members of the kernel's structures that subroutines, and variables worked out like them, follow: their
# offsets go with the call, in this order.
_PATH = (
    "path.dentry", "path.mnt", "task_struct.fs", "fs_struct.root", "dentry.d_parent", "dentry.d_name.name",
    "mount.mnt", "vfsmount.mnt_root", "mount.mnt_parent", "mount.mnt_mountpoint",
)  # fmt: skip
MEMBERS: dict[str, tuple[str, ...]] = {
    "cwd": ("fs_struct.pwd", *_PATH),
    "d_mountpoint": _PATH,
    "d_path": _PATH,
    "execargs": ("task_struct.mm", "mm_struct.arg_start", "mm_struct.arg_end"),
    "mutex_owned": ("mutex.owner",),
    "mutex_owner": ("mutex.owner",),
    "progenyof": ("task_struct.real_parent", "task_struct.tgid"),
    "root": _PATH,
    "rw_iswriter": ("rw_semaphore.count", "rw_semaphore.owner"),
    "rw_read_held": ("rw_semaphore.count",),
    "rw_write_held": ("rw_semaphore.count",),
}

# Subroutines of what Linux does not have: why, and what to do.
NOT_ON_LINUX = {
    "ddi_pathname": ("Linux has no device tree of dev_info_t", "d_path() gives the path of a struct path *"),
    "msgdsize": ("Linux has no STREAMS messages", "a packet's length is in its struct sk_buff"),
    "msgsize": ("Linux has no STREAMS messages", "a packet's length is in its struct sk_buff"),
}

# Subroutines: (result, parameters), types spelled in D.  After "?" parameters are optional.
#   addr    an address: a pointer or an integer; handed on as uintptr_t
#   ptr     a pointer to anything
#   string0 a string, or NULL
#   base    of numbers, 2 to 36; handed on as int
#   inet    (result only) the text of an address
SUBROUTINES = {
    "alloca": ("void *", "size_t"),
    "basename": ("string", "string"),
    "bcopy": ("void", "addr addr size_t"),
    "cleanpath": ("string", "string"),
    "copyin": ("void *", "addr size_t"),
    "copyinstr": ("string", "addr ? size_t"),
    "copyinto": ("void", "addr size_t ptr"),
    "copyout": ("void", "ptr addr size_t"),
    "copyoutstr": ("void", "string addr ? size_t"),
    "d_mountpoint": ("string", "ptr"),  # our own: of a struct vfsmount *, for fileinfo_t
    "d_path": ("string", "ptr"),
    "ddi_pathname": ("string", "ptr int64_t"),
    "dirname": ("string", "string"),
    "getmajor": ("uint_t", "dev_t"),
    "getminor": ("uint_t", "dev_t"),
    "htonl": ("uint32_t", "uint32_t"),
    "htonll": ("uint64_t", "uint64_t"),
    "htons": ("uint16_t", "uint16_t"),
    "index": ("int", "string string ? int"),
    "inet_ntoa": ("inet", "ptr"),
    "inet_ntoa6": ("inet", "ptr"),
    "inet_ntop": ("inet", "int ptr"),
    "json": ("string", "string string"),
    "link_ntop": ("string", "int ptr"),
    "lltostr": ("string 24", "int64_t ? base"),
    "msgdsize": ("size_t", "ptr"),
    "msgsize": ("size_t", "ptr"),
    "mutex_owned": ("int", "ptr"),
    "mutex_owner": ("struct task_struct *", "ptr"),
    "mutex_type_adaptive": ("int", "ptr"),
    "mutex_type_spin": ("int", "ptr"),
    "ntohl": ("uint32_t", "uint32_t"),
    "ntohll": ("uint64_t", "uint64_t"),
    "ntohs": ("uint16_t", "uint16_t"),
    "progenyof": ("int", "pid_t"),
    "rand": ("int", ""),
    "rindex": ("int", "string string ? int"),
    "rw_iswriter": ("int", "ptr"),
    "rw_read_held": ("int", "ptr"),
    "rw_write_held": ("int", "ptr"),
    "speculation": ("int", ""),
    "strchr": ("string", "string char"),
    "strjoin": ("string", "string string"),
    "strlen": ("size_t", "string"),
    "strrchr": ("string", "string char"),
    "strstr": ("string", "string string"),
    "strtok": ("string", "string0 string"),
    "strtoll": ("int64_t", "string ? base"),
    "substr": ("string", "string int ? int"),
    "tolower": ("string", "string"),
    "toupper": ("string", "string"),
}

# Actions.
ACTIONS = frozenset(
    "printf trace tracemem printa exit clear trunc normalize denormalize print freopen ftruncate system setopt "
    "stack ustack jstack func mod sym uaddr ufunc umod usym "
    "speculate commit discard raise stop breakpoint panic chill pcap return".split()
)

AGGREGATING = frozenset({"avg", "count", "llquantize", "lquantize", "max", "min", "quantize", "stddev", "sum"})
