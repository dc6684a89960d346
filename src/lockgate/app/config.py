"""The operator's file, lockgate.toml: what cannot change while running, and all times."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from lockgate.app.config_certificates import Acme, CertificateFiles
from lockgate.app.config_kinds import Hostname, IpAddress, Network, Port, Section, Token, V4Address, V6Address
from lockgate.app.config_operation import Alerts, ConnectorWatch, Control, Dkim, Log, Metrics, Trace
from lockgate.app.config_sts import MtaSts
from lockgate.app.roles import unknown_names
from lockgate.app.state_folder import unusable
from lockgate.app.units import Duration, Size
from lockgate.mail.ruling import TlsLevel
from lockgate.policy.locate import line_of, locate
from lockgate.policy.problems import Invalid, Problem
from lockgate.policy.spelling import StoreAddress
from lockgate.policy.wording import in_words, without_consequences

DEFAULT_NAME = "lockgate.toml"
"""Where the operator's file is looked for when none is named."""

_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Listener(Section):
    """One address and port on which mail is received."""

    address: IpAddress = Field("0.0.0.0", description="Address to listen on")
    port: Port = Field(2525, description="Port; 0 takes a free one (`lockgate status` shows which)")
    implicit_tls: bool = Field(default=False, description="TLS from the first octet (RFC 8314), without STARTTLS")
    proxies: tuple[Network, ...] = Field(
        (), strict=False, description="Networks whose PROXY protocol header is believed and demanded"
    )


class Dns(Section):
    """Who answers our questions about names."""

    resolvers: tuple[IpAddress, ...] = Field(
        (), strict=False, description="Addresses of resolvers; empty means those of /etc/resolv.conf"
    )
    port: Port = Field(53, description="Port of the resolvers")
    timeout: Duration = Field(5.0, gt=0, le=10, description="How long one question may take in all; at most 10s")
    message_time: Duration = Field(
        18.0, gt=0, le=20, description="How long all questions about one message may take; at most 20s"
    )
    message_questions: int = Field(
        250, ge=20, description="Questions of SPF, DKIM and ARC about one message; as many of DMARC"
    )
    trusted: bool = Field(
        default=False,
        description="Believe resolvers on other machines that they validated an answer; only where the way is safe",
    )
    cache_size: int = Field(20_000, ge=0, description="Answers that each process remembers")
    probe: Hostname | None = Field(
        None, description="A signed name; `lockgate doctor` looks whether its answer is validated"
    )


class Delivery(Section):
    """How mail leaves, and how long it may wait (specification 1.21)."""

    mx_port: Port = Field(25, description="Port of mail exchangers found by MX")
    ca_bundle: Path | None = Field(
        None, strict=False, description="Public certificate authorities; unset means the system's bundle"
    )
    crl_file: Path | None = Field(
        None, strict=False, description="Revocation lists (PEM) that certificates of other servers are looked up in"
    )
    first_retry: Duration = Field(300.0, gt=0, description="Pause after the first failed attempt")
    retry_steps: tuple[Duration, ...] = Field(
        (600.0, 900.0, 1800.0, 3600.0), strict=False, description="Pauses after the following ones; the last repeats"
    )
    message_life: Duration = Field(86400.0, gt=0, description="How long a message may wait before it is returned")
    delay_notice: Duration = Field(14400.0, description='After how long the sender is told of a delay; "0s": never')
    report_life: Duration = Field(86400.0, gt=0, description="How long one of our own reports may wait")
    connect_timeout: Duration = Field(30.0, gt=0, description="For one connection to open")
    reply_timeout: Duration = Field(300.0, gt=0, description="For a reply to any command (RFC 5321 4.5.3.2)")
    data_timeout: Duration = Field(600.0, gt=0, description="For the reply to the end of data (RFC 5321 4.5.3.2.6)")
    idle_connection: Duration = Field(5.0, description="How long a connection is kept for the next message")


class Outgoing(Section):
    """Where outgoing connections may go; loopback, link-local, metadata addresses and our own ports only if listed."""

    allow: tuple[Network, ...] = Field(
        (), strict=False, description="Exceptions: networks that may be reached although they are special"
    )


