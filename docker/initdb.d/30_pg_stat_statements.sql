-- Statistics of all statements, capture triggers included when pg_stat_statements.track = all.
\getenv database POSTGRES_DB
\connect :"database"
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
