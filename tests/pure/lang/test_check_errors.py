"""Each tag the checker raises, the place it points at, and that the message says what to do.

A row: tag, D text, the text under the caret, and a word the message or hint must contain.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fakecatalog import checked

import dsight.lang.check as check_module
from dsight.errors import CompileError

B = "BEGIN { %s }"
C = "syscall::connect:entry { %s }"

STATEMENTS = [
    # names
    ("D_IDENT_UNDEF", "trace(foo);", "foo", "unknown name"),
    ("D_IDENT_UNDEF", "trace(timestmp);", "timestmp", "timestamp"),
    ("D_IDENT_UNDEF", "trace(ECONREFUSED);", "ECONREFUSED", "ECONNREFUSED"),
    ("D_IDENT_UNDEF", "trace(`nothing);", "`nothing", "kallsyms"),
    ("D_IDENT_UNDEF", "trace(arr[1]);", "arr", "unknown name"),
    ("D_IDENT_BADREF", "trace(strlen);", "strlen", "call it"),
    ("D_IDENT_BADREF", "trace(count);", "count", "@name"),
    ("D_IDENT_BADREF", "trace(pid_t);", "pid_t", "a type"),
    ("D_VAR_UNDEF", "trace(self->x);", "self->x", "self->x = ..."),
    ("D_VAR_UNDEF", "trace(this->x[1]);", "this->x", "this->x"),
    ("D_FUNC_UNDEF", "strlenn(execname);", "strlenn(execname)", "strlen"),
    ("D_FUNC_IDKIND", "x = 1; x(2);", "x(2)", "not a function"),
    ("D_OP_ACT", "x = exit(0);", "exit(0)", "statement of its own"),
    ("D_OP_WRITE", "pid = 1;", "pid", "another name"),
    ("D_OP_WRITE", "SIGINT = 1;", "SIGINT", "constant"),
    ("D_OP_WRITE", "arg0 = 1;", "arg0", "built-in"),
    ("D_OP_LVAL", "1 = 2;", "1", "variable"),
    ("D_OP_LVAL", "curthread->comm = 0;", "curthread->comm", "bcopy"),
    ("D_OP_LVAL", "pid + 1 = 3;", "pid + 1", "variable"),
    # operators
    ("D_OP_INT", 'x = 1 % "a";', '"a"', "needs integers"),
    ("D_OP_INT", "x = ~execname;", "execname", "integer"),
    ("D_OP_INT", "x = curthread & 1;", "curthread", "needs integers"),
    ("D_OP_ARITH", 'x = execname + "x";', "execname", "strjoin"),
    ("D_OP_ARITH", "x = -curthread;", "curthread", "uintptr_t"),
    ("D_OP_ARITH", "x = curthread * 2;", "curthread", "*"),
    ("D_OP_SCALAR", "x = !execname;", "execname", 'execname != ""'),
    ("D_OP_SCALAR", "x = execname && 1;", "execname", "&&"),
    ("D_OP_SCALAR", "if (execname) { trace(1); }", "execname", "if"),
    ("D_OP_SCALAR", "s = execname; s++;", "s", "++"),
    ("D_OP_INCOMPAT", "x = 1; x = execname;", "x = execname", '"int" and "string"'),
    ("D_OP_INCOMPAT", "p = curthread; p = arg0;", "p = arg0", "cast it"),
    ("D_OP_INCOMPAT", "x = 1; x = curthread;", "x = curthread", "cast it"),
    ("D_OP_INCOMPAT", "x = curthread + curthread;", "curthread + curthread", "subtracted"),
    ("D_OP_INCOMPAT", "x = execname == 1;", "1", "incompatible"),
    ("D_OP_INCOMPAT", 'x = execname == arg0;', "arg0", "copyinstr(arg0)"),
    ("D_OP_INCOMPAT", "x = curthread == (struct sock *)0x10;", "curthread == (struct sock *)0x10", "cast"),
    ("D_OP_INCOMPAT", 'x = 1 ? "a" : 2;', "2", "?:"),
    ("D_OP_INCOMPAT", "x = copyinto(0, 1, curthread);", "copyinto(0, 1, curthread)", "no value"),
    ("D_DIV_ZERO", "x = 1 / 0;", "0", "zero"),
    ("D_DIV_ZERO", "x = 1; x %= 0;", "0", "zero"),
    ("D_CAST_INVAL", "x = (int)execname;", "(int)execname", "strtoll"),
    ("D_CAST_INVAL", "x = (struct sock)arg0;", "(struct sock)arg0", "struct sock *"),
    ("D_CAST_INVAL", "x = (double)arg0;", "(double)arg0", "floating"),
    # pointers, members, arrays
    ("D_DEREF_NONPTR", "x = *pid;", "pid", "pointer"),
    ("D_DEREF_VOID", "x = *(void *)arg0;", "(void *)arg0", "cast"),
    ("D_DEREF_VOID", "x = copyin(arg0, 1)[0];", "copyin(arg0, 1)", "cast"),
    ("D_DEREF_FUNC", "x = *((struct sock *)arg0)->sk_hook;", "((struct sock *)arg0)->sk_hook", "function"),
    ("D_OP_INCOMPLETE", "x = ((struct opaque *)arg0)->a;", "(struct opaque *)arg0", "not known"),
    ("D_OP_PTR", "x = pid->a;", "pid", "cast it"),
    ("D_OP_PTR", "x = ((struct sock *)arg0)->__sk_common->skc_num;", "((struct sock *)arg0)->__sk_common",
     ".skc_num"),
    ("D_OP_SOU", "x = curthread.pid;", "curthread", "->pid"),
    ("D_OP_SOU", "x = ((int *)arg0)->a;", "(int *)arg0", "struct"),
    ("D_OP_SOU", "x = pid.a;", "pid", "struct or union"),
    ("D_TYPE_MEMBER", "x = curthread->com;", "curthread->com", "comm"),
    ("D_OP_ARRFUN", "x = pid[1];", "pid", "array"),
    ("D_ARR_BOUNDS", "x = ((struct sock *)arg0)->sk_ports[4];", "4", "0 to 3"),
    ("D_ARR_BADREF", "a[1] = 1; x = a;", "a", "a[key]"),
    ("D_ARR_BADREF", "self->a[1] = 1; x = self->a;", "self->a", "self->a[key]"),
    ("D_ARR_BADREF", "x = curthread->comm[1, 2];", "curthread->comm[1, 2]", "one index"),
    ("D_ARR_BADREF", "x = curthread->comm[execname];", "execname", "integer"),
    ("D_ARR_BADREF", "x = args;", "args", "args[0]"),
    ("D_ARR_LOCAL", "this->a[1] = 2;", "this->a[1]", "self->"),
    ("D_PROTO_LEN", "a[1] = 1; x = a[1, 2];", "a[1, 2]", "1 keys"),
    ("D_PROTO_ARG", 'a[1] = 1; x = a["x"];', '"x"', "key 1"),
    ("D_PROTO_ARG", 'a["x"] = 1; x = a[1];', "1", "key 1"),
    ("D_KEY_TYPE", "a[*(struct sock *)arg0] = 1;", "*(struct sock *)arg0", "key"),
    ("D_ADDROF_LVAL", "x = &1;", "1", "memory"),
    ("D_ADDROF_VAR", "x = 1; y = &x;", "x", "alloca"),
    ("D_ADDROF_BITFIELD", "x = &curthread->in_execve;", "curthread->in_execve", "bit-field"),
    # sizeof and kin
    ("D_SIZEOF_TYPE", "x = sizeof (void);", "sizeof (void)", "void"),
    ("D_SIZEOF_TYPE", "x = sizeof (struct opaque);", "sizeof (struct opaque)", "opaque"),
    ("D_SIZEOF_BITFIELD", "x = sizeof (curthread->in_execve);", "curthread->in_execve", "bit-field"),
    ("D_OFFSETOF_TYPE", "x = offsetof(int, a);", "offsetof(int, a)", "struct"),
    ("D_OFFSETOF_BITFIELD", "x = offsetof(struct task_struct, in_execve);",
     "offsetof(struct task_struct, in_execve)", "bit-field"),
    ("D_TYPE_MEMBER", "x = offsetof(struct task_struct, comn);", "offsetof(struct task_struct, comn)", "comm"),
    ("D_STRINGOF_TYPE", "x = stringof(*(struct sock *)arg0);", "*(struct sock *)arg0", "string"),
    ("D_TYPE_ERR", "x = (struct tsk *)arg0;", "struct tsk", "BTF|running kernel"),
    ("D_TYPE_ERR", "x = (enum sock *)arg0;", "enum sock", "struct sock"),
    # subroutines
    ("D_PROTO_LEN", "x = copyin(1);", "copyin(1)", "uintptr_t, size_t"),
    ("D_PROTO_LEN", "x = rand(1);", "rand(1)", "0 arguments"),
    ("D_PROTO_ARG", "x = strlen(arg0);", "arg0", "copyinstr(arg0)"),
    ("D_PROTO_ARG", "x = htons(execname);", "execname", "number"),
    ("D_PROTO_ARG", "x = inet_ntoa(arg0);", "arg0", "cast it"),
    ("D_PROTO_ARG", "x = inet_ntoa(&curthread->start_time);", "&curthread->start_time", "ipaddr_t *"),
    ("D_PROTO_ARG", "x = copyin(execname, 1);", "execname", "address"),
    ("D_ALLOCA_SIZE", "x = alloca(0);", "0", "above 0"),
    # printf and trace
    ("D_PRINTF_ARG_FMT", "printf(execname);", "execname", '"%s"'),
    ("D_PRINTF_ARG_FMT", "printf();", "printf()", "string literal"),
    ("D_PRINTF_ARG_FMT", 'printf("%d %q", 1);', '%q", 1'[:2] + '"', "%q"),
    ("D_PRINTF_FMT_EMPTY", 'printf("");', '""', "empty"),
    ("D_PRINTF_ARG_PROTO", 'printf("%d %d", 1);', '"%d %d"', "2 conversions"),
    ("D_PRINTF_ARG_EXTRA", 'printf("%d", 1, 2);', "2", "1 conversion"),
    ("D_PRINTF_ARG_TYPE", 'printf("%d", execname);', "execname", "%s"),
    ("D_PRINTF_ARG_TYPE", 'printf("%s", arg0);', "arg0", "copyinstr(arg0)"),
    ("D_PRINTF_ARG_TYPE", 'printf("%s", pid);', "pid", "%d"),
    ("D_PRINTF_ARG_TYPE", 'printf("%d", curthread);', "curthread", "%p"),
    ("D_PRINTF_ARG_TYPE", 'printf("%c", execname);', "execname", "integer"),
    ("D_PRINTF_ARG_TYPE", '@a = count(); printf("%d", @a);', "@a", "printa"),
    ("D_PRINTF_DYN_TYPE", 'printf("%*d", execname, 1);', "execname", "*"),
    ("D_PRINTF_DYN_PROTO", 'printf("%*d");', '"%*d"', "*"),
    ("D_PRINTF_AGG_CONV", 'printf("%@d", 1);', '"%@d"', "printa"),
    ("D_TRACE_VOID", "trace(copyinto(0, 1, curthread));", "copyinto(0, 1, curthread)", "no value"),
    ("D_TRACE_DYN", "trace(curcpu);", "curcpu", "translated"),
    ("D_TRACE_DYN", "@a = count(); trace(@a);", "@a", "printa(@a)"),
    ("D_TRACEMEM_ADDR", "tracemem(execname, 8);", "execname", "address"),
    ("D_TRACEMEM_SIZE", "tracemem(curthread, pid);", "pid", "constant"),
    ("D_TRACEMEM_SIZE", "tracemem(curthread, 0);", "0", "constant"),
    ("D_PROTO_LEN", "exit();", "exit()", "exit(0)"),
    ("D_PROTO_LEN", "trace(1, 2);", "trace(1, 2)", "one value"),
    ("D_PROTO_ARG", "exit(execname);", "execname", "integer"),
    # aggregations
    ("D_AGG_FUNC", "@a = strlen(execname);", "strlen(execname)", "aggregating"),
    ("D_AGG_FUNC", "@a = cuont();", "cuont()", "count"),
    ("D_AGG_FUNC", "x = count();", "count()", "@name = count"),
    ("D_AGG_REDEF", "@a = count(); @a = sum(1);", "sum(1)", "another name"),
    ("D_AGG_NULL", "@a;", "@a", "printa"),
    ("D_AGG_SCALAR", "@a = sum(execname);", "execname", "keys"),
    ("D_AGG_MDIM", "x = @a[1][2];", "@a[1][2]", "k1, k2"),
    ("D_OP_DYN", "@a = count(); x = @a + 1;", "@a", "printa"),
    ("D_PROTO_LEN", "@a = count(1);", "count(1)", "no arguments"),
    ("D_PROTO_LEN", "@a = sum();", "sum()", "sum(value)"),
    ("D_PROTO_LEN", "@a[1] = count(); @a[1, 2] = count();", "@a[1, 2]", "1 key elsewhere"),
    ("D_PROTO_ARG", '@a[1] = count(); @a["x"] = count();', '"x"', "key 1 of @a"),
    ("D_QUANT_PROTO", "@a = quantize();", "quantize()", "quantize(value)"),
    ("D_LQUANT_BASETYPE", "@a = lquantize(1, pid, 2);", "pid", "constant"),
    ("D_LQUANT_BASEVAL", "@a = lquantize(1, 0x100000000, 2);", "0x100000000", "32 bits"),
    ("D_LQUANT_LIMTYPE", "@a = lquantize(1, 0, pid);", "pid", "constant"),
    ("D_LQUANT_LIMVAL", "@a = lquantize(1, 0, 0x100000000);", "0x100000000", "32 bits"),
    ("D_LQUANT_MISMATCH", "@a = lquantize(1, 10, 2);", "2", "above"),
    ("D_LQUANT_STEPTYPE", "@a = lquantize(1, 0, 10, pid);", "pid", "constant"),
    ("D_LQUANT_STEPVAL", "@a = lquantize(1, 0, 10, 0);", "0", "1.."),
    ("D_LQUANT_STEPLARGE", "@a = lquantize(1, 0, 10, 11);", "11", "larger"),
    ("D_LQUANT_STEPSMALL", "@a = lquantize(1, 0, 100000, 1);", "1", "larger step"),
    ("D_LQUANT_MATCHBASE", "@a = lquantize(1, 0, 10); @a = lquantize(1, 1, 10);", "1", "base"),
    ("D_LQUANT_MATCHLIM", "@a = lquantize(1, 0, 10); @a = lquantize(1, 0, 11);", "11", "limit"),
    ("D_LQUANT_MATCHSTEP", "@a = lquantize(1, 0, 10); @a = lquantize(1, 0, 10, 2);", "2", "step"),
    ("D_LLQUANT_FACTORTYPE", "@a = llquantize(1, pid, 0, 6, 10);", "pid", "constant"),
    ("D_LLQUANT_FACTORVAL", "@a = llquantize(1, 1, 0, 6, 10);", "1", "factor"),
    ("D_LLQUANT_LMAGTYPE", "@a = llquantize(1, 10, pid, 6, 10);", "pid", "constant"),
    ("D_LLQUANT_LMAGVAL", "@a = llquantize(1, 10, -1, 6, 10);", "-1", "low"),
    ("D_LLQUANT_HMAGTYPE", "@a = llquantize(1, 10, 0, pid, 10);", "pid", "constant"),
    ("D_LLQUANT_HMAGVAL", "@a = llquantize(1, 10, 3, 2, 10);", "2", "high"),
    ("D_LLQUANT_HMAGVAL", "@a = llquantize(1, 10, 0, 19, 10);", "19", "64 bits"),
    ("D_LLQUANT_STEPTYPE", "@a = llquantize(1, 10, 0, 6, pid);", "pid", "constant"),
    ("D_LLQUANT_STEPVAL", "@a = llquantize(1, 10, 0, 6, 7);", "7", "evenly"),
    ("D_LLQUANT_STEPVAL", "@a = llquantize(1, 10, 0, 6, 0);", "0", "1.."),
    ("D_LLQUANT_MATCHFACTOR", "@a = llquantize(1, 10, 0, 6, 10); @a = llquantize(1, 5, 0, 6, 10);", "5", "factor"),
    ("D_LLQUANT_MATCHLMAG", "@a = llquantize(1, 10, 0, 6, 10); @a = llquantize(1, 10, 1, 6, 10);", "1", "low"),
    ("D_LLQUANT_MATCHHMAG", "@a = llquantize(1, 10, 0, 6, 10); @a = llquantize(1, 10, 0, 7, 10);", "7", "high"),
    ("D_LLQUANT_MATCHSTEPS", "@a = llquantize(1, 10, 0, 6, 10); @a = llquantize(1, 10, 0, 6, 20);", "20", "steps"),
    ("D_PRINTA_PROTO", "printa();", "printa()", "@a"),
    ("D_PRINTA_PROTO", '@a = count(); printa("x");', 'printa("x")', "format"),
    ("D_PRINTA_AGGARG", 'printa("%@d", 1);', "1", "aggregation"),
    ("D_PRINTA_AGGARG", '@a[1] = count(); printa(@a[1]);', "@a[1]", "whole"),
    ("D_PRINTA_AGGBAD", "printa(@a);", "@a", "@a"),
    ("D_PRINTA_AGGBAD", "@bytes = count(); printa(@byte);", "@byte", "bytes"),
    ("D_PRINTA_AGGKEY", '@a[1] = count(); @b = count(); printa("x", @a, @b);', "@b", "same keys"),
    ("D_PRINTA_AGGPROTO", "printa(1);", "1", "format"),
    ("D_PRINTA_AGGPROTO", '@a = count(); printa("%@d %@d", @a);', '"%@d %@d"', "1 given"),
    ("D_PRINTF_ARG_PROTO", '@a[1] = count(); printa("%d %d", @a);', '"%d %d"', "1 key"),
    ("D_PRINTF_ARG_TYPE", '@a[1] = count(); printa("%s", @a);', '"%s"', "key 1"),
    ("D_PRINTF_DYN_PROTO", '@a[1] = count(); printa("%*d", @a);', '"%*d"', "number"),
    ("D_CLEAR_PROTO", "@a = count(); clear();", "clear()", "clear(@a)"),
    ("D_CLEAR_AGGARG", "clear(1);", "1", "aggregation"),
    ("D_CLEAR_AGGBAD", "clear(@a);", "@a", "@a"),
    ("D_TRUNC_AGGARG", "trunc(1);", "1", "aggregation"),
    ("D_TRUNC_AGGBAD", "trunc(@a);", "@a", "@a"),
    ("D_PROTO_LEN", "@a = count(); trunc(@a, 1, 2);", "trunc(@a, 1, 2)", "trunc(@a[, n])"),
    ("D_NORMALIZE_PROTO", "@a = count(); normalize(@a);", "normalize(@a)", "normalize(@a, n)"),
    ("D_NORMALIZE_SCALAR", "@a = count(); normalize(@a, execname);", "execname", "integer"),
    ("D_NORMALIZE_SCALAR", "@a = count(); normalize(@a, 0);", "0", "cannot be 0"),
    ("D_NORMALIZE_AGGARG", "normalize(1, 2);", "1", "aggregation"),
    ("D_NORMALIZE_AGGBAD", "denormalize(@a);", "@a", "@a"),
    # translators
    ("D_XLATE_NONE", "x = xlate<cpuinfo_t *>(execname)->cpu_id;", "xlate<cpuinfo_t *>(execname)", "translator"),
    ("D_XLATE_SOU", "x = xlate<int>(pid);", "int", "struct"),
    ("D_XLATE_MEMB", "x = curcpu->cpu_chip;", "curcpu->cpu_chip", "cpu_id"),
    ("D_TYPE_MEMBER", "x = curcpu->cpu_ip;", "curcpu->cpu_ip", "cpu_id"),
    # what is left for later
    ("D_UNKNOWN", "x = fds[0].fi_name;", "fds[0]", "not supported yet"),
    ("D_UNKNOWN", "stack();", "stack()", "not supported yet"),
    ("D_UNKNOWN", "x = stack();", "stack()", "not supported yet"),
    ("D_OP_INCOMPLETE", "x = *(struct opaque *)arg0;", "(struct opaque *)arg0", "not known"),
    ("D_OP_INCOMPAT", "this->s = *(struct sock *)arg0; this->s = *curthread;", None, "incompatible"),
    ("D_OP_INCOMPAT", "this->s = *curthread; this->s = 1;", None, "incompatible"),
    ("D_ADDROF_VAR", "this->s = *curthread; this->p = &this->s;", "this->s", "members"),
    ("D_OP_SCALAR", "this->s = *curthread; x = this->s == *curthread;", "this->s", "compares"),
    ("D_KEY_TYPE", "this->s = *curthread; x[this->s] = 1;", "this->s", "key"),
    ("D_TYPE_MEMBER", "this->s = *curthread; x = this->s.pidd;", "this->s.pidd", "pid"),
    ("D_OP_PTR", "this->s = *curthread; x = this->s->pid;", "this->s", "this->s.pid"),
    ("D_UNKNOWN", "x = execname[0];", "execname[0]", "substr"),
    ("D_UNKNOWN", "x = ((struct sock *)arg0)->sk_wide + 1;", "((struct sock *)arg0)->sk_wide", "128 bits"),
    ("D_UNKNOWN", 'printf("%f", 1);', '"%f"', "not supported yet"),
    ("D_UNKNOWN", "@a = quantize(1, 2);", "2", "not supported yet"),
    ("D_UNKNOWN", "trace(*curthread);", "*curthread", "tracemem"),
]  # fmt: skip

PROGRAMS = [
    ("D_PDESC_ZERO", "syscall::conect:entry {}", "syscall::conect:entry", "connect"),
    ("D_PDESC_ZERO", "syscall::connect:enter {}", "syscall::connect:enter", "entry"),
    ("D_PDESC_ZERO", "sycall::connect:entry {}", "sycall::connect:entry", "syscall"),
    ("D_PDESC_ZERO", "BEGIM {}", "BEGIM", "BEGIN"),
    ("D_PDESC_ZERO", "nfs:::x {}", "nfs:::x", "there is no provider nfs"),
    ("D_PRED_SCALAR", "BEGIN /execname/ {}", "execname", 'execname != ""'),
    ("D_ARGS_NONE", "tick-1s { trace(args[0]); }", "args[0]", "arg0"),
    ("D_ARGS_IDX", C % "trace(args[3]);", "args[3]", "args[2]"),
    ("D_ARGS_IDX", B % "trace(args[0]);", "args[0]", "no arguments"),
    ("D_ARGS_TYPE", C % "trace(args[pid]);", "pid", "constant"),
    ("D_ARGS_TYPE", "tcp:::connect-request { trace(args[3]); }", "args[3]", "no value"),
    ("D_ARGS_MULTI", "syscall:::entry { trace(args[1]); }", "args[1]", "arg0"),
    ("D_ARGS_XLATOR", "tcp:::connect-request { trace(args[1]->cs_cid); }", "args[1]", "translator"),
    ("D_XLATE_REDECL", "typedef struct { int a; } o_t; translator o_t < int i > { a = i; }; "
     "translator o_t < int j > { a = j; };", "translator o_t < int j > { a = j; };", "exists already"),
    ("D_XLATE_SOU", "translator int < int i > { a = i; };", "int", "struct"),
    ("D_XLATE_MEMB", "typedef struct { int abcd; } o_t; translator o_t < int i > { abcf = i; };", "abcf = i;", "abcd"),
    ("D_XLATE_MEMB", "typedef struct { int a; } o_t; translator o_t < int i > { a = i; a = i; };", "a = i;", "twice"),
    ("D_XLATE_INCOMPAT", "typedef struct { string a; } o_t; translator o_t < int i > { a = i; };", "i", "string"),
    ("D_XLATE_INCOMPAT", "typedef struct { int a; } o_t; translator o_t < int i > { a = execname; };", "execname",
     "string"),
    ("D_ID_OFLOW", "inline int a0 = timestamp; " + "".join(
        f"inline int a{n} = a{n - 1} + a{n - 1}; " for n in range(1, 40)) + "BEGIN { trace(a39); }", None, "use each"),
    ("D_IDENT_BADREF", "inline int f[int x] = f[x]; BEGIN { trace(f[1]); }", None, ""),
    ("D_PROTO_LEN", "inline int f[int x] = x; BEGIN { trace(f[1, 2]); }", "f[1, 2]", "1 parameters"),
    ("D_PROTO_ARG", "inline int f[int x] = x; BEGIN { trace(f[execname]); }", "execname", "string"),
    ("D_ARR_BADREF", "inline int f[int x] = x; BEGIN { trace(f); }", "f", "f[...]"),
    ("D_DECL_IDRED", "inline int f = 1; inline int f = 2;", "f", "twice"),
    ("D_OP_WRITE", "inline int f = 1; BEGIN { f = 2; }", "f", "constant"),
    # declarations
    ("D_DECL_COMBO", "int double x;", "int double", "not a type"),
    ("D_DECL_CHARATTR", "long char x;", "long char", "char"),
    ("D_DECL_SIGNINT", "unsigned double x;", "unsigned double", "integer"),
    ("D_DECL_LONGINT", "long long long x;", "long long long", "two"),
    ("D_DECL_LONGINT", "short double x;", "short double", "integer"),
    ("D_DECL_VOIDATTR", "unsigned void *x;", "unsigned void", "void"),
    ("D_DECL_VOIDOBJ", "void x;", "x", "void"),
    ("D_DECL_VOIDOBJ", "struct s { void x; };", "x", "void"),
    ("D_DECL_VOIDOBJ", "typedef void x[3];", "[3]", "void"),
    ("D_DECL_BADCLASS", "static int x;", "static int", "remove"),
    ("D_DECL_USELESS", "int;", "int;", "name"),
    ("D_DECL_USELESS", "struct s { int; };", "int;", "name"),
    ("D_DECL_MNAME", "struct s { int a; int a; };", "a", "two members"),
    ("D_DECL_MNAME", "struct s { int a; union { int b; int a; }; };", "union { int b; int a; };", "two members"),
    ("D_DECL_TYPERED", "struct s { int a; }; struct s { int b; };", "struct s { int b; }", "twice"),
    ("D_DECL_TYPERED", "enum e { A }; enum e { B };", "enum e { B }", "twice"),
    ("D_DECL_TYPERED", "typedef int t; typedef long t;", "t", "twice"),
    ("D_DECL_IDRED", "enum e { A }; enum f { A };", "A", "twice"),
    ("D_DECL_IDRED", "int x; string x;", "x", "int"),
    ("D_DECL_IDRED", "int pid;", "pid", "another name"),
    ("D_DECL_ENCONST", "enum e { A = pid };", "pid", "constant"),
    ("D_DECL_ENOFLOW", "enum e { A = 0x7fffffff, BB };", "BB", "int"),
    ("D_DECL_BFCONST", "struct s { int a : pid; };", "pid", "constant"),
    ("D_DECL_BFSIZE", "struct s { int a : 33; };", "33", "1..32"),
    ("D_DECL_BFSIZE", "struct s { int a : 0; };", "0", "1..32"),
    ("D_DECL_BFTYPE", "struct s { int *a : 3; };", None, "integer"),
    ("D_DECL_ARRSUB", "struct s { int a[pid]; };", "pid", "constant"),
    ("D_DECL_ARRSUB", "struct s { int a[-1]; };", "-1", "constant"),
    ("D_DECL_ARRNULL", "struct s { int a[]; int b; };", "b", "last"),
    ("D_DECL_ARRNULL", "struct s { int a[3][]; };", None, "first"),
    ("D_DECL_ARRBIG", "struct s { int a[0x7fffffff]; };", "0x7fffffff", "big"),
    ("D_DECL_INCOMPLETE", "struct u; struct s { struct u a; };", "a", "not defined"),
    ("D_DECL_DYNOBJ", "struct s { int a[int]; };", "[int]", "variable"),
    ("D_DECL_LOCASSC", "this int a[int];", None, "self"),
    ("D_DECL_PARMCLASS", "struct s { int (*f)(self int a); };", None, "parameter"),
    ("D_DECL_PROTO_VOID", "struct s { int (*f)(int a, void); };", None, "only"),
    ("D_DECL_PROTO_NAME", "struct s { int (*f)(int a, int a); };", None, "two parameters"),
    ("D_DECL_PROTO_TYPE", "struct s { int (*g)(int)[2]; };", None, "return"),
    ("D_KEY_TYPE", "struct s { int a; }; int x[struct s];", "struct s", "key"),
    ("D_TYPE_ERR", "struct s { uint64 a; };", "uint64", "unknown type"),
    ("D_DECL_ARRNULL", "int x[];", "x[]", "int x[int];"),
    ("D_DECL_ARRBIG", "this char x[100000];", "x[100000]", "100000 bytes"),
    ("D_DECL_ARRBIG", "struct s { char c[20000]; }; self struct s x;", "x", "16384"),
    ("D_ARR_BOUNDS", "int x[3]; BEGIN { x[3] = 1; }", "3", "0 to 2"),
    ("D_ARR_BOUNDS", "this int x[3][4]; BEGIN { trace(this->x[2][4]); }", "4", "0 to 3"),
    ("D_ARR_BOUNDS", "self int x[1]; BEGIN { self->x[1] = 1; }", "1", "0 to 0"),
    ("D_OP_LVAL", "int x[3]; int y[3]; BEGIN { x = y; }", "x", "whole"),
    ("D_ADDROF_VAR", "int x[3]; BEGIN { trace(&x); }", "x", "&x[0]"),
    ("D_ARR_BADREF", "int x[3]; BEGIN { trace(x[1, 2]); }", None, "one index"),
    ("D_UNKNOWN", "provider p { probe q(int); };", None, "not supported yet"),
    # pragmas
    ("D_PRAGERR", "#pragma D error no such luck\nBEGIN {}", None, "no such luck"),
    ("D_PRAGMA_INVAL", "#pragma D optoin quiet\nBEGIN {}", None, "option"),
    ("D_PRAGMA_MALFORM", "#pragma D option\nBEGIN {}", None, "name=value"),
    ("D_PRAGMA_MALFORM", "#pragma D option quiet destructive\nBEGIN {}", None, "one name=value"),
    ("D_PRAGMA_MALFORM", "#pragma D depends_on tcp\nBEGIN {}", None, "library"),
]  # fmt: skip

CASES = [(tag, B % text, under, word) for tag, text, under, word in STATEMENTS] + PROGRAMS
_seen: dict[str, int] = {}


def _name(tag: str) -> str:
    _seen[tag] = _seen.get(tag, 0) + 1
    return f"err.{tag}.{_seen[tag]}"


@pytest.mark.parametrize(("tag", "text", "under", "word"), CASES, ids=[_name(c[0]) for c in CASES])
def test_error(tag: str, text: str, under: str | None, word: str) -> None:
    with pytest.raises(CompileError) as caught:
        checked(text)
    first = caught.value.diagnostics[0]
    said = f"{first.message} {first.hint or ''}"
    assert first.tag == tag, said
    assert first.span is not None
    if under is not None:
        assert first.span.text == under, said
    assert word in said or re.search(word, said), said
    first.render()


def test_every_tag_raised_has_a_row() -> None:
    """Tags built from parts (D_CLEAR_AGGBAD) have rows as well; this finds those written out."""
    folder = Path(check_module.__file__).parent
    written: set[str] = set()
    for path in [*folder.glob("check*.py"), folder / "declare.py", folder / "scope.py"]:
        written |= set(re.findall(r'"(D_[A-Z0-9_]+)"', path.read_text()))
    assert written - {tag for tag, *_ in CASES} == set()
