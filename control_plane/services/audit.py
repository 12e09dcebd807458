# ruff: noqa: N802  methods are named by the proto
"""control.v1.AuditService: who changed what. `control_plane.audit` writes it."""

import hashlib
from typing import Any

from control_plane.services.kit import Kit
from control_plane.services.pages import page_size
from control_plane.store import AuditFilter, AuditRow
from mesh.times import timestamp
from waypost.api.control.v1 import audit_pb2 as pb
from waypost.api.control.v1 import audit_pb2_grpc as rpc


class AuditService(rpc.AuditServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, context: Any) -> pb.ListAuditEntriesResponse:
        wanted = AuditFilter(
            resource=request.resource,
            subject=request.subject,
            method=request.method,
            failed_only=request.failed_only,
            since_ms=request.start_time.ToMilliseconds(),
            until_ms=request.end_time.ToMilliseconds(),
        )
        query, size = f"audit\n{hashlib.sha256(repr(wanted).encode()).hexdigest()}", page_size(request.page_size)
        before = int(self._kit.pages.open(query, request.page_token) or 0)
        rows = await self._kit.stores.audit.newest(wanted, limit=size + 1, before=before)
        token = self._kit.pages.seal(query, str(rows[size - 1].id)) if len(rows) > size else ""
        return pb.ListAuditEntriesResponse(audit_entries=map(_entry, rows[:size]), next_page_token=token)


def _entry(row: AuditRow) -> pb.AuditEntry:
    return pb.AuditEntry(
        id=row.id,
        time=timestamp(row.time_unix_ms / 1000),
        subject=row.subject,
        credential=row.credential,
        peer=row.peer,
        method=row.method,
        resource=row.resource,
        code=row.code,
        reason=row.reason,
        request=row.request,
    )
