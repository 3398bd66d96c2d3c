-- Whether turning rows of a table into JSON may run code of others: if a column has a type that is
-- not PostgreSQL's own (those have oids below 16384). Called by capture; the statement that fired
-- it holds a lock on the table, so the answer stays true until its end.
CREATE OR REPLACE FUNCTION audit._runs_foreign_code(p_table oid)
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_runs_foreign_code$
BEGIN
    RETURN EXISTS (SELECT FROM pg_attribute AS a
                    WHERE a.attrelid = p_table AND a.atttypid >= 16384 AND NOT a.attisdropped);
END;
$_runs_foreign_code$;

COMMENT ON FUNCTION audit._runs_foreign_code(oid) IS
    'Internal: whether a table has columns of types that are not built in.';
REVOKE ALL ON FUNCTION audit._runs_foreign_code(oid) FROM PUBLIC;
