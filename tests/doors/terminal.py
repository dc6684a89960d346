"""One command of the real command line, run in this process without a service."""

from __future__ import annotations

import contextlib
import io

import pytest

from lockgate import __main__


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.argv", ["lockgate", *arguments])
                __main__.main()
        except SystemExit as ended:
            code = ended.code
    return int(code or 0), out.getvalue(), err.getvalue()  # type: ignore[call-overload]
