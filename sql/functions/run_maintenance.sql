-- Keep the trail in order: create partitions ahead, bring rows home from DEFAULT, keep all of them
-- append-only, follow tables, count events, close partitions, let events expire, and bring indexes
-- to their profile.
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
    c_attempts CONSTANT integer := 5;
    v_started_at timestamptz := clock_timestamp();
    v_status text;
    v_created integer;
    v_moved bigint;
    v_expired bigint;
    v_message text;
    v_busy regclass[];
    v_is_failed boolean := false;
    v_left text;
    v_run audit.maintenance_run;
BEGIN
    IF pg_is_in_recovery() THEN
        SELECT NULL::bigint, v_started_at, clock_timestamp(), 'skipped'::text,
               NULL::integer, NULL::bigint, NULL::bigint,
               'this server is a standby: the primary does the maintenance'::text INTO v_run;
        RETURN v_run;
    END IF;
    /* one run at a time; a lock on our own table, since anybody may take an advisory one */
    BEGIN
        LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        v_status := 'skipped';
        v_message := 'another run is under way';
    END;

    FOR v_attempt IN 1 .. c_attempts LOOP
        EXIT WHEN v_status = 'skipped';
        BEGIN
            SELECT created, rows_moved INTO v_created, v_moved FROM audit._create_partitions();
            PERFORM audit._refresh_tracked_tables();
            v_busy := audit._guard_partitions();
            v_status := 'ok';
            v_message := CASE WHEN v_busy <> '{}' THEN
                format('not append-only yet, being written to: %s', v_busy) END;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                v_status := 'failed';
                v_message := format('%s, %s times', SQLERRM, v_attempt);
                PERFORM pg_sleep(0.1 * v_attempt);
            WHEN OTHERS THEN
                v_status := 'failed';
                v_message := format('%s (SQLSTATE %s)', SQLERRM, SQLSTATE);
                EXIT;
        END;
    END LOOP;

    IF v_status = 'ok' THEN
        BEGIN
            PERFORM audit._count_events();
            PERFORM audit._settle_events();
        EXCEPTION WHEN OTHERS THEN
            v_status := 'failed';
            v_message := format('events are not counted: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
        END;
    END IF;

    IF v_status = 'ok' THEN
        BEGIN
            SELECT is_failed, message INTO v_is_failed, v_left FROM audit._close_partitions();
            v_message := NULLIF(concat_ws('; ', v_message, v_left), '');
        EXCEPTION WHEN OTHERS THEN
            v_status := 'failed';
            v_message := format('partitions are not closed: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
        END;
    END IF;

    /* from here on locks are held that others wait for */
    IF v_status = 'ok' THEN
        BEGIN
            SELECT removed, message INTO v_expired, v_left FROM audit._expire_events();
            v_message := NULLIF(concat_ws('; ', v_message, v_left), '');
        EXCEPTION WHEN OTHERS THEN
            v_status := 'failed';
            v_message := format('events did not expire: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
        END;
    END IF;

    IF v_status <> 'skipped' THEN
        BEGIN
            v_busy := audit._fit_indexes();
            v_message := NULLIF(concat_ws('; ', v_message, CASE WHEN v_busy <> '{}' THEN
                format('indexes are not as they shall be yet, being busy: %s', v_busy) END), '');
        EXCEPTION WHEN OTHERS THEN
            v_is_failed := true;
            v_message := concat_ws('; ', v_message, format(
                'indexes are not as they shall be: %s (SQLSTATE %s)', SQLERRM, SQLSTATE));
        END;
    END IF;
    v_status := CASE WHEN v_is_failed THEN 'failed' ELSE v_status END;

    INSERT INTO audit.maintenance_run (
        started_at, finished_at, status, partitions_created, rows_moved, events_expired, message)
    VALUES (v_started_at, clock_timestamp(), v_status, v_created, v_moved, v_expired, v_message)
    RETURNING * INTO v_run;
    IF v_status = 'failed' THEN
        RAISE WARNING 'maintenance of the audit trail failed: %', v_message
            USING HINT = 'See audit.maintenance_run; the next run tries again.';
    END IF;
    RETURN v_run;
END;
$run_maintenance$;

COMMENT ON FUNCTION audit.run_maintenance() IS
    'Create the partitions that are missing (the running period and premake after it), move rows '
    'home from the DEFAULT partition, restore a missing append-only guard, follow renamed and '
    'dropped tables, then count the events of the hours that no open transaction can add to, close '
    'the partitions of which that is so for all hours (for up to five minutes, and the index that '
    'is then being built), remove the events of one partition that are older than they are kept '
    '(audit.set_retention()), and bring indexes to their profile (audit.set_index_profile()). '
    'Returns its row of audit.maintenance_run; status is ok (message says what is left to the next '
    'run), failed (message says why; of the rest, the partitions come first) or skipped (another '
    'run is under way, or a standby). Waits 200 ms for a lock, five times.';
REVOKE ALL ON FUNCTION audit.run_maintenance() FROM PUBLIC;
