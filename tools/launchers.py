"""Writes .venv/bin/dsight and .venv/bin/dtrace so that they start without `site`.

    launchers.py VENV

The launcher pip writes imports `re` and lets `site` read every .pth file of the environment,
which costs as much as compiling a script (docs/decisions/0007-start-up.md).  Ours starts
`python -I -S` and names the two folders it needs.  `-I` also keeps PYTHON* variables and the
working directory out of a command that runs as root.
"""

import os
import sys
import sysconfig

COMMANDS = {"dsight": "dsight.ui.cli", "dtrace": "dsight.ui.dtrace_cli"}


def launcher(python: str, source: str, packages: str, module: str) -> str:
    return (
        f"#!{python} -IS\n"
        "import _signal, sys\n"
        "_signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until a session takes it: no traceback on Ctrl-C\n"
        f"sys.path[:0] = [{source!r}]\n"
        f"sys.path.append({packages!r})\n"
        f"from {module} import main\n"
        "sys.exit(main())\n"
    )


def main(venv: str) -> None:
    python = os.path.join(venv, "bin", "python")
    source = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")
    packages = sysconfig.get_path("purelib")
    if " " in python or len(python) > 200:  # the kernel splits a #! line at blanks and cuts it at 255 bytes
        return
    for command, module in COMMANDS.items():
        path = os.path.join(venv, "bin", command)
        text = launcher(python, source, packages, module)
        try:
            with open(path) as f:
                if f.read() == text:
                    continue
        except OSError:
            pass
        with open(path + ".new", "w") as f:
            f.write(text)
        os.chmod(path + ".new", 0o755)
        os.replace(path + ".new", path)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
