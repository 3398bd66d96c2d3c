-- Drop the running and the future partitions that hold no rows, to make room for another interval.
-- Called by audit.set_partitioning(), which keeps writers off audit.event.
CREATE OR REPLACE FUNCTION audit._drop_unused_partitions()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_drop_unused_partitions$
DECLARE
    v_partition text;
    v_used boolean;
BEGIN
    FOR v_partition IN
        SELECT p.partition FROM audit.partition AS p WHERE p.to_time > now()
    LOOP
        EXECUTE format('LOCK TABLE audit.%I IN ACCESS EXCLUSIVE MODE', v_partition);
        EXECUTE format('SELECT EXISTS (SELECT FROM audit.%I)', v_partition) INTO v_used;
        IF NOT v_used THEN
            EXECUTE format('DROP TABLE audit.%I', v_partition);
        END IF;
    END LOOP;
END;
$_drop_unused_partitions$;

COMMENT ON FUNCTION audit._drop_unused_partitions() IS
    'Internal: drop the empty partitions that are not past.';
REVOKE ALL ON FUNCTION audit._drop_unused_partitions() FROM PUBLIC;
