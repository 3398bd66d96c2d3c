-- Who may use what of the schema audit, as GRANT and REVOKE spell it: the whole privilege matrix.
-- Kinds: everyone, table reader (of single tables), reader (of all), administrator; each has what
-- its kind needs beyond the kinds before. The application's role needs nothing: it only may say who
-- acts. Who may attach may also make triggers by hand, and so events: administrators are trusted.
CREATE OR REPLACE FUNCTION audit._privileges(p_kinds text[])
    RETURNS SETOF text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_privileges$
    SELECT o.privilege || o.identity
      FROM (VALUES
        ('everyone', ARRAY['set_context']),
        ('table reader', ARRAY[
            'history', 'transaction_changes', 'actor_activity', 'search', 'event_counts',
            'transaction_id', '_argument_id', '_as_change', '_cast_key', '_check_tracked',
            '_counted_hours', '_cursor', '_cursor_parts', '_from_microseconds', '_key_type',
            '_microseconds', '_page_start', '_recorded_key', '_tracked_table_id',
            '_transaction_key', 'change', 'column_change', 'event', 'event_count', 'counting',
            'tracked_table', 'table_reader', 'setting']),
        ('reader', ARRAY[
            'actor_counts', 'status', 'check', '_index_gaps', '_profile_indexes',
            '_partition_bounds', 'actor_count',
            'partition', 'legal_hold', 'baseline', 'maintenance_run']),
        ('administrator', ARRAY[
            'attach', 'detach', 'record_baseline', 'grant_read', 'revoke_read', 'set_retention',
            'place_hold', 'release_hold', 'set_archive', 'start_archive', 'finish_archive',
            'verify_archive', 'archive', '_check_attachable', '_check_key', '_check_mode',
            '_check_policy', '_check_readable', '_is_unique_key', '_key_columns',
            '_foreign_casts', '_has_foreign_types', '_policy_argument', '_missing_triggers',
            '_stray_triggers',
            '_trigger_definitions', '_lock_tracked_tables', '_register_table',
            '_unregister_table', '_row_to_jsonb', '_write_baseline', 'capture_row',
            'capture_insert', 'capture_update', 'capture_delete', 'capture_truncate',
            'run_maintenance', 'recount_events', 'rehash_rows', 'set_partitioning',
            'set_index_profile', 'set_partition_backend', 'schedule_jobs', 'unschedule_jobs',
            'enable_ddl_capture']))
           AS w (kind, names)
      JOIN (SELECT proname AS name, oid::regprocedure::text AS identity,
                   'EXECUTE ON FUNCTION ' AS privilege
              FROM pg_proc WHERE pronamespace = 'audit'::regnamespace
            UNION ALL
            SELECT relname, oid::regclass::text, 'SELECT ON '
              FROM pg_class WHERE relnamespace = 'audit'::regnamespace) AS o
        ON o.name = ANY (w.names)
     WHERE w.kind = ANY (p_kinds)
     ORDER BY 1
$_privileges$;

COMMENT ON FUNCTION audit._privileges(text[]) IS
    'Internal: what the kinds of roles may read and call in the schema audit.';
REVOKE ALL ON FUNCTION audit._privileges(text[]) FROM PUBLIC;
