#!/bin/sh
# Runs at Postgres' first start: create one database and one role each for MLflow and for studies. Neither role can
# open the other's database. psql reads and quotes the passwords from its environment: no command line shows them.
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
