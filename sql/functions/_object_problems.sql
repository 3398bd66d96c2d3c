-- Functions, views and policies of the schema audit that are not as the last upgrade left them.
CREATE OR REPLACE FUNCTION audit._object_problems()
    RETURNS TABLE (subject text, problem text, remedy text)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_object_problems$
    SELECT COALESCE(o.identity, i.identity),
           CASE WHEN i.identity IS NULL THEN 'it does not belong to the audit trail'
                WHEN o.identity IS NULL THEN 'it is gone'
                ELSE 'it was altered' END,
           'find out who did it; then '
           || CASE WHEN COALESCE(o.identity, i.identity) LIKE 'policy %'
                   THEN regexp_replace(COALESCE(o.identity, i.identity), '^policy',
                                       'DROP POLICY IF EXISTS')
                        || '; SELECT audit.apply_privileges();'
                   ELSE 'go back a revision and up again: audit-schema upgrade' END
      FROM audit._objects() AS o
      FULL JOIN audit.installed_object AS i ON i.identity = o.identity
     WHERE i.checksum IS DISTINCT FROM o.checksum
       AND (NOT o.is_printed OR i.server_major IS NULL OR i.server_major
            = current_setting('server_version_num')::integer / 10000) IS NOT FALSE
$_object_problems$;

COMMENT ON FUNCTION audit._object_problems() IS
    'Internal: functions, views and policies of the schema audit that were altered since its last '
    'upgrade.';
REVOKE ALL ON FUNCTION audit._object_problems() FROM PUBLIC;
