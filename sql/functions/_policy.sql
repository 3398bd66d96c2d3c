-- The policy in the argument of a trigger, as lists of column names: {"redact": ["ssn"]}. NULL for
-- none. The argument has each column by name and number, {"redact": {"ssn": 3}}: a number follows a
-- rename, a name survives dump and restore, which may number the columns anew. Where they disagree,
-- both columns count, so that a secret is not recorded before the table is attached again; of the
-- columns that alone are recorded, only the names count.
CREATE OR REPLACE FUNCTION audit._policy(p_table oid, p_argument text)
    RETURNS jsonb
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_policy$
    SELECT jsonb_object_agg(kind.key, named.columns)
      FROM jsonb_each(p_argument::jsonb) AS kind
     CROSS JOIN LATERAL (
           SELECT jsonb_agg(c.key) || COALESCE(jsonb_agg(a.attname)
                                               FILTER (WHERE a.attname <> c.key), '[]') AS columns
             FROM jsonb_each_text(kind.value) AS c
             LEFT JOIN pg_attribute AS a
                    ON a.attrelid = COALESCE(pg_partition_root(p_table), p_table)
                   AND a.attnum = c.value::smallint AND kind.key <> 'only') AS named
$_policy$;

COMMENT ON FUNCTION audit._policy(oid, text) IS
    'Internal: the policy of a captured table as lists of column names; NULL for none.';
REVOKE ALL ON FUNCTION audit._policy(oid, text) FROM PUBLIC;