class Mailboxes(Section):
    """Where hosted mailboxes lie, unless an organisation has a mailbox store of its own. Nothing set: none are here."""

    directory: Path | None = Field(
        None, strict=False, description="Maildirs are made below this folder, which must be there"
    )
    servers: tuple[StoreAddress, ...] = Field(
        (), strict=False, description="A store that takes LMTP: name:port, address:port or unix:/path"
    )
    tls_settings: TlsLevel = Field(
        TlsLevel.OPPORTUNISTIC, strict=False, description="What TLS with these servers must be like"
    )
    tls_domain: str = Field("", description="Name checked with domain_validation; empty: the server's")
    ca_file: Path | None = Field(None, strict=False, description="Authorities for these servers; unset: public ones")
    sockets: tuple[StoreAddress, ...] = Field(
        (), strict=False, description="unix:/path of sockets that mailbox stores of organisations may name"
    )
    concurrency: int = Field(20, ge=1, le=1000, description="Most deliveries at once of one worker")

    @property
    def kept(self) -> bool:
        """Whether hosted mailboxes lie anywhere."""
        return self.directory is not None or bool(self.servers)


class Pool(Section):
    """A set of source addresses and a name for outgoing mail; connectors may name one of their own."""

    name: Token = "default"
    source_address_v4: V4Address = Field("", description="IPv4 source; empty: the system's")
    source_address_v6: V6Address = Field("", description="IPv6 source; empty: the system's")
    helo_name: str = Field("", description="Name said in EHLO; empty: our hostname")


class Deadlines(Section):
    """How long a sending peer may take (RFC 5321 4.5.3.2), and how slow it may be."""

    handshake: Duration = Field(30.0, gt=0, description="For a TLS handshake or a PROXY header")
    command: Duration = Field(300.0, gt=0, description="For the next command")
    data: Duration = Field(180.0, gt=0, description="How often the rate of a message is looked at, at most a minute")
    whole_message: Duration = Field(3600.0, gt=0, description="For a whole message")
    minimum_rate: Size = Field(100, description="Octets a second below which a message is cut off")
    drain: Duration = Field(30.0, description="For open transactions when the service stops")


