"""Between a request and the verb that carries it out: who speaks, and whether he may."""
