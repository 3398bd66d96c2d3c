-- Lock the trail to attach, detach or drop partitions: try five times for as long as lock_timeout,
-- and let writers pass between. p_mode is for audit.event:
--   SHARE UPDATE EXCLUSIVE  for partitions ahead; writers go on;
--   SHARE ROW EXCLUSIVE     for partitions whose rows go to DEFAULT now: a writer who waited for
--                           DEFAULT would be refused there afterwards, so he waits here;
--   ACCESS EXCLUSIVE        to detach and drop partitions.
CREATE OR REPLACE FUNCTION audit._lock_partitions(p_mode text)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_lock_partitions$
DECLARE
    c_attempts CONSTANT integer := 5;
BEGIN
    FOR v_attempt IN 1 .. c_attempts LOOP
        BEGIN
            EXECUTE format('LOCK TABLE ONLY audit.event IN %s MODE', p_mode);
            LOCK TABLE audit.event_default IN ACCESS EXCLUSIVE MODE;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF v_attempt = c_attempts THEN
                RAISE EXCEPTION 'audit.event or its DEFAULT partition is in use: lock timeout of '
                        '%, % times', current_setting('lock_timeout'), c_attempts
                    USING ERRCODE = 'lock_not_available',
                          HINT = 'End the transactions that are open for long, let a vacuum end, '
                              'and try again.';
            END IF;
            PERFORM pg_sleep(0.1 * v_attempt);
        END;
    END LOOP;
END;
$_lock_partitions$;

COMMENT ON FUNCTION audit._lock_partitions(text) IS
    'Internal: lock audit.event in a mode, and its DEFAULT partition, in short attempts; raises '
    'lock_not_available.';
REVOKE ALL ON FUNCTION audit._lock_partitions(text) FROM PUBLIC;
