-- What a role itself may read and call in the schema audit, as GRANT and REVOKE spell it.
CREATE OR REPLACE FUNCTION audit._read_privileges(p_role regrole)
    RETURNS TABLE (name text, privilege text)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_read_privileges$
    SELECT o.name, a.privilege_type || o.kind || o.identity
      FROM (SELECT relname::text, ' ON ', oid::regclass::text, relacl
              FROM pg_class WHERE relnamespace = 'audit'::regnamespace
            UNION ALL
            SELECT proname, ' ON FUNCTION ', oid::regprocedure::text, proacl
              FROM pg_proc WHERE pronamespace = 'audit'::regnamespace)
           AS o (name, kind, identity, acl)
     CROSS JOIN aclexplode(o.acl) AS a
     WHERE a.grantee = p_role AND a.privilege_type IN ('SELECT', 'EXECUTE')
$_read_privileges$;

COMMENT ON FUNCTION audit._read_privileges(regrole) IS
    'Internal: what a role may read and call in the schema audit.';
REVOKE ALL ON FUNCTION audit._read_privileges(regrole) FROM PUBLIC;
