-- Make the partitions that are missing now, and bring rows home from DEFAULT. Called by
-- audit.run_maintenance() and audit.set_partitioning(), which set lock_timeout.
-- A partition cannot be attached while DEFAULT holds rows of it, and a reader must find each row
-- once, however old his snapshot. So the rows of a period move in the transaction that attaches its
-- partition: in smaller batches, they would be missing or there twice in between. But they move
-- before DEFAULT is locked, and under the lock only what writers added meanwhile. A call takes up
-- no further period after 100,000 rows, and then leaves the partitions ahead to the next: each
-- ATTACH reads DEFAULT under its lock, with the rows that have just left it.
CREATE OR REPLACE FUNCTION audit._create_partitions(
    OUT created integer,
    OUT rows_moved bigint,
    OUT rows_left bigint,
    OUT shorter text[])
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_create_partitions$
DECLARE
    c_rows CONSTANT integer := 100000;
    v_period record;
    v_homes tstzrange[] := '{}'::tstzrange[];
    v_ahead tstzrange[] := '{}'::tstzrange[];
    v_range tstzrange;
BEGIN
    created := 0;
    rows_moved := 0;
    shorter := '{}'::text[];
    /* first the running one, where writers are */
    FOR v_period IN
        SELECT p.* FROM audit.setting AS s
         CROSS JOIN audit._periods(s.partition_interval, s.premake) AS p
         ORDER BY p.has_rows DESC, p.is_running DESC, p.from_time
    LOOP
        CONTINUE WHEN rows_moved >= c_rows AND (v_period.has_rows OR NOT v_period.is_running);
        v_range := tstzrange(v_period.from_time, v_period.to_time);
        shorter := shorter || v_period.shorter;
        IF v_period.has_rows THEN
            PERFORM audit._prepare_partition(lower(v_range), upper(v_range));
            /* and again, for those that came meanwhile, that few are left to move under the lock */
            FOR v_pass IN 1 .. 3 LOOP
                rows_moved := rows_moved + audit._bring_home(lower(v_range), upper(v_range));
            END LOOP;
            v_homes := v_homes || v_range;
        ELSE
            v_ahead := v_ahead || v_range;
        END IF;
    END LOOP;
    SELECT count(*) INTO rows_left FROM audit.event_default WHERE NOT started_at <@ ANY (v_homes);

    IF v_homes || v_ahead <> '{}' THEN
        PERFORM audit._lock_partitions(
            CASE WHEN clock_timestamp() + interval '1 minute'
                      > ANY (SELECT lower(r) FROM unnest(v_homes || v_ahead) AS r)
                 THEN 'SHARE ROW EXCLUSIVE' ELSE 'SHARE UPDATE EXCLUSIVE' END);
    END IF;
    FOREACH v_range IN ARRAY v_homes LOOP
        rows_moved := rows_moved + audit._bring_home(lower(v_range), upper(v_range));
        PERFORM audit._attach_partition(lower(v_range), upper(v_range));
        created := created + 1;
    END LOOP;
    FOREACH v_range IN ARRAY v_ahead LOOP
        rows_moved := rows_moved + audit._create_partition(lower(v_range), upper(v_range));
        created := created + 1;
    END LOOP;
END;
$_create_partitions$;

COMMENT ON FUNCTION audit._create_partitions() IS
    'Internal: create the missing partitions and move rows into them; returns the number of '
    'partitions made, of rows moved, and of rows left in DEFAULT for the next call, and the names '
    'of partitions that are shorter than the interval, beside others.';
REVOKE ALL ON FUNCTION audit._create_partitions() FROM PUBLIC;
