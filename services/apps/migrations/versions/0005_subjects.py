"""Events of other things than orders; the audit log by the year, so that what is old can go."""

from datetime import UTC, datetime

from alembic import op

revision = "0005"
down_revision = "0004"

# What an event is about that is no order. Only new columns, which the version before this one does not miss.
# `webhook_deliveries.order_id` is the key of the event: the order, else the subject.
EVENTS = """
ALTER TABLE events
    ADD COLUMN subject_type text,
    ADD COLUMN subject_id text,
    ADD COLUMN subject_after bytea,
    ADD COLUMN grant_id text,
    ALTER COLUMN order_id DROP NOT NULL,
    ALTER COLUMN order_version DROP NOT NULL
"""

# What is there becomes the first part, up to the end of this year; each further year is a part of its own, made ahead
# of time (store/partitions.py). Each part refuses changes itself: a statement that names a part passes its parent by.
AUDIT_LOG = """
ALTER TABLE audit_log RENAME TO audit_log_y{year};
ALTER TABLE audit_log_y{year} DROP CONSTRAINT audit_log_pkey;
ALTER TABLE audit_log_y{year} ADD PRIMARY KEY (audit_entry_id, created_at);
ALTER INDEX audit_log_by_time RENAME TO audit_log_y{year}_by_time;
ALTER INDEX audit_log_by_merchant RENAME TO audit_log_y{year}_by_merchant;
ALTER INDEX audit_log_by_target RENAME TO audit_log_y{year}_by_target;
CREATE TABLE audit_log (LIKE audit_log_y{year}, PRIMARY KEY (audit_entry_id, created_at))
    PARTITION BY RANGE (created_at);
CREATE INDEX audit_log_by_time ON audit_log (created_at DESC, audit_entry_id DESC);
CREATE INDEX audit_log_by_merchant ON audit_log (merchant_id, created_at DESC, audit_entry_id DESC);
CREATE INDEX audit_log_by_target ON audit_log (target_id, created_at DESC, audit_entry_id DESC);
ALTER TABLE audit_log ATTACH PARTITION audit_log_y{year}
    FOR VALUES FROM (MINVALUE) TO ('{next_year}-01-01T00:00:00Z');
CREATE TABLE audit_log_y{next_year} PARTITION OF audit_log
    FOR VALUES FROM ('{next_year}-01-01T00:00:00Z') TO ('{last_year}-01-01T00:00:00Z');
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log_y{next_year}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    """Widen the events, and divide the audit log."""
    op.execute(EVENTS)
    year = datetime.now(UTC).year
    for statement in AUDIT_LOG.format(year=year, next_year=year + 1, last_year=year + 2).split(";"):
        op.execute(statement)
