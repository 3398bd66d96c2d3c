-- A policy as the argument of a trigger, with the number of each column; see audit._policy().
-- Virtual generated columns are left out: a trigger sees them as NULL.
CREATE OR REPLACE FUNCTION audit._policy_argument(p_table regclass, p_policy jsonb)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_policy_argument$
    SELECT COALESCE(jsonb_object_agg(treated.kind, treated.columns), '{}')::text
      FROM (SELECT named.kind, jsonb_object_agg(named.name, a.attnum) AS columns
              FROM (SELECT kind.key AS kind, jsonb_array_elements_text(kind.value) AS name
                      FROM jsonb_each(p_policy) AS kind
                    UNION
                    SELECT 'exclude', v.attname::text FROM pg_attribute AS v
                     WHERE v.attrelid = p_table AND v.attgenerated = 'v' AND NOT v.attisdropped)
                   AS named
              LEFT JOIN pg_attribute AS a ON a.attrelid = p_table AND a.attname = named.name
             GROUP BY named.kind) AS treated
$_policy_argument$;

COMMENT ON FUNCTION audit._policy_argument(regclass, jsonb) IS
    'Internal: a policy as a trigger of the table carries it.';
REVOKE ALL ON FUNCTION audit._policy_argument(regclass, jsonb) FROM PUBLIC;
