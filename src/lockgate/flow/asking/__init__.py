"""What a face may ask of the desk, as data: every verb there is, a file for each subject."""

from __future__ import annotations

import msgspec

from lockgate.flow.asking.alerts import AlertAck, AlertList
from lockgate.flow.asking.ask import (
    LONGEST_FRAME,
    PREFIX,
    Answer,
    Ask,
    Kind,
    NotUnderstood,
    read_answer,
    write_frame,
)
from lockgate.flow.asking.audit import AuditFind
from lockgate.flow.asking.backup import BackupMake
from lockgate.flow.asking.certificates import (
    CertificateList,
    CertificateOrder,
    CertificateRenew,
    CertificateShow,
)
from lockgate.flow.asking.connectors import ConnectorValidate
from lockgate.flow.asking.devices import (
    BlockedList,
    BlockedShow,
    ConnectorBlock,
    ConnectorUnblock,
    DeviceList,
    DeviceShow,
)
from lockgate.flow.asking.dkim import DkimCheck, DkimDns, DkimKeys, DkimRevoke, DkimRotate
from lockgate.flow.asking.explain import Explain, Replay, ReplayProgress, WhatIf
from lockgate.flow.asking.groups import (
    GroupAdd,
    GroupEdit,
    GroupList,
    GroupMembers,
    GroupRemove,
    GroupSet,
    GroupShow,
)
from lockgate.flow.asking.holds import HoldBody, HoldEdit, HoldList, HoldShow
from lockgate.flow.asking.lists import (
    ListAdd,
    ListExport,
    ListFind,
    ListImport,
    ListRemove,
    ListShow,
    ListsList,
)
from lockgate.flow.asking.mailboxes import MailboxList, MailboxMove, MailboxShow
from lockgate.flow.asking.objects import Assignment, DomainVerify, ObjectList, ObjectShow, ObjectWrite
from lockgate.flow.asking.policies import (
    Apply,
    Export,
    Plan,
    PolicyOrigins,
    Reload,
    RevisionDiff,
    RevisionList,
    Rollback,
)
from lockgate.flow.asking.queue import QueueEdit, QueueList
from lockgate.flow.asking.recipients import (
    RecipientAdd,
    RecipientEstimate,
    RecipientExport,
    RecipientFind,
    RecipientImport,
    RecipientLoad,
    RecipientPiece,
    RecipientProgress,
    RecipientRemove,
    RecipientSet,
    RecipientShow,
    RecipientUpload,
)
from lockgate.flow.asking.reports import (
    ReportImport,
    ReportList,
    ReportSend,
    ReportShow,
    ReportSummary,
    ReportTls,
)
from lockgate.flow.asking.rules import RuleStats
from lockgate.flow.asking.service import StatusAsk
from lockgate.flow.asking.shadow import ShadowPromote, ShadowShow, ShadowStart, ShadowStop
from lockgate.flow.asking.tls import DomainDns, TlsPolicy
from lockgate.flow.asking.traces import TraceFind, TraceFollow, TraceShow

Request = (
    AlertAck
    | AlertList
    | Apply
    | AuditFind
    | BackupMake
    | CertificateList
    | CertificateOrder
    | CertificateRenew
    | CertificateShow
    | ConnectorValidate
    | BlockedList
    | BlockedShow
    | ConnectorBlock
    | ConnectorUnblock
    | DeviceList
    | DeviceShow
    | DkimCheck
    | DkimDns
    | DkimKeys
    | DkimRevoke
    | DkimRotate
    | DomainDns
    | DomainVerify
    | Explain
    | Export
    | GroupAdd
    | GroupEdit
    | GroupList
    | GroupMembers
    | GroupRemove
    | GroupSet
    | GroupShow
    | ListAdd
    | ListExport
    | ListFind
    | ListImport
    | ListRemove
    | ListShow
    | ListsList
    | ObjectList
    | ObjectShow
    | ObjectWrite
    | Plan
    | PolicyOrigins
    | MailboxList
    | MailboxMove
    | MailboxShow
    | HoldBody
    | HoldEdit
    | HoldList
    | HoldShow
    | QueueEdit
    | QueueList
    | RecipientAdd
    | RecipientEstimate
    | RecipientExport
    | RecipientFind
    | RecipientImport
    | RecipientLoad
    | RecipientPiece
    | RecipientProgress
    | RecipientRemove
    | RecipientSet
    | RecipientShow
    | RecipientUpload
    | Reload
    | Replay
    | ReplayProgress
    | ReportImport
    | ReportList
    | ReportSend
    | ReportShow
    | ReportSummary
    | ReportTls
    | RevisionDiff
    | RevisionList
    | Rollback
    | RuleStats
    | ShadowPromote
    | ShadowShow
    | ShadowStart
    | ShadowStop
    | StatusAsk
    | TlsPolicy
    | TraceFind
    | TraceFollow
    | TraceShow
    | WhatIf
)
"""Every verb; a face that can send these can do everything."""

_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


def read_request(data: bytes) -> Request:
    """The request in these octets. Raises NotUnderstood."""
    try:
        return _REQUESTS.decode(data)
    except (msgspec.MsgspecError, RecursionError) as trouble:
        raise NotUnderstood(f"the request is not understood: {trouble}") from None


__all__ = [
    "LONGEST_FRAME",
    "PREFIX",
    "AlertAck",
    "AlertList",
    "Answer",
    "Apply",
    "Ask",
    "Assignment",
    "AuditFind",
    "BackupMake",
    "BlockedList",
    "BlockedShow",
    "CertificateList",
    "CertificateOrder",
    "CertificateRenew",
    "CertificateShow",
    "ConnectorBlock",
    "ConnectorUnblock",
    "ConnectorValidate",
    "DeviceList",
    "DeviceShow",
    "DkimCheck",
    "DkimDns",
    "DkimKeys",
    "DkimRevoke",
    "DkimRotate",
    "DomainDns",
    "DomainVerify",
    "Explain",
    "Export",
    "GroupAdd",
    "GroupEdit",
    "GroupList",
    "GroupMembers",
    "GroupRemove",
    "GroupSet",
    "GroupShow",
    "HoldBody",
    "HoldEdit",
    "HoldList",
    "HoldShow",
    "Kind",
    "ListAdd",
    "ListExport",
    "ListFind",
    "ListImport",
    "ListRemove",
    "ListShow",
    "ListsList",
    "MailboxList",
    "MailboxMove",
    "MailboxShow",
    "NotUnderstood",
    "ObjectList",
    "ObjectShow",
    "ObjectWrite",
    "Plan",
    "PolicyOrigins",
    "QueueEdit",
    "QueueList",
    "RecipientAdd",
    "RecipientEstimate",
    "RecipientExport",
    "RecipientFind",
    "RecipientImport",
    "RecipientLoad",
    "RecipientPiece",
    "RecipientProgress",
    "RecipientRemove",
    "RecipientSet",
    "RecipientShow",
    "RecipientUpload",
    "Reload",
    "Replay",
    "ReplayProgress",
    "ReportImport",
    "ReportList",
    "ReportSend",
    "ReportShow",
    "ReportSummary",
    "ReportTls",
    "Request",
    "RevisionDiff",
    "RevisionList",
    "Rollback",
    "RuleStats",
    "ShadowPromote",
    "ShadowShow",
    "ShadowStart",
    "ShadowStop",
    "StatusAsk",
    "TlsPolicy",
    "TraceFind",
    "TraceFollow",
    "TraceShow",
    "WhatIf",
    "read_answer",
    "read_request",
    "write_frame",
]
