-- Choose the length of a partition and how many are kept ready, at any time.
-- SECURITY DEFINER: partitions must belong to the owner of the trail, whoever calls.
CREATE OR REPLACE FUNCTION audit.set_partitioning(p_interval text, p_premake integer)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $set_partitioning$
DECLARE
    v_old text;
BEGIN
    IF p_interval IS NULL OR p_interval NOT IN ('day', 'week', 'month') THEN
        RAISE EXCEPTION 'unknown partition interval %', quote_nullable(p_interval)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use day, week or month.';
    ELSIF p_premake IS NULL OR p_premake NOT BETWEEN 1 AND 400 THEN
        RAISE EXCEPTION 'premake must be between 1 and 400, got %', p_premake
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass the number of future partitions to keep ready.';
    END IF;

    LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE;
    SELECT partition_interval INTO STRICT v_old FROM audit.setting;
    IF audit._uses_partman() THEN
        PERFORM audit._partman_register(p_interval, p_premake);
    END IF;
    UPDATE audit.setting SET partition_interval = p_interval, premake = p_premake;
    IF NOT EXISTS (SELECT FROM audit.partition) THEN
        PERFORM audit._start_partitions(p_interval, p_premake);
        PERFORM audit._guard_partitions();
        PERFORM audit._fit_indexes();
        RETURN;
    END IF;

    IF p_interval <> v_old THEN
        /* an older snapshot would not see the last events, and take their partition for empty */
        IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
            RAISE EXCEPTION 'the partition interval cannot change in a % transaction',
                    current_setting('transaction_isolation')
                USING ERRCODE = 'feature_not_supported',
                      HINT = 'Call audit.set_partitioning() under READ COMMITTED.';
        END IF;
        PERFORM audit._lock_partitions('ACCESS EXCLUSIVE');
        IF EXISTS (SELECT FROM audit.event_default) THEN
            RAISE EXCEPTION 'the partition interval cannot change from % to % while the DEFAULT '
                    'partition holds rows', v_old, p_interval
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'First: SELECT audit.run_maintenance();';
        END IF;
        PERFORM audit._drop_unused_partitions();
    END IF;
    PERFORM audit._create_partitions();
    PERFORM audit._guard_partitions();
    PERFORM audit._fit_indexes();
END;
$set_partitioning$;

COMMENT ON FUNCTION audit.set_partitioning(text, integer) IS
    'Set the partition interval (day, week from Monday, month; UTC) and premake, the number of '
    'future partitions to keep ready (1 to 400), and create what is missing. With another '
    'interval, partitions that hold events stay as they are, empty ones from the running one on '
    'are replaced, and a shorter partition fills up where both meet. That takes an ACCESS '
    'EXCLUSIVE lock on audit.event for as long as it takes to make them. Waits 200 ms for a lock, '
    'five times. Raises invalid_parameter_value, lock_not_available, and for another interval '
    'object_not_in_prerequisite_state (rows in DEFAULT), feature_not_supported (a transaction '
    'that is not READ COMMITTED).';
REVOKE ALL ON FUNCTION audit.set_partitioning(text, integer) FROM PUBLIC;
