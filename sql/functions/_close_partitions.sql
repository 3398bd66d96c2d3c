-- Close the partitions that no transaction can write to any more, the newest first: build what they
-- lack of the closed profile, analyze them, and have autovacuum freeze what it has not seen yet.
-- Nobody waits for the builds, for there are no writers; reading goes on.
-- What bounds a run, and with it the age of its snapshot: after c_budget no further index is begun.
-- A run that holds a lock for which others wait builds nothing at all.
-- Each step is a subtransaction: what is done stays done when a later one fails or is canceled,
-- by statement_timeout for example, which would otherwise undo all of the run every time.
CREATE OR REPLACE FUNCTION audit._close_partitions(OUT is_failed boolean, OUT message text)
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_close_partitions$
DECLARE
    c_budget CONSTANT interval := interval '5 minutes';
    v_until timestamptz := clock_timestamp() + c_budget;
    v_partition regclass;
    v_step text;
    v_busy regclass[] := '{}'::regclass[];
BEGIN
    is_failed := false;
    IF EXISTS (SELECT FROM pg_locks AS l
                WHERE l.pid = pg_backend_pid() AND l.granted
                  AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                                 'AccessExclusiveLock')
                  AND l.relation IN (SELECT relid FROM pg_partition_tree('audit.event'))) THEN
        RETURN;
    END IF;

    FOR v_partition, v_step IN SELECT * FROM audit._closing_steps() LOOP
        CONTINUE WHEN v_partition = ANY (v_busy);
        IF clock_timestamp() > v_until THEN
            message := 'the rest of the closing is left to the next run';
            EXIT;
        END IF;
        BEGIN
            EXECUTE v_step;
        EXCEPTION
            WHEN lock_not_available THEN
                v_busy := v_busy || v_partition;
            WHEN query_canceled OR OTHERS THEN
                is_failed := true;
                message := format('%s is not closed: %s (SQLSTATE %s)',
                                  v_partition, SQLERRM, SQLSTATE);
                EXIT;
        END;
    END LOOP;
    IF v_busy <> '{}' THEN
        message := concat_ws('; ', message, format('not closed yet, being busy: %s', v_busy));
    END IF;
END;
$_close_partitions$;

COMMENT ON FUNCTION audit._close_partitions() IS
    'Internal: close partitions that nobody writes to any more; returns whether a step failed, and '
    'what is left to the next run.';
REVOKE ALL ON FUNCTION audit._close_partitions() FROM PUBLIC;
