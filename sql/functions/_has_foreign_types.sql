-- Whether to_jsonb() of a row might run foreign code. Only types that are not PostgreSQL's own are
-- dependencies of a table. The capture of single rows spells the same out.
CREATE OR REPLACE FUNCTION audit._has_foreign_types(p_table oid)
    RETURNS boolean
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_has_foreign_types$
    SELECT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = p_table
                      AND d.refclassid = 'pg_type'::regclass)
$_has_foreign_types$;

COMMENT ON FUNCTION audit._has_foreign_types(oid) IS
    'Internal: whether a table has columns of types that are not PostgreSQL''s own.';
REVOKE ALL ON FUNCTION audit._has_foreign_types(oid) FROM PUBLIC;
