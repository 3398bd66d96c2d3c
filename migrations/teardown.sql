-- Run by env.py after a downgrade to base, as the deploying role: takes away what bootstrap.sql made.
-- Only roles that an installation made are dropped, and only if nothing else needs them (another
-- database of the cluster, a member).

SELECT set_config('role', current_setting('audit.deploying_role'), true);
DO $teardown$
DECLARE
    v_owner name := (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'audit');
    v_made name[] := ARRAY(SELECT rolname FROM pg_roles
                            WHERE shobj_description(oid, 'pg_authid') = 'made by audit_schema');
    v_role name;
    v_schema name;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        IF has_schema_privilege('cron', 'USAGE') THEN
            PERFORM cron.unschedule(jobid) FROM cron.job
              WHERE jobname = 'audit_schema: run_maintenance' AND database = current_database();
        END IF;
    END IF;
    DROP TABLE audit.schema_version;
    DROP SCHEMA audit;

    SELECT n.nspname INTO v_schema
      FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_partman' AND pg_has_role(n.nspowner, 'USAGE');
    IF FOUND THEN
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', v_schema, v_owner);
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', v_schema, v_owner);
    END IF;

    FOR v_role IN
        SELECT rolname FROM pg_roles WHERE rolname = ANY (v_made) ORDER BY rolname DESC
    LOOP
        IF EXISTS (SELECT FROM pg_auth_members AS m JOIN pg_roles AS u ON u.oid = m.member
                    WHERE m.roleid = quote_ident(v_role)::regrole
                      AND u.rolname <> current_user AND u.rolname <> ALL (v_made)) THEN
            RAISE NOTICE 'role "%" is kept: it has members', v_role;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('DROP ROLE %I', v_role);
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            RAISE NOTICE 'role "%" is kept: %', v_role, SQLERRM;
        END;
    END LOOP;
END;
$teardown$;

-- a caller's transaction may go on after us
SELECT set_config(name, current_setting('audit.deploying_' || name), true)
  FROM unnest(ARRAY['search_path', 'lock_timeout']) AS name;
