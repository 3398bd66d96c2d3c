-- Everything that keeps the trail from being complete and true, with what to do about it; no row
-- when all is well. SECURITY DEFINER: as audit.status().
CREATE OR REPLACE FUNCTION audit.check()
    RETURNS TABLE (subject text, problem text, remedy text)
    LANGUAGE sql
    STABLE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $check$
    SELECT p.subject, p.problem, p.remedy FROM audit._table_problems() AS p
    UNION ALL
    SELECT u.name::text, 'it must be attached (audit.setting.must_attach) and is not',
           format('SELECT audit.attach(%L);', u.name)
      FROM audit._uncovered_tables() AS u (name)
    UNION ALL
    SELECT o.subject, o.problem, o.remedy FROM audit._object_problems() AS o
    UNION ALL
    SELECT COALESCE('role ' || r.rolname, 'database ' || d.datname),
           format('its sessions start with %s: triggers do not fire', s.setting),
           'reset session_replication_role, or attach tables with p_enable_always => true'
      FROM pg_db_role_setting AS c
     CROSS JOIN unnest(c.setconfig) AS s (setting)
      LEFT JOIN pg_roles AS r ON r.oid = c.setrole
      LEFT JOIN pg_database AS d ON d.oid = c.setdatabase
     WHERE s.setting = 'session_replication_role=replica'
       AND (c.setdatabase = 0 OR d.datname = current_database())
    UNION ALL
    SELECT 'event trigger ' || w.name, 'it is missing or disabled: DDL is not recorded',
           'a superuser runs: SELECT audit.enable_ddl_capture();'
      FROM audit.setting AS s
     CROSS JOIN (VALUES ('audit_ddl_command_end'), ('audit_sql_drop')) AS w (name)
     WHERE s.captures_ddl AND NOT EXISTS (
           SELECT FROM pg_event_trigger AS e
            WHERE e.evtname = w.name AND e.evtenabled IN ('O', 'A')
              AND e.evtfoid = to_regproc('audit.capture_ddl'))
    UNION ALL
    SELECT 'audit.event.row_hash', 'computed by a server of another encoding or byte order: '
           'audit.history() does not find all rows', 'SELECT audit.rehash_rows();'
      FROM audit.setting AS s WHERE s.hash_sample <> audit._hash_sample()
    UNION ALL
    SELECT 'role ' || r.role, 'it was granted to read tables, and cannot'
           || CASE WHEN p.oid IS NULL THEN ': there is no such role' ELSE '' END,
           CASE WHEN p.oid IS NULL THEN format('SELECT audit.revoke_read(NULL, %L);', r.role)
                ELSE string_agg(format('SELECT audit.grant_read(%L, %L);',
                    format('%I.%I', k.schema_name, k.table_name), r.role), ' ' ORDER BY k.id) END
      FROM audit.table_reader AS r
      JOIN audit.tracked_table AS k ON k.id = r.tracked_table_id
      LEFT JOIN pg_roles AS p ON p.rolname = r.role
     WHERE has_table_privilege(p.oid, 'audit.event', 'SELECT') IS NOT TRUE
     GROUP BY r.role, p.oid
    UNION ALL
    SELECT s.item, s.value, s.remedy FROM audit.status() AS s
     WHERE s.state = 'warning' AND s.item <> 'attached tables'
$check$;

COMMENT ON FUNCTION audit.check() IS
    'What keeps the trail from being complete and true: subject, problem and remedy; no row when '
    'all is well. Finds triggers that are missing, disabled or altered, key columns and tables '
    'that are gone, tables that must be attached and are not, functions, views and policies that '
    'were altered since the last upgrade, sessions whose triggers do not fire, event triggers that '
    'are gone, and what audit.status() warns of.';
REVOKE ALL ON FUNCTION audit.check() FROM PUBLIC;
