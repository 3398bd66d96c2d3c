-- Make the partitions that are missing now; returns how many were made and how many rows moved.
-- Called by audit.run_maintenance() and audit.set_partitioning(), which bound the wait for locks.
CREATE OR REPLACE FUNCTION audit._create_partitions(
    OUT created integer,
    OUT rows_moved bigint)
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_create_partitions$
DECLARE
    v_setting audit.setting;
    v_period record;
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    created := 0;
    rows_moved := 0;
    FOR v_period IN
        SELECT * FROM audit._periods(v_setting.partition_interval, v_setting.premake)
    LOOP
        IF NOT audit._is_covered(v_period.from_time, v_period.to_time) THEN
            rows_moved := rows_moved
                + audit._create_partition(v_period.from_time, v_period.to_time);
            created := created + 1;
        END IF;
    END LOOP;
END;
$_create_partitions$;

COMMENT ON FUNCTION audit._create_partitions() IS
    'Internal: create the missing partitions; returns their number and the rows moved.';
REVOKE ALL ON FUNCTION audit._create_partitions() FROM PUBLIC;
