-- Make the table of a partition, not yet attached, with all its indexes: so ATTACH has nothing to
-- build. The constraint says what the bounds will say: so ATTACH need not read the rows.
CREATE OR REPLACE FUNCTION audit._prepare_partition(p_from timestamptz, p_to timestamptz)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_prepare_partition$
DECLARE
    v_index text;
BEGIN
    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.event INCLUDING ALL EXCLUDING IDENTITY, '
                   'CONSTRAINT of_period CHECK (started_at >= %L AND started_at < %L))',
                   audit._partition_name(p_from), p_from, p_to);
    FOR v_index IN
        SELECT format('CREATE INDEX %1$I ON audit.%2$I %3$s',
                      audit._partition_name(p_from) || '_' || i.suffix,
                      audit._partition_name(p_from), i.definition)
          FROM audit._profile_indexes() AS i
          JOIN audit.setting AS s ON s.hot_index_profile = ANY (i.profiles)
    LOOP
        EXECUTE v_index;
    END LOOP;
END;
$_prepare_partition$;

COMMENT ON FUNCTION audit._prepare_partition(timestamptz, timestamptz) IS
    'Internal: make the table of a partition.';
REVOKE ALL ON FUNCTION audit._prepare_partition(timestamptz, timestamptz) FROM PUBLIC;
