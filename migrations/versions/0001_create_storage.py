"""create storage: settings, tracked tables, events with their partitions"""

from audit_schema.replaceable import replace, run_verbatim

revision = "0001"
down_revision = None
SQL: tuple[str, ...] = (
    "functions/_hash_sample.sql",
    "triggers/append_only.sql",
    "functions/_partition_bounds.sql",
    "functions/_profile_indexes.sql",
    "functions/_index_gaps.sql",
    "views/partition.sql",
    "functions/_closing_steps.sql",
    "functions/_close_partitions.sql",
    "functions/_fit_indexes.sql",
    "functions/set_index_profile.sql",
    "functions/_partman_schema.sql",
    "functions/_partman_remedy.sql",
    "functions/_uses_partman.sql",
    "functions/_partman_forget.sql",
    "functions/_partman_register.sql",
    "functions/_partition_name.sql",
    "functions/_periods.sql",
    "functions/_unguarded.sql",
    "functions/_guard_partitions.sql",
    "functions/_lock_partitions.sql",
    "functions/_prepare_partition.sql",
    "functions/_bring_home.sql",
    "functions/_attach_partition.sql",
    "functions/_create_partition.sql",
    "functions/_create_partitions.sql",
    "functions/_start_partitions.sql",
    "functions/_drop_unused_partitions.sql",
    "functions/_argument_id.sql",
    "functions/_tracked_table_id.sql",
    "functions/_context_columns.sql",
    "functions/_check_context.sql",
    "functions/_record_act.sql",
    "functions/_refresh_tracked_tables.sql",
    "functions/set_partitioning.sql",
    "functions/set_partition_backend.sql",
    "functions/rehash_rows.sql",
    "functions/recount_events.sql",
    "functions/_settle_events.sql",
    "functions/_count_period.sql",
    "functions/_count_events.sql",
    "functions/_unarchived.sql",
    "functions/_may_expire.sql",
    "functions/_expired_tables.sql",
    "functions/_expire_partition.sql",
    "functions/_expire_events.sql",
    "functions/run_maintenance.sql",
    "functions/schedule_jobs.sql",
    "functions/unschedule_jobs.sql",
    "functions/_secure_rows.sql",
    "functions/_privileges.sql",
    "functions/apply_privileges.sql",
    "functions/_objects.sql",
    "functions/_remember_objects.sql",
)

