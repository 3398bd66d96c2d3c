-- Put the append-only guard and row security on what lacks them: triggers by statement and row
-- security do not pass from audit.event to its partitions, and some of those are made by
-- pg_partman. Returns those that are left because they are written to right now: to wait would hold
-- up writers. audit.status() tells of them.
CREATE OR REPLACE FUNCTION audit._guard_partitions()
    RETURNS regclass[]
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_guard_partitions$
DECLARE
    v_relation regclass;
    v_busy regclass[] := '{}'::regclass[];
BEGIN
    FOR v_relation IN SELECT * FROM audit._unguarded() LOOP
        BEGIN
            EXECUTE format('CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR '
                           'TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION '
                           'audit.append_only()', v_relation);
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only%s', v_relation,
                           CASE WHEN v_relation <> 'audit.event'::regclass
                                THEN ', ENABLE ROW LEVEL SECURITY' END);
        EXCEPTION WHEN lock_not_available THEN
            v_busy := v_busy || v_relation;
        END;
    END LOOP;
    RETURN v_busy;
END;
$_guard_partitions$;

COMMENT ON FUNCTION audit._guard_partitions() IS
    'Internal: make the trail append-only where it is not; returns the relations that were busy.';
REVOKE ALL ON FUNCTION audit._guard_partitions() FROM PUBLIC;
