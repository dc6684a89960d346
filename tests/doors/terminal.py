"""One command of the real command line, run in this process without a service."""

from __future__ import annotations

import contextlib
import io

from lockgate.__main__ import _check_config, _places, _read_documents, _serve
from lockgate.cli.asked import Switchboard
from lockgate.cli.commands import main


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(Switchboard(_serve, _places, _check_config, _read_documents), list(arguments))
        except SystemExit as ended:
            code = ended.code
    return int(code or 0), out.getvalue(), err.getvalue()  # type: ignore[call-overload]