TABLES = """
COMMENT ON SCHEMA audit IS
    'Audit trail of this database, kept by audit_schema: read it through the views and functions.';
COMMENT ON TABLE audit.schema_version IS 'Revision of the schema, kept by Alembic.';
COMMENT ON COLUMN audit.schema_version.version_num IS 'Id of the revision.';

CREATE TABLE audit.setting (
    singleton boolean NOT NULL DEFAULT true,
    partition_interval text NOT NULL DEFAULT 'month',
    partition_backend text NOT NULL DEFAULT 'native',
    premake integer NOT NULL DEFAULT 4,
    hot_index_profile text NOT NULL DEFAULT 'standard',
    closed_index_profile text NOT NULL DEFAULT 'standard',
    default_window interval NOT NULL DEFAULT '90 days',
    must_attach text[] NOT NULL DEFAULT '{}',
    captures_ddl boolean NOT NULL DEFAULT false,
    hash_sample bigint NOT NULL,
    keep interval,
    archive_url text,
    admin_role text NOT NULL,
    reader_role text NOT NULL,
    nobody_role text NOT NULL,
    CONSTRAINT setting_pkey PRIMARY KEY (singleton),
    CONSTRAINT setting_is_single CHECK (singleton),
    CONSTRAINT setting_partition_interval_known
        CHECK (partition_interval IN ('day', 'week', 'month')),
    CONSTRAINT setting_partition_backend_known
        CHECK (partition_backend IN ('native', 'pg_partman')),
    CONSTRAINT setting_premake_in_range CHECK (premake BETWEEN 1 AND 400),
    CONSTRAINT setting_index_profiles_known
        CHECK ('{lean,standard,search}' @> ARRAY[hot_index_profile, closed_index_profile]),
    CONSTRAINT setting_keep_in_range CHECK (keep >= interval '1 day'),
    CONSTRAINT setting_default_window_positive CHECK (default_window > interval '0')
);
COMMENT ON TABLE audit.setting IS 'Settings of the audit trail; one row.';
COMMENT ON COLUMN audit.setting.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN audit.setting.partition_interval IS
    'Length of a partition: day, week (Monday) or month, UTC. See audit.set_partitioning().';
COMMENT ON COLUMN audit.setting.partition_backend IS
    'Who keeps the partitions: native (audit_schema itself) or pg_partman.';
COMMENT ON COLUMN audit.setting.premake IS 'Number of future partitions to keep ready.';
COMMENT ON COLUMN audit.setting.hot_index_profile IS
    'Indexes of partitions that are written to: lean, standard or search. See '
    'audit.set_index_profile().';
COMMENT ON COLUMN audit.setting.closed_index_profile IS
    'The same of partitions that no transaction can write to any more.';
COMMENT ON COLUMN audit.setting.default_window IS
    'How far back the read functions look when no start is given.';
COMMENT ON COLUMN audit.setting.must_attach IS
    'Tables that audit.check() misses when they are not attached: patterns of LIKE for '
    'schema.table, such as shop.%; one that starts with ! makes an exception.';
COMMENT ON COLUMN audit.setting.captures_ddl IS
    'Whether event triggers record DDL; see audit.enable_ddl_capture().';
COMMENT ON COLUMN audit.setting.hash_sample IS
    'A hash as the server computed it that wrote audit.event.row_hash; see audit.rehash_rows().';
COMMENT ON COLUMN audit.setting.keep IS
    'How long events are kept after the end of their partition, where their table says nothing '
    'else; NULL for ever. See audit.set_retention().';
COMMENT ON COLUMN audit.setting.archive_url IS
    'Folder of the archives; NULL when there are none. See audit.set_archive().';
COMMENT ON COLUMN audit.setting.admin_role IS
    'Role whose members attach tables and run maintenance.';
COMMENT ON COLUMN audit.setting.reader_role IS 'Role whose members read the trail.';
COMMENT ON COLUMN audit.setting.nobody_role IS
    'Role without any right, as which rows are turned into JSON: that may run foreign code.';
INSERT INTO audit.setting (admin_role, reader_role, nobody_role, hash_sample)
    SELECT current_setting('audit.admin_role'), current_setting('audit.reader_role'),
           current_setting('audit.nobody_role'), audit._hash_sample();

CREATE TABLE audit.tracked_table (
    id integer GENERATED BY DEFAULT AS IDENTITY,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    mode text NOT NULL,
    key_columns text[] NOT NULL,
    key_is_unique boolean NOT NULL,
    policy jsonb NOT NULL DEFAULT '{}',
    require_actor boolean NOT NULL DEFAULT false,
    enable_always boolean NOT NULL DEFAULT false,
    truncated_rows boolean NOT NULL DEFAULT false,
    attached_at timestamptz NOT NULL DEFAULT now(),
    attached_by text NOT NULL,
    detached_at timestamptz,
    keep interval,
    CONSTRAINT tracked_table_pkey PRIMARY KEY (id),
    CONSTRAINT tracked_table_mode_known CHECK (mode IN ('statement', 'row')),
    CONSTRAINT tracked_table_keep_in_range CHECK (keep >= interval '1 day')
);
CREATE INDEX tracked_table_name_idx ON audit.tracked_table (schema_name, table_name);
COMMENT ON TABLE audit.tracked_table IS 'Tables whose changes are, or once were, recorded.';
COMMENT ON COLUMN audit.tracked_table.id IS
    'Stands for the table in audit.event; kept through renames, dump and restore.';
COMMENT ON COLUMN audit.tracked_table.schema_name IS
    'Schema of the table, as last seen by attach or maintenance.';
COMMENT ON COLUMN audit.tracked_table.table_name IS
    'Name of the table, as last seen by attach or maintenance.';
COMMENT ON COLUMN audit.tracked_table.mode IS
    'Capture: by statement or by row.';
COMMENT ON COLUMN audit.tracked_table.key_columns IS
    'Columns that identify a row; empty for a table without a key.';
COMMENT ON COLUMN audit.tracked_table.key_is_unique IS
    'Whether a unique index covered the key columns when the table was attached.';
COMMENT ON COLUMN audit.tracked_table.policy IS
    'Columns that are not recorded as they are, as lists by treatment: exclude (left out), only '
    '(all others left out), redact (a constant), hash (HMAC-SHA-256).';
COMMENT ON COLUMN audit.tracked_table.require_actor IS 'Whether writes without an actor fail.';
COMMENT ON COLUMN audit.tracked_table.enable_always IS
    'Whether the triggers also fire for logical replication and session_replication_role = '
    'replica.';
COMMENT ON COLUMN audit.tracked_table.truncated_rows IS
    'Whether TRUNCATE records each row that it removes.';
COMMENT ON COLUMN audit.tracked_table.attached_at IS 'When the table was last attached.';
COMMENT ON COLUMN audit.tracked_table.attached_by IS 'Session user who last attached the table.';
COMMENT ON COLUMN audit.tracked_table.detached_at IS
    'When the table was detached; NULL while its changes are recorded.';
COMMENT ON COLUMN audit.tracked_table.keep IS
    'How long its events are kept after the end of their partition; NULL as audit.setting.keep.';

CREATE TABLE audit.tracking (
    singleton boolean NOT NULL DEFAULT true,
    changed_at timestamptz NOT NULL,
    CONSTRAINT tracking_pkey PRIMARY KEY (singleton),
    CONSTRAINT tracking_is_single CHECK (singleton)
);
COMMENT ON TABLE audit.tracking IS
    'One row, which whoever attaches or detaches a table holds: so they take turns.';
COMMENT ON COLUMN audit.tracking.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN audit.tracking.changed_at IS 'When a table was last attached or detached.';
INSERT INTO audit.tracking (changed_at) VALUES (now());

CREATE TABLE audit.event (
    id bigint GENERATED BY DEFAULT AS IDENTITY (CACHE 32),
    started_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    xid bigint NOT NULL,
    context_id bigint,
    row_hash bigint,
    tracked_table_id integer NOT NULL,
    backend_pid integer,
    client_port integer,
    client_addr inet,
    action text NOT NULL,
    actor text,
    actor_type text,
    actor_label text,
    database_user text,
    database_role text,
    application_name text,
    metadata jsonb,
    row_key jsonb,
    old_values jsonb,
    new_values jsonb,
    CONSTRAINT event_pkey PRIMARY KEY (started_at, id)
) PARTITION BY RANGE (started_at);
CREATE INDEX event_row_idx ON audit.event (row_hash, occurred_at);
COMMENT ON TABLE audit.event IS
    'Each recorded change. Read it through the view audit.change and the read functions.';
COMMENT ON COLUMN audit.event.id IS
    'Orders the events of one transaction; across sessions ids are handed out in blocks.';
COMMENT ON COLUMN audit.event.started_at IS
    'Start of the transaction: its now(). With xid it identifies the transaction, since xids begin '
    'anew after a restore.';
COMMENT ON COLUMN audit.event.occurred_at IS
    'Clock when the change was recorded, under the lock of the row: orders the changes of a row.';
COMMENT ON COLUMN audit.event.xid IS 'Transaction id of the server, 64 bits.';
COMMENT ON COLUMN audit.event.context_id IS
    'Of the rows of one statement, the first event carries the context, and the others its id '
    'here. NULL when the event carries its own: the columns from actor_type to metadata and '
    'backend_pid to client_addr. actor stands in each event.';
COMMENT ON COLUMN audit.event.tracked_table_id IS 'The table: audit.tracked_table.id.';
COMMENT ON COLUMN audit.event.backend_pid IS 'Process id of the server process.';
COMMENT ON COLUMN audit.event.client_port IS
    'TCP port of the client; NULL for a Unix-domain socket.';
COMMENT ON COLUMN audit.event.client_addr IS
    'Address of the client (of the pooler, behind one); NULL for a Unix-domain socket.';
COMMENT ON COLUMN audit.event.action IS
    'insert, update, delete or truncate; baseline for a row that was there before; attach, '
    'detach, rename, drop, ddl, grant, revoke, retention, hold, release or expire for acts on the '
    'table or its trail.';
COMMENT ON COLUMN audit.event.actor IS
    'Who is accountable, as the application said; NULL when it said nothing.';
COMMENT ON COLUMN audit.event.actor_type IS 'Kind of actor, such as user or service.';
COMMENT ON COLUMN audit.event.actor_label IS 'Readable name of the actor at that time.';
COMMENT ON COLUMN audit.event.database_user IS
    'Role that logged in: session_user of PostgreSQL.';
COMMENT ON COLUMN audit.event.database_role IS 'Role set by SET ROLE; NULL when none was.';
COMMENT ON COLUMN audit.event.application_name IS
    'application_name of the session; NULL when empty.';
COMMENT ON COLUMN audit.event.metadata IS
    'Why: JSON object given by the application (reason, request id, ticket ...).';
COMMENT ON COLUMN audit.event.row_key IS
    'Key columns of the row as a JSON object (after the change); the whole row for a table '
    'without a key; NULL for truncate.';
COMMENT ON COLUMN audit.event.old_values IS
    'delete, row of a truncate: the whole row; update: the changed columns before. NULL for insert '
    'and truncate itself. Of acts on the table: what was so before.';
COMMENT ON COLUMN audit.event.new_values IS
    'insert, baseline: the whole row; update: the changed columns after. NULL for delete and '
    'truncate. Of acts on the table: what is so after.';
COMMENT ON COLUMN audit.event.row_hash IS
    'jsonb_hash_extended(row_key, tracked_table_id), for the index: row security keeps an '
    'expression from being looked up. See audit.rehash_rows().';

CREATE TABLE audit.table_reader (
    tracked_table_id integer NOT NULL,
    role text NOT NULL,
    CONSTRAINT table_reader_pkey PRIMARY KEY (tracked_table_id, role)
);
COMMENT ON TABLE audit.table_reader IS
    'Who may read the events of single tables; see audit.grant_read().';
COMMENT ON COLUMN audit.table_reader.tracked_table_id IS 'The table: audit.tracked_table.id.';
COMMENT ON COLUMN audit.table_reader.role IS
    'Name of the role whose members may read its events.';

CREATE TABLE audit.event_count (
    hour timestamptz NOT NULL,
    tracked_table_id integer NOT NULL,
    action text NOT NULL,
    events bigint NOT NULL,
    CONSTRAINT event_count_pkey PRIMARY KEY (hour, tracked_table_id, action)
);
COMMENT ON TABLE audit.event_count IS
    'Kept counts of events, written by maintenance. Read them through audit.event_counts().';
COMMENT ON COLUMN audit.event_count.hour IS
    'Start of an hour, UTC, in which the transactions of the events started.';
COMMENT ON COLUMN audit.event_count.tracked_table_id IS 'The table: audit.tracked_table.id.';
COMMENT ON COLUMN audit.event_count.action IS 'As audit.event.action.';
COMMENT ON COLUMN audit.event_count.events IS 'Number of events, at least one.';

CREATE TABLE audit.actor_count (
    hour timestamptz NOT NULL,
    actor text,
    events bigint NOT NULL,
    CONSTRAINT actor_count_unique UNIQUE NULLS NOT DISTINCT (hour, actor)
);
COMMENT ON TABLE audit.actor_count IS
    'Kept counts of events by actor, written by maintenance. Read them through '
    'audit.actor_counts().';
COMMENT ON COLUMN audit.actor_count.hour IS 'As audit.event_count.hour.';
COMMENT ON COLUMN audit.actor_count.actor IS 'As audit.event.actor; NULL when none was said.';
COMMENT ON COLUMN audit.actor_count.events IS 'Number of events, at least one.';

CREATE TABLE audit.counting (
    singleton boolean NOT NULL DEFAULT true,
    counted_to timestamptz NOT NULL DEFAULT '-infinity',
    settled_to timestamptz NOT NULL DEFAULT '-infinity',
    settled_by xid8,
    observed_at timestamptz,
    open_transactions text[] NOT NULL DEFAULT '{}',
    CONSTRAINT counting_pkey PRIMARY KEY (singleton),
    CONSTRAINT counting_is_single CHECK (singleton)
);
COMMENT ON TABLE audit.counting IS
    'How far the events are counted, in audit.event_count and audit.actor_count; one row.';
COMMENT ON COLUMN audit.counting.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN audit.counting.counted_to IS
    'Events of transactions that started before are counted; a whole hour.';
COMMENT ON COLUMN audit.counting.settled_to IS
    'No transaction that started before can bring events any more; a whole hour.';
COMMENT ON COLUMN audit.counting.settled_by IS 'The transaction that found this out.';
COMMENT ON COLUMN audit.counting.observed_at IS
    'Maintenance waits for the transactions that were open then; NULL before its first look.';
COMMENT ON COLUMN audit.counting.open_transactions IS
    'Those that are left of them: virtual ids, and xids of prepared ones.';
INSERT INTO audit.counting DEFAULT VALUES;

CREATE TABLE audit.legal_hold (
    id integer GENERATED BY DEFAULT AS IDENTITY,
    reason text NOT NULL,
    tracked_table_id integer,
    row_key jsonb,
    from_time timestamptz NOT NULL,
    to_time timestamptz NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    placed_by text NOT NULL,
    released_at timestamptz,
    released_by text,
    CONSTRAINT legal_hold_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE audit.legal_hold IS
    'Events that do not expire, as long as the hold is not released; see audit.place_hold().';
COMMENT ON COLUMN audit.legal_hold.id IS 'Number of the hold, for audit.release_hold().';
COMMENT ON COLUMN audit.legal_hold.reason IS 'Why, such as the number of a case.';
COMMENT ON COLUMN audit.legal_hold.tracked_table_id IS
    'The table: audit.tracked_table.id; NULL for all.';
COMMENT ON COLUMN audit.legal_hold.row_key IS
    'The row, as audit.event.row_key; NULL for all rows.';
COMMENT ON COLUMN audit.legal_hold.from_time IS
    'Start of the transactions from which on events are kept, included.';
COMMENT ON COLUMN audit.legal_hold.to_time IS 'Up to which they are kept, not included.';
COMMENT ON COLUMN audit.legal_hold.placed_at IS 'When the hold was placed.';
COMMENT ON COLUMN audit.legal_hold.placed_by IS 'Session user who placed it.';
COMMENT ON COLUMN audit.legal_hold.released_at IS 'When it ended; NULL while it holds.';
COMMENT ON COLUMN audit.legal_hold.released_by IS 'Session user who ended it.';

CREATE TABLE audit.archive (
    id integer GENERATED BY DEFAULT AS IDENTITY,
    from_time timestamptz NOT NULL,
    to_time timestamptz NOT NULL,
    state text NOT NULL,
    url text NOT NULL,
    events bigint,
    bytes bigint,
    sha256 text,
    content_sha256 text,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    exported_at timestamptz,
    verified_at timestamptz,
    message text,
    CONSTRAINT archive_pkey PRIMARY KEY (id),
    CONSTRAINT archive_state_known
        CHECK (state IN ('exporting', 'exported', 'verified', 'failed')),
    CONSTRAINT archive_is_described
        CHECK (exported_at IS NULL OR num_nulls(events, bytes, sha256, content_sha256) = 0),
    CONSTRAINT archive_was_exported
        CHECK (exported_at IS NOT NULL OR state IN ('exporting', 'failed')),
    CONSTRAINT archive_was_verified CHECK (verified_at IS NOT NULL OR state <> 'verified')
);
CREATE UNIQUE INDEX archive_period_idx ON audit.archive (from_time, to_time)
    WHERE state <> 'failed';
COMMENT ON TABLE audit.archive IS
    'Archives of closed partitions, one row for each attempt; written by audit-schema archive.';
COMMENT ON COLUMN audit.archive.id IS 'Number of the attempt.';
COMMENT ON COLUMN audit.archive.from_time IS 'Start of the partition, included.';
COMMENT ON COLUMN audit.archive.to_time IS 'End of the partition, not included.';
COMMENT ON COLUMN audit.archive.state IS
    'exporting: its file is being written, or the run was interrupted; exported: it is in its '
    'place; verified: it was read back and is as it was written; failed: see message.';
COMMENT ON COLUMN audit.archive.url IS
    'The Parquet file; its manifest has the same name with .json instead of .parquet.';
COMMENT ON COLUMN audit.archive.events IS 'Number of events in it.';
COMMENT ON COLUMN audit.archive.bytes IS 'Length of the file.';
COMMENT ON COLUMN audit.archive.sha256 IS 'SHA-256 of the file, in hexadecimal.';
COMMENT ON COLUMN audit.archive.content_sha256 IS
    'SHA-256 of the events as COPY sent them: CSV, all that is not NULL in quotes, times as '
    'microseconds since 1970, in the order of the file. The file gives the same text again.';
COMMENT ON COLUMN audit.archive.created_at IS 'When the attempt began.';
COMMENT ON COLUMN audit.archive.created_by IS 'Session user who began it.';
COMMENT ON COLUMN audit.archive.exported_at IS 'When the file was written.';
COMMENT ON COLUMN audit.archive.verified_at IS 'When it was last read back and found right.';
COMMENT ON COLUMN audit.archive.message IS 'What was wrong, for state failed.';

CREATE TABLE audit.hash_key (
    singleton boolean NOT NULL DEFAULT true,
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL,
    CONSTRAINT hash_key_pkey PRIMARY KEY (singleton),
    CONSTRAINT hash_key_is_single CHECK (singleton)
);
COMMENT ON TABLE audit.hash_key IS
    'The secret of hashed columns, for the owner only; one row. Without it nobody can tell by '
    'trying which value a hash stands for.';
COMMENT ON COLUMN audit.hash_key.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN audit.hash_key.inner_pad IS
    'A random key of 32 bytes, filled up with zeros to 64, each byte XOR 0x36 (RFC 2104).';
COMMENT ON COLUMN audit.hash_key.outer_pad IS 'The same key, each byte XOR 0x5c.';
INSERT INTO audit.hash_key (inner_pad, outer_pad)
    SELECT decode(string_agg(lpad(to_hex(b # 54), 2, '0'), '' ORDER BY i), 'hex'),
           decode(string_agg(lpad(to_hex(b # 92), 2, '0'), '' ORDER BY i), 'hex')
      FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
                   || decode(repeat('00', 32), 'hex') AS key) AS random
     CROSS JOIN generate_series(0, 63) AS i
     CROSS JOIN LATERAL get_byte(key, i) AS b;

CREATE TABLE audit.baseline (
    tracked_table_id integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    recorded bigint NOT NULL,
    position jsonb,
    CONSTRAINT baseline_pkey PRIMARY KEY (tracked_table_id)
);
COMMENT ON TABLE audit.baseline IS
    'How far the present rows of tables were recorded; see audit.record_baseline().';
COMMENT ON COLUMN audit.baseline.tracked_table_id IS 'The table: audit.tracked_table.id.';
COMMENT ON COLUMN audit.baseline.started_at IS 'When its first batch was recorded.';
COMMENT ON COLUMN audit.baseline.finished_at IS
    'When its last batch was recorded; NULL while rows are left.';
COMMENT ON COLUMN audit.baseline.recorded IS 'Number of rows recorded.';
COMMENT ON COLUMN audit.baseline.position IS
    'Primary key of the last row recorded; NULL when all are.';

CREATE TABLE audit.installed_object (
    identity text NOT NULL,
    checksum text NOT NULL,
    server_major integer NOT NULL,
    CONSTRAINT installed_object_pkey PRIMARY KEY (identity)
);
COMMENT ON TABLE audit.installed_object IS
    'Functions, views and policies of the schema audit as the last upgrade left them, for '
    'audit.check().';
COMMENT ON COLUMN audit.installed_object.identity IS
    'Name; of a function with the types of its arguments.';
COMMENT ON COLUMN audit.installed_object.checksum IS
    'SHA-256 in hexadecimal; see audit._objects().';
COMMENT ON COLUMN audit.installed_object.server_major IS
    'Major version of the PostgreSQL that it was computed on.';

CREATE TABLE audit.maintenance_run (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    status text NOT NULL,
    partitions_created integer,
    rows_moved bigint,
    rows_left bigint,
    events_expired bigint,
    message text,
    CONSTRAINT maintenance_run_pkey PRIMARY KEY (id),
    CONSTRAINT maintenance_run_status_known CHECK (status IN ('ok', 'failed', 'skipped'))
);
COMMENT ON TABLE audit.maintenance_run IS 'One row for each run of audit.run_maintenance().';
COMMENT ON COLUMN audit.maintenance_run.id IS 'Number of the run.';
COMMENT ON COLUMN audit.maintenance_run.started_at IS 'Clock when the run began.';
COMMENT ON COLUMN audit.maintenance_run.finished_at IS 'Clock when the run ended.';
COMMENT ON COLUMN audit.maintenance_run.status IS 'ok, failed or skipped.';
COMMENT ON COLUMN audit.maintenance_run.partitions_created IS 'Partitions made by the run.';
COMMENT ON COLUMN audit.maintenance_run.rows_moved IS
    'Rows brought home from the DEFAULT partition.';
COMMENT ON COLUMN audit.maintenance_run.rows_left IS
    'Rows left in the DEFAULT partition to the next run.';
COMMENT ON COLUMN audit.maintenance_run.events_expired IS
    'Events removed because they were older than they are kept.';
COMMENT ON COLUMN audit.maintenance_run.message IS
    'Why a run failed, what it left to the next, or what else is worth a look.';
"""

