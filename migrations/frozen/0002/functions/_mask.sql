-- Values as a policy, lists of column names, lets them be recorded: excluded columns are left out,
-- of redacted and hashed ones stays whether they were NULL. A hash is HMAC-SHA-256 (RFC 2104) of
-- the value as JSON, with the key in audit.hash_key.
CREATE OR REPLACE FUNCTION audit._mask(p_values jsonb, p_policy jsonb)
    RETURNS jsonb
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_mask$
    SELECT CASE WHEN p_values IS NOT NULL THEN COALESCE(jsonb_object_agg(v.key, CASE
               WHEN v.value = 'null' THEN v.value
               WHEN p_policy -> 'redact' ? v.key THEN '"[redacted]"'
               WHEN p_policy -> 'hash' ? v.key THEN (
                   SELECT to_jsonb('hmac-sha256:' || encode(sha256(k.outer_pad || sha256(
                              k.inner_pad || convert_to(v.value::text, 'UTF8'))), 'hex'))
                     FROM audit.hash_key AS k)
               ELSE v.value END), '{}') END
      FROM jsonb_each(p_values) AS v
     WHERE NOT COALESCE(p_policy -> 'exclude' ? v.key, false)
       AND COALESCE(p_policy -> 'only' ? v.key, true)
$_mask$;

COMMENT ON FUNCTION audit._mask(jsonb, jsonb) IS
    'Internal: values without excluded columns, with a constant or a keyed hash for masked ones.';
REVOKE ALL ON FUNCTION audit._mask(jsonb, jsonb) FROM PUBLIC;
