-- pg_cron lives in one database of the server, the one that cron.database_name names. Its launcher
-- stays connected there, so it is not the application's database: that can be dropped and cloned.
-- Jobs for other databases are made with cron.schedule_in_database().
\connect postgres
CREATE EXTENSION IF NOT EXISTS pg_cron;
