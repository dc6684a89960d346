"""What can be asked about reports between mail systems, those of others and our own."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class ReportList(Ask, frozen=True, tag="report_list"):
    """Received reports, the latest first; `kind` is aggregate, failure or tls ("": all), `since` as in the trace.

    With `sent` our own reports (about TLS with `kind` tls), with `unread` what could not be read.
    """

    organisation: str = ""
    kind: str = ""
    domain: str = ""
    since: str = ""
    limit: int = 100
    sent: bool = False
    unread: bool = False


class ReportShow(Ask, frozen=True, tag="report_show"):
    """One report: a received one by its number, one of ours by its report id. `limit` bounds its rows."""

    report: str
    limit: int = 1000


class ReportSummary(Ask, frozen=True, tag="report_summary"):
    """Messages in received aggregate reports by domain, source and result (pass, fail)."""

    organisation: str = ""
    domain: str = ""
    source: str = ""
    result: str = ""
    since: str = ""
    limit: int = 1000


class ReportTls(Ask, frozen=True, tag="report_tls"):
    """TLS sessions: those that others report, and with `own` those of our deliveries."""

    organisation: str = ""
    domain: str = ""
    since: str = ""
    limit: int = 1000
    own: bool = False


class ReportImport(Ask, frozen=True, tag="report_import"):
    """Read a file as a report and keep it; `data` is the file in base64, `name` what it is called."""

    name: str
    data: str
    organisation: str = ""
    what_if: bool = False


class ReportSend(Ask, frozen=True, tag="report_send"):
    """Send what was counted about a domain ("": all) on a day (2026-11-24; "": yesterday) now; `tls`: TLS reports."""

    domain: str = ""
    day: str = ""
    organisation: str = ""
    what_if: bool = False
    tls: bool = False
