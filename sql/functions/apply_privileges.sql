-- Grant what each role needs; this file is the whole privilege matrix. Run by every revision.
-- The application's role needs nothing: it only may say who acts.
CREATE OR REPLACE FUNCTION audit.apply_privileges()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $apply_privileges$
DECLARE
    c_everyone CONSTANT text[] := ARRAY['set_context'];
    c_reader CONSTANT text[] := ARRAY[
        'history', 'transaction_changes', 'actor_activity', 'event_counts', 'actor_counts',
        'status', 'check', 'transaction_id', '_argument_id', '_as_change', '_cast_key',
        '_check_tracked', '_counted_hours', '_cursor', '_cursor_parts',
        '_from_microseconds', '_key_type', '_microseconds', '_page_start', '_partition_bounds',
        '_recorded_key', '_tracked_table_id', '_transaction_key', 'change', 'column_change',
        'event', 'event_count', 'actor_count', 'counting', 'partition', 'tracked_table',
        'table_reader', 'legal_hold', 'baseline', 'maintenance_run', 'setting'];
    -- who may attach may also make triggers by hand, and so events: the role is for trusted people
    c_admin CONSTANT text[] := ARRAY[
        'attach', 'detach', 'record_baseline', 'grant_read', 'revoke_read',
        'set_retention', 'place_hold', 'release_hold',
        'set_archive', 'start_archive', 'finish_archive', 'verify_archive', 'archive',
        '_check_attachable', '_check_key', '_check_mode',
        '_check_policy', '_check_readable', '_is_unique_key', '_key_columns', '_foreign_casts',
        '_has_foreign_types', '_policy_argument', '_missing_triggers', '_trigger_definitions',
        '_lock_tracked_tables', '_register_table', '_unregister_table', '_row_to_jsonb',
        '_write_baseline',
        'capture_row', 'capture_insert', 'capture_update', 'capture_delete', 'capture_truncate',
        'run_maintenance', 'recount_events', 'rehash_rows', 'set_partitioning', 'schedule_jobs',
        'unschedule_jobs', 'enable_ddl_capture'];
    v_setting audit.setting;
    v_grant record;
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    GRANT USAGE ON SCHEMA audit TO PUBLIC;
    FOR v_grant IN
        SELECT CASE WHEN o.is_function THEN 'EXECUTE ON FUNCTION ' ELSE 'SELECT ON ' END
               || o.identity AS privilege, w.grantee
          FROM (SELECT proname AS name, oid::regprocedure::text AS identity, true AS is_function
                  FROM pg_proc WHERE pronamespace = 'audit'::regnamespace
                UNION ALL
                SELECT relname, oid::regclass::text, false
                  FROM pg_class WHERE relnamespace = 'audit'::regnamespace) AS o
          JOIN (VALUES (c_everyone, 'PUBLIC'),
                       (c_reader, quote_ident(v_setting.reader_role)),
                       (c_reader || c_admin, quote_ident(v_setting.admin_role)))
                AS w (names, grantee) ON o.name = ANY (w.names)
         ORDER BY 2, 1
    LOOP
        EXECUTE format('GRANT %s TO %s', v_grant.privilege, v_grant.grantee);
    END LOOP;
    PERFORM audit._secure_rows();
    PERFORM audit._grant_readers(r.role)
       FROM (SELECT DISTINCT role FROM audit.table_reader) AS r
      WHERE r.role IN (SELECT oid FROM pg_roles);
    EXECUTE format('GRANT UPDATE (default_window, must_attach) ON audit.setting TO %I',
                   v_setting.admin_role);

    /* to own something in a schema takes CREATE on it, for as long as it is handed over */
    IF to_regproc('audit._row_to_jsonb') IS NOT NULL THEN
        EXECUTE format('GRANT CREATE ON SCHEMA audit TO %I', v_setting.nobody_role);
        EXECUTE format('ALTER FUNCTION audit._row_to_jsonb(anyelement) OWNER TO %I',
                       v_setting.nobody_role);
        EXECUTE format('REVOKE CREATE ON SCHEMA audit FROM %I', v_setting.nobody_role);
    END IF;
END;
$apply_privileges$;

COMMENT ON FUNCTION audit.apply_privileges() IS
    'Grant readers, administrators and everybody what they need on schema audit. Run by each '
    'revision; safe to run again.';
REVOKE ALL ON FUNCTION audit.apply_privileges() FROM PUBLIC;