class OperatorFile(Section):
    """The whole file. Relative paths are relative to the folder of the file and come back absolute."""

    hostname: Hostname = Field(description="Our name in greeting, EHLO, trace fields and reports")
    installation: Token | None = Field(None, description="Marks our own hops against loops; unset: the hostname")
    state_directory: Path = Field(Path("state"), strict=False, description="Queue, directory and sockets")
    policy_directory: Path = Field(Path("policy"), strict=False, description="The policy documents (*.toml)")
    workers: int = Field(0, ge=0, le=256, description="Processes that receive and deliver; 0: one for each core")
    listener: tuple[Listener, ...] = Field((Listener(),), strict=False, min_length=1)
    certificate: tuple[CertificateFiles, ...] = Field((), strict=False)
    acme: Acme = Acme()
    pool: tuple[Pool, ...] = Field((Pool(),), strict=False, min_length=1)
    dns: Dns = Dns()
    delivery: Delivery = Delivery()
    outgoing: Outgoing = Outgoing()
    mailboxes: Mailboxes = Mailboxes()
    deadlines: Deadlines = Deadlines()
    alerts: Alerts = Alerts()
    connector_watch: ConnectorWatch = ConnectorWatch()
    control: Control = Control()
    trace: Trace = Trace()
    dkim: Dkim = Dkim()
    log: Log = Log()
    metrics: Metrics = Metrics()
    mta_sts: MtaSts = MtaSts()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> OperatorFile:
        names = [pool.name for pool in self.pool]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"there are two pools called {', '.join(twice)}")
        fixed = [(entry.address, entry.port) for entry in self.listener if entry.port]
        if repeated := sorted({f"{a} port {p}" for a, p in fixed if fixed.count((a, p)) > 1}):
            raise ValueError(f"two listeners want {', '.join(repeated)}")
        if any(entry.implicit_tls for entry in self.listener) and not self.certificate:
            raise ValueError("a listener with implicit_tls needs a [[certificate]]")
        if self.mta_sts.port is not None and not self.certificate:
            raise ValueError("mta_sts.port needs a [[certificate]] that bears the names mta-sts.DOMAIN")
        if self.delivery.delay_notice >= self.delivery.message_life:
            raise ValueError("delivery.delay_notice must be shorter than delivery.message_life, or \"0s\"")
        return self

    @property
    def mark(self) -> str:
        """The installation's name in our hop mark."""
        return self.installation or self.hostname

    @property
    def worker_count(self) -> int:
        """How many workers are started: the number given, or one for each core we may use."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def retry_steps(self) -> tuple[float, ...]:
        """All pauses in seconds, the first one included."""
        return (self.delivery.first_retry, *self.delivery.retry_steps)

    @property
    def queue_directory(self) -> Path:
        """The keeper's folder."""
        return self.state_directory / "queue"

    @property
    def recipients_directory(self) -> Path:
        """The recipient tables."""
        return self.state_directory / "directory"

    @property
    def lists_directory(self) -> Path:
        """The entries of named lists."""
        return self.state_directory / "lists"

    @property
    def signing_keys_directory(self) -> Path:
        """The private keys that sign what leaves."""
        return self.state_directory / "dkim"

    @property
    def sts_file(self) -> Path:
        """The MTA-STS policies of other domains."""
        return self.state_directory / "sts" / "sts.sqlite"

    @property
    def acme_directory(self) -> Path:
        """Accounts with authorities, and the certificates that they gave with their keys."""
        return self.state_directory / "acme"

    @property
    def trace_key_file(self) -> Path:
        """The secret by which hidden addresses are found again."""
        return self.state_directory / "trace.key"

    @property
    def kept_file(self) -> Path:
        """What each organisation keeps of its trace, for the keeper."""
        return self.state_directory / "trace" / "kept.json"

    @property
    def run_directory(self) -> Path:
        """Sockets, shared tables and the alarm file."""
        return self.state_directory / "run"

    @property
    def control_socket(self) -> Path:
        """Where the command line reaches us."""
        return self.control.socket or self.run_directory / "control.sock"

    @property
    def alarm_file(self) -> Path:
        """The last alarms of all processes."""
        return self.run_directory / "alarms.jsonl"

    @property
    def ca_bundle(self) -> Path | None:
        """The public certificate authorities: those named, else the system's, else none."""
        return self.delivery.ca_bundle or next((Path(name) for name in _BUNDLES if Path(name).is_file()), None)


def read_config(path: Path) -> OperatorFile:
    """Read and check the operator's file. Raises Invalid with all mistakes, OSError if it cannot be read."""
    return parse_config(path.read_text("utf-8"), path)


