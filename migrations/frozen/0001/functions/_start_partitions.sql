-- Partition the empty trail anew: drop all partitions, choose the backend, make the first set.
-- Called by audit.set_partitioning(), which made sure that nothing is recorded.
CREATE OR REPLACE FUNCTION audit._start_partitions(p_interval text, p_premake integer)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_start_partitions$
DECLARE
    v_remedy text := audit._partman_remedy();
    v_partition text;
BEGIN
    PERFORM audit._partman_forget();
    FOR v_partition IN SELECT partition FROM audit.partition LOOP
        EXECUTE format('DROP TABLE audit.%I', v_partition);
    END LOOP;

    UPDATE audit.setting SET partition_backend = 'native';
    IF v_remedy IS NULL THEN
        BEGIN
            PERFORM audit._partman_register(p_interval, p_premake);
            UPDATE audit.setting SET partition_backend = 'pg_partman';
        EXCEPTION WHEN OTHERS THEN
            v_remedy := format('mend this error of pg_partman: %s', SQLERRM);
        END;
    END IF;
    IF v_remedy IS NOT NULL THEN
        RAISE NOTICE 'partitions are kept by audit_schema itself: pg_partman cannot be used here'
            USING HINT = format('To use it, before anything is recorded, have a DBA do this: %s '
                'Then: SELECT audit.set_partitioning(%L, %s);', v_remedy, p_interval, p_premake);
        CREATE TABLE audit.event_default PARTITION OF audit.event DEFAULT;
    END IF;

    PERFORM audit._create_partitions();
END;
$_start_partitions$;

COMMENT ON FUNCTION audit._start_partitions(text, integer) IS
    'Internal: partition the empty trail anew, with pg_partman where it can be used.';
REVOKE ALL ON FUNCTION audit._start_partitions(text, integer) FROM PUBLIC;
