-- Make one partition of audit.event; returns how many rows of it were moved out of DEFAULT.
-- pg_partman makes it where it keeps the partitions, but it cannot while DEFAULT holds rows of the
-- period, and it knows of none that is shorter than the interval.
CREATE OR REPLACE FUNCTION audit._create_partition(p_from timestamptz, p_to timestamptz)
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_create_partition$
DECLARE
    v_length interval := (SELECT ('1 ' || partition_interval)::interval FROM audit.setting);
    v_old boolean := (SELECT extversion LIKE '4.%' FROM pg_extension WHERE extname = 'pg_partman');
    v_moved bigint := 0;
BEGIN
    IF audit._uses_partman() AND p_to = p_from + v_length
            AND to_regclass(format('audit.%I', audit._partition_name(p_from))) IS NULL
            AND NOT EXISTS (SELECT FROM audit.event_default
                             WHERE started_at >= p_from AND started_at < p_to) THEN
        /* 4.x would analyze the whole trail, under our locks */
        EXECUTE format('SELECT %I.create_partition_time(p_parent_table := $1, '
                       'p_partition_times := ARRAY[$2] %s)', audit._partman_schema(),
                       CASE WHEN v_old THEN ', p_analyze := false' ELSE '' END)
          USING 'audit.event', p_from;
    ELSE
        PERFORM audit._prepare_partition(p_from, p_to);
        v_moved := audit._bring_home(p_from, p_to);
        PERFORM audit._attach_partition(p_from, p_to);
    END IF;
    RETURN v_moved;
END;
$_create_partition$;

COMMENT ON FUNCTION audit._create_partition(timestamptz, timestamptz) IS
    'Internal: create one partition and move the rows of its period out of DEFAULT; returns how '
    'many moved.';
REVOKE ALL ON FUNCTION audit._create_partition(timestamptz, timestamptz) FROM PUBLIC;
