-- Bring the indexes of partitions to their profile as far as nobody waits for it: those that a
-- profile does not have are dropped, those that are missing are made where nothing is recorded yet,
-- and in partitions that are made by this very transaction, which holds their lock. Others are
-- built when the partition closes. The locks of this function stop writers and readers until the
-- end of the transaction, so it comes last there. Returns the partitions that are left, being busy.
CREATE OR REPLACE FUNCTION audit._fit_indexes()
    RETURNS regclass[]
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_fit_indexes$
DECLARE
    v_gap record;
    v_busy regclass[] := '{}'::regclass[];
BEGIN
    FOR v_gap IN
        SELECT g.partition, g.statement FROM audit._index_gaps() AS g
         WHERE NOT g.is_missing
            OR NOT g.is_closed AND (
               pg_relation_size(g.partition) = 0
               OR EXISTS (SELECT FROM pg_locks AS l
                           WHERE l.pid = pg_backend_pid() AND l.relation = g.partition
                             AND l.mode = 'AccessExclusiveLock'))
         ORDER BY g.partition
    LOOP
        CONTINUE WHEN v_gap.partition = ANY (v_busy);
        BEGIN
            EXECUTE v_gap.statement;
        EXCEPTION WHEN lock_not_available THEN
            v_busy := v_busy || v_gap.partition::regclass;
        END;
    END LOOP;
    RETURN v_busy;
END;
$_fit_indexes$;

COMMENT ON FUNCTION audit._fit_indexes() IS
    'Internal: make and drop the indexes of partitions for which nobody waits; returns the '
    'partitions that were busy.';
REVOKE ALL ON FUNCTION audit._fit_indexes() FROM PUBLIC;