DROP = """
DO $guard$
BEGIN
    IF EXISTS (SELECT FROM audit.event)
            AND COALESCE(current_setting('audit.drop_trail', true), '') <> 'yes' THEN
        RAISE EXCEPTION 'the audit trail holds events, and this downgrade would drop them'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'To lose them for good: alembic -x drop_trail=yes downgrade base';
    END IF;
    PERFORM audit._partman_forget();
END;
$guard$;
DROP VIEW audit.partition;
DROP TABLE audit.event, audit.tracked_table;
DROP FUNCTION audit.run_maintenance;
DROP TABLE audit.maintenance_run, audit.setting, audit.hash_key,
    audit.installed_object, audit.baseline, audit.table_reader, audit.event_count,
    audit.actor_count, audit.counting, audit.legal_hold, audit.tracking, audit.archive;
DROP FUNCTION
    audit._partman_schema, audit._partman_remedy, audit._partman_forget,
    audit._partman_register, audit._partition_name, audit._periods, audit._uses_partman,
    audit._create_partition, audit._create_partitions, audit._start_partitions,
    audit._lock_partitions, audit._prepare_partition, audit._bring_home,
    audit._attach_partition, audit._drop_unused_partitions, audit.set_partition_backend,
    audit._partition_bounds, audit._argument_id, audit._tracked_table_id,
    audit._refresh_tracked_tables, audit._unguarded, audit._guard_partitions,
    audit.append_only, audit.set_partitioning, audit.schedule_jobs,
    audit.unschedule_jobs, audit.apply_privileges, audit._record_act, audit._check_context,
    audit._context_columns, audit._remember_objects, audit._objects, audit._privileges,
    audit.recount_events, audit._settle_events, audit._count_events,
    audit._hash_sample, audit.rehash_rows, audit._secure_rows, audit._count_period,
    audit._unarchived, audit._may_expire,
    audit._expired_tables, audit._expire_partition, audit._expire_events, audit._index_gaps,
    audit._profile_indexes,
    audit._closing_steps, audit._close_partitions, audit._fit_indexes, audit.set_index_profile;
"""


def upgrade() -> None:
    replace(revision, SQL[0])
    run_verbatim(TABLES)
    replace(revision, *SQL[1:])
    run_verbatim(
        "SELECT audit.set_partitioning(partition_interval, premake) FROM audit.setting;\n"
        "SELECT audit.run_maintenance();\n"
        "SELECT audit.apply_privileges();\n"
        "SELECT audit._remember_objects();"
    )


def downgrade() -> None:
    run_verbatim(DROP)
