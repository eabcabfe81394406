"""Where the rules of the subroutines are that few scripts use: imported when one does."""

from __future__ import annotations

from dsight.ir import lower_inet, lower_json, lower_kernel, lower_numerals, lower_paths, lower_strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dsight.ir.lower import Lowering
    from dsight.lang import typed

STRINGS = {
    **lower_strings.STRINGS,
    **lower_paths.STRINGS,
    **lower_numerals.STRINGS,
    **lower_kernel.STRINGS,
    "json": lower_json.json,
    "link_ntop": lower_inet.link_ntop,
}

SCALARS: dict[str, Callable[[Lowering, typed.Call], int]] = {
    **lower_strings.SCALARS,
    **lower_numerals.SCALARS,
    **lower_kernel.SCALARS,
}
