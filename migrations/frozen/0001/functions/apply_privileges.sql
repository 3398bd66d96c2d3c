-- Grant what each role needs, as audit._privileges() lists it. Run by every revision.
-- Readers of single tables get what is new if they have what they were granted; who lost it, for
-- example by DROP OWNED, or another role that took the name of one that was dropped, gets nothing.
CREATE OR REPLACE FUNCTION audit.apply_privileges()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $apply_privileges$
DECLARE
    v_setting audit.setting;
    v_grant record;
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    LOCK TABLE audit.table_reader IN SHARE ROW EXCLUSIVE MODE;
    GRANT USAGE ON SCHEMA audit TO PUBLIC;
    FOR v_grant IN
        SELECT p.privilege, w.grantee
          FROM (SELECT 'PUBLIC', '{everyone}'::text[]
                UNION ALL
                SELECT quote_ident(v_setting.reader_role), '{table reader,reader}'
                UNION ALL
                SELECT quote_ident(v_setting.admin_role), '{table reader,reader,administrator}'
                UNION ALL
                SELECT DISTINCT quote_ident(r.role), '{table reader}'::text[]
                  FROM audit.table_reader AS r JOIN pg_roles AS p ON p.rolname = r.role
                 WHERE has_table_privilege(p.oid, 'audit.event', 'SELECT'))
               AS w (grantee, kinds)
         CROSS JOIN LATERAL audit._privileges(w.kinds) AS p (privilege)
    LOOP
        EXECUTE format('GRANT %s TO %s', v_grant.privilege, v_grant.grantee);
    END LOOP;
    PERFORM audit._secure_rows();
    EXECUTE format('GRANT UPDATE (default_window, must_attach) ON audit.setting TO %I',
                   v_setting.admin_role);

    /* to own something in a schema takes CREATE on it, for as long as it is handed over */
    IF to_regproc('audit._row_to_jsonb') IS NOT NULL THEN
        EXECUTE format('GRANT CREATE ON SCHEMA audit TO %I', v_setting.nobody_role);
        EXECUTE format('ALTER FUNCTION audit._row_to_jsonb(anyelement) OWNER TO %I',
                       v_setting.nobody_role);
        EXECUTE format('REVOKE CREATE ON SCHEMA audit FROM %I', v_setting.nobody_role);
    END IF;
END;
$apply_privileges$;

COMMENT ON FUNCTION audit.apply_privileges() IS
    'Grant readers, administrators and everybody what they need on schema audit. Run by each '
    'revision; safe to run again.';
REVOKE ALL ON FUNCTION audit.apply_privileges() FROM PUBLIC;
