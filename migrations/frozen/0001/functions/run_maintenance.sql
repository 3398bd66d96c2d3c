-- Keep the trail in order: follow tables, count events, close partitions, create them ahead, bring
-- rows home from DEFAULT, keep all append-only, let events expire, bring indexes to their profile.
-- Called by pg_cron or any scheduler; safe to run at any time. SECURITY DEFINER: partitions must
-- belong to the owner of the trail. A failure is caught and written down, since an error would
-- take its own row in audit.maintenance_run away with it.
CREATE OR REPLACE FUNCTION audit.run_maintenance()
    RETURNS audit.maintenance_run
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $run_maintenance$
DECLARE
    v_started_at timestamptz := clock_timestamp();
    v_created integer;
    v_moved bigint;
    v_left bigint;
    v_expired bigint;
    v_shorter text[];
    v_busy regclass[];
    v_notes text[] := '{}'::text[];
    v_failed boolean := false;
    v_is_failed boolean;
    v_note text;
    v_run audit.maintenance_run;
BEGIN
    IF pg_is_in_recovery() THEN
        SELECT NULL::bigint, v_started_at, clock_timestamp(), 'skipped'::text,
               NULL::integer, NULL::bigint, NULL::bigint, NULL::bigint,
               'this server is a standby: the primary does the maintenance'::text INTO v_run;
        RETURN v_run;
    END IF;
    /* one run at a time; a lock on our own table, since anybody may take an advisory one */
    BEGIN
        LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        INSERT INTO audit.maintenance_run (started_at, finished_at, status, message)
        VALUES (v_started_at, clock_timestamp(), 'skipped', 'another run is under way')
        RETURNING * INTO v_run;
        RETURN v_run;
    END;

    BEGIN
        PERFORM audit._refresh_tracked_tables();
    EXCEPTION WHEN OTHERS THEN
        v_failed := true;
        v_notes := v_notes
            || format('tables are not followed: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
    END;
    BEGIN
        PERFORM audit._count_events();
        PERFORM audit._settle_events();
    EXCEPTION WHEN OTHERS THEN
        v_failed := true;
        v_notes := v_notes
            || format('events are not counted: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
    END;

    BEGIN
        SELECT is_failed, message INTO v_is_failed, v_note FROM audit._close_partitions();
        v_failed := v_failed OR v_is_failed;
        v_notes := v_notes || v_note;
    EXCEPTION WHEN OTHERS THEN
        v_failed := true;
        v_notes := v_notes
            || format('partitions are not closed: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
    END;

    /* the locks that writers wait for come last, since they are kept to the end: so events expire
       in a run that makes no partitions */
    BEGIN
        SELECT created, rows_moved, rows_left, shorter
          INTO v_created, v_moved, v_left, v_shorter FROM audit._create_partitions();
        v_busy := audit._guard_partitions();
        v_notes := v_notes
            || CASE WHEN v_shorter <> '{}' THEN
                   format('shorter, beside other partitions: %s', v_shorter) END
            || CASE WHEN v_busy <> '{}' THEN
                   format('not append-only yet, being written to: %s', v_busy) END;
    EXCEPTION WHEN OTHERS THEN
        v_failed := true;
        v_created := NULL;
        v_moved := NULL;
        v_left := NULL;
        v_notes := v_notes || format('%s (SQLSTATE %s)', SQLERRM, SQLSTATE);
    END;
    IF v_created = 0 THEN
        BEGIN
            SELECT removed, message INTO v_expired, v_note FROM audit._expire_events();
            v_notes := v_notes || v_note;
        EXCEPTION WHEN OTHERS THEN
            v_failed := true;
            v_notes := v_notes
                || format('events did not expire: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
        END;
    END IF;

    BEGIN
        v_busy := audit._fit_indexes();
        v_notes := v_notes || CASE WHEN v_busy <> '{}' THEN
            format('indexes are not as they shall be yet, being busy: %s', v_busy) END;
    EXCEPTION WHEN OTHERS THEN
        v_failed := true;
        v_notes := v_notes
            || format('indexes are not as they shall be: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
    END;

    INSERT INTO audit.maintenance_run (
        started_at, finished_at, status, partitions_created, rows_moved, rows_left,
        events_expired, message)
    VALUES (v_started_at, clock_timestamp(), CASE WHEN v_failed THEN 'failed' ELSE 'ok' END,
            v_created, v_moved, v_left, v_expired,
            NULLIF(array_to_string(v_notes, '; '), ''))
    RETURNING * INTO v_run;
    IF v_failed THEN
        RAISE WARNING 'maintenance of the audit trail failed: %', v_run.message
            USING HINT = 'See audit.maintenance_run; the next run tries again.';
    END IF;
    RETURN v_run;
END;
$run_maintenance$;

COMMENT ON FUNCTION audit.run_maintenance() IS
    'Follow renamed and dropped tables, count the events of the hours that no open transaction can '
    'add to, close the partitions of which that is so for all hours (for up to five minutes, and '
    'the index that is then being built), then create the partitions that are missing (the running '
    'period and premake after it), move rows home from the DEFAULT partition (at least a period, '
    'until 100,000 rows), and restore a missing append-only guard. A run that creates none removes '
    'those events of one partition that are older than they are kept (audit.set_retention()). Last '
    'it brings indexes to their profile (audit.set_index_profile()). Returns its row of '
    'audit.maintenance_run; status is ok (message says what is left to the next run), failed '
    '(message says what was not done, and why) or skipped (another run is under way, or a '
    'standby). Waits 200 ms for a lock, five times. The locks last to the end of the transaction: '
    'commit at once.';
REVOKE ALL ON FUNCTION audit.run_maintenance() FROM PUBLIC;
