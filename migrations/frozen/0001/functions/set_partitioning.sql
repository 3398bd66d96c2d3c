-- Choose the length of a partition and how many are kept ready.
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
    v_setting audit.setting;
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
    SELECT * INTO STRICT v_setting FROM audit.setting;
    UPDATE audit.setting SET partition_interval = p_interval, premake = p_premake;
    IF EXISTS (SELECT FROM audit.partition WHERE NOT is_default)
            AND p_interval = v_setting.partition_interval
            AND (v_setting.partition_backend = 'pg_partman'
                 OR audit._partman_remedy() IS NOT NULL
                 OR EXISTS (SELECT FROM audit.event)) THEN
        PERFORM audit._create_partitions();
        PERFORM audit._guard_partitions();
        PERFORM audit._fit_indexes();
        RETURN;
    END IF;

    /* another interval or backend means to start anew, which only an empty trail allows; an older
       snapshot would not see the last events, and take the trail for empty */
    IF current_setting('transaction_isolation') NOT LIKE 'read %'
            AND EXISTS (SELECT FROM audit.partition) THEN
        RAISE EXCEPTION 'the partitions cannot be replaced in a % transaction',
                current_setting('transaction_isolation')
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Call audit.set_partitioning() under READ COMMITTED.';
    END IF;
    LOCK TABLE audit.event IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM audit.event) THEN
        RAISE EXCEPTION 'the partition interval cannot change from % to %: events are recorded '
                'already', v_setting.partition_interval, p_interval
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Choose the interval right after the installation.';
    END IF;
    PERFORM audit._start_partitions(p_interval, p_premake);
    PERFORM audit._guard_partitions();
    PERFORM audit._fit_indexes();
END;
$set_partitioning$;

COMMENT ON FUNCTION audit.set_partitioning(text, integer) IS
    'Set the partition interval (day, week from Monday, month; UTC) and premake, the number of '
    'future partitions to keep ready (1 to 400), and create what is missing. The interval can '
    'change only while nothing is recorded; then pg_partman also takes over if it can be used by '
    'now. Waits at most 200 ms for a lock. Raises invalid_parameter_value, '
    'object_not_in_prerequisite_state, lock_not_available, feature_not_supported (another '
    'interval in a transaction that is not READ COMMITTED).';
REVOKE ALL ON FUNCTION audit.set_partitioning(text, integer) FROM PUBLIC;
