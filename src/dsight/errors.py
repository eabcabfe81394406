"""What dsight raises.

Error                     anything the user is told; exit status 1
|-- UsageError            the command line is wrong; exit status 2
|   `-- OptionError       one option of -x is: its own message says enough
|-- CompileError          the script is wrong: one or more Diagnostics, each with a D_ tag
|-- KernelError           the kernel refused something; says what, the errno, what to do
|   |-- PrivilegeError    not root / no CAP_BPF
|   |-- FeatureError      this kernel lacks a named feature (BPF, BTF, ring buffer, ...)
|   `-- VerifierError     a program was refused: a bug in dsight, shown at the D source line
`-- TargetError           -c / -p: the process could not be started or found
"""

from __future__ import annotations

from dsight.source import Diagnostic, Span


class Error(Exception):
    """Base of all errors meant for the user; str() is the whole message."""

    hint: str | None = None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(Error):
    """The command line is wrong."""


class OptionError(UsageError):
    """An option that there is not, or a value it cannot have."""


class CompileError(Error):
    """The script is wrong.  `diagnostics` is never empty; the first is the one to show first."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(diagnostics[0].message)

    @property
    def tag(self) -> str:
        return self.diagnostics[0].tag


def fail(tag: str, message: str, span: Span | None = None, hint: str | None = None) -> CompileError:
    """A CompileError of one diagnostic; the caller raises it."""
    return CompileError([Diagnostic(tag, message, span, hint)])


class KernelError(Error):
    """The kernel refused: `what` was tried, `errno` came back (0 where there is none)."""

    def __init__(self, message: str, errno: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.errno = errno


class PrivilegeError(KernelError):
    """Tracing needs root, or CAP_BPF and CAP_PERFMON."""


class FeatureError(KernelError):
    """This kernel lacks a feature; `feature` names it."""

    def __init__(self, feature: str, message: str, errno: int = 0, hint: str | None = None) -> None:
        super().__init__(message, errno, hint)
        self.feature = feature


class VerifierError(KernelError):
    """The verifier refused a program: `log` is its whole log, `span` the D source it came from."""

    def __init__(self, message: str, errno: int, log: str, span: Span | None = None) -> None:
        super().__init__(message, errno, "this is a bug in dsight: please report it with the script and -v")
        self.log = log
        self.span = span


class TargetError(Error):
    """The process of -c or -p could not be started or found."""
