"""Random D scripts of what a script asks of the machine: the kernel's structs, the user's memory, stacks,
actions and subroutines of all kinds.  What they leave nobody can foretell; they must load.

    text = random_load(random.Random(7), "syscall:::entry")
"""

from __future__ import annotations

from random import Random

NUMBERS = """pid tid ppid uid gid cpu timestamp vtimestamp walltimestamp id epid stackdepth ustackdepth errno arg0 arg1
arg9 curthread->pid curthread->mm->total_vm curthread->real_parent->tgid curthread->cred->uid.val
curthread->nsproxy->net_ns->ns.inum curthread->prio (int64_t)curthread curthread->comm[2] curpsinfo->pr_pid
curlwpsinfo->pr_lwpid strlen(execname) strlen(stringof(curthread->comm)) rand() progenyof(1) getmajor(5)
getminor($pid) htons(5) htonl((uint32_t)arg0) ntohll(77) sizeof(curthread->comm) *(int*)alloca(8)
*(uint8_t*)copyin(arg1,4) g self->n this->n a[pid,execname] self->m[1] p0[2] u.small strtoll("12")
index(execname,"s") i0[5] curcpu->cpu_id mutex_owned(curthread)""".split()
NUMBERS += ["((struct sockaddr *)copyin(arg1, arg2))->sa_family", "offsetof(struct task_struct, pid)"]

STRINGS = """execname probefunc probename probemod probeprov stringof(curthread->comm) curpsinfo->pr_psargs
curthread->comm copyinstr(arg0) copyinstr(arg1,33) stringof((char*)copyin(arg0,20)) cwd zonename root basename(execname)
dirname(cwd) cleanpath("/a/../b") strjoin(execname,cwd) substr(copyinstr(arg0),arg1) strtok(execname,":")
lltostr(arg0,16) inet_ntop(2,copyin(arg1,16)) toupper(probefunc) strstr(cwd,"/") s self->s this->s names[pid]
json("{\\"a\\":1}","a") strchr(cwd,'/') inet_ntoa((uint32_t*)alloca(4))""".split()

KEYS = "stack() stack(5) ustack() ustack(3) sym(arg0) func(arg0) mod(arg0) usym(arg1) ufunc(arg1) umod(arg0)".split()

DECLARATIONS = """struct pair { int first; uint64_t second:33; char name[12]; struct { int16_t x, y; } at; };
union either { int64_t wide; int8_t small; };
int64_t g; self int n; this uint16_t n; int a[int, string]; self uint64_t m[int]; int p0[4]; union either u;
string s; self string s; this string s; string names[int]; struct pair r; self struct pair q; this struct pair t;
struct pair w[int, string]; inline int i0[int k] = k * 2 + (k > 3 ? pid : 7);
"""


class _Loads:
    def __init__(self, random: Random) -> None:
        self.r = random

    def number(self, depth: int) -> str:
        if depth <= 0 or self.r.random() > 0.6:
            return self.r.choice(NUMBERS)
        kind = self.r.choice("binary binary compare and cond not string cast".split())
        a, b = self.number(depth - 1), self.number(depth - 1)
        if kind == "binary":
            return f"({a} {self.r.choice('+ - * & | ^ << >> %'.split())} {b})"
        if kind == "compare":
            return f"({a} {self.r.choice('== != < <= > >='.split())} {b})"
        if kind == "and":
            return f"({a} {self.r.choice(['&&', '||', '^^'])} {b})"
        if kind == "cond":
            return f"({a} ? {b} : {self.number(depth - 1)})"
        if kind == "not":
            return f"({self.r.choice('!~-')}{a})"
        if kind == "cast":
            return f"(({self.r.choice(['int8_t', 'uint32_t', 'long', 'unsigned char'])}){a})"
        return f"({self.string(depth - 1)} {self.r.choice(['==', '!=', '<'])} {self.string(depth - 1)})"

    def string(self, depth: int) -> str:
        if depth > 0 and self.r.random() > 0.7:
            return f"({self.number(depth - 1)} ? {self.string(depth - 1)} : {self.string(depth - 1)})"
        return self.r.choice(STRINGS)

    def keys(self) -> str:
        kinds = [lambda: self.number(1), lambda: self.string(1), lambda: self.r.choice(KEYS)]
        return ", ".join([self.r.choice(kinds)() for _ in range(self.r.randint(1, 3))])

    def statement(self, depth: int, clause: int) -> str:
        n, s = self.number, self.string
        kind = self.r.randrange(16)
        if kind < 3 and depth:
            other = f" else {{ {self.statements(depth - 1, clause)} }}" if self.r.random() > 0.5 else ""
            return f"if ({n(2)}) {{ {self.statements(depth - 1, clause)} }}{other}"
        if kind < 6:
            name = f"@k{clause}_{self.r.getrandbits(20)}"
            function = self.r.choice(["count()", f"sum({n(1)})", f"quantize({n(1)})", f"lquantize({n(1)}, 0, 50, 5)",
                                      f"avg({n(1)})", f"max({n(1)})", f"stddev({n(1)})"])  # fmt: skip
            return f"{name}[{self.keys()}] = {function};"
        forms = [
            lambda: f"trace({n(2)});",
            lambda: f"trace({s(2)});",
            lambda: f'printf("%d %s %x\\n", {n(2)}, {s(1)}, {n(1)});',
            lambda: f"{self.r.choice(KEYS)};",
            lambda: f"tracemem(curthread, 64, {n(1)});",
            lambda: f"print(*curthread->{self.r.choice(['cred', 'nsproxy'])});",
            lambda: f"g {self.r.choice(['=', '+=', '<<=', '%='])} {n(2)};",
            lambda: f"self->n++; self->m[{n(1)}] = {n(1)}; a[{n(1)}, {s(1)}] = {n(1)};",
            lambda: f"s = {s(2)}; self->s = {s(1)}; names[{n(1)}] = {s(1)}; this->s = {s(1)};",
            lambda: f"r.second = {n(1)}; self->q = r; this->t = self->q; w[{n(1)}, {s(0)}] = this->t;",
            lambda: f"w[pid, {s(0)}].at.y -= {n(1)}; trace(r.name[{n(1)} & 7]); u.wide = {n(1)}; p0[{n(1)}] = 7;",
            lambda: f"this->p{clause} = (struct pair *)alloca(sizeof (struct pair)); this->p{clause}->at.x = {n(1)};",
            lambda: f"this->c{clause} = (char *)copyin(arg0, {n(1)}); trace(this->c{clause}[{n(1)}]);",
        ]  # fmt: skip
        return str(self.r.choice(forms)())

    def statements(self, depth: int, clause: int) -> str:
        return " ".join([self.statement(depth, clause) for _ in range(self.r.randint(1, 4))])


def random_load(random: Random, probe: str) -> str:
    made = _Loads(random)
    lines = [DECLARATIONS]
    for clause in range(random.randint(1, 4)):
        predicate = f" / {made.number(2)} /" if random.random() > 0.5 else ""
        lines.append(f"{probe}{predicate} {{ {made.statements(2, clause)} }}")
    return "\n".join(lines) + "\n"
