"""Which rule checks which expression."""

from __future__ import annotations

from dsight.lang import ast, check_access, check_assign, check_call, check_names, check_ops, check_xlate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.lang.scope import Scope
    from dsight.lang.typed import TExpr

RULES: dict[type, Callable[[Scope, ast.Expr], TExpr]] = {
    ast.IntLit: check_call.int_lit,
    ast.StrLit: check_call.str_lit,
    ast.Ident: check_names.ident,
    ast.ScopedVar: check_names.scoped,
    ast.Symbol: check_names.symbol,
    ast.AggRef: check_call.agg_ref,
    ast.Unary: check_ops.unary,
    ast.IncDec: check_assign.inc_dec,
    ast.Binary: check_ops.binary,
    ast.Assign: check_assign.assign,
    ast.Cond: check_ops.cond,
    ast.Comma: check_ops.comma,
    ast.Cast: check_call.cast,
    ast.SizeofType: check_call.sizeof_type,
    ast.SizeofExpr: check_call.sizeof_expr,
    ast.Offsetof: check_call.offset_of,
    ast.Stringof: check_call.string_of,
    ast.Xlate: check_xlate.xlate,
    ast.Index: check_access.index,
    ast.Member: check_access.member,
    ast.Call: check_call.call,
}
