-- Let a reader of single tables use what the readers of all use; row security shows it its tables
-- only. The counts by actor are left out: they are of all tables.
CREATE OR REPLACE FUNCTION audit._grant_readers(p_role regrole)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_grant_readers$
DECLARE
    v_privilege text;
BEGIN
    FOR v_privilege IN
        SELECT r.privilege
          FROM audit.setting AS s
         CROSS JOIN audit._read_privileges(quote_ident(s.reader_role)::regrole) AS r
         WHERE r.name NOT IN ('actor_counts', 'actor_count')
        EXCEPT
        SELECT r.privilege FROM audit._read_privileges(p_role) AS r
    LOOP
        EXECUTE format('GRANT %s TO %s', v_privilege, p_role);
    END LOOP;
END;
$_grant_readers$;

COMMENT ON FUNCTION audit._grant_readers(regrole) IS
    'Internal: grant a reader of single tables what it needs.';
REVOKE ALL ON FUNCTION audit._grant_readers(regrole) FROM PUBLIC;
