-- Make one partition of audit.event; returns the number of rows that were moved into it from the
-- DEFAULT partition. pg_partman makes it where it keeps the partitions, but it cannot while DEFAULT
-- holds rows of the period: those are brought home here, under its name.
-- ATTACH takes only SHARE UPDATE EXCLUSIVE on the parent, so writers to other partitions go on.
CREATE OR REPLACE FUNCTION audit._create_partition(p_from timestamptz, p_to timestamptz)
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_create_partition$
DECLARE
    v_name text := audit._partition_name(p_from);
    v_stray boolean;
    v_moved bigint;
BEGIN
    LOCK TABLE audit.event_default IN ACCESS EXCLUSIVE MODE;
    v_stray := EXISTS (SELECT FROM audit.event_default
                        WHERE started_at >= p_from AND started_at < p_to);
    IF NOT v_stray AND audit._partman_remedy() IS NULL
            AND (SELECT partition_backend = 'pg_partman' FROM audit.setting) THEN
        EXECUTE format('SELECT %I.create_partition_time(p_parent_table := $1, '
                       'p_partition_times := ARRAY[$2])', audit._partman_schema())
          USING 'audit.event', p_from;
        IF audit._is_covered(p_from, p_to) THEN
            RETURN 0;
        END IF;
    END IF;

    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.event INCLUDING ALL '
                   'EXCLUDING IDENTITY EXCLUDING INDEXES)', v_name);
    v_moved := 0;
    IF v_stray THEN
        /* the lock on DEFAULT is ours: it is not busy, and nobody finds it without its guard */
        PERFORM audit._guard_partitions();
        ALTER TABLE audit.event_default DISABLE TRIGGER append_only;
        EXECUTE format('WITH moved AS (DELETE FROM audit.event_default '
                       'WHERE started_at >= $1 AND started_at < $2 '
                       'RETURNING *) INSERT INTO audit.%I SELECT * FROM moved', v_name)
          USING p_from, p_to;
        GET DIAGNOSTICS v_moved = ROW_COUNT;
        ALTER TABLE audit.event_default ENABLE ALWAYS TRIGGER append_only;
    END IF;
    EXECUTE format('ALTER TABLE audit.event ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)',
                   v_name, p_from, p_to);
    RETURN v_moved;
END;
$_create_partition$;

COMMENT ON FUNCTION audit._create_partition(timestamptz, timestamptz) IS
    'Internal: create one partition and move the rows of its period out of DEFAULT; returns how '
    'many moved.';
REVOKE ALL ON FUNCTION audit._create_partition(timestamptz, timestamptz) FROM PUBLIC;
