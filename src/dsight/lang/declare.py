"""Types as written -> types: specifiers, declarators, struct layout; typedefs, tags, enumerators.

Functions over a Scope.  A name is looked up in the script, among D's own
typedefs, in the D library, and last in the kernel (the catalog).
"""

from __future__ import annotations

from dsight.errors import fail
from dsight.lang import ast, builtins
from dsight.lang.check_convert import same
from dsight.lang.scope import Scope, suggest
from dsight.lang.types import (
    INT,
    INT_TYPES,
    LONG,
    STRING,
    UINT,
    VOID,
    Array,
    Enum,
    Float,
    Func,
    Int,
    Member,
    Pointer,
    Qualified,
    String,
    Struct,
    Type,
    Typedef,
    Void,
    unqualified,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dsight.source import Span

_QUALIFIERS = ("const", "volatile", "restrict", "__restrict", "__const", "__volatile")
_BASE_WORDS = frozenset("char short int long signed unsigned float double _Bool".split())
_FLOATS = {
    "float": Float("float", 4),
    "double": Float("double", 8),
    "double long": Float("long double", 16),
}
_MAX_BYTES = 0x7FFF_FFFF
_MAX_VARIABLE = 16384  # per-CPU memory is had in 32 KiB at most (PCPU_MIN_UNIT_SIZE)
_MAX_GLOBAL = 1 << 20


# ---- type names


def type_name(cx: Scope, t: ast.TypeName) -> Type:
    """The type of a cast, sizeof, parameter or key."""
    return declarator_type(cx, specified(cx, t.spec), t.declarator)


def specified(cx: Scope, spec: ast.Specifiers) -> Type:
    """The type of a specifier list; defines the struct, union or enum whose body it has."""
    if spec.tag_kind:
        base = _tagged(cx, spec)
    else:
        base = _words(cx, [w for w in spec.words if w not in _QUALIFIERS], spec.span)
    for word in spec.words:
        if word in _QUALIFIERS:
            base = Qualified(word.strip("_"), base)
    return base


def _words(cx: Scope, words: list[str], span: Span) -> Type:
    if len(words) == 1:
        word = words[0]
        if word in INT_TYPES:
            return INT_TYPES[word]
        if word == "void":
            return VOID
        if word == "string":
            return STRING
        if word not in _BASE_WORDS:
            return typedef(cx, word, span)
    if not words:
        return INT
    _combination(words, span)
    long = words.count("long")
    key = sorted(words)
    if len(key) > 1 and "int" in key and "double" not in key and "float" not in key:
        key.remove("int")
    joined = " ".join(key)
    found = INT_TYPES.get(joined) or _FLOATS.get(joined)
    if found is None:
        if long > 2:
            raise fail("D_DECL_LONGINT", f'"{" ".join(words)}": at most two "long" make a type', span)
        raise fail("D_DECL_COMBO", f'"{" ".join(words)}" is not a type', span, "remove one of the words")
    return found


def _combination(words: list[str], span: Span) -> None:
    """Refuse the combinations D has a message for."""
    spelled = " ".join(words)
    sign = "signed" in words or "unsigned" in words
    sized = "short" in words or "long" in words
    if "char" in words and sized:
        raise fail("D_DECL_CHARATTR", f'"{spelled}": short and long do not apply to char', span)
    if "void" in words:
        raise fail("D_DECL_VOIDATTR", f'"{spelled}": nothing else applies to void', span)
    whole = all(w in _BASE_WORDS for w in words)
    if sign and (not whole or "float" in words or "double" in words):
        raise fail("D_DECL_SIGNINT", f'"{spelled}": signed and unsigned apply to integer types only', span)
    if sized and (not whole or "float" in words or ("double" in words and "short" in words)):
        raise fail("D_DECL_LONGINT", f'"{spelled}": short and long apply to integer types only', span)


def typedef(cx: Scope, name: str, span: Span) -> Type:
    """A typedef by name; D_TYPE_ERR if nobody has it."""
    found = find_typedef(cx, name)
    if found is None:
        hint = suggest(name, [*builtins.typedef_names(), *cx.typedefs, *cx.library.names()])
        if cx.catalog.type("struct", name) is not None:
            hint = f"did you mean struct {name}?"
        raise fail("D_TYPE_ERR", f'unknown type "{name}"', span, hint or "declare it with typedef")
    return found


def find_typedef(cx: Scope, name: str) -> Type | None:
    found = cx.typedefs.get(name) or builtins.typedef(name)
    if found is not None:
        return found
    if name in builtins.SPELLED_TYPEDEFS:
        found = Typedef(name, spelled(cx, builtins.SPELLED_TYPEDEFS[name]))
    elif (decl := cx.library.declaration(name)) is not None and decl.spec.storage == "typedef":
        types(cx, decl, library=True)
        return cx.typedefs[name]
    else:
        found = cx.catalog.type("typedef", name)
    if found is not None:
        cx.typedefs[name] = found
    return found


def _tagged(cx: Scope, spec: ast.Specifiers) -> Type:
    if spec.body is not None:
        if isinstance(spec.body, ast.EnumBody):
            return _enum(cx, spec, spec.body)
        return _struct(cx, spec, spec.body)
    found = tagged(cx, spec.tag_kind, spec.tag)
    if found is None:
        hint = "the running kernel has no type of that name: declare it in the script"
        for kind in ("struct", "union", "enum", "typedef"):
            if kind != spec.tag_kind and cx.catalog.type(kind, spec.tag) is not None:
                hint = f"did you mean {spec.tag if kind == 'typedef' else kind + ' ' + spec.tag}?"
        raise fail("D_TYPE_ERR", f'unknown type "{spec.tag_kind} {spec.tag}"', spec.span, hint)
    return found


def tagged(cx: Scope, kind: str, tag: str) -> Type | None:
    """A struct, union or enum by tag."""
    found = cx.tags.get((kind, tag))
    if found is None:
        decl = cx.library.declaration(f"{kind} {tag}")
        if decl is not None:
            types(cx, decl, library=True)
            return cx.tags[kind, tag]
        found = cx.catalog.type(kind, tag)
        if found is not None:
            cx.tags[kind, tag] = found
    return found


# ---- declarators


def declarator_type(cx: Scope, base: Type, d: ast.Declarator) -> Type:
    """The type a declarator makes of a base type.  Associative arrays are `declare_variable`'s."""
    t = base
    for level in reversed(d.levels):
        if isinstance(level, ast.Pointers):
            t = Pointer(t)
            for qualifier in level.qualifiers:
                t = Qualified(qualifier.strip("_"), t)
        elif isinstance(level, ast.ArrayOf):
            t = _array(cx, t, level, d)
        else:
            t = _function(cx, t, level)
    return t


def _array(cx: Scope, of: Type, level: ast.ArrayOf, d: ast.Declarator) -> Type:
    u = unqualified(of)
    if level.keys is not None:
        raise fail("D_DECL_DYNOBJ", "an associative array can only be a variable of its own", level.span)
    if isinstance(u, Void):
        raise fail("D_DECL_VOIDOBJ", "an array of void has no size", level.span)
    if isinstance(u, Func):
        raise fail("D_DECL_COMBO", "an array cannot hold functions; it can hold pointers to them", level.span)
    if isinstance(u, Array) and not u.count and u.of.size:
        raise fail("D_DECL_ARRNULL", "only the first dimension may be left out", level.span)
    if level.size is None:
        return Array(of, 0)
    count = cx.constant(level.size)
    if count is None or count.value < 0:
        raise fail(
            "D_DECL_ARRSUB", f"the array size {level.size.span.text} is not a positive constant", level.size.span
        )
    if count.value * max(1, of.size) > _MAX_BYTES:
        raise fail("D_DECL_ARRBIG", f"the array {d.name or 'type'} is too big", level.size.span)
    if isinstance(u, Struct) and u.incomplete:
        raise fail("D_DECL_INCOMPLETE", f'the array holds "{of}", which is declared but not defined', level.span)
    return Array(of, count.value)


def _function(cx: Scope, returns: Type, level: ast.FuncOf) -> Type:
    params: list[tuple[str, Type]] = []
    for decl in level.params:
        if decl.spec.storage not in ("", "register"):
            raise fail(
                "D_DECL_PARMCLASS", f'"{decl.spec.storage}" cannot be said of a function parameter', decl.spec.span
            )
        base = specified(cx, decl.spec)
        d = decl.declarators[0] if decl.declarators else None
        t = declarator_type(cx, base, d) if d is not None else base
        name = d.name if d is not None else ""
        u = unqualified(t)
        if isinstance(u, Void):
            if len(level.params) > 1 or name or level.variadic:
                raise fail("D_DECL_PROTO_VOID", '"void" must be the only parameter, without a name', decl.span)
            break
        if name and any(name == known for known, _ in params):
            raise fail("D_DECL_PROTO_NAME", f'two parameters are called "{name}"', decl.span)
        if isinstance(u, Array):
            t = Pointer(u.of)
        params.append((name, t))
    if isinstance(unqualified(returns), (Array, Func)):
        raise fail("D_DECL_PROTO_TYPE", f'a function cannot return "{returns}"', level_span(level))
    return Func(returns, tuple(params), level.variadic)


def level_span(level: ast.FuncOf) -> Span | None:
    return level.params[0].span if level.params else None


# ---- struct, union, enum


def align_of(t: Type) -> int:
    """Alignment in bytes, as x86-64 and aarch64 have it.  BTF does not record it: a struct that
    places a member off its alignment is packed."""
    u = unqualified(t)
    if isinstance(u, Array):
        return align_of(u.of)
    if isinstance(u, Struct):
        align = 1
        for m in u.members:
            if m.bits:
                continue
            a = align_of(m.type)
            if m.bit_offset % (8 * a) or u.size % a:
                return 1
            align = max(align, a)
        return align
    if isinstance(u, (Int, Enum, Float)):
        return max(1, u.size)
    return 8 if isinstance(u, Pointer) else 1


def layout(kind: str, members: list[Member]) -> tuple[int, tuple[Member, ...]]:
    """(size, members with their offsets) of a struct or union, laid out as GCC does.

    A bit-field goes into the next bits unless it would cross a boundary of its type;
    width 0 without a name (bits == -1 here) closes the unit."""
    placed: list[Member] = []
    at = end = 0
    align = 1
    for m in members:
        a = 8 * align_of(m.type)
        if kind == "union":
            at = 0
        if m.bits < 0:
            at = -(-at // a) * a
            continue
        width = m.bits or 8 * m.type.size
        if m.bits:
            unit = 8 * m.type.size
            if at // unit != (at + width - 1) // unit:
                at = -(-at // a) * a
            if m.name:
                align = max(align, a // 8)
        else:
            at = -(-at // a) * a
            align = max(align, a // 8)
        if m.name or not m.bits:
            placed.append(m.replace(bit_offset=at))
        at += width
        end = max(end, at)
    size = -(-end // (8 * align)) * align
    return size, tuple(placed)


def _struct(cx: Scope, spec: ast.Specifiers, body: ast.StructBody) -> Type:
    key = (spec.tag_kind, spec.tag)
    mark = f"{spec.tag_kind} {spec.tag}"
    known = cx.tags.get(key) if spec.tag and mark in cx.in_script else None
    if isinstance(known, Struct) and not known.incomplete:
        raise fail("D_DECL_TYPERED", f'"{mark}" is declared twice', spec.span)
    made = known if isinstance(known, Struct) else Struct(spec.tag_kind, spec.tag, 0, (), True)
    if spec.tag:
        cx.tags[key] = made
        cx.in_script.add(mark)  # before its members: they may point to it
    members: list[Member] = []
    seen: set[str] = set()
    for decl in body.members:
        for m, span in _members(cx, decl):
            for name in _names(m):
                if name in seen:
                    raise fail("D_DECL_MNAME", f'two members are called "{name}"', span)
                seen.add(name)
            if members and _flexible(members[-1].type) and spec.tag_kind == "struct":
                raise fail("D_DECL_ARRNULL", "only the last member may be an array without a size", span)
            members.append(m)
    made.complete(*layout(spec.tag_kind, members))
    return made


def _flexible(t: Type) -> bool:
    """An array declared `[]` (not one of zero-size elements)."""
    u = unqualified(t)
    return isinstance(u, Array) and u.count == 0 and u.of.size > 0


def _names(m: Member) -> list[str]:
    """The names a member brings: its own, those of an anonymous struct or union, none for padding bits."""
    if m.name:
        return [m.name]
    u = unqualified(m.type)
    return [n for inner in u.members for n in _names(inner)] if isinstance(u, Struct) else []


def _members(cx: Scope, decl: ast.Declaration) -> list[tuple[Member, Span]]:
    base = specified(cx, decl.spec)
    if not decl.declarators:
        if isinstance(unqualified(base), Struct) and not decl.spec.tag:
            return [(Member("", base, 0), decl.span)]
        if decl.spec.tag_kind:
            return []  # declares a type only
        raise fail("D_DECL_USELESS", "this declares no member: a name is missing", decl.span)
    found = []
    for d in decl.declarators:
        t = declarator_type(cx, base, d)
        u = unqualified(t)
        if isinstance(u, Void):
            raise fail("D_DECL_VOIDOBJ", f'the member "{d.name}" cannot be void', d.span)
        if isinstance(u, Func):
            raise fail("D_DECL_COMBO", f'the member "{d.name}" cannot be a function', d.span, "declare a pointer")
        if isinstance(u, Struct) and u.incomplete:
            raise fail(
                "D_DECL_INCOMPLETE", f'the member "{d.name}" is of "{t}", which is declared but not defined', d.span
            )
        found.append((Member(d.name, t, 0, _width(cx, d, t)), d.span))
    return found


def _width(cx: Scope, d: ast.Declarator, t: Type) -> int:
    """The width of a bit-field, -1 for `: 0`; 0 for an ordinary member."""
    if d.bits is None:
        return 0
    u = unqualified(t)
    if not isinstance(u, (Int, Enum)):
        raise fail("D_DECL_BFTYPE", f'the bit-field "{d.name}" must be an integer, not "{t}"', d.span)
    width = cx.constant(d.bits)
    if width is None:
        raise fail("D_DECL_BFCONST", f'the width of "{d.name}" is not an integer constant', d.bits.span)
    if width.value < 0 or width.value > 8 * u.size or (width.value == 0 and d.name):
        raise fail("D_DECL_BFSIZE", f'the width {width.value} of "{d.name}" is not in 1..{8 * u.size}', d.bits.span)
    return width.value or -1


def _enum(cx: Scope, spec: ast.Specifiers, body: ast.EnumBody) -> Type:
    mark = f"enum {spec.tag}"
    if spec.tag and mark in cx.in_script:
        raise fail("D_DECL_TYPERED", f'"{mark}" is declared twice', spec.span)
    values: dict[str, int] = {}
    following = 0
    for name, given, span in body.items:
        if given is not None:
            const = cx.constant(given)
            if const is None:
                raise fail("D_DECL_ENCONST", f'the value of "{name}" is not an integer constant', given.span)
            following = const.value
        if not -0x8000_0000 <= following <= 0x7FFF_FFFF:
            raise fail("D_DECL_ENOFLOW", f'the value {following} of "{name}" does not fit into an int', span)
        if name in values or (name in cx.in_script and name in cx.enumerators):
            raise fail("D_DECL_IDRED", f'"{name}" is declared twice', span)
        values[name] = following
        cx.enumerators[name] = (following, INT)
        cx.in_script.add(name)
        following += 1
    made = Enum(spec.tag, 4, any(v < 0 for v in values.values()), lambda: values)
    if spec.tag:
        cx.tags["enum", spec.tag] = made
        cx.in_script.add(mark)
    return made


# ---- declarations of types


def types(cx: Scope, decl: ast.Declaration, library: bool = False) -> Type:
    """Declare the types in a declaration (tags, enumerators, typedefs); returns the base type."""
    spec = decl.spec
    before = set(cx.in_script) if library else None
    if spec.tag_kind and spec.body is None and not decl.declarators:
        base = tagged(cx, spec.tag_kind, spec.tag)  # `struct x;`
        if base is None:
            base = Struct(spec.tag_kind, spec.tag, 0, (), True)
            cx.tags[spec.tag_kind, spec.tag] = base
            cx.in_script.add(f"{spec.tag_kind} {spec.tag}")
    else:
        base = specified(cx, spec)
    if spec.storage == "typedef":
        for d in decl.declarators:
            made = Typedef(d.name, declarator_type(cx, base, d))
            if d.name in cx.in_script and not same(cx.typedefs.get(d.name, VOID), made):
                raise fail("D_DECL_TYPERED", f'"{d.name}" is declared twice, as different types', d.span)
            cx.typedefs[d.name] = made
            cx.in_script.add(d.name)
    if before is not None:
        cx.in_script = before  # a script may declare again what the library has
    return base


def variable_size(t: Type, scope: str, name: str, span: Span) -> None:
    """Refuse variables that no map's element or scratch memory holds."""
    most = _MAX_GLOBAL if scope == "global" else _MAX_VARIABLE
    if t.size > most:
        raise fail("D_DECL_ARRBIG", f'"{name}" is {t.size} bytes large, such a variable may have {most}', span)


# ---- types spelled in tables: "struct sock *", "const char *", "string 16"


def spelled(cx: Scope, text: str) -> Type:
    """The type of a spelling in builtins or of a provider's argument.  A struct the kernel does not
    have is incomplete: its pointer can be printed, not followed."""
    found = cx.spelled.get(text)
    if found is None:
        found = cx.spelled[text] = _spelled(cx, text)
    return found


def _spelled(cx: Scope, text: str) -> Type:
    stars = text.count("*")
    words = text.replace("*", " ").split()
    sizes = []
    if words and words[-1].endswith("]"):
        last, _, count = words.pop().partition("[")
        sizes = [int(count.rstrip("]") or 0)]
        if last:
            words.append(last)
    words = [w for w in words if w not in _QUALIFIERS]
    if words[0] in ("struct", "union", "enum"):
        kind, tag = words[0], words[1]
        t = tagged(cx, kind, tag)
        if t is None:
            t = UINT if kind == "enum" else Struct(kind, tag, 0, (), True)
    elif words[0] == "string":
        t = String(int(words[1])) if len(words) > 1 else STRING
    elif words[0] == "void":
        t = VOID
    elif all(w in _BASE_WORDS for w in words):
        key = sorted(words)
        if len(key) > 1 and "int" in key:
            key.remove("int")
        t = INT_TYPES[" ".join(key)]
    else:
        t = find_typedef(cx, words[0]) or (Struct("struct", words[0], 0, (), True) if stars else LONG)
    for _ in range(stars):
        t = Pointer(t)
    for size in sizes:
        t = Array(t, size)
    return t
