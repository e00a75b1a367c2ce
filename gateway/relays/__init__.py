"""After a commit: what one work unit tells another, and what a machine is asked to do."""
