-- Run by env.py before every upgrade and downgrade, in the same transaction: checks the server,
-- makes the roles and the schema where they are missing, and goes on as the schema's owner, so
-- that every object belongs to it whoever deploys. Safe to run again.
-- Role names come from the settings audit.owner_role, audit.admin_role and audit.reader_role
-- (alembic -x owner_role=NAME …); empty means the default name. schedule.sql or teardown.sql
-- set role and search_path back at the end.

SELECT pg_catalog.set_config('audit.deploying_role', pg_catalog.current_setting('role'), true),
       pg_catalog.set_config('audit.deploying_search_path',
                             pg_catalog.current_setting('search_path'), true);
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('audit_schema upgrade', 0));

DO $bootstrap$
DECLARE
    v_installed boolean := EXISTS (
        SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = 'audit' AND c.relname = 'schema_version');
    v_owner text := COALESCE(
        (SELECT r.rolname FROM pg_namespace AS n JOIN pg_roles AS r ON r.oid = n.nspowner
          WHERE n.nspname = 'audit' AND v_installed),
        NULLIF(current_setting('audit.owner_role', true), ''),
        'audit_owner');
    v_admin text := COALESCE(NULLIF(current_setting('audit.admin_role', true), ''), 'audit_admin');
    v_reader text := COALESCE(NULLIF(current_setting('audit.reader_role', true), ''), 'audit_reader');
    v_missing text[];
    v_foreign text;
    v_role text;
    v_partman text;
BEGIN
    IF current_setting('server_version_num')::integer < 150000 THEN
        RAISE EXCEPTION 'audit_schema needs PostgreSQL 15 or newer, this server is %',
                current_setting('server_version')
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Upgrade the server; nothing was changed.';
    END IF;

    /* a schema audit that we did not make is left alone */
    SELECT object INTO v_foreign
      FROM (SELECT c.oid::regclass::text AS object, c.relnamespace AS namespace
              FROM pg_class AS c
            UNION ALL
            SELECT p.oid::regprocedure::text, p.pronamespace FROM pg_proc AS p) AS found
     WHERE namespace = to_regnamespace('audit') AND NOT v_installed
     LIMIT 1;
    IF v_foreign IS NOT NULL THEN
        RAISE EXCEPTION 'schema "audit" exists already and was not made by audit_schema: it holds %',
                v_foreign
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'Rename it (ALTER SCHEMA audit RENAME TO …) or drop it, then upgrade again.';
    END IF;

    /* roles: made when missing, never altered */
    SELECT array_agg(name ORDER BY name) INTO v_missing
      FROM unnest(ARRAY[v_owner, v_admin, v_reader]) AS name
     WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name);
    IF v_missing IS NOT NULL AND NOT (
        SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user)
    THEN
        RAISE EXCEPTION 'role "%" may not create roles, and these do not exist: %',
                current_user, array_to_string(v_missing, ', ')
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Have a DBA run: %s GRANT %I TO %I; Or name existing roles: '
                      'alembic -x owner_role=… -x admin_role=… -x reader_role=… upgrade head',
                      (SELECT string_agg(format('CREATE ROLE %I NOLOGIN;', name), ' ')
                         FROM unnest(v_missing) AS name), v_owner, current_user);
    END IF;
    FOREACH v_role IN ARRAY COALESCE(v_missing, '{}') LOOP
        EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
    END LOOP;

    /* we must be able to act as the owner; since 16 that is more than to be a member */
    IF NOT pg_has_role(current_user, v_owner, CASE
            WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER'
            ELSE 'SET' END) THEN
        BEGIN
            EXECUTE format('GRANT %I TO %I', v_owner, current_user);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'role "%" may not act as "%", which owns the audit schema',
                    current_user, v_owner
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('Have a DBA run: GRANT %I TO %I;', v_owner, current_user);
        END;
    END IF;

    /* let the owner use pg_partman, where we may grant that */
    v_partman := (SELECT extnamespace::regnamespace::text FROM pg_extension
                   WHERE extname = 'pg_partman');
    IF pg_has_role((SELECT nspowner FROM pg_namespace
                     WHERE oid = to_regnamespace(v_partman)), 'USAGE') THEN
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %s TO %I', v_partman, v_owner);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s TO %I',
                       v_partman, v_owner);
    END IF;

    IF to_regnamespace('audit') IS NULL THEN
        IF NOT has_database_privilege(current_database(), 'CREATE') THEN
            RAISE EXCEPTION 'role "%" may not create schemas in database "%"',
                    current_user, current_database()
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('Have a DBA run: GRANT CREATE ON DATABASE %I TO %I;',
                                    current_database(), current_user);
        END IF;
        EXECUTE format('CREATE SCHEMA audit AUTHORIZATION %I', v_owner);
    END IF;
    IF (SELECT nspowner FROM pg_namespace WHERE nspname = 'audit')
            <> quote_ident(v_owner)::regrole THEN
        RAISE EXCEPTION 'schema "audit" does not belong to role "%"', v_owner
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Have its owner run: ALTER SCHEMA audit OWNER TO %I;', v_owner);
    END IF;
    PERFORM set_config('audit.admin_role', v_admin, true),
            set_config('audit.reader_role', v_reader, true),
            set_config('role', v_owner, true);

    /* our own schema without its version: somebody edited by hand */
    IF to_regclass('audit.event') IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM audit.schema_version) THEN
            RAISE EXCEPTION 'schema "audit" is half installed: audit.schema_version is empty'
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Write its revision back: INSERT INTO audit.schema_version VALUES '
                             '(REVISION); or drop schema audit if nothing in it is worth keeping.';
        END IF;
    END IF;
END;
$bootstrap$;
