-- The policy to capture a table with, as sorted lists of column names; {} for none. Refuses columns
-- that are not there or have two treatments, and a treatment that a key would not survive.
CREATE OR REPLACE FUNCTION audit._check_policy(
    p_table regclass,
    p_key_columns text[],
    p_exclude text[],
    p_only text[],
    p_redact text[],
    p_hash text[])
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_check_policy$
DECLARE
    v_named CONSTANT text[] := p_exclude || p_only || p_redact || p_hash;
    v_unknown text;
    v_twice text;
    v_lost text;
BEGIN
    SELECT name INTO v_unknown FROM unnest(v_named) AS name
     WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
                        WHERE a.attrelid = p_table AND a.attname = name
                          AND a.attnum > 0 AND NOT a.attisdropped);
    IF FOUND THEN
        RAISE EXCEPTION 'table % has no column %', p_table, quote_nullable(v_unknown)
            USING ERRCODE = 'undefined_column', HINT = 'Name columns of the table.';
    ELSIF cardinality(p_exclude) > 0 AND cardinality(p_only) > 0 THEN
        RAISE EXCEPTION 'give either columns to exclude or the only ones to record, not both'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The only ones leave out all others, also those added later.';
    END IF;
    SELECT name INTO v_twice FROM unnest(p_exclude || p_redact || p_hash) AS name
     GROUP BY name HAVING count(*) > 1;
    IF FOUND THEN
        RAISE EXCEPTION 'column % of table % is named twice', quote_ident(v_twice), p_table
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A column is excluded, redacted or hashed, and only once.';
    END IF;
    SELECT name INTO v_lost FROM unnest(p_exclude || p_redact) AS name
     WHERE name = ANY (p_key_columns);
    IF FOUND THEN
        RAISE EXCEPTION 'column % of table % identifies its rows: it cannot be left out',
                quote_ident(v_lost), p_table
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Hash it, or name other key columns.';
    END IF;

    RETURN (SELECT COALESCE(jsonb_object_agg(kind, columns), '{}')
              FROM (VALUES ('exclude', p_exclude), ('redact', p_redact), ('hash', p_hash),
                           ('only', CASE WHEN p_only <> '{}'
                                         THEN p_only || p_key_columns || p_redact || p_hash END))
                    AS given (kind, names)
             CROSS JOIN LATERAL (SELECT to_jsonb(array_agg(DISTINCT name ORDER BY name))
                                   FROM unnest(names) AS name) AS listed (columns)
             WHERE columns IS NOT NULL);
END;
$_check_policy$;

COMMENT ON FUNCTION audit._check_policy(regclass, text[], text[], text[], text[], text[]) IS
    'Internal: the policy to capture a table with; raises an error for an unusable one.';
REVOKE ALL ON FUNCTION audit._check_policy(regclass, text[], text[], text[], text[], text[])
    FROM PUBLIC;