def parse_config(text: str, path: Path) -> OperatorFile:
    """The same from text; `path` names the file in messages and is what relative paths start from."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as trouble:
        found = re.search(r"\(at line (\d+)", str(trouble))
        message = re.sub(r" \(at (line \d+, column \d+|end of document)\)", "", str(trouble))
        line = int(found[1]) if found else text.count("\n") + 1
        raise Invalid((Problem(str(path), line, "", message),)) from None
    except RecursionError:
        raise Invalid((Problem(str(path), 1, "", "the file is nested too deeply"),)) from None
    try:
        config = OperatorFile.model_validate(data)
    except ValidationError as trouble:
        problems = [_problem(error, text, str(path)) for error in without_consequences(trouble.errors())]
        raise Invalid(tuple(sorted(problems, key=lambda problem: problem.line))) from None
    return _from_folder(config, path.resolve().parent)


def check_files(config: OperatorFile, path: Path) -> tuple[Problem, ...]:
    """What the file names and is not there or cannot be read; asked before starting, not while reading."""
    text = path.read_text("utf-8")
    wanted: list[tuple[tuple[str | int, ...], Path]] = []
    for number, certificate in enumerate(config.certificate):
        wanted.append((("certificate", number, "chain"), certificate.chain))
        wanted.append((("certificate", number, "key"), certificate.key))
        if certificate.intermediates is not None:
            wanted.append((("certificate", number, "intermediates"), certificate.intermediates))
    if config.acme.ca_file is not None:
        wanted.append((("acme", "ca_file"), config.acme.ca_file))
    for key, file in (("ca_bundle", config.delivery.ca_bundle), ("crl_file", config.delivery.crl_file)):
        if file is not None:
            wanted.append((("delivery", key), file))
    if config.mailboxes.ca_file is not None:
        wanted.append((("mailboxes", "ca_file"), config.mailboxes.ca_file))
    wanted += [(("mta_sts", "next_keys", number), key) for number, key in enumerate(config.mta_sts.next_keys)]
    found = [(where, f"{file} cannot be read") for where, file in wanted if not _readable(file)]
    for number, key, name in unknown_names(config.control.role):
        found.append((("control", "role", number, key), f"this system has no '{name}'"))
    boxes = config.mailboxes.directory
    if boxes is not None and not (boxes.is_dir() and os.access(boxes, os.W_OK | os.X_OK)):
        what = f"{boxes} is not a folder that we may write to; is its file system mounted? (mkdir -m 700 {boxes})"
        found.append((("mailboxes", "directory"), what))
    if what := unusable(config.state_directory):
        found.append((("state_directory",), what))
    if not config.policy_directory.is_dir():
        found.append((("policy_directory",), f"{config.policy_directory} is not a folder"))
    lines = locate(text) if found else {}
    return tuple([Problem(str(path), line_of(lines, where), written(where), what) for where, what in found])


def _readable(file: Path) -> bool:
    return file.is_file() and os.access(file, os.R_OK)


def resolvers(config: OperatorFile, resolv_conf: Path = Path("/etc/resolv.conf")) -> tuple[tuple[str, int], ...]:
    """The resolvers to ask, as (address, port): those of the file, else the system's, else this machine."""
    if config.dns.resolvers:
        return tuple((address, config.dns.port) for address in config.dns.resolvers)
    found: list[str] = []
    try:
        for line in resolv_conf.read_text("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver":
                found.append(str(ipaddress.ip_address(words[1].partition("%")[0])))
    except (OSError, ValueError):
        found = found or []
    return tuple((address, config.dns.port) for address in found or ["127.0.0.1"])


def written(path: tuple[str | int, ...]) -> str:
    """A path as the file's reader would point at it: `listener[1].port`, counted from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _problem(error: Any, text: str, file: str) -> Problem:
    where = tuple(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            message = "this key is unknown"
        case "missing":
            message = "this is missing"
        case "value_error":
            message = str(error["ctx"]["error"])
        case _:
            message = in_words(error)
    return Problem(file, line_of(locate(text), where), written(where), message)


def _from_folder(config: OperatorFile, folder: Path) -> OperatorFile:
    """All paths absolute."""
    copy = config.model_copy(
        update={
            "state_directory": folder / config.state_directory,
            "policy_directory": folder / config.policy_directory,
            "certificate": tuple(
                entry.model_copy(
                    update={
                        "chain": folder / entry.chain,
                        "key": folder / entry.key,
                        "intermediates": folder / entry.intermediates if entry.intermediates else None,
                    }
                )
                for entry in config.certificate
            ),
        }
    )
    if keys := tuple([folder / key for key in config.mta_sts.next_keys]):
        copy = copy.model_copy(update={"mta_sts": config.mta_sts.model_copy(update={"next_keys": keys})})
    files = {key: folder / file for key in ("ca_bundle", "crl_file") if (file := getattr(config.delivery, key))}
    if files:
        copy = copy.model_copy(update={"delivery": config.delivery.model_copy(update=files)})
    if (authorities := config.acme.ca_file) is not None:
        copy = copy.model_copy(update={"acme": config.acme.model_copy(update={"ca_file": folder / authorities})})
    boxes = {key: folder / place for key in ("directory", "ca_file") if (place := getattr(config.mailboxes, key))}
    if boxes:
        copy = copy.model_copy(update={"mailboxes": config.mailboxes.model_copy(update=boxes)})
    if (socket := config.control.socket) is not None:
        copy = copy.model_copy(update={"control": config.control.model_copy(update={"socket": folder / socket})})
    if config.log.destination not in ("stderr", "stdout"):
        log = config.log.model_copy(update={"destination": str(folder / config.log.destination)})
        copy = copy.model_copy(update={"log": log})
    return copy
