#!/bin/sh
# Postgres' first start: a database and a role of its own for each user of it, neither of which can open the other's.
#
# psql reads the passwords from its environment and quotes them itself, so that none stands on a command line.
set -e
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv mlflow_password MLFLOW_DB_PASSWORD
\getenv winnow_password WINNOW_DB_PASSWORD
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE ROLE winnow LOGIN PASSWORD :'winnow_password';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE winnow OWNER winnow;
REVOKE CONNECT, TEMPORARY ON DATABASE mlflow, winnow FROM PUBLIC;
SQL
