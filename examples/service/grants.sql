-- What the proof for missing ids needs of MySQL (docs/mysql.md); the account owns the database already.
GRANT SELECT ON performance_schema.* TO 'bridge'@'%';
GRANT PROCESS ON *.* TO 'bridge'@'%';
