-- pg_partman lives in the application's database. The owner of the audit trail calls it, so that
-- role is made here when no migration has made it yet, and gets what pg_partman asks for.
\getenv database POSTGRES_DB
\connect :"database"
CREATE SCHEMA IF NOT EXISTS partman;
CREATE EXTENSION IF NOT EXISTS pg_partman SCHEMA partman;

SELECT 'CREATE ROLE audit_owner NOLOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'audit_owner')
\gexec

GRANT USAGE ON SCHEMA partman TO audit_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA partman TO audit_owner;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA partman TO audit_owner;
