"""The route of the audit log."""

from litestar import Controller, get
from litestar.datastructures import State

from services.apps.core.audit import AuditEntry
from services.apps.http.models import AuditEntryView, AuditQuery
from services.apps.http.reach import reach_of
from services.apps.http.wiring import Wiring
from services.apps.store import audit_log
from services.apps.store.audit_log import AuditFilter
from shared.auth.guard import ApiRequest, requires
from shared.http.answers import Answer, many
from shared.http.bodies import read_query
from shared.http.operations import operation
from shared.http.pages import page_by_time


class AuditLogController(Controller):
    """Who did what to merchants, credentials and apps, and when. Entries are never changed or deleted."""

    path = "/v1/audit-log"
    tags = ("Audit log",)

    @get(
        guards=[requires("keys.write", platform=True)],
        **operation(
            "List the audit log",
            description="Newest first.",
            query=AuditQuery,
            gives=AuditEntryView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_audit_log(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, AuditQuery)
        wiring: Wiring = state.apps
        reach = reach_of(request.user, query.merchant_id, query.environment)
        wanted = AuditFilter(
            merchant_id=reach.merchant_id,
            environment=reach.environment,
            actor_id=query.actor_id,
            action=query.action,
            target_id=query.target_id,
            created_from=query.created_from,
            created_before=query.created_before,
        )
        found = await audit_log.page(wiring.pool, wanted, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda one: (one[1].at, one[0]))
        return many(request, [_view(*one) for one in page], token)


def _view(audit_entry_id: str, entry: AuditEntry) -> AuditEntryView:
    return AuditEntryView(
        audit_entry_id=audit_entry_id,
        created_at=entry.at,
        actor=entry.actor,
        action=entry.action,
        target_id=entry.target_id,
        merchant_id=entry.merchant_id,
        environment=entry.environment,
        request_id=entry.request_id,
        changes=entry.changes,
    )
