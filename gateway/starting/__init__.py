"""How a run begins: the database opened, each work unit made and put where it goes on."""
