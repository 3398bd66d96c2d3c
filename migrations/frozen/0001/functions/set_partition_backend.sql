-- Choose who makes the partitions from now on; those that are there stay as they are.
-- SECURITY DEFINER: only the owner of the trail has rights in pg_partman, whoever calls.
CREATE OR REPLACE FUNCTION audit.set_partition_backend(p_backend text)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $set_partition_backend$
DECLARE
    v_remedy text := audit._partman_remedy();
BEGIN
    LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE;
    IF p_backend = 'native' THEN
        PERFORM audit._partman_forget();
    ELSIF p_backend = 'pg_partman' THEN
        IF v_remedy IS NOT NULL THEN
            RAISE EXCEPTION 'pg_partman cannot be used here'
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = format('Have a DBA do this: %s', v_remedy);
        END IF;
        PERFORM audit._partman_register(s.partition_interval, s.premake) FROM audit.setting AS s;
    ELSE
        RAISE EXCEPTION 'unknown partition backend %', quote_nullable(p_backend)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use native or pg_partman.';
    END IF;
    UPDATE audit.setting SET partition_backend = p_backend;
END;
$set_partition_backend$;

COMMENT ON FUNCTION audit.set_partition_backend(text) IS
    'Set who makes the partitions from now on: native (audit_schema itself) or pg_partman. No '
    'partition changes, and writers are not held up. Raises invalid_parameter_value, '
    'object_not_in_prerequisite_state (pg_partman cannot be used; the hint says what a DBA does), '
    'lock_not_available (maintenance is under way).';
REVOKE ALL ON FUNCTION audit.set_partition_backend(text) FROM PUBLIC;
