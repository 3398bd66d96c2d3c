-- The closed partitions, which nobody can write to any more, that have no verified archive.
CREATE OR REPLACE FUNCTION audit._unarchived()
    RETURNS TABLE (from_time timestamptz, to_time timestamptz)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_unarchived$
    SELECT p.from_time, p.to_time
      FROM audit.partition AS p
     WHERE p.to_time <= (SELECT counted_to FROM audit.counting)
       AND NOT EXISTS (SELECT FROM audit.archive AS a
                        WHERE a.state = 'verified'
                          AND (a.from_time, a.to_time) = (p.from_time, p.to_time))
$_unarchived$;

COMMENT ON FUNCTION audit._unarchived() IS
    'Internal: periods of the closed partitions that have no verified archive.';
REVOKE ALL ON FUNCTION audit._unarchived() FROM PUBLIC;
