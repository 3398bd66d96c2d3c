-- Attach a table that audit._prepare_partition() made. ATTACH takes only SHARE UPDATE EXCLUSIVE on
-- the parent, so writers to other partitions go on; it reads all of DEFAULT under ACCESS EXCLUSIVE.
CREATE OR REPLACE FUNCTION audit._attach_partition(p_from timestamptz, p_to timestamptz)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_attach_partition$
DECLARE
    v_name text := audit._partition_name(p_from);
BEGIN
    EXECUTE format('ALTER TABLE audit.event ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)',
                   v_name, p_from, p_to);
    EXECUTE format('ALTER TABLE audit.%I DROP CONSTRAINT of_period', v_name);
END;
$_attach_partition$;

COMMENT ON FUNCTION audit._attach_partition(timestamptz, timestamptz) IS
    'Internal: attach a prepared partition.';
REVOKE ALL ON FUNCTION audit._attach_partition(timestamptz, timestamptz) FROM PUBLIC;
